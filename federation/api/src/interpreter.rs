//! What the federation understands of built-in kinds: replicas, health, dependencies.
//!
//! What it does not know it propagates all the same: whole, and of unknown health.

use std::collections::{BTreeMap, BTreeSet};

use hansa_api::quantity::Quantity as Amount;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Map, Value, json};

use crate::kinds::{ObjectReference, ReplicaRequirements, ResourceHealth, TargetCluster};
use crate::{division, pods};

/// Where a kind keeps its number of replicas.
fn replicas_path(object: &Value) -> Option<&'static str> {
    match (text(object, "/apiVersion"), text(object, "/kind")) {
        ("apps/v1", "Deployment" | "StatefulSet" | "ReplicaSet")
        | ("v1", "ReplicationController") => Some("/spec/replicas"),
        ("batch/v1", "Job") => Some("/spec/parallelism"),
        _ => None,
    }
}

/// The replicas that an object asks for, if its kind has any; 1 if it does not say.
pub fn replicas(object: &Value) -> Option<i32> {
    let value = object.pointer(replicas_path(object)?).and_then(Value::as_i64);
    Some(i32::try_from(value.unwrap_or(1)).unwrap_or(i32::MAX))
}

/// What one replica asks for: the containers' requests, summed.
pub fn requirements(object: &Value) -> Option<ReplicaRequirements> {
    replicas_path(object)?;
    let pod = pods::spec(object)?;
    Some(ReplicaRequirements {
        resource_request: requests(pod),
        namespace: text(object, "/metadata/namespace").into(),
        priority_class_name: text(pod, "/priorityClassName").into(),
    })
}

/// What a pod asks for: its containers' requests, summed; limits where no request is given.
pub fn requests(pod: &Value) -> BTreeMap<String, Quantity> {
    let mut sums: BTreeMap<String, Amount> = BTreeMap::new();
    for container in pod["containers"].as_array().into_iter().flatten() {
        let mut wanted = container["resources"]["limits"].as_object().cloned().unwrap_or_default();
        wanted.extend(container["resources"]["requests"].as_object().cloned().unwrap_or_default());
        for (resource, amount) in wanted {
            let amount = amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
            let Ok(amount) = amount.parse::<Amount>() else { continue };
            let sum = match sums.remove(&resource) {
                Some(so_far) => so_far + amount,
                None => amount,
            };
            sums.insert(resource, sum);
        }
    }
    sums.into_iter().map(|(r, a)| (r, Quantity(a.to_string()))).collect()
}

/// The object with another number of replicas; kinds without any stay as they are.
pub fn revise(mut object: Value, replicas: i32) -> Value {
    let Some(path) = replicas_path(&object) else { return object };
    let field = path.rsplit('/').next().expect("a path has a last part");
    object["spec"][field] = json!(replicas);
    object
}

/// A Job's completions for each of its clusters, in their order, as its replicas divide.
pub fn completions(object: &Value, clusters: &[TargetCluster]) -> Option<Vec<i64>> {
    if text(object, "/kind") != "Job" || text(object, "/spec/completionMode") == "Indexed" {
        return None;
    }
    let total = object.pointer("/spec/completions")?.as_i64()?;
    let party = |c: &TargetCluster| division::Party::new(&c.name, c.replicas.into(), 0);
    let parties = clusters.iter().map(party).collect();
    let uid = text(object, "/metadata/uid");
    Some(division::webster(total, parties, uid).into_iter().map(|s| s.1).collect())
}

/// Whether an autoscaler scales an object of its namespace.
pub fn scales(autoscaler: &Value, object: &ObjectReference) -> bool {
    let target = &autoscaler["spec"]["scaleTargetRef"];
    let group = |of: &str| of.split_once('/').map_or(String::new(), |(group, _)| group.to_owned());
    text(autoscaler, "/metadata/namespace") == object.namespace
        && target["kind"] == *object.kind
        && target["name"] == *object.name
        && group(text(target, "/apiVersion")) == group(&object.api_version)
}

