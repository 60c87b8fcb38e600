//! Tests of the store, matching and the runner.

use super::matching::{labels_match, meets, term_matches, tolerates};
use super::*;
use crate::{Settings, bitmap};

const NAMES: [&str; 6] = ["n0", "n1", "zone", "a", "10", "9"];
const N0: Sym = 1;
const N1: Sym = 2;
const ZONE: Sym = 3;
const A: Sym = 4;
const TEN: Sym = 5;
const NINE: Sym = 6;

fn row(ix: u32, name: Sym, label_set: SetId, pods: i64) -> NodeRow {
    NodeRow {
        ix,
        name,
        label_set,
        taint_set: 0,
        image_set: 0,
        topo_zone: 0,
        topo_region: 0,
        bits: 0,
        cpu_milli: 1000,
        memory: 1000,
        ephemeral: 0,
        pods,
        used_cpu: 0,
        used_memory: 0,
        used_ephemeral: 0,
        used_pods: 0,
        nz_cpu: 0,
        nz_memory: 0,
    }
}

/// `n0` in zone `a`, `n1` in zone `10`.
fn two_nodes() -> Nodes {
    let mut nodes = Nodes::default();
    nodes.reset(0);
    nodes.define_symbols(1, NAMES.map(str::to_owned).into());
    nodes.define_label_set(1, vec![Label { key: ZONE, value: A }]);
    nodes.define_label_set(2, vec![Label { key: ZONE, value: TEN }]);
    nodes.upsert(&[row(0, N0, 1, 1), row(1, N1, 2, 1)]);
    nodes
}

fn requirement(op: Op, values: &[Sym]) -> Requirement {
    Requirement { key: ZONE, op, values: values.to_vec() }
}

#[test]
fn label_columns_follow_changes_and_removals() {
    let mut nodes = two_nodes();
    assert_eq!(nodes.label_column(ZONE), Some(&[A, TEN][..]));
    nodes.upsert(&[row(1, N1, 0, 1), row(9, N1, 1, 1)]);
    assert_eq!((nodes.len(), nodes.label(1, ZONE), nodes.label(9, ZONE)), (10, None, Some(A)));
    nodes.remove(0);
    assert_eq!((nodes.label(0, ZONE), bitmap::get(nodes.present(), 0)), (None, false));
    assert_eq!(nodes.label(5, ZONE), None);
}

#[test]
fn every_operator_means_what_upstream_says() {
    let nodes = two_nodes();
    let holds = |op, values: &[Sym], value| meets(&nodes, &requirement(op, values), value);
    assert!(holds(Op::In, &[A, TEN], Some(A)) && !holds(Op::In, &[A], None));
    assert!(holds(Op::NotIn, &[A], None) && !holds(Op::NotIn, &[A], Some(A)));
    assert!(holds(Op::Exists, &[], Some(0)) && holds(Op::DoesNotExist, &[], None));
    assert!(holds(Op::Gt, &[NINE], Some(TEN)), "numbers, not text");
    assert!(!holds(Op::Lt, &[NINE], Some(TEN)) && !holds(Op::Gt, &[NINE], Some(A)));
}

#[test]
fn an_empty_term_matches_nothing_and_an_empty_selector_everything() {
    let nodes = two_nodes();
    let term = |expressions, fields| Term { expressions, fields };
    assert!(!term_matches(&nodes, 0, &term(vec![], vec![])));
    assert!(labels_match(&nodes, 0, &[]));
    let name = Requirement { key: 0, op: Op::In, values: vec![N1] };
    let by_field = term(vec![], vec![name.clone()]);
    assert!(!term_matches(&nodes, 0, &by_field) && term_matches(&nodes, 1, &by_field));
    let both = term(vec![requirement(Op::In, &[A])], vec![name]);
    assert!(!term_matches(&nodes, 0, &both) && !term_matches(&nodes, 1, &both));
}

