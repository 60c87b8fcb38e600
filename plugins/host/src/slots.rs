//! Who decides: the versions of every plugin, which one is on top, and what was before.
//!
//! Pure bookkeeping over any kind of version, so that the rules can be read and tested alone.

use std::collections::BTreeMap;

use hansa_extension::runtime::{FailurePolicy, PluginState, World};
use hansa_extension::{Identity, PluginError};

/// Versions kept per plugin, and identities in its history.
const KEEP: usize = 10;

/// What the bookkeeping needs of a version.
pub trait Versioned: Clone {
    /// Which one.
    fn identity(&self) -> &Identity;
    /// Its world.
    fn world(&self) -> World;
    /// What happens when it fails and nothing steps in.
    fn failure(&self) -> FailurePolicy;
    /// Whether it ever decided well.
    fn is_proven(&self) -> bool;
    /// Whether it came with the product: it is covered by a `Plugin` object, never taken out by
    /// one.
    fn is_shipped(&self) -> bool;
    /// Calls, and those that failed.
    fn counts(&self) -> (u64, u64);
}

/// All plugins by name.
#[derive(Debug)]
pub struct Slots<V> {
    slots: BTreeMap<String, Slot<V>>,
    clock: u64,
}

impl<V> Default for Slots<V> {
    fn default() -> Self {
        Self { slots: BTreeMap::new(), clock: 0 }
    }
}

#[derive(Debug)]
struct Slot<V> {
    world: World,
    /// When the plugin came; later versions keep its place.
    since: u64,
    /// Oldest first.
    stack: Vec<Entry<V>>,
    history: Vec<Identity>,
}

#[derive(Debug)]
struct Entry<V> {
    version: V,
    activated: u64,
    fenced: Option<PluginError>,
}

impl<V: Versioned> Entry<V> {
    fn is_useless(&self) -> bool {
        !self.version.is_proven() && self.version.counts().1 > 0
    }
}

impl<V: Versioned> Slots<V> {
    /// Puts a version on top of its plugin's stack, lifting a fence that it had. False if it is
    /// there already: then nothing changes, and what is fenced off stays so.
    pub fn activate(&mut self, version: V) -> bool {
        if self.is_top(version.identity()) {
            return false;
        }
        let before = self.active();
        self.clock += 1;
        let (activated, identity) = (self.clock, version.identity().clone());
        let slot = self.slots.entry(identity.name.clone()).or_insert_with(|| Slot {
            world: version.world(),
            since: activated,
            stack: Vec::new(),
            history: Vec::new(),
        });
        slot.world = version.world();
        slot.stack.retain(|entry| {
            *entry.version.identity() != identity && entry.version.world() == slot.world
        });
        // What only ever failed is no version to come back to.
        slot.stack.retain(|entry| entry.version.is_shipped() || !entry.is_useless());
        slot.stack.push(Entry { version, activated, fenced: None });
        while slot.stack.len() > KEEP {
            let oldest = slot.stack.iter().position(|entry| !entry.version.is_shipped());
            slot.stack.remove(oldest.unwrap_or(0));
        }
        self.remember(&before);
        true
    }

    /// Whether this is the version of its plugin that was activated last, of all plugins where one
    /// decides alone.
    fn is_top(&self, identity: &Identity) -> bool {
        let Some(slot) = self.slots.get(&identity.name) else { return false };
        let newest = |slot: &Slot<V>| slot.stack.last().map_or(0, |entry| entry.activated);
        let alone = slot.world.is_sole();
        let rivals = self.slots.values().filter(|other| alone && other.world == slot.world);
        let top = slot.stack.last().is_some_and(|entry| entry.version.identity() == identity);
        top && rivals.map(newest).max().is_none_or(|latest| latest == newest(slot))
    }

    /// Takes a plugin's versions out, down to the shipped one; true if there were any.
    pub fn deactivate(&mut self, name: &str) -> bool {
        let before = self.active();
        let Some(slot) = self.slots.get_mut(name) else { return false };
        let had = slot.stack.len();
        slot.stack.retain(|entry| entry.version.is_shipped());
        let gone = slot.stack.len() < had;
        if slot.stack.is_empty() {
            self.slots.remove(name);
        }
        self.remember(&before);
        gone
    }

