//! Works: what each member is to hold of a binding's template. Pure.

use std::collections::BTreeMap;

use hansa_federation_api::decision::Decision;
use hansa_federation_api::kinds::{
    Cluster, ConflictResolution, PurgeMode, ResourceBindingSpec, TargetCluster, Work, WorkSpec,
    WorkloadTemplate,
};
use hansa_federation_api::overriding::{self, OverrideError, Policy};
use hansa_federation_api::{aggregation, failover, interpreter, manifest, names, retention};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::hub::Binding;

/// Which members get the object and which only keep it for now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destinations {
    /// Members that get it, with their replicas.
    pub targets: Vec<TargetCluster>,
    /// Members that it is leaving and that keep what they have until it is healthy elsewhere.
    pub keeping: Vec<String>,
}

/// Where a binding's object goes: its own clusters, and those of the bindings that need it.
pub fn destinations(spec: &ResourceBindingSpec) -> Destinations {
    let mut targets = spec.clusters.clone();
    for target in spec.required_by.iter().flat_map(|r| &r.clusters) {
        if !targets.iter().any(|t| t.name == target.name) {
            targets.push(TargetCluster { name: target.name.clone(), replicas: 0 });
        }
    }
    let gentle = |purge: PurgeMode| purge != PurgeMode::Directly;
    let tasks = spec.graceful_eviction_tasks.iter().filter(|t| gentle(t.purge_mode));
    let keeping = tasks
        .map(|t| t.from_cluster.clone())
        .filter(|c| !targets.iter().any(|t| t.name == *c))
        .collect();
    Destinations { targets, keeping }
}

/// Holds a move back until it can do no harm: as long as a member that gains replicas does not have
/// them all available, those that lose some keep what they had. Returns when to give up waiting.
pub fn pace(
    destinations: &mut Destinations,
    binding: &Binding,
    decision: &Decision,
    now: Timestamp,
) -> Option<SignedDuration> {
    let before = &decision.moved_from;
    let had = |name: &str| before.iter().find(|t| t.name == name).map_or(0, |t| t.replicas);
    let available = |name: &str| {
        let items = &binding.status.aggregated_status;
        let item = items.iter().find(|i| i.cluster_name == name);
        item.and_then(|i| i.status["availableReplicas"].as_i64()).unwrap_or(0)
    };
    let since = decision.at.map(|at| now.duration_since(at))?;
    let waiting = destinations
        .targets
        .iter()
        .any(|t| t.replicas > had(&t.name) && available(&t.name) < i64::from(t.replicas));
    if before.is_empty() || !waiting || since >= failover::DEFAULT_GRACE {
        return None;
    }
    for target in &mut destinations.targets {
        target.replicas = target.replicas.max(had(&target.name));
    }
    let leaving =
        |name: &str| binding.spec.graceful_eviction_tasks.iter().any(|t| t.from_cluster == name);
    for old in before.iter().filter(|t| !leaving(&t.name)) {
        let known = destinations.targets.iter().any(|t| t.name == old.name);
        if !known && !destinations.keeping.contains(&old.name) {
            destinations.keeping.push(old.name.clone());
        }
    }
    Some(failover::DEFAULT_GRACE - since)
}