#[test]
fn a_toleration_without_key_and_effect_tolerates_all() {
    let taint = Taint { key: ZONE, value: A, effect: Effect::NoExecute };
    let all = Toleration { key: 0, any_value: true, value: 0, effect: None };
    assert!(tolerates(&all, &taint));
    let equal = Toleration { key: ZONE, any_value: false, value: A, effect: None };
    assert!(tolerates(&equal, &taint));
    assert!(!tolerates(&Toleration { value: TEN, ..equal }, &taint));
    let effect = Some(Effect::NoSchedule);
    assert!(!tolerates(&Toleration { effect, ..all }, &taint));
    assert!(!tolerates(&Toleration { any_value: false, ..all }, &taint), "Equal needs the key");
}

/// Passes nodes with room for another pod.
struct Room;

impl Policy for Room {
    const NAME: &'static str = "Room";
    const INTERESTS: Interests = Interests { filter: true, usage: true, score: true, ..NOTHING };

    fn configure(settings: &Settings) -> Result<Self, String> {
        settings.none().map(|()| Self)
    }
    fn filter<'a>(&'a self, nodes: &'a Nodes, _: &'a PodView) -> impl Fn(usize) -> bool + 'a {
        |ix| nodes.columns().used_pods[ix] < nodes.columns().pods[ix]
    }
    fn reason(&self, _: &Nodes, _: &PodView, _: usize) -> Reason {
        lacks(vec!["Too many pods".into()])
    }
    fn score(&self, nodes: &Nodes, _: &PodView, candidates: &[u8], scores: &mut [u8]) {
        normalize(&nodes.columns().pods, candidates, false, scores);
    }
}

fn usage(ix: u32, pods: i64) -> UsageRow {
    UsageRow { ix, cpu: 0, memory: 0, ephemeral: 0, pods, nz_cpu: 0, nz_memory: 0 }
}

fn pod() -> PodView {
    crate::native::pod_view(&hansa_extension::scheduler::PodView::default())
}

fn runner() -> Runner<Room> {
    let mut runner = Runner::<Room>::new(&Settings::default()).unwrap();
    runner.nodes = two_nodes();
    runner.nodes.upsert(&[row(2, N0, 0, 4)]);
    runner.nodes.update_usage(&[usage(1, 1)]);
    runner
}

#[test]
fn one_run_filters_explains_and_scores_the_candidates() {
    let runner = runner();
    let want = Want { filter: true, score: true, reasons: true };
    let all = runner.run(&pod(), want, &[]);
    assert_eq!((all.feasible, all.reasons), (vec![0b101], vec![0, 1, 0]));
    assert_eq!(all.legend[0].texts, ["Too many pods"]);
    assert_eq!(all.scores, [25, 0, 100]);
    let some = runner.run(&pod(), want, &[0b11]);
    assert_eq!((some.feasible, some.scores), (vec![1], vec![100, 0, 0]));
}

#[test]
fn what_if_changes_nothing_that_stays() {
    let mut runner = runner();
    let change = |pods| {
        let (ext, ports, groups) = (Vec::new(), Vec::new(), Vec::new());
        Change { usage: Some(usage(1, pods)), ext, ports, groups }
    };
    assert!(!runner.what_if(&pod(), 1, &change(1)));
    assert!(runner.what_if(&pod(), 1, &change(0)));
    assert_eq!(runner.nodes.columns().used_pods[1], 1);
    assert!(!runner.what_if(&pod(), 77, &change(0)), "there is no such node");
}

#[test]
fn a_reversed_scale_gives_the_best_to_the_least() {
    let mut scores = vec![0; 3];
    normalize(&[0, 5, 10], &[0b111], true, &mut scores);
    assert_eq!(scores, [100, 50, 0]);
    normalize(&[0, 0, 7], &[0b011], true, &mut scores);
    assert_eq!(scores, [100, 100, 0], "what is no candidate does not count");
}
