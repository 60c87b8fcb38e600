//! `pods/eviction`: a deletion that respects PodDisruptionBudgets.

use std::sync::Arc;

use hansa_api::meta;
use hansa_api::selector::Selector;
use hansa_api::status::{ApiError, Reason};
use hansa_api::time;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{Call, delete, read_body};
use crate::body::Body;
use crate::generic::admit::{Attributes, Operation};
use crate::generic::context::Context;
use crate::generic::decode;
use crate::generic::options::{DeleteOptions, WriteOptions};
use crate::generic::update::Part;
use crate::negotiate::body_format;

const VIOLATES: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
const CAUSE: &str = "DisruptionBudget";

pub(super) async fn handle(call: &Call, body: Body) -> Result<Response<Body>, ApiError> {
    let create = WriteOptions::parse(&call.query, "CreateOptions", call.user_agent())?;
    let mut eviction = read(call, body).await?;
    let mut options = options(&eviction)?;
    options.dry_run |= create.dry_run;
    admit(call, &mut eviction, options.dry_run).await?;
    let pod = call.registry.get(&call.served, &call.namespace, &call.name).await?;
    if needs_budget(&pod) {
        spend(call, &pod, options.dry_run).await?;
    }
    let ctx = Context { verb: "delete".into(), ..call.context(options.dry_run, "") };
    call.registry.delete(&call.served, &ctx, &options).await?;
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
        "status": "Success", "code": 201});
    Ok(call.document(StatusCode::CREATED, &status))
}

/// Webhooks and policies see the Eviction before it counts, and the deletion that follows.
async fn admit(call: &Call, eviction: &mut Value, dry_run: bool) -> Result<(), ApiError> {
    let ctx = call.context(dry_run, "");
    let attrs = Attributes {
        ctx: &ctx,
        resource: &call.served.resource,
        operation: Operation::Create,
        old: None,
        registry: &call.registry,
    };
    let admission = call.registry.admission();
    admission.mutate(&attrs, eviction).await?;
    admission.validate(&attrs, Some(eviction)).await
}

async fn read(call: &Call, body: Body) -> Result<Value, ApiError> {
    let format = body_format(&call.headers)?;
    let bytes = read_body::read(body).await?;
    let eviction = decode::parse(&bytes, format, "Eviction")?.obj;
    if !eviction.is_object() || !matches!(meta::kind(&eviction), "" | "Eviction") {
        return Err(ApiError::bad_request("the body must be an Eviction object"));
    }
    let name = meta::name(&eviction);
    if !name.is_empty() && name != call.name {
        return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
    }
    Ok(eviction)
}

fn options(eviction: &Value) -> Result<DeleteOptions, ApiError> {
    match meta::at(eviction, &["deleteOptions"]) {
        Some(options) => delete::from_body(options),
        None => Ok(DeleteOptions::default()),
    }
}

/// Pods that do not run, or are going anyway, take nothing from a budget.
fn needs_budget(pod: &Value) -> bool {
    let phase = meta::str_at(pod, &["status", "phase"]);
    !matches!(phase, "Succeeded" | "Failed" | "Pending") && meta::deletion_timestamp(pod).is_none()
}

/// Takes one disruption from the budget that covers the pod, if one does.
async fn spend(call: &Call, pod: &Value, dry_run: bool) -> Result<(), ApiError> {
    let Ok(served) = call.registry.served("policy", "poddisruptionbudgets") else { return Ok(()) };
    let budgets =
        call.registry.list_cached("policy", "poddisruptionbudgets", &call.namespace).await?;
    let covering: Vec<_> = budgets.into_iter().filter(|budget| covers(budget, pod)).collect();
    let Some(budget) = only(covering)? else { return Ok(()) };
    let ctx = Context {
        namespace: call.namespace.clone(),
        name: meta::name(&budget).to_string(),
        subresource: "status".into(),
        dry_run,
        ..Context::internal("patch", "", "")
    };
    let make = |budget: &Value| spent(budget, pod);
    call.registry.update(&served, &ctx, Part::Status, make).await?;
    Ok(())
}

