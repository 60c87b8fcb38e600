//! Stories of pods that belong together, native.

use hansa_scheduler_lab::{Lab, Node, Operator, Pod, Spread};

use super::*;

const WEB: &[(&str, &str)] = &[("app", "web")];

fn node<'a>(
    name: &'a str,
    labels: &'a [(&'a str, &'a str)],
    pods: &'a [(&'a [(&'a str, &'a str)], u32)],
) -> Node<'a> {
    Node { name, labels, pods, ..Node::default() }
}

/// Zone z1 has 2 matching pods on two nodes, z2 has 1 on one node; one node has no zone.
fn zones() -> Lab {
    Lab::new(&[
        node("a1", &[("zone", "z1"), ("kubernetes.io/hostname", "a1")], &[(WEB, 2)]),
        node("a2", &[("zone", "z1"), ("kubernetes.io/hostname", "a2")], &[]),
        node("b1", &[("zone", "z2"), ("kubernetes.io/hostname", "b1")], &[(WEB, 1)]),
        node("none", &[("kubernetes.io/hostname", "none")], &[]),
    ])
}

fn web_pod(lab: &mut Lab, hard: bool, key: &str, max_skew: u32) -> Pod {
    let mut pod = lab.pod(WEB);
    let selector = Some(vec![lab.requirement("app", Operator::In, &["web"])]);
    let topology_key = lab.sym(key);
    let constraint = Spread {
        topology_key,
        max_skew,
        hard,
        selector,
        honor_affinity: true,
        ..Spread::default()
    };
    pod.spreads = vec![constraint];
    pod
}

#[test]
fn a_domain_may_not_get_ahead_by_more_than_the_skew() {
    let mut lab = zones();
    let mut pod = web_pod(&mut lab, true, "zone", 1);
    assert_eq!(lab.passing::<PodTopologySpread>(&pod), ["b1"]);
    let text = "node(s) didn't match pod topology spread constraints";
    assert_eq!(lab.texts::<PodTopologySpread>(&pod, "a2"), [text]);
    let missing = format!("{text} (missing required label)");
    assert_eq!(lab.texts::<PodTopologySpread>(&pod, "none"), [missing]);
    pod.spreads[0].max_skew = 2;
    assert_eq!(lab.passing::<PodTopologySpread>(&pod), ["a1", "a2", "b1"]);
}

#[test]
fn a_pod_that_its_own_selector_does_not_count_adds_nothing() {
    let mut lab = zones();
    let mut pod = web_pod(&mut lab, true, "zone", 1);
    pod.labels.clear();
    assert_eq!(lab.passing::<PodTopologySpread>(&pod), ["a1", "a2", "b1"]);
}

#[test]
fn with_too_few_domains_the_emptiest_counts_as_zero() {
    let mut lab = zones();
    let mut pod = web_pod(&mut lab, true, "zone", 2);
    pod.spreads[0].min_domains = 3;
    assert_eq!(lab.passing::<PodTopologySpread>(&pod), ["b1"]);
}

#[test]
fn nodes_outside_the_affinity_do_not_count_unless_ignored() {
    let mut lab = zones();
    let mut pod = web_pod(&mut lab, true, "zone", 1);
    pod.node_selector = vec![lab.label("zone", "z1")];
    assert_eq!(lab.passing::<PodTopologySpread>(&pod), ["a1", "a2", "b1"], "z1 is alone");
    pod.spreads[0].honor_affinity = false;
    assert_eq!(lab.passing::<PodTopologySpread>(&pod), ["b1"]);
}

#[test]
fn other_namespaces_are_not_counted() {
    let mut lab = zones();
    let mut pod = web_pod(&mut lab, true, "zone", 1);
    pod.namespace = lab.sym("elsewhere");
    assert_eq!(lab.passing::<PodTopologySpread>(&pod), ["a1", "a2", "b1"]);
}

#[test]
fn soft_constraints_prefer_the_emptier_domain_and_skip_nodes_without_the_label() {
    let mut lab = zones();
    let pod = web_pod(&mut lab, false, "zone", 1);
    assert_eq!(lab.passing::<PodTopologySpread>(&pod).len(), 4);
    // Weight ln(2 + 2): z1 has 2 × 1.386 → 3, z2 has 1.386 → 1; 100 × (3 + 1 − raw) / 3.
    assert_eq!(lab.scores::<PodTopologySpread>(&pod), [33, 33, 100, 0]);
}

#[test]
fn owned_pods_are_spread_over_nodes_and_zones_by_default() {
    let zone = "topology.kubernetes.io/zone";
    let host = "kubernetes.io/hostname";
    let (a1, a2) = ([(zone, "z1"), (host, "a1")], [(zone, "z1"), (host, "a2")]);
    let b1 = [(zone, "z2"), (host, "b1")];
    let mut lab =
        Lab::new(&[node("a1", &a1, &[(WEB, 3)]), node("a2", &a2, &[]), node("b1", &b1, &[])]);
    let mut pod = lab.pod(WEB);
    assert_eq!(lab.scores::<PodTopologySpread>(&pod), [0, 0, 0], "nothing owns it");
    pod.owner_selector = vec![lab.requirement("app", Operator::In, &["web"])];
    let scores = lab.scores::<PodTopologySpread>(&pod);
    assert!(scores[2] > scores[1] && scores[1] > scores[0], "{scores:?}");
}

#[test]
fn without_matching_pods_every_node_is_as_good() {
    let mut lab = Lab::new(&[node("a", &[("zone", "z1")], &[]), node("b", &[("zone", "z2")], &[])]);
    let pod = web_pod(&mut lab, false, "zone", 1);
    assert_eq!(lab.scores::<PodTopologySpread>(&pod), [100, 100]);
}
