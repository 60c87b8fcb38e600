//! PodTopologyLabels: a pod carries its node's zone and region as labels, from the binding on.

use async_trait::async_trait;
use hansa_api::ApiError;
use hansa_api::meta::{self, str_at};
use serde_json::Value;

use super::lookup;
use crate::generic::admit::{Admission, Attributes, Operation};

const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

pub(super) struct PodTopologyLabels;

#[async_trait]
impl Admission for PodTopologyLabels {
    fn concerns(&self, attrs: &Attributes<'_>) -> bool {
        attrs.operation == Operation::Create
            && attrs.is("", "pods")
            && matches!(attrs.ctx.subresource.as_str(), "" | "binding")
    }

    async fn mutate(&self, attrs: &Attributes<'_>, obj: &mut Value) -> Result<(), ApiError> {
        let node = match attrs.is_whole() {
            true => str_at(obj, &["spec", "nodeName"]),
            false if matches!(str_at(obj, &["target", "kind"]), "Node" | "") => {
                str_at(obj, &["target", "name"])
            }
            false => "",
        };
        if node.is_empty() {
            return Ok(());
        }
        if let Some(node) = lookup::find(attrs, "", "nodes", "", node).await? {
            copy(&node, obj);
        }
        Ok(())
    }
}

fn copy(node: &Value, obj: &mut Value) {
    for key in LABELS {
        if let Some(value) = meta::label(node, key) {
            meta::set_label(obj, key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_topology_is_copied() {
        let node = json!({"metadata": {"labels": {LABELS[0]: "a", "x": "y"}}});
        let mut binding = json!({"metadata": {"labels": {LABELS[0]: "old"}}});
        copy(&node, &mut binding);
        assert_eq!(binding["metadata"]["labels"], json!({LABELS[0]: "a"}));
    }
}
