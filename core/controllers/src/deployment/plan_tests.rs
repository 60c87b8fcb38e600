//! Rollouts, step by step.

use hansa_api::k8s_openapi::api::apps::v1::{
    DeploymentStrategy, ReplicaSetStatus, RollingUpdateDeployment,
};
use hansa_api::k8s_openapi::api::core::v1::PodTemplateSpec;

use super::*;

fn template(version: &str) -> PodTemplateSpec {
    let mut template = PodTemplateSpec::default();
    let labels = BTreeMap::from([("version".to_owned(), version.to_owned())]);
    template.metadata.get_or_insert_default().labels = Some(labels);
    template
}

fn deployment(replicas: i32, surge: IntOrString, unavailable: IntOrString) -> Deployment {
    let mut deployment = Deployment::default();
    deployment.metadata.name = Some("web".into());
    let rolling =
        RollingUpdateDeployment { max_surge: Some(surge), max_unavailable: Some(unavailable) };
    deployment.spec = Some(DeploymentSpec {
        replicas: Some(replicas),
        template: template("new"),
        strategy: Some(DeploymentStrategy {
            type_: Some("RollingUpdate".into()),
            rolling_update: Some(rolling),
        }),
        ..DeploymentSpec::default()
    });
    deployment
}

fn set(
    version: &str,
    replicas: i32,
    available: i32,
    desired: i32,
    revision: i64,
) -> Arc<ReplicaSet> {
    let mut set = ReplicaSet::default();
    set.metadata.name = Some(format!("web-{version}"));
    set.metadata.annotations = Some(BTreeMap::from([
        (DESIRED.to_owned(), desired.to_string()),
        (REVISION.to_owned(), revision.to_string()),
    ]));
    set.spec = Some(ReplicaSetSpec {
        replicas: Some(replicas),
        template: Some(template(version)),
        ..ReplicaSetSpec::default()
    });
    set.status = Some(ReplicaSetStatus {
        replicas,
        available_replicas: Some(available),
        ..ReplicaSetStatus::default()
    });
    Arc::new(set)
}