    /// Fences a version off; false if it stays because nothing could take its place: it is the last
    /// one, and it decided well before or must not be left out.
    pub fn fence(&mut self, identity: &Identity, error: &PluginError) -> bool {
        let before = self.active();
        let alone = self.chains_all().iter().any(|chain| {
            let last = chain.len() == 1 && chain[0].identity() == identity;
            last && (chain[0].is_proven() || chain[0].failure() == FailurePolicy::Closed)
        });
        let entry = self.entry(identity);
        let Some(entry) = entry.filter(|entry| !alone && entry.fenced.is_none()) else {
            return false;
        };
        entry.fenced = Some(error.clone());
        self.remember(&before);
        true
    }

    /// The chains of versions that decide in a world, each with the decider first and the older
    /// versions that step in for it after. One chain per plugin in the worlds where all decide
    /// together; at most one where one decides alone, over all plugins.
    pub fn chains(&self, world: World) -> Vec<Vec<V>> {
        let mut slots: Vec<&Slot<V>> =
            self.slots.values().filter(|slot| slot.world == world).collect();
        slots.sort_by_key(|slot| slot.since);
        let chains: Vec<Vec<V>> = match world.is_sole() {
            false => slots.iter().map(|slot| chain(slot.stack.iter())).collect(),
            true => vec![chain(slots.iter().flat_map(|slot| &slot.stack))],
        };
        chains.into_iter().filter(|chain| !chain.is_empty()).collect()
    }

    /// What there is to say of every plugin.
    pub fn states(&self) -> Vec<PluginState> {
        let active = self.active();
        self.slots.iter().filter_map(|(name, slot)| state(name, slot, active.get(name))).collect()
    }

    fn chains_all(&self) -> Vec<Vec<V>> {
        World::ALL.into_iter().flat_map(|world| self.chains(world)).collect()
    }

    /// Who decides, by plugin.
    fn active(&self) -> BTreeMap<String, Identity> {
        let deciders = self.chains_all().into_iter().map(|chain| chain[0].identity().clone());
        deciders.map(|identity| (identity.name.clone(), identity)).collect()
    }

    fn entry(&mut self, identity: &Identity) -> Option<&mut Entry<V>> {
        let stack = &mut self.slots.get_mut(&identity.name)?.stack;
        stack.iter_mut().find(|entry| entry.version.identity() == identity)
    }

    /// Writes down who decided before and does no more.
    fn remember(&mut self, before: &BTreeMap<String, Identity>) {
        let now = self.active();
        for (name, was) in before {
            let Some(slot) = self.slots.get_mut(name) else { continue };
            if now.get(name) != Some(was) {
                slot.history.retain(|have| have != was);
                slot.history.insert(0, was.clone());
                slot.history.truncate(KEEP);
            }
        }
    }
}

/// The versions that are not fenced off, the last activated first.
fn chain<'a, V: Versioned + 'a>(entries: impl Iterator<Item = &'a Entry<V>>) -> Vec<V> {
    let mut sound: Vec<&Entry<V>> = entries.filter(|entry| entry.fenced.is_none()).collect();
    sound.sort_by_key(|entry| std::cmp::Reverse(entry.activated));
    sound.into_iter().map(|entry| entry.version.clone()).collect()
}

