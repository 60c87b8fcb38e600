//! `pods/binding`: a pod gets its node, once.

use hansa_api::field::FieldError;
use hansa_api::gvk::{GroupResource, GroupVersionKind};
use hansa_api::meta;
use hansa_api::status::ApiError;
use hansa_api::time;
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::{Call, read_body};
use crate::body::Body;
use crate::generic::admit::{Attributes, Operation};
use crate::generic::context::Context;
use crate::generic::decode;
use crate::generic::options::WriteOptions;
use crate::generic::update::Part;
use crate::negotiate::body_format;

pub(super) async fn handle(call: &Call, body: Body) -> Result<Response<Body>, ApiError> {
    let binding = read(call, body).await?;
    bind(call, &call.name, binding).await
}

/// `POST bindings`: the binding's own name says which pod.
pub(super) async fn handle_legacy(call: &Call, body: Body) -> Result<Response<Body>, ApiError> {
    let binding = read(call, body).await?;
    let name = meta::name(&binding).to_string();
    bind(call, &name, binding).await
}

async fn read(call: &Call, body: Body) -> Result<Value, ApiError> {
    let format = body_format(&call.headers)?;
    let bytes = read_body::read(body).await?;
    let binding = decode::parse(&bytes, format, "Binding")?.obj;
    check(&binding)?;
    Ok(binding)
}

fn check(binding: &Value) -> Result<(), ApiError> {
    let kind = GroupVersionKind::new("", "v1", "Binding");
    if !binding.is_object() || !matches!(meta::kind(binding), "" | "Binding") {
        return Err(ApiError::bad_request("the body must be a Binding object"));
    }
    let mut errors = Vec::new();
    let target = meta::str_at(binding, &["target", "kind"]);
    if !matches!(target, "" | "Node") {
        errors.push(FieldError::not_supported("target.kind", target, &["Node", "<empty>"]));
    }
    if meta::str_at(binding, &["target", "name"]).is_empty() {
        errors.push(FieldError::required("target.name", ""));
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid(&kind, meta::name(binding), &errors))
    }
}

async fn bind(call: &Call, name: &str, mut binding: Value) -> Result<Response<Body>, ApiError> {
    let options = WriteOptions::parse(&call.query, "CreateOptions", call.user_agent())?;
    let pods = call.registry.served("", "pods")?;
    let ctx = Context {
        name: name.to_string(),
        subresource: "binding".into(),
        untracked: true,
        ..call.context(options.dry_run, &options.field_manager)
    };
    let attrs = Attributes {
        ctx: &ctx,
        resource: &pods.resource,
        operation: Operation::Create,
        old: None,
        registry: &call.registry,
    };
    let admission = call.registry.admission();
    admission.mutate(&attrs, &mut binding).await?;
    admission.validate(&attrs, Some(&binding)).await?;
    let make = |pod: &Value| bound(pod, &binding);
    call.registry.update(&pods, &ctx, Part::Raw, make).await?;
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
        "status": "Success", "code": 201});
    Ok(call.document(StatusCode::CREATED, &status))
}

/// The pod with its node; a pod that has one, or is going, is a conflict.
fn bound(pod: &Value, binding: &Value) -> Result<Value, ApiError> {
    let name = meta::name(pod);
    let conflict =
        |why: String| ApiError::conflict(&GroupResource::new("", "pods/binding"), name, why);
    if meta::deletion_timestamp(pod).is_some() {
        return Err(conflict(format!("pod {name} is being deleted, cannot be assigned to a host")));
    }
    let node = meta::str_at(pod, &["spec", "nodeName"]);
    if !node.is_empty() {
        return Err(conflict(format!("pod {name} is already assigned to node {node:?}")));
    }
    if !meta::list_at(pod, &["spec", "schedulingGates"]).is_empty() {
        return Err(conflict(format!("pod {name} has non-empty .spec.schedulingGates")));
    }
    let mut pod = pod.clone();
    let target = meta::str_at(binding, &["target", "name"]);
    meta::fields_mut(&mut pod, &["spec"]).insert("nodeName".into(), target.into());
    for (key, value) in meta::annotations(binding).into_iter().flatten() {
        meta::set_annotation(&mut pod, key, value.as_str().unwrap_or_default());
    }
    for (key, value) in meta::labels(binding).into_iter().flatten() {
        meta::set_label(&mut pod, key, value.as_str().unwrap_or_default());
    }
    for field in ["uid", "resourceVersion"] {
        meta::set_text(&mut pod, field, meta::str_at(binding, &["metadata", field]));
    }
    set_scheduled(&mut pod);
    Ok(pod)
}

fn set_scheduled(pod: &mut Value) {
    let status: &mut Map<String, Value> = meta::fields_mut(pod, &["status"]);
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(list) = conditions.as_array_mut() else { return };
    list.retain(|condition| condition["type"] != "PodScheduled");
    list.push(json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": time::now(),
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_bound_once() {
        let binding = json!({"metadata": {"annotations": {"a": "b"}}, "target": {"name": "n1"}});
        let pod = json!({"metadata": {"name": "p", "uid": "u"}, "spec": {}});
        let bound_pod = bound(&pod, &binding).unwrap();
        assert_eq!(bound_pod["spec"]["nodeName"], "n1");
        assert_eq!(bound_pod["metadata"]["annotations"]["a"], "b");
        assert_eq!(bound_pod["status"]["conditions"][0]["type"], "PodScheduled");
        let error = bound(&bound_pod, &binding).unwrap_err();
        assert_eq!(error.code, 409);
        assert!(error.message.ends_with(r#"pod p is already assigned to node "n1""#), "{error}");
    }

    #[test]
    fn a_binding_needs_a_node() {
        assert!(check(&json!({"target": {"name": "n"}})).is_ok());
        for bad in [
            json!([]),
            json!({}),
            json!({"target": {"kind": "Pod", "name": "n"}}),
            json!({"kind": "Pod", "target": {"name": "n"}}),
        ] {
            assert!(check(&bad).is_err(), "{bad}");
        }
    }
}