/// The manifest for one member.
pub fn manifest_for(
    binding: &Binding,
    template: &Value,
    cluster: &Cluster,
    place: usize,
    targets: &[TargetCluster],
    policies: &[Policy<'_>],
) -> Result<Value, OverrideError> {
    let mut manifest = manifest::prune(template);
    let divided = binding.spec.replicas > 0 && !binding.spec.clusters.is_empty();
    if divided {
        manifest = interpreter::revise(manifest, targets[place].replicas);
    }
    if let Some(completions) = interpreter::completions(template, targets).filter(|_| divided) {
        manifest["spec"]["completions"] = json!(completions[place]);
    }
    let mut manifest = overriding::apply(&manifest, cluster, policies)?;
    if interpreter::replicas(template).is_some()
        && let Some(generation) = template.pointer("/metadata/generation")
    {
        annotate(&mut manifest, aggregation::TEMPLATE_GENERATION, &generation.to_string());
    }
    let resolution = match binding.spec.conflict_resolution {
        ConflictResolution::Overwrite => "overwrite",
        ConflictResolution::Abort => "abort",
    };
    if manifest["metadata"]["annotations"][names::CONFLICT_RESOLUTION].is_null() {
        annotate(&mut manifest, names::CONFLICT_RESOLUTION, resolution);
    }
    manifest::label_managed(&mut manifest);
    Ok(manifest)
}

/// The manifest of what is scaled in the member: its replicas are the member's to keep, unless the
/// template says otherwise.
pub fn scaled(mut manifest: Value, scaled: bool) -> Value {
    if scaled && manifest["metadata"]["labels"].get(names::RETAIN_REPLICAS).is_none() {
        manifest["metadata"]["labels"][names::RETAIN_REPLICAS] = "true".into();
    }
    manifest
}

fn annotate(manifest: &mut Value, key: &str, value: &str) {
    manifest["metadata"]["annotations"][key] = value.into();
}

/// A Work that carries one manifest. `labels` and `annotations` say where it comes from.
pub fn work(
    cluster: &str,
    manifest: Value,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
) -> Work {
    let text = |path: &str| manifest.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let name = names::work_name(
        text("/apiVersion"),
        text("/kind"),
        text("/metadata/namespace"),
        text("/metadata/name"),
    );
    let namespace = names::execution_namespace(cluster);
    let mut manifest = manifest;
    if let Some(id) = labels.get(names::BINDING_ID_LABEL) {
        annotate(&mut manifest, names::BINDING_ID_LABEL, id);
    }
    let manifest = sealed(manifest, &namespace, &name);
    let spec = WorkSpec {
        workload: WorkloadTemplate { manifests: vec![manifest] },
        ..WorkSpec::default()
    };
    let mut work = Work::new(&name, spec);
    work.metadata.namespace = Some(namespace);
    work.metadata.labels = Some(labels);
    work.metadata.annotations = Some(annotations);
    work.metadata.finalizers = Some(vec![names::EXECUTION_FINALIZER.into()]);
    work
}

/// The manifest with where it comes from and, last, its own digest.
fn sealed(mut manifest: Value, namespace: &str, name: &str) -> Value {
    annotate(&mut manifest, names::WORK_NAMESPACE, namespace);
    annotate(&mut manifest, names::WORK_NAME, name);
    retention::record(&mut manifest);
    let digest = manifest::digest(&manifest);
    annotate(&mut manifest, names::APPLIED_DIGEST, &digest);
    manifest
}

/// Where a binding's Works come from, as labels and annotations.
pub fn origin(binding: &Binding) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let labels = [(names::BINDING_ID_LABEL.to_owned(), binding.uid().to_owned())];
    let annotations = [
        (names::BINDING_NAMESPACE.to_owned(), binding.key.namespace.clone()),
        (names::BINDING_NAME.to_owned(), binding.key.name.clone()),
    ];
    (labels.into(), annotations.into())
}

/// The existing Work as it should be: the wanted spec, labels and annotations, the rest kept.
pub fn updated(existing: &Work, wanted: &Work) -> Work {
    let mut next = existing.clone();
    next.spec = wanted.spec.clone();
    let labels = next.metadata.labels.get_or_insert_default();
    labels.extend(wanted.metadata.labels.clone().unwrap_or_default());
    let annotations = next.metadata.annotations.get_or_insert_default();
    annotations.extend(wanted.metadata.annotations.clone().unwrap_or_default());
    next
}

#[cfg(test)]
mod tests {
    use hansa_client::ObjectKey;

    use super::*;

    fn binding(spec: Value) -> Binding {
        let mut spec = spec;
        spec["resource"] = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        Binding {
            key: ObjectKey::new("shop", "web-deployment"),
            metadata: Default::default(),
            spec: serde_json::from_value(spec).unwrap(),
            status: Default::default(),
        }
    }