fn state<V: Versioned>(
    name: &str,
    slot: &Slot<V>,
    active: Option<&Identity>,
) -> Option<PluginState> {
    let top = slot.stack.last()?;
    let counts = slot.stack.iter().map(|entry| entry.version.counts());
    let (calls, failures) = counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    Some(PluginState {
        name: name.into(),
        world: slot.world,
        wanted: top.version.identity().clone(),
        active: active.cloned(),
        history: slot.history.clone(),
        fenced: top.fenced.clone(),
        calls,
        failures,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Fake(Identity, World, FailurePolicy, bool);

    impl Versioned for Fake {
        fn identity(&self) -> &Identity {
            &self.0
        }
        fn world(&self) -> World {
            self.1
        }
        fn failure(&self) -> FailurePolicy {
            self.2
        }
        fn is_proven(&self) -> bool {
            self.3
        }
        fn is_shipped(&self) -> bool {
            self.0.name == "shipped"
        }
        fn counts(&self) -> (u64, u64) {
            (2, u64::from(self.0.name == "failing"))
        }
    }

    fn fake(name: &str, generation: u64, world: World) -> Fake {
        let identity =
            Identity { name: name.into(), digest: format!("sha256:{generation}"), generation };
        Fake(identity, world, FailurePolicy::Fallback, false)
    }

    fn deciding(slots: &Slots<Fake>, world: World) -> Vec<u64> {
        slots.chains(world).iter().map(|chain| chain[0].0.generation).collect()
    }

    fn trap() -> PluginError {
        PluginError::Trap("unreachable".into())
    }

    #[test]
    fn a_fenced_version_hands_over_to_the_one_before() {
        let mut slots = Slots::default();
        for generation in 1..=3 {
            slots.activate(fake("placement", generation, World::Federation));
        }
        assert_eq!(slots.chains(World::Federation)[0].len(), 3);
        let third = fake("placement", 3, World::Federation).0;
        assert!(slots.fence(&third, &trap()));
        assert!(!slots.fence(&third, &trap()), "it is fenced already");
        assert_eq!(deciding(&slots, World::Federation), [2]);
        let state = slots.states().remove(0);
        assert_eq!((state.wanted.generation, state.active.unwrap().generation), (3, 2));
        assert_eq!(state.fenced, Some(trap()));
        let history: Vec<u64> = state.history.iter().map(|i| i.generation).collect();
        assert_eq!(history, [3, 2, 1]);
    }

    #[test]
    fn alone_worlds_have_one_decider_over_all_plugins() {
        let mut slots = Slots::default();
        slots.activate(fake("default", 1, World::Federation));
        slots.activate(fake("prefer", 2, World::Federation));
        assert_eq!(deciding(&slots, World::Federation), [2]);
        assert_eq!(slots.states()[0].active, None);
        assert!(slots.deactivate("prefer") && !slots.deactivate("prefer"));
        assert_eq!(deciding(&slots, World::Federation), [1]);
    }

    #[test]
    fn scheduler_plugins_keep_their_place_when_they_are_replaced() {
        let mut slots = Slots::default();
        slots.activate(fake("z-first", 1, World::Scheduler));
        slots.activate(fake("a-second", 2, World::Scheduler));
        slots.activate(fake("z-first", 3, World::Scheduler));
        assert_eq!(deciding(&slots, World::Scheduler), [3, 2]);
    }

    #[test]
    fn what_only_ever_failed_does_not_step_in() {
        let mut slots = Slots::default();
        let mut closed = fake("failing", 1, World::Admission);
        closed.2 = FailurePolicy::Closed;
        slots.activate(closed.clone());
        assert!(!slots.fence(&closed.0, &trap()), "it must not be left out");
        let next = fake("failing", 2, World::Admission);
        slots.activate(next.clone());
        assert!(slots.fence(&next.0, &trap()));
        assert_eq!(deciding(&slots, World::Admission), [0; 0]);
    }

    #[test]
    fn the_last_one_goes_only_if_it_never_decided_and_may_be_left_out() {
        let error = trap();
        let mut slots = Slots::default();
        let new = fake("new", 1, World::Scheduler);
        let proven = Fake(fake("proven", 2, World::Scheduler).0, World::Scheduler, new.2, true);
        let mut closed = fake("closed", 3, World::Scheduler);
        closed.2 = FailurePolicy::Closed;
        for version in [&new, &proven, &closed] {
            slots.activate(version.clone());
        }
        assert!(slots.fence(&new.0, &error));
        assert!(!slots.fence(&proven.0, &error) && !slots.fence(&closed.0, &error));
        assert_eq!(deciding(&slots, World::Scheduler), [2, 3]);
    }

    #[test]
    fn what_was_shipped_decides_again_when_its_cover_is_taken_off() {
        let mut slots = Slots::default();
        for generation in 1..=15 {
            slots.activate(fake("shipped", generation, World::Scheduler));
        }
        assert_eq!(deciding(&slots, World::Scheduler), [15]);
        assert!(!slots.deactivate("shipped"), "all of them are");
        assert_eq!(slots.states().len(), 1);
    }

    #[test]
    fn only_a_version_that_comes_back_after_another_gets_a_new_chance() {
        let mut slots = Slots::default();
        slots.activate(fake("p", 1, World::Federation));
        slots.activate(fake("p", 2, World::Federation));
        slots.fence(&fake("p", 2, World::Federation).0, &trap());
        assert!(!slots.activate(fake("p", 2, World::Federation)));
        assert_eq!(deciding(&slots, World::Federation), [1]);
        assert!(slots.activate(fake("p", 1, World::Federation)));
        assert!(slots.activate(fake("p", 2, World::Federation)));
        assert_eq!(deciding(&slots, World::Federation), [2]);
        assert_eq!(slots.states()[0].fenced, None);
    }
}
