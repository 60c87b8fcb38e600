//! Changes to an object on its way to one cluster.
//!
//! Cluster-wide policies come first, then those of the object's namespace, each by name. Inside a
//! policy: images, commands, arguments, labels, annotations, fields of embedded documents, plain
//! paths.

mod containers;
mod image;
mod paths;

use serde_json::Value;

use crate::affinity::chooses;
use crate::kinds::{
    Cluster, LabelAnnotationOverrider, OverrideSpec, OverriderOperator, Overriders,
};
use crate::matching::selector_closeness;

/// A policy that may change the object.
#[derive(Clone, Debug)]
pub struct Policy<'a> {
    /// Its namespace; none if it is cluster-wide.
    pub namespace: Option<&'a str>,
    /// Its name.
    pub name: &'a str,
    /// Its rules.
    pub spec: &'a OverrideSpec,
}

/// Why an object could not be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    /// The path identifies the object and may not change.
    #[error("change {0}: it identifies the object")]
    Forbidden(String),
    /// Nothing is at the path.
    #[error("change {0}: {1}")]
    Path(String, String),
    /// The string is no document of the format.
    #[error("read {0} as {1}: {2}")]
    Document(String, &'static str, String),
    /// The text is no image reference.
    #[error("read image {0:?}")]
    Image(String),
    /// The result is not the object any more.
    #[error("apply {0}: {1}")]
    Policy(String, Box<OverrideError>),
}

/// The object as `cluster` is to get it.
pub fn apply(
    object: &Value,
    cluster: &Cluster,
    policies: &[Policy<'_>],
) -> Result<Value, OverrideError> {
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str);
    let in_reach = |p: &&Policy<'_>| p.namespace.is_none() || p.namespace == namespace;
    let mut order: Vec<&Policy<'_>> = policies.iter().filter(in_reach).collect();
    order.sort_by_key(|p| (p.namespace.is_some(), p.name));
    let mut changed = object.clone();
    for policy in order.into_iter().filter(|p| selects(p.spec, object)) {
        for rule in policy.spec.rules() {
            if rule.target_cluster.as_ref().is_none_or(|t| chooses(t, cluster)) {
                override_with(&mut changed, &rule.overriders)
                    .map_err(|e| OverrideError::Policy(policy.name.into(), Box::new(e)))?;
            }
        }
    }
    Ok(changed)
}

fn selects(spec: &OverrideSpec, object: &Value) -> bool {
    let mut selectors = spec.resource_selectors.iter();
    spec.resource_selectors.is_empty() || selectors.any(|s| selector_closeness(s, object).is_some())
}

fn override_with(object: &mut Value, overriders: &Overriders) -> Result<(), OverrideError> {
    for change in &overriders.image_overrider {
        image::apply(object, change)?;
    }
    for change in &overriders.command_overrider {
        containers::apply(object, "command", change);
    }
    for change in &overriders.args_overrider {
        containers::apply(object, "args", change);
    }
    for change in &overriders.labels_overrider {
        pairs(object, "labels", change);
    }
    for change in &overriders.annotations_overrider {
        pairs(object, "annotations", change);
    }
    for change in &overriders.field_overrider {
        paths::apply_field(object, change)?;
    }
    for change in &overriders.plaintext {
        paths::apply_plain(object, change)?;
    }
    Ok(())
}