    fn template() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "generation": 3, "uid": "u"},
            "spec": {"replicas": 6}, "status": {"replicas": 6}})
    }

    #[test]
    fn each_member_gets_its_share_and_knows_where_it_comes_from() {
        let binding = binding(json!({"replicas": 6, "clusters": [
            {"name": "eu", "replicas": 4}, {"name": "us", "replicas": 2}]}));
        let targets = destinations(&binding.spec).targets;
        let us = Cluster::new("us", Default::default());
        let manifest = manifest_for(&binding, &template(), &us, 1, &targets, &[]).unwrap();
        assert_eq!(manifest["spec"]["replicas"], 2);
        assert!(manifest.get("status").is_none());
        let (labels, annotations) = origin(&binding);
        let work = work("us", manifest, labels, annotations);
        assert_eq!(work.namespace(), "karmada-es-us");
        let sent = &work.spec.workload.manifests[0]["metadata"];
        assert_eq!(sent["labels"][names::MANAGED_LABEL], "true");
        assert_eq!(sent["annotations"][names::WORK_NAME], work.name());
        assert_eq!(sent["annotations"][aggregation::TEMPLATE_GENERATION], "3");
    }

    #[test]
    fn a_lost_member_keeps_its_copy_untouched_unless_told_otherwise() {
        let mut spec = binding(json!({"clusters": [{"name": "eu"}, {"name": "us"}]})).spec;
        failover::evict(&mut spec, "eu", "TaintUntolerated", jiff::Timestamp::UNIX_EPOCH);
        let destinations = destinations(&spec);
        assert_eq!(destinations.targets.len(), 1);
        assert_eq!(destinations.keeping, ["eu"]);
        spec.graceful_eviction_tasks[0].purge_mode = PurgeMode::Directly;
        assert!(super::destinations(&spec).keeping.is_empty());
    }

    #[test]
    fn a_move_takes_away_only_what_has_arrived_elsewhere() {
        let mut binding = binding(json!({"replicas": 6, "clusters": [
            {"name": "eu", "replicas": 1}, {"name": "us", "replicas": 5}]}));
        let old = |name: &str, replicas| TargetCluster { name: name.into(), replicas };
        let decision = Decision {
            at: Some(Timestamp::UNIX_EPOCH),
            moved_from: vec![old("ap", 1), old("eu", 4), old("us", 1)],
            ..Decision::default()
        };
        let paced = |binding: &Binding, second: i64| {
            let mut destinations = destinations(&binding.spec);
            let now = Timestamp::from_second(second).unwrap();
            let wait = pace(&mut destinations, binding, &decision, now);
            let replicas: Vec<i32> = destinations.targets.iter().map(|t| t.replicas).collect();
            (replicas, destinations.keeping, wait.is_some())
        };
        assert_eq!(paced(&binding, 1), (vec![4, 5], vec!["ap".to_owned()], true));
        assert_eq!(paced(&binding, 600), (vec![1, 5], vec![], false));
        binding.status.aggregated_status = serde_json::from_value(json!([
            {"clusterName": "us", "status": {"availableReplicas": 5}}]))
        .unwrap();
        assert_eq!(paced(&binding, 1), (vec![1, 5], vec![], false));
    }

    #[test]
    fn replicas_of_what_is_scaled_are_the_members_unless_the_template_minds() {
        let label = |of: Value| scaled(of, true)["metadata"]["labels"].clone();
        assert_eq!(label(template()), json!({names::RETAIN_REPLICAS: "true"}));
        assert_eq!(scaled(template(), false), template());
        let mut minds = template();
        minds["metadata"]["labels"] = json!({names::RETAIN_REPLICAS: "false"});
        assert_eq!(label(minds), json!({names::RETAIN_REPLICAS: "false"}));
    }

    #[test]
    fn the_same_template_seals_to_the_same_digest() {
        let seal = |replicas: i32| {
            let mut template = template();
            template["spec"]["replicas"] = replicas.into();
            let work = work("eu", template, BTreeMap::new(), BTreeMap::new());
            let annotations = &work.spec.workload.manifests[0]["metadata"]["annotations"];
            annotations[names::APPLIED_DIGEST].clone()
        };
        assert_eq!(seal(1), seal(1));
        assert_ne!(seal(1), seal(2));
    }
}