fn covers(budget: &Value, pod: &Value) -> bool {
    let selector = meta::at(budget, &["spec", "selector"]);
    Selector::from_object(selector).is_ok_and(|selector| selector.matches(pod))
}

fn only(mut budgets: Vec<Arc<Value>>) -> Result<Option<Arc<Value>>, ApiError> {
    if budgets.len() > 1 {
        return Err(ApiError::new(
            Reason::InternalError,
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does \
             not support.",
        ));
    }
    Ok(budgets.pop())
}

/// The budget after one disruption, or 429 if it has none to give.
fn spent(budget: &Value, pod: &Value) -> Result<Value, ApiError> {
    let name = meta::name(budget);
    let status = |field: &str| meta::int_at(budget, &["status", field]).unwrap_or(0);
    if is_unhealthy(pod) && spares_unhealthy(budget) {
        return Ok(budget.clone());
    }
    let refuse = |why: String, after: u32| {
        ApiError::too_many_requests(VIOLATES, after).with_cause(CAUSE, why, "")
    };
    if status("observedGeneration") < meta::generation(budget) {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refuse(why, 10));
    }
    let allowed = status("disruptionsAllowed");
    if allowed <= 0 {
        let (needs, has) = (status("desiredHealthy"), status("currentHealthy"));
        let why = format!(
            "The disruption budget {name} needs {needs} healthy pods and has {has} currently"
        );
        return Err(refuse(why, 0));
    }
    let mut budget = budget.clone();
    let fields = meta::fields_mut(&mut budget, &["status"]);
    fields.insert("disruptionsAllowed".into(), (allowed - 1).into());
    meta::fields_mut(&mut budget, &["status", "disruptedPods"])
        .insert(meta::name(pod).to_string(), time::now().into());
    Ok(budget)
}

fn is_unhealthy(pod: &Value) -> bool {
    let conditions = meta::list_at(pod, &["status", "conditions"]);
    !conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// Whether pods that are not ready may go without taking from the budget.
fn spares_unhealthy(budget: &Value) -> bool {
    let status = |field: &str| meta::int_at(budget, &["status", field]).unwrap_or(0);
    let always = meta::str_at(budget, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow";
    let enough =
        status("desiredHealthy") > 0 && status("currentHealthy") >= status("desiredHealthy");
    always || enough
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(allowed: i64, healthy: i64) -> Value {
        json!({"metadata": {"name": "b", "generation": 1},
            "spec": {"selector": {"matchLabels": {"app": "web"}}},
            "status": {"observedGeneration": 1, "disruptionsAllowed": allowed,
                "desiredHealthy": 2, "currentHealthy": healthy}})
    }

    fn pod(ready: &str) -> Value {
        json!({"metadata": {"name": "p", "labels": {"app": "web"}},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}})
    }

    #[test]
    fn a_budget_is_spent_until_it_is_empty() {
        assert!(covers(&budget(1, 3), &pod("True")));
        let after = spent(&budget(1, 3), &pod("True")).unwrap();
        assert_eq!(after["status"]["disruptionsAllowed"], 0);
        assert!(after["status"]["disruptedPods"]["p"].is_string());
        let error = spent(&after, &pod("True")).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (429, VIOLATES));
        let cause = &error.details.unwrap().causes[0];
        assert_eq!(
            cause.message,
            "The disruption budget b needs 2 healthy pods and has 3 currently"
        );
    }

    #[test]
    fn unready_pods_go_free_only_where_enough_others_are_healthy() {
        assert!(spent(&budget(0, 2), &pod("False")).is_ok());
        assert!(spent(&budget(0, 1), &pod("False")).is_err());
        assert!(!needs_budget(&json!({"status": {"phase": "Succeeded"}})));
        assert!(needs_budget(&pod("True")));
    }
}