/// How an object is, by its status.
pub fn health(object: &Value) -> ResourceHealth {
    let of = |healthy| if healthy { ResourceHealth::Healthy } else { ResourceHealth::Unhealthy };
    match (text(object, "/apiVersion"), text(object, "/kind")) {
        ("apps/v1", "Deployment" | "StatefulSet") => of(rolled_out(object)),
        ("apps/v1", "ReplicaSet") => of(observed(object)
            && number(object, "/status/availableReplicas") >= wanted_replicas(object)),
        ("apps/v1", "DaemonSet") => of(observed(object)
            && number(object, "/status/updatedNumberScheduled")
                >= number(object, "/status/desiredNumberScheduled")
            && number(object, "/status/numberAvailable")
                >= number(object, "/status/updatedNumberScheduled")),
        ("v1", "Pod") => of(pod_is_healthy(object)),
        ("batch/v1", "Job") => of(!has_condition(object, "Failed")),
        ("v1", "Service") => {
            of(text(object, "/spec/type") != "LoadBalancer" || has_addresses(object))
        }
        ("networking.k8s.io/v1", "Ingress") => of(has_addresses(object)),
        ("v1", "PersistentVolumeClaim") => of(text(object, "/status/phase") == "Bound"),
        ("policy/v1", "PodDisruptionBudget") => {
            of(number(object, "/status/currentHealthy") >= number(object, "/status/desiredHealthy"))
        }
        (
            "v1",
            "ConfigMap" | "Secret" | "Namespace" | "ServiceAccount" | "LimitRange"
            | "ResourceQuota",
        )
        | ("rbac.authorization.k8s.io/v1" | "scheduling.k8s.io/v1", _) => ResourceHealth::Healthy,
        _ => ResourceHealth::Unknown,
    }
}

fn observed(object: &Value) -> bool {
    number(object, "/status/observedGeneration") >= number(object, "/metadata/generation")
}

fn wanted_replicas(object: &Value) -> i64 {
    i64::from(replicas(object).unwrap_or(0))
}

fn rolled_out(object: &Value) -> bool {
    observed(object)
        && number(object, "/status/updatedReplicas") >= wanted_replicas(object)
        && number(object, "/status/availableReplicas") >= number(object, "/status/updatedReplicas")
}

fn pod_is_healthy(object: &Value) -> bool {
    match text(object, "/status/phase") {
        "Succeeded" => true,
        "Running" => has_condition(object, "Ready"),
        _ => false,
    }
}

fn has_addresses(object: &Value) -> bool {
    let ingress = object.pointer("/status/loadBalancer/ingress").and_then(Value::as_array);
    ingress.is_some_and(|i| !i.is_empty())
}

fn has_condition(object: &Value, type_: &str) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|c| c["type"] == type_ && c["status"] == "True")
}

/// What of a member's object goes back to the hub; null if it has no status.
pub fn reflect(object: &Value) -> Value {
    let mut status = object.get("status").cloned().unwrap_or_default();
    if let (Some(status), Some(generation)) =
        (status.as_object_mut(), object.pointer("/metadata/generation"))
        && replicas_path(object).is_some()
    {
        status.insert("generation".into(), generation.clone());
    }
    if status == Value::Object(Map::new()) { Value::Null } else { status }
}

/// What an object's pods refer to in their own namespace: ConfigMaps, Secrets, claims and the
/// service account. Claims that a StatefulSet makes itself are not among them.
pub fn dependencies(object: &Value) -> Vec<ObjectReference> {
    let Some(pod) = pods::spec(object) else { return Vec::new() };
    let mut found = BTreeSet::new();
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        volume_dependencies(volume, &mut found);
    }
    for list in ["containers", "initContainers"] {
        for container in pod[list].as_array().into_iter().flatten() {
            container_dependencies(container, &mut found);
        }
    }
    for secret in pod["imagePullSecrets"].as_array().into_iter().flatten() {
        note(&mut found, "Secret", &secret["name"]);
    }
    if pod["serviceAccountName"] != "default" {
        note(&mut found, "ServiceAccount", &pod["serviceAccountName"]);
    }
    for claim in object["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
        let name = claim["metadata"]["name"].as_str().unwrap_or_default();
        found.remove(&("PersistentVolumeClaim", name.to_owned()));
    }
    let namespace = text(object, "/metadata/namespace");
    found.into_iter().map(|(kind, name)| reference(kind, namespace, name)).collect()
}