fn scalings(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Vec<(String, i32)> {
    let view = View::new(deployment, sets);
    let actions = plan(deployment, &view).into_iter();
    actions
        .filter_map(|action| match action {
            Action::Scale { set, to, .. } => Some((set, to)),
            _ => None,
        })
        .collect()
}

#[test]
fn percentages_round_up_for_the_surge_and_down_for_the_unavailable() {
    let percent = |text: &str| IntOrString::String(text.into());
    let spec = deployment(10, percent("25%"), percent("25%")).spec.unwrap();
    assert_eq!(Bounds::of(&spec), Bounds { wanted: 10, surge: 3, unavailable: 2 });
    let spec = deployment(3, percent("0%"), percent("25%")).spec.unwrap();
    assert_eq!(Bounds::of(&spec).unavailable, 1, "both zero would never move");
}

#[test]
fn the_first_set_is_created_at_full_size_with_revision_one() {
    let deployment = deployment(3, IntOrString::Int(1), IntOrString::Int(0));
    let actions = plan(&deployment, &View::new(&deployment, &[]));
    let created = actions.iter().find_map(|action| match action {
        Action::Create(set) => Some(set),
        _ => None,
    });
    let created = created.expect("a set is created");
    assert_eq!(size(created), 3);
    assert_eq!(revision_of(created), 1);
    assert!(created.spec.as_ref().unwrap().selector.match_labels.is_some());
}

#[test]
fn a_rollout_keeps_its_bounds_all_the_way() {
    let deployment = deployment(4, IntOrString::Int(1), IntOrString::Int(1));
    let old = set("old", 4, 4, 4, 1);
    // The new set starts with the surge.
    let view_sets = [old.clone()];
    let actions = plan(&deployment, &View::new(&deployment, &view_sets));
    assert!(actions.iter().any(|action| matches!(action, Action::Create(set) if size(set) == 1)));
    // Before it serves, one old pod may go.
    let sets = [old, set("new", 1, 0, 4, 2)];
    assert_eq!(scalings(&deployment, &sets), [("web-old".to_owned(), 3)]);
    // The new set grows into the room.
    let sets = [set("old", 3, 3, 4, 1), set("new", 1, 1, 4, 2)];
    assert_eq!(scalings(&deployment, &sets), [("web-new".to_owned(), 2)]);
    // The end.
    let sets = [set("old", 1, 1, 4, 1), set("new", 4, 3, 4, 2)];
    assert_eq!(scalings(&deployment, &sets), [("web-old".to_owned(), 0)]);
}

#[test]
fn old_pods_that_do_not_serve_go_first() {
    let deployment = deployment(4, IntOrString::Int(2), IntOrString::Int(0));
    let sets = [set("old", 4, 2, 4, 1), set("new", 2, 2, 4, 2)];
    assert_eq!(scalings(&deployment, &sets), [("web-old".to_owned(), 2)]);
}

#[test]
fn scaling_in_a_rollout_is_in_proportion() {
    let deployment = deployment(20, IntOrString::Int(0), IntOrString::Int(2));
    let sets = [set("old", 6, 6, 10, 1), set("new", 4, 4, 10, 2)];
    let sizes = scalings(&deployment, &sets);
    assert_eq!(sizes, [("web-old".to_owned(), 12), ("web-new".to_owned(), 8)]);
}

#[test]
fn recreate_waits_until_no_old_pod_is_left() {
    let mut deployment = deployment(3, IntOrString::Int(0), IntOrString::Int(1));
    let strategy = deployment.spec.as_mut().unwrap().strategy.as_mut().unwrap();
    strategy.type_ = Some("Recreate".into());
    assert_eq!(scalings(&deployment, &[set("old", 3, 3, 3, 1)]), [("web-old".to_owned(), 0)]);
    let mut going = set("old", 0, 0, 3, 1);
    Arc::make_mut(&mut going).status.as_mut().unwrap().replicas = 1;
    let actions = plan(&deployment, &View::new(&deployment, &[going]));
    assert!(!actions.iter().any(|action| matches!(action, Action::Create(_))));
}

#[test]
fn a_rollback_gives_the_old_set_the_next_revision() {
    let deployment = deployment(2, IntOrString::Int(1), IntOrString::Int(0));
    let sets = [set("new", 0, 0, 2, 1), set("other", 2, 2, 2, 2)];
    let actions = plan(&deployment, &View::new(&deployment, &sets));
    let revised = actions.iter().find_map(|action| match action {
        Action::Annotate { annotations, .. } => annotations.get(REVISION),
        _ => None,
    });
    assert_eq!(revised.map(String::as_str), Some("3"));
}

#[test]
fn history_beyond_its_limit_is_forgotten_oldest_first() {
    let mut deployment = deployment(1, IntOrString::Int(1), IntOrString::Int(0));
    deployment.spec.as_mut().unwrap().revision_history_limit = Some(1);
    let sets = [set("a", 0, 0, 1, 1), set("b", 0, 0, 1, 2), set("new", 1, 1, 1, 3)];
    let actions = plan(&deployment, &View::new(&deployment, &sets));
    assert!(actions.contains(&Action::DeleteSet("web-a".into())));
    assert!(!actions.contains(&Action::DeleteSet("web-b".into())));
}

#[test]
fn a_paused_deployment_only_scales() {
    let mut deployment = deployment(5, IntOrString::Int(1), IntOrString::Int(0));
    deployment.spec.as_mut().unwrap().paused = Some(true);
    let sets = [set("old", 2, 2, 2, 1)];
    assert_eq!(scalings(&deployment, &sets), [("web-old".to_owned(), 5)]);
    let actions = plan(&deployment, &View::new(&deployment, &sets));
    assert!(!actions.iter().any(|action| matches!(action, Action::Create(_))));
}
