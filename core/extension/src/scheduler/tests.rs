//! Tests of the mirror and the set, with plugins made for the purpose.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::active::{ActiveSet, Identity, PolicySource};
use crate::bitmap;

/// Passes nodes with an even (or any) index, scores by index; notes what it was fed.
#[derive(Default)]
struct Fake {
    even_only: bool,
    fails: bool,
    rows: Vec<u32>,
    slots: usize,
    version: u64,
    fed: Arc<AtomicU32>,
}

impl SchedulerPolicy for Fake {
    fn reset(&mut self, capacity: u32) -> Result<(), PluginError> {
        self.slots = capacity as usize;
        Ok(())
    }
    fn define_symbols(&mut self, _: Sym, _: &[String]) -> Result<(), PluginError> {
        Ok(())
    }
    fn define_label_set(&mut self, _: SetId, _: &[Label]) -> Result<(), PluginError> {
        Ok(())
    }
    fn define_taint_set(&mut self, _: SetId, _: &[Taint]) -> Result<(), PluginError> {
        Ok(())
    }
    fn define_group(&mut self, _: SetId, _: Sym, _: SetId) -> Result<(), PluginError> {
        Ok(())
    }
    fn upsert(&mut self, rows: &[NodeRow]) -> Result<(), PluginError> {
        self.fed.fetch_add(rows.len() as u32, Ordering::Relaxed);
        for row in rows {
            self.slots = self.slots.max(row.ix as usize + 1);
            self.rows.push(row.ix);
        }
        Ok(())
    }
    fn update_usage(&mut self, rows: &[UsageRow]) -> Result<(), PluginError> {
        self.fed.fetch_add(rows.len() as u32, Ordering::Relaxed);
        Ok(())
    }
    fn update_ext(&mut self, _: &[ExtRow]) -> Result<(), PluginError> {
        Ok(())
    }
    fn update_ports(&mut self, _: &[PortRow]) -> Result<(), PluginError> {
        Ok(())
    }
    fn update_groups(&mut self, _: &[GroupRow]) -> Result<(), PluginError> {
        Ok(())
    }
    fn remove(&mut self, rows: &[Ix]) -> Result<(), PluginError> {
        self.rows.retain(|ix| !rows.contains(ix));
        Ok(())
    }
    fn commit(&mut self, version: u64) -> Result<(), PluginError> {
        self.version = version;
        Ok(())
    }
    fn run(&mut self, _: &PodView, want: Want, among: &[u8]) -> Result<Evaluation, PluginError> {
        if self.fails {
            return Err(PluginError::Trap("fake".into()));
        }
        let pass = |ix: &u32| bitmap::get(among, *ix) && (!self.even_only || ix.is_multiple_of(2));
        let feasible = bitmap::of(self.slots, self.rows.iter().copied().filter(pass));
        let reason = Reason { texts: vec!["odd".into()], preemptible: false };
        let code = |ix: u32| u8::from(bitmap::get(among, ix) && !bitmap::get(&feasible, ix));
        let reasons = (0..self.slots as u32).map(code).collect();
        let scores = (0..self.slots as u8).collect();
        let version = self.version;
        let want_scores = |v: Vec<u8>| if want.score { v } else { Vec::new() };
        Ok(Evaluation {
            version,
            scores: want_scores(scores),
            reasons,
            legend: vec![reason],
            feasible,
        })
    }
    fn what_if(&mut self, _: &PodView, node: Ix, _: &Change) -> Result<bool, PluginError> {
        Ok(!self.even_only || node.is_multiple_of(2))
    }
    fn explain(&mut self, _: &PodView, _: Ix) -> Result<Vec<String>, PluginError> {
        Ok(Vec::new())
    }
}

/// A source of fakes; one that fails has another to fall back to.
struct Fakes {
    identity: Identity,
    weight: u32,
    even_only: bool,
    fails: bool,
    fallback: Option<Arc<Fakes>>,
    made: AtomicU32,
    fed: Arc<AtomicU32>,
}

fn fakes(name: &str, weight: u32, even_only: bool, fails: bool) -> Fakes {
    let identity = Identity { name: name.into(), ..Identity::default() };
    let (made, fed) = (AtomicU32::new(0), Arc::default());
    Fakes { identity, weight, even_only, fails, fallback: None, made, fed }
}

impl PolicySource<dyn SchedulerPolicy> for Fakes {
    fn identity(&self) -> &Identity {
        &self.identity
    }
    fn weight(&self) -> u32 {
        self.weight
    }
    fn instantiate(&self) -> Result<Box<dyn SchedulerPolicy>, PluginError> {
        self.made.fetch_add(1, Ordering::Relaxed);
        let (even_only, fails, fed) = (self.even_only, self.fails, self.fed.clone());
        Ok(Box::new(Fake { even_only, fails, fed, ..Fake::default() }))
    }
    fn report(&self, _outcome: Result<(), &PluginError>) {}
    fn fallback(&self) -> Option<Arc<dyn PolicySource<dyn SchedulerPolicy>>> {
        Some(self.fallback.clone()?)
    }
}

type Active = Arc<ActiveSet<dyn SchedulerPolicy>>;

fn set_of(sources: Vec<Arc<Fakes>>, nodes: u32) -> (PluginSet, Active) {
    let sources = sources.into_iter().map(|source| source as _).collect();
    let active = Arc::new(ActiveSet::new(sources));
    let mut set = PluginSet::new(active.clone());
    for ix in 0..nodes {
        set.mirror().upsert(NodeRow { ix, ..NodeRow::default() });
    }
    (set, active)
}

