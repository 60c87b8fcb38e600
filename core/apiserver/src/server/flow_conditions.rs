//! Says in the status of every FlowSchema whether its priority level is there.

use std::sync::Arc;

use hansa_api::meta::{self, list_at, str_at};
use hansa_api::{ApiError, time};
use serde_json::{Value, json};

use super::ApiServer;
use crate::generic::context::Context;
use crate::generic::update::Part;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";

/// Brings the conditions of all schemas up to date.
pub(super) async fn reconcile(server: &Arc<ApiServer>) -> Result<(), ApiError> {
    let registry = &server.registry;
    let levels = registry.list_cached(GROUP, "prioritylevelconfigurations", "").await?;
    let served = registry.served(GROUP, "flowschemas")?;
    for schema in registry.list_cached(GROUP, "flowschemas", "").await? {
        let level = str_at(&schema, &["spec", "priorityLevelConfiguration", "name"]);
        let exists = levels.iter().any(|own| meta::name(own) == level);
        let Some(next) = with_condition(&schema, level, exists) else { continue };
        let mut ctx = Context::internal("update", "", meta::name(&schema));
        ctx.subresource = "status".into();
        match registry.update(&served, &ctx, Part::Status, |_| Ok(next.clone())).await {
            Err(error) if error.is_not_found() || error.is_conflict() => {}
            done => drop(done?),
        }
    }
    Ok(())
}

/// The schema with the condition that it should have; `None` if it has it.
fn with_condition(schema: &Value, level: &str, exists: bool) -> Option<Value> {
    let (status, reason, what) = match exists {
        true => ("False", "Found", "it exists"),
        false => ("True", "NotFound", "there is no such object"),
    };
    let message = format!(
        "This FlowSchema references the PriorityLevelConfiguration object named {level:?} and \
         {what}"
    );
    let is_it = |condition: &Value| str_at(condition, &["type"]) == "Dangling";
    let mut conditions = list_at(schema, &["status", "conditions"]).to_vec();
    let old = conditions.iter().position(is_it);
    if let Some(old) = old {
        let same = [("status", status), ("reason", reason), ("message", message.as_str())];
        if same.iter().all(|(field, value)| conditions[old][field] == *value) {
            return None;
        }
        conditions.remove(old);
    }
    conditions.push(json!({"type": "Dangling", "status": status, "reason": reason,
        "message": message, "lastTransitionTime": time::now()}));
    let mut next = schema.clone();
    next["status"] = json!({"conditions": conditions});
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_written_once() {
        let schema = json!({"metadata": {"name": "s"}});
        let first = with_condition(&schema, "l", true).unwrap();
        assert_eq!(first["status"]["conditions"][0]["status"], "False");
        assert_eq!(with_condition(&first, "l", true), None);
        let gone = with_condition(&first, "l", false).unwrap();
        let conditions = gone["status"]["conditions"].as_array().unwrap();
        assert_eq!((conditions.len(), &conditions[0]["reason"]), (1, &json!("NotFound")));
    }
}
