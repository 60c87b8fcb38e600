//! One seat at the table of deciders: the source that decides, its live instance, and who steps in.

use std::sync::Arc;

use crate::active::{ActiveSet, Identity, PolicySource, Sources};
use crate::error::PluginError;

/// Brings a fresh instance up to date.
pub type Prepare<'a, I> = &'a dyn Fn(&mut I) -> Result<(), PluginError>;

/// A question to an instance.
pub type Question<'a, I, R> = &'a mut dyn FnMut(&mut I) -> Result<R, PluginError>;

/// A source with its instance. An instance that failed is dropped at once: after a trap it is dead.
pub struct Seat<I: ?Sized> {
    source: Arc<dyn PolicySource<I>>,
    instance: Option<Box<I>>,
    backup: Option<Box<Seat<I>>>,
}

impl<I: ?Sized> Seat<I> {
    /// A seat without an instance; the first call makes one.
    pub fn new(source: Arc<dyn PolicySource<I>>) -> Self {
        Self { source, instance: None, backup: None }
    }

    /// Who sits here.
    pub fn source(&self) -> &Arc<dyn PolicySource<I>> {
        &self.source
    }

    /// Tells every live instance, the backups' too; those that fail are dropped and rebuilt when
    /// they are needed.
    pub fn tell(&mut self, feed: &mut dyn FnMut(&mut I) -> Result<(), PluginError>) {
        if let Some(instance) = &mut self.instance
            && let Err(error) = feed(instance)
        {
            self.instance = None;
            self.source.report(Err(&error));
        }
        if let Some(backup) = &mut self.backup {
            backup.tell(feed);
        }
    }

    /// Asks. When the version that sits here fails, the last good one answers; when there is none,
    /// a rebuilt instance gets one more chance. Returns the answer and who gave it.
    pub fn call<R>(
        &mut self,
        prepare: Prepare<'_, I>,
        question: Question<'_, I, R>,
    ) -> Result<(R, Identity), PluginError> {
        let was_live = self.instance.is_some();
        let error = match self.attempt(prepare, question) {
            Ok(answer) => return Ok((answer, self.source.identity().clone())),
            Err(error) => error,
        };
        if let Some(backup) = self.backup() {
            return backup.call(prepare, question);
        }
        if !was_live {
            return Err(error);
        }
        let answer = self.attempt(prepare, question)?;
        Ok((answer, self.source.identity().clone()))
    }

    fn attempt<R>(
        &mut self,
        prepare: Prepare<'_, I>,
        question: Question<'_, I, R>,
    ) -> Result<R, PluginError> {
        let outcome = self.prepared(prepare).and_then(question);
        if outcome.is_err() {
            self.instance = None;
        }
        self.source.report(outcome.as_ref().map(|_| ()));
        outcome
    }

    fn prepared(&mut self, prepare: Prepare<'_, I>) -> Result<&mut I, PluginError> {
        if self.instance.is_none() {
            let mut fresh = self.source.instantiate()?;
            prepare(&mut fresh)?;
            self.instance = Some(fresh);
        }
        Ok(self.instance.as_deref_mut().expect("it was made above if it was missing"))
    }

    fn backup(&mut self) -> Option<&mut Self> {
        let source = self.source.fallback()?;
        let sits = self.backup.take().filter(|b| b.source.identity() == source.identity());
        self.backup = Some(sits.unwrap_or_else(|| Box::new(Self::new(source))));
        self.backup.as_deref_mut()
    }
}

/// The seats of a world, following its [`ActiveSet`].
pub struct Seats<I: ?Sized> {
    active: Arc<ActiveSet<I>>,
    seen: Option<Arc<Sources<I>>>,
    seats: Vec<Seat<I>>,
}

impl<I: ?Sized> Seats<I> {
    /// Seats for whoever is active.
    pub fn new(active: Arc<ActiveSet<I>>) -> Self {
        Self { active, seen: None, seats: Vec::new() }
    }

    /// Takes over a swap, if there was one: called between two decisions and nowhere else.
    /// Instances of versions that go on are kept, a backup that is promoted too; true if anything
    /// changed.
    pub fn refresh(&mut self) -> bool {
        let now = self.active.current();
        if self.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &now)) {
            return false;
        }
        let mut pool = Vec::new();
        for seat in self.seats.drain(..) {
            unstack(seat, &mut pool);
        }
        self.seats = now.iter().map(|source| reseat(source, &mut pool)).collect();
        self.seen = Some(now);
        true
    }

    /// The seats in order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Seat<I>> {
        self.seats.iter_mut()
    }

    /// The seat asked last, which decides where only one does.
    pub fn sole(&mut self) -> Option<&mut Seat<I>> {
        self.seats.last_mut()
    }

    /// Who sits there, in order.
    pub fn identities(&self) -> Vec<Identity> {
        self.seats.iter().map(|seat| seat.source.identity().clone()).collect()
    }
}

fn unstack<I: ?Sized>(mut seat: Seat<I>, pool: &mut Vec<Seat<I>>) {
    let backup = seat.backup.take();
    pool.push(seat);
    if let Some(backup) = backup {
        unstack(*backup, pool);
    }
}

fn reseat<I: ?Sized>(source: &Arc<dyn PolicySource<I>>, pool: &mut Vec<Seat<I>>) -> Seat<I> {
    let known = pool.iter().position(|seat| seat.source.identity() == source.identity());
    match known {
        Some(at) => Seat { source: Arc::clone(source), ..pool.swap_remove(at) },
        None => Seat::new(Arc::clone(source)),
    }
}
