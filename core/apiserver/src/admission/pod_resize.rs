//! PodResizeValidator: a running pod grows no further than its node could ever give.

use async_trait::async_trait;
use hansa_api::ApiError;
use hansa_api::meta::{self, str_at};
use hansa_api::pod_resources::{Counting, requests};
use hansa_api::quota::amounts;
use serde_json::Value;

use super::{forbidden, lookup};
use crate::generic::admit::{Admission, Attributes, Operation};

const OS: &str = "kubernetes.io/os";

pub(super) struct PodResizeValidator;

#[async_trait]
impl Admission for PodResizeValidator {
    fn concerns(&self, attrs: &Attributes<'_>) -> bool {
        attrs.operation == Operation::Update
            && attrs.is("", "pods")
            && attrs.ctx.subresource == "resize"
    }

    async fn validate(&self, attrs: &Attributes<'_>, pod: Option<&Value>) -> Result<(), ApiError> {
        let (Some(pod), Some(old)) = (pod, attrs.old) else { return Ok(()) };
        let name = str_at(pod, &["spec", "nodeName"]);
        if name.is_empty() || meta::generation(pod) == meta::generation(old) {
            return Ok(());
        }
        let Some(node) = lookup::find(attrs, "", "nodes", "", name).await? else {
            return Err(forbidden(attrs, pod, format!("node {name:?} not found")));
        };
        check(pod, &node)
            .map_err(|(why, cause)| forbidden(attrs, pod, why).with_cause(cause, String::new(), ""))
    }
}

fn check(pod: &Value, node: &Value) -> Result<(), (String, &'static str)> {
    if let Some(os) = meta::label(node, OS).filter(|os| *os != "linux") {
        let name = meta::name(node);
        let why = format!("pod resize is only supported on linux nodes, node {name:?} is {os:?}");
        return Err((why, "UnsupportedPlatform"));
    }
    let asked = requests(pod, Counting::SpecOnly);
    let there = amounts(node, &["status", "allocatable"]);
    let of = |name: &str| {
        let get = |amounts: &hansa_api::quota::Amounts| amounts.get(name).copied();
        (get(&asked).unwrap_or_default(), get(&there).unwrap_or_default())
    };
    let mut short = Vec::new();
    let (cpu, memory) = (of("cpu"), of("memory"));
    if cpu.0 > cpu.1 {
        let (asked, there) = (cpu.0.milli_value(), cpu.1.milli_value());
        short.push(format!("cpu, requested: {asked}, allocatable: {there}"));
    }
    if memory.0 > memory.1 {
        let (asked, there) = (memory.0.value(), memory.1.value());
        short.push(format!("memory, requested: {asked}, allocatable: {there}"));
    }
    if short.is_empty() {
        return Ok(());
    }
    let why = format!("node didn't have enough allocatable resources: {}", short.join("; "));
    Err((why, "NodeCapacity"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_fits_its_node() {
        let pod = |cpu: &str| json!({"spec": {"containers": [{"resources": {"requests": {"cpu": cpu}}}]}});
        let mut node = json!({"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "2"}}});
        assert_eq!(check(&pod("2"), &node), Ok(()));
        assert_eq!(
            check(&pod("3"), &node).unwrap_err(),
            (
                "node didn't have enough allocatable resources: cpu, requested: 3000, \
                 allocatable: 2000"
                    .to_string(),
                "NodeCapacity"
            )
        );
        node["metadata"]["labels"] = json!({OS: "windows"});
        assert_eq!(check(&pod("1"), &node).unwrap_err().1, "UnsupportedPlatform");
    }
}
