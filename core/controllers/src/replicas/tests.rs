//! What a ReplicaSet does about its pods.

use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::*;

fn selector() -> LabelSelector {
    let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

fn pod(name: &str, app: &str, owner: Option<&str>) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.name = Some(name.into());
    pod.metadata.uid = Some(format!("uid-{name}"));
    pod.metadata.labels = Some(BTreeMap::from([("app".to_owned(), app.to_owned())]));
    pod.metadata.owner_references = owner.map(|uid| {
        vec![OwnerReference { uid: uid.into(), controller: Some(true), ..Default::default() }]
    });
    pod
}

fn running_on(mut pod: Pod, node: &str) -> Pod {
    pod.spec = Some(hansa_api::k8s_openapi::api::core::v1::PodSpec {
        node_name: Some(node.into()),
        ..Default::default()
    });
    pod.status = Some(hansa_api::k8s_openapi::api::core::v1::PodStatus {
        phase: Some("Running".into()),
        ..Default::default()
    });
    pod
}

fn plan_of(wanted: usize, pods: Vec<Pod>) -> Plan {
    let pods: Vec<_> = pods.into_iter().map(Arc::new).collect();
    plan(Some("rs"), &selector(), wanted, &pods)
}

#[test]
fn missing_pods_are_created_and_strays_adopted() {
    let plan = plan_of(3, vec![pod("a", "web", Some("rs")), pod("stray", "web", None)]);
    assert_eq!(plan.adopt, [("stray".to_owned(), "uid-stray".to_owned())]);
    assert_eq!(plan.create, 1);
    assert!(plan.delete.is_empty());
}

#[test]
fn pods_that_no_longer_match_are_released_and_others_pods_left_alone() {
    let pods = vec![pod("a", "other", Some("rs")), pod("b", "web", Some("another"))];
    let plan = plan_of(0, pods);
    assert_eq!(plan.release, [("a".to_owned(), "uid-a".to_owned())]);
    assert!(plan.adopt.is_empty() && plan.delete.is_empty());
}

#[test]
fn the_least_missed_pods_go_first() {
    let pods = vec![
        running_on(pod("crowded-1", "web", Some("rs")), "n1"),
        running_on(pod("alone", "web", Some("rs")), "n2"),
        running_on(pod("crowded-2", "web", Some("rs")), "n1"),
        pod("unbound", "web", Some("rs")),
    ];
    let names: Vec<_> = plan_of(1, pods).delete.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names[0], "unbound");
    assert!(!names.contains(&"alone".to_owned()), "a spread pod outlives crowded ones: {names:?}");
}

#[test]
fn a_deletion_cost_outranks_the_crowd() {
    let mut cheap = running_on(pod("cheap", "web", Some("rs")), "n2");
    let cost = ("controller.kubernetes.io/pod-deletion-cost".to_owned(), "-5".to_owned());
    cheap.metadata.annotations = Some(BTreeMap::from([cost]));
    let pods = vec![
        running_on(pod("a", "web", Some("rs")), "n1"),
        running_on(pod("b", "web", Some("rs")), "n1"),
        cheap,
    ];
    assert_eq!(plan_of(2, pods).delete[0].0, "cheap");
}

#[test]
fn ended_pods_do_not_count() {
    let mut ended = running_on(pod("ended", "web", Some("rs")), "n1");
    ended.status.as_mut().unwrap().phase = Some("Failed".into());
    assert_eq!(plan_of(1, vec![ended]).create, 1);
}