const EVERYTHING: Want = Want { filter: true, score: true, reasons: true };

#[test]
fn candidates_narrow_and_weighted_scores_add_up() {
    let plugins = [fakes("all", 1, false, false), fakes("even", 3, true, false)];
    let (mut set, _) = set_of(plugins.map(Arc::new).into(), 5);
    let decision = set.decide(&PodView::default(), EVERYTHING).unwrap();
    assert_eq!(bitmap::ones(&decision.feasible).collect::<Vec<_>>(), [0, 2, 4]);
    assert_eq!(decision.totals, [0, 0, 8, 0, 16]);
    assert_eq!(decision.rejections.len(), 1, "the first plugin rejected nothing");
    let (by, reason) = decision.rejection(3).unwrap();
    assert_eq!((by.name.as_str(), reason.unwrap().texts[0].as_str()), ("even", "odd"));
    assert_eq!(decision.rejection(2), None);
    assert_eq!(decision.decided_by.len(), 2);
    assert!(!set.what_if(&PodView::default(), 1, &Change::default()).unwrap());
}

#[test]
fn plugins_are_fed_differences_and_a_fresh_one_everything() {
    let (first, late) = (Arc::new(fakes("a", 1, false, false)), fakes("b", 1, false, false));
    let (mut set, active) = set_of(vec![first.clone()], 100);
    set.decide(&PodView::default(), Want::FILTER).unwrap();
    assert_eq!(first.fed.load(Ordering::Relaxed), 100);
    set.mirror().update_usage(&UsageRow { ix: 7, cpu: 5, ..UsageRow::default() });
    set.decide(&PodView::default(), Want::FILTER).unwrap();
    set.decide(&PodView::default(), Want::FILTER).unwrap();
    assert_eq!(first.fed.load(Ordering::Relaxed), 101);
    let late = Arc::new(late);
    active.swap(vec![first.clone(), late.clone()]);
    set.decide(&PodView::default(), Want::FILTER).unwrap();
    assert_eq!((first.made.load(Ordering::Relaxed), late.fed.load(Ordering::Relaxed)), (1, 100));
}

#[test]
fn the_last_good_version_steps_in_and_keeps_its_instance_when_it_is_promoted() {
    let good = Arc::new(fakes("good", 1, true, false));
    let bad = Fakes { fallback: Some(good.clone()), ..fakes("bad", 1, false, true) };
    let (mut set, active) = set_of(vec![Arc::new(bad)], 4);
    for _ in 0..2 {
        let decision = set.decide(&PodView::default(), Want::FILTER).unwrap();
        assert_eq!(decision.decided_by[0].name, "good");
    }
    active.swap(vec![good.clone()]);
    set.decide(&PodView::default(), Want::FILTER).unwrap();
    assert_eq!(good.made.load(Ordering::Relaxed), 1);
}

#[test]
fn a_removed_node_is_no_candidate_and_its_index_is_reused() {
    let (mut set, _) = set_of(vec![Arc::new(fakes("all", 1, false, false))], 3);
    set.decide(&PodView::default(), Want::FILTER).unwrap();
    set.mirror().remove(1);
    let left = set.decide(&PodView::default(), Want::FILTER).unwrap();
    assert_eq!(bitmap::ones(&left.feasible).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(set.mirror().free_ix(), 1);
    set.mirror().upsert(NodeRow { ix: 1, ..NodeRow::default() });
    let again = set.decide(&PodView::default(), Want::FILTER).unwrap();
    assert_eq!(bitmap::count(&again.feasible), 3);
}

#[test]
fn a_flush_without_changes_is_nothing_and_equal_rows_are_no_change() {
    let mut mirror = Mirror::default();
    let name = mirror.sym("n");
    let row = NodeRow { name, ..NodeRow::default() };
    mirror.upsert(row.clone());
    assert!(mirror.flush().is_some());
    mirror.upsert(row);
    assert_eq!((mirror.flush(), mirror.version()), (None, 1));
    let set = mirror.label_set([("b", "2"), ("a", "1")]);
    assert_eq!(mirror.label_set([("a", "1"), ("b", "2")]), set);
    assert!(mirror.flush().is_some(), "a definition is a change");
}

fn truth() -> Evaluation {
    Evaluation { version: 3, feasible: vec![0b11, 0], scores: vec![0; 9], ..Default::default() }
}

#[test]
fn every_lie_is_noticed() {
    let want = Want { filter: true, score: true, reasons: false };
    let check = |e: Evaluation| e.check(9, 3, want, &[0b111, 0]);
    assert_eq!(check(truth()), Ok(()));
    let lies = [
        Evaluation { version: 2, ..truth() },
        Evaluation { feasible: vec![0b11], ..truth() },
        Evaluation { feasible: vec![0b1011, 0], ..truth() },
        Evaluation { scores: vec![0; 8], ..truth() },
        Evaluation { scores: vec![101; 9], ..truth() },
    ];
    for lie in lies {
        assert!(matches!(check(lie), Err(PluginError::Contract(_))));
    }
    let coded = Evaluation { reasons: vec![1; 9], ..truth() };
    assert!(coded.check(9, 3, Want::REASONS, &[0xff, 1]).is_err(), "a code without a meaning");
}