fn pairs(object: &mut Value, field: &str, change: &LabelAnnotationOverrider) {
    let present = &mut object["metadata"][field];
    if !present.is_object() {
        *present = Value::Object(Default::default());
    }
    let Some(present) = present.as_object_mut() else { return };
    for (key, value) in &change.value {
        match change.operator {
            OverriderOperator::Add => {
                present.insert(key.clone(), value.clone().into());
            }
            OverriderOperator::Replace => {
                if let Some(old) = present.get_mut(key) {
                    *old = value.clone().into();
                }
            }
            OverriderOperator::Remove => {
                present.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::cluster;

    fn web() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"replicas": 2, "template": {"spec": {"containers": [
                {"name": "web", "image": "registry.example/shop/web:1", "args": ["-v", "--slow"]},
            ]}}},
        })
    }

    fn spec(overriders: Value) -> OverrideSpec {
        serde_json::from_value(json!({"overrideRules": [
            {"targetCluster": {"clusterNames": ["eu"]}, "overriders": overriders}]}))
        .unwrap()
    }

    fn overridden(overriders: Value) -> Result<Value, OverrideError> {
        let spec = spec(overriders);
        let policy = Policy { namespace: Some("shop"), name: "p", spec: &spec };
        apply(&web(), &cluster("eu", "", "", &[]), &[policy])
    }

    #[test]
    fn every_sort_of_change() {
        let changed = overridden(json!({
            "imageOverrider": [
                {"component": "Registry", "operator": "replace", "value": "eu.example:5000"},
                {"component": "Tag", "operator": "replace", "value": "2"}],
            "commandOverrider": [
                {"containerName": "web", "operator": "add", "value": ["/bin/web"]}],
            "argsOverrider": [
                {"containerName": "web", "operator": "remove", "value": ["--slow"]}],
            "labelsOverrider": [{"operator": "add", "value": {"region": "eu"}},
                {"operator": "replace", "value": {"absent": "x", "app": "web-eu"}}],
            "annotationsOverrider": [{"operator": "add", "value": {"note": "a"}}],
            "plaintext": [{"path": "/spec/replicas", "operator": "replace", "value": 5}],
        }))
        .unwrap();
        let container = &changed["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["image"], "eu.example:5000/shop/web:2");
        assert_eq!(container["command"], json!(["/bin/web"]));
        assert_eq!(container["args"], json!(["-v"]));
        assert_eq!(changed["metadata"]["labels"], json!({"app": "web-eu", "region": "eu"}));
        assert_eq!(changed["metadata"]["annotations"], json!({"note": "a"}));
        assert_eq!(changed["spec"]["replicas"], 5);
    }

    #[test]
    fn sorts_of_changes_come_in_their_order_whatever_order_they_are_written_in() {
        let changed = overridden(json!({
            "plaintext": [
                {"path": "/metadata/annotations/note", "operator": "replace", "value": "plain"},
                {"path": "/spec/template/spec/containers/0/args/2", "operator": "add",
                    "value": "after"}],
            "fieldOverrider": [{"fieldPath": "/metadata/annotations/conf", "json": [
                {"subPath": "/n", "operator": "replace", "value": 2}]}],
            "annotationsOverrider": [
                {"operator": "add", "value": {"note": "pair", "conf": "{\"n\":1}"}}],
            "argsOverrider": [{"containerName": "web", "operator": "remove", "value": ["-v"]},
                {"containerName": "web", "operator": "add", "value": ["before"]}],
            "imageOverrider": [{"component": "Tag", "operator": "add", "value": "-eu"}],
        }))
        .unwrap();
        let container = &changed["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["args"], json!(["--slow", "before", "after"]));
        assert_eq!(container["image"], "registry.example/shop/web:1-eu");
        let notes = json!({"note": "plain", "conf": "{\"n\":2}"});
        assert_eq!(changed["metadata"]["annotations"], notes);
    }

    #[test]
    fn only_the_chosen_clusters_get_the_change() {
        let spec = spec(json!({"labelsOverrider": [{"operator": "add", "value": {"x": "y"}}]}));
        let policy = Policy { namespace: Some("shop"), name: "p", spec: &spec };
        let us = cluster("us", "", "", &[]);
        assert_eq!(apply(&web(), &us, std::slice::from_ref(&policy)).unwrap(), web());
        let elsewhere = Policy { namespace: Some("other"), ..policy };
        let eu = cluster("eu", "", "", &[]);
        assert_eq!(apply(&web(), &eu, &[elsewhere]).unwrap(), web());
    }

    #[test]
    fn the_namespaces_own_policy_has_the_last_word() {
        let set =
            |v: &str| spec(json!({"labelsOverrider": [{"operator": "add", "value": {"v": v}}]}));
        let (own, wide) = (set("own"), set("wide"));
        let policies = [
            Policy { namespace: Some("shop"), name: "a", spec: &own },
            Policy { namespace: None, name: "z", spec: &wide },
        ];
        let changed = apply(&web(), &cluster("eu", "", "", &[]), &policies).unwrap();
        assert_eq!(changed["metadata"]["labels"]["v"], "own");
    }

    #[test]
    fn identity_cannot_change_and_errors_name_the_policy() {
        for path in ["/metadata/name", "/metadata/namespace", "/kind", "/metadata"] {
            let change =
                json!({"plaintext": [{"path": path, "operator": "replace", "value": "x"}]});
            let error = overridden(change).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("apply p: change {path}: it identifies the object")
            );
        }
        let absent = json!({"plaintext": [{"path": "/spec/nothing", "operator": "remove"}]});
        assert!(overridden(absent).is_err());
    }
}