type Found = BTreeSet<(&'static str, String)>;

fn note(found: &mut Found, kind: &'static str, name: &Value) {
    if let Some(name) = name.as_str().filter(|n| !n.is_empty()) {
        found.insert((kind, name.to_owned()));
    }
}

fn volume_dependencies(volume: &Value, found: &mut Found) {
    note(found, "ConfigMap", &volume["configMap"]["name"]);
    note(found, "Secret", &volume["secret"]["secretName"]);
    note(found, "PersistentVolumeClaim", &volume["persistentVolumeClaim"]["claimName"]);
    for source in volume["projected"]["sources"].as_array().into_iter().flatten() {
        note(found, "ConfigMap", &source["configMap"]["name"]);
        note(found, "Secret", &source["secret"]["name"]);
    }
}

fn container_dependencies(container: &Value, found: &mut Found) {
    for from in container["envFrom"].as_array().into_iter().flatten() {
        note(found, "ConfigMap", &from["configMapRef"]["name"]);
        note(found, "Secret", &from["secretRef"]["name"]);
    }
    for variable in container["env"].as_array().into_iter().flatten() {
        note(found, "ConfigMap", &variable["valueFrom"]["configMapKeyRef"]["name"]);
        note(found, "Secret", &variable["valueFrom"]["secretKeyRef"]["name"]);
    }
}

fn reference(kind: &str, namespace: &str, name: String) -> ObjectReference {
    ObjectReference {
        api_version: "v1".into(),
        kind: kind.into(),
        namespace: namespace.into(),
        name,
        ..Default::default()
    }
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn number(object: &Value, path: &str) -> i64 {
    object.pointer(path).and_then(Value::as_i64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(spec: Value, status: Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "generation": 3},
            "spec": spec, "status": status})
    }

    #[test]
    fn replicas_are_read_revised_and_left_alone_where_there_are_none() {
        let web = deployment(json!({"replicas": 6}), json!({}));
        assert_eq!(replicas(&web), Some(6));
        assert_eq!(revise(web, 4)["spec"]["replicas"], 4);
        assert_eq!(replicas(&deployment(json!({}), json!({}))), Some(1));
        let config = json!({"apiVersion": "v1", "kind": "ConfigMap"});
        assert_eq!(replicas(&config), None);
        assert_eq!(revise(config.clone(), 4), config);
    }

    #[test]
    fn requests_of_all_containers_are_summed() {
        let pod = json!({"containers": [
            {"resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "1", "memory": "1Gi"}}},
            {"resources": {"requests": {"cpu": "400m"}}}]});
        let web = deployment(json!({"template": {"spec": pod}}), json!({}));
        let needs = requirements(&web).unwrap().resource_request;
        let milli = |r: &str| needs[r].0.parse::<Amount>().unwrap().milli_value();
        assert_eq!(milli("cpu"), 500);
        assert_eq!(milli("memory"), 1_073_741_824_000);
    }

    #[test]
    fn a_deployment_is_healthy_when_its_latest_generation_is_available() {
        let status = |observed: i64, updated: i64, available: i64| {
            let status = json!({"observedGeneration": observed, "updatedReplicas": updated,
                "availableReplicas": available});
            health(&deployment(json!({"replicas": 2}), status))
        };
        assert_eq!(status(3, 2, 2), ResourceHealth::Healthy);
        assert_eq!(status(2, 2, 2), ResourceHealth::Unhealthy);
        assert_eq!(status(3, 1, 1), ResourceHealth::Unhealthy);
        assert_eq!(status(3, 2, 1), ResourceHealth::Unhealthy);
        let unknown = json!({"apiVersion": "example.com/v1", "kind": "Widget"});
        assert_eq!(health(&unknown), ResourceHealth::Unknown);
    }

    #[test]
    fn an_autoscaler_scales_what_it_names() {
        let autoscaler = json!({"kind": "HorizontalPodAutoscaler",
            "metadata": {"namespace": "shop"}, "spec": {"scaleTargetRef":
                {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}});
        let mut web = reference("Deployment", "shop", "web".into());
        assert!(!scales(&autoscaler, &web), "another group");
        web.api_version = "apps/v1beta1".into();
        assert!(scales(&autoscaler, &web));
        web.name = "api".into();
        assert!(!scales(&autoscaler, &web));
    }

    #[test]
    fn dependencies_are_found_everywhere_and_named_once() {
        let pod = json!({
            "serviceAccountName": "web",
            "imagePullSecrets": [{"name": "pull"}],
            "volumes": [{"configMap": {"name": "conf"}}, {"secret": {"secretName": "tls"}},
                {"persistentVolumeClaim": {"claimName": "data"}},
                {"persistentVolumeClaim": {"claimName": "own"}},
                {"projected": {"sources": [{"configMap": {"name": "ca"}}]}}],
            "containers": [{"envFrom": [{"configMapRef": {"name": "conf"}}],
                "env": [{"valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}}]}],
        });
        let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"namespace": "shop"},
            "spec": {"template": {"spec": pod},
                "volumeClaimTemplates": [{"metadata": {"name": "own"}}]}});
        let found: Vec<String> =
            dependencies(&set).into_iter().map(|d| format!("{}/{}", d.kind, d.name)).collect();
        assert_eq!(
            found,
            [
                "ConfigMap/ca",
                "ConfigMap/conf",
                "PersistentVolumeClaim/data",
                "Secret/key",
                "Secret/pull",
                "Secret/tls",
                "ServiceAccount/web"
            ]
        );
    }

    #[test]
    fn a_jobs_completions_divide_like_its_replicas() {
        let job = json!({"apiVersion": "batch/v1", "kind": "Job",
            "spec": {"parallelism": 3, "completions": 9}});
        let clusters = [("eu", 2), ("us", 1)]
            .map(|(name, replicas)| TargetCluster { name: name.into(), replicas });
        assert_eq!(completions(&job, &clusters), Some(vec![6, 3]));
    }
}
