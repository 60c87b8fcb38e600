//! Who decides now: a set of components that is swapped as one, between two decisions.

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use crate::PluginError;
use crate::admission::Scope;

/// Which component decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The plugin's name: that of its `Plugin` object, or of the shipped guest.
    pub name: String,
    /// `sha256:<hex>` of the component's bytes; `native` for what is compiled in.
    pub digest: String,
    /// Counts up with every load, so that the same bytes with other settings are another version.
    pub generation: u64,
}

/// Makes instances of one loaded version and hears how they fare.
///
/// `I` is the trait of a world, such as `dyn SchedulerPolicy`.
pub trait PolicySource<I: ?Sized>: Send + Sync {
    /// Which version this is.
    fn identity(&self) -> &Identity;
    /// What its scores count in a sum.
    fn weight(&self) -> u32 {
        1
    }
    /// What it is about, in the world `admission`.
    fn scope(&self) -> Option<&Scope> {
        None
    }
    /// A fresh, configured, empty instance.
    fn instantiate(&self) -> Result<Box<I>, PluginError>;
    /// Told after every call. May fence the version off, that is swap it for an older one.
    fn report(&self, outcome: Result<(), &PluginError>);
    /// The last good version, which decides when this one fails.
    fn fallback(&self) -> Option<Arc<dyn PolicySource<I>>> {
        None
    }
}

/// Sources in the order in which they are asked.
pub type Sources<I> = Vec<Arc<dyn PolicySource<I>>>;

/// The sources that decide now. Readers take the whole set at a decision's start and keep it until
/// its end; a swap is one pointer, and whoever still holds the old set finishes with it.
pub struct ActiveSet<I: ?Sized> {
    current: ArcSwap<Sources<I>>,
}

impl<I: ?Sized> Default for ActiveSet<I> {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl<I: ?Sized> std::fmt::Debug for ActiveSet<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sources = self.current.load();
        f.debug_list().entries(sources.iter().map(|source| source.identity())).finish()
    }
}

impl<I: ?Sized> ActiveSet<I> {
    /// A set.
    pub fn new(sources: Sources<I>) -> Self {
        Self { current: ArcSwap::from_pointee(sources) }
    }

    /// The set that decides now.
    pub fn current(&self) -> Arc<Sources<I>> {
        self.current.load_full()
    }

    /// Whether nobody decides.
    pub fn is_empty(&self) -> bool {
        self.current.load().is_empty()
    }

    /// Lets `sources` decide from the next decision on.
    pub fn swap(&self, sources: Sources<I>) {
        self.current.store(Arc::new(sources));
    }
}

/// A source of natively compiled instances: for tests, and for the twin of a guest.
pub struct NativeSource<I: ?Sized> {
    identity: Identity,
    weight: u32,
    make: Box<dyn Fn() -> Box<I> + Send + Sync>,
}

impl<I: ?Sized> NativeSource<I> {
    /// A source with the digest `native`.
    pub fn new(
        name: &str,
        weight: u32,
        make: impl Fn() -> Box<I> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let identity = Identity { name: name.into(), digest: "native".into(), generation: 0 };
        Arc::new(Self { identity, weight, make: Box::new(make) })
    }
}

impl<I: ?Sized> PolicySource<I> for NativeSource<I> {
    fn identity(&self) -> &Identity {
        &self.identity
    }
    fn weight(&self) -> u32 {
        self.weight
    }
    fn instantiate(&self) -> Result<Box<I>, PluginError> {
        Ok((self.make)())
    }
    fn report(&self, _outcome: Result<(), &PluginError>) {}
}
