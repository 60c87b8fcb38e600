//! TaintNodesByCondition: a new node takes no pods until it has said that it is ready.

use async_trait::async_trait;
use hansa_api::ApiError;
use hansa_api::meta::{fields_mut, list_at, str_at};
use serde_json::{Value, json};

use super::creates;
use crate::generic::admit::{Admission, Attributes};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub(super) struct TaintNodesByCondition;

#[async_trait]
impl Admission for TaintNodesByCondition {
    fn concerns(&self, attrs: &Attributes<'_>) -> bool {
        creates(attrs, "nodes")
    }

    async fn mutate(&self, _: &Attributes<'_>, node: &mut Value) -> Result<(), ApiError> {
        add(node);
        Ok(())
    }
}

fn add(node: &mut Value) {
    let there = list_at(node, &["spec", "taints"]).iter().any(|taint| {
        str_at(taint, &["key"]) == NOT_READY && str_at(taint, &["effect"]) == "NoSchedule"
    });
    if there {
        return;
    }
    let taints = fields_mut(node, &["spec"]).entry("taints").or_insert_with(|| json!([]));
    if let Some(taints) = taints.as_array_mut() {
        taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
    }
}
