//! What monitors read: `/stats/summary` and `/metrics`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use http::{Response, StatusCode};
use k8s_cri::v1 as cri;
use serde_json::{Value, json};

use super::{Body, internal, text};
use crate::context::Context;
use crate::{machine, names};

/// The summary of node, pods and containers.
pub async fn summary(context: &Arc<Context>) -> Response<Body> {
    let stats = match context.cri.stats().await {
        Ok(stats) => stats,
        Err(error) => return internal(&error.message()),
    };
    let time = jiff::Timestamp::now().to_string();
    let memory = json!({"time": time, "workingSetBytes": machine::memory_working_set()});
    let node = json!({"nodeName": context.config.node_name, "memory": memory});
    super::json(&json!({"node": node, "pods": pods(&stats)}))
}

fn pods(stats: &[cri::ContainerStats]) -> Vec<Value> {
    let mut pods: BTreeMap<[String; 3], Vec<Value>> = BTreeMap::new();
    for own in stats {
        let attributes = own.attributes.clone().unwrap_or_default();
        let label = |key: &str| attributes.labels.get(key).cloned().unwrap_or_default();
        let pod = [names::POD_NAMESPACE, names::POD_NAME, names::POD_UID].map(label);
        pods.entry(pod).or_default().push(container(&label(names::CONTAINER_NAME), own));
    }
    let pod = |([namespace, name, uid], containers): ([String; 3], Vec<Value>)| {
        let reference = json!({"name": name, "namespace": namespace, "uid": uid});
        json!({"podRef": reference, "containers": containers})
    };
    pods.into_iter().map(pod).collect()
}

fn container(name: &str, own: &cri::ContainerStats) -> Value {
    let (cpu, memory) = usage(own);
    json!({
        "name": name,
        "cpu": {"usageCoreNanoSeconds": cpu},
        "memory": {"workingSetBytes": memory},
    })
}

/// Processor nanoseconds and memory bytes.
fn usage(own: &cri::ContainerStats) -> (u64, u64) {
    let cpu = own.cpu.as_ref().and_then(|cpu| cpu.usage_core_nano_seconds);
    let memory = own.memory.as_ref().and_then(|memory| memory.working_set_bytes);
    (cpu.map_or(0, |value| value.value), memory.map_or(0, |value| value.value))
}

/// Figures in the Prometheus text format.
pub async fn metrics(context: &Arc<Context>, pods: usize) -> Response<Body> {
    let stats = context.cri.stats().await.unwrap_or_default();
    text(StatusCode::OK, &render(&stats, pods))
}

fn render(stats: &[cri::ContainerStats], pods: usize) -> String {
    let mut out = format!("# TYPE kubelet_running_pods gauge\nkubelet_running_pods {pods}\n");
    let _ = writeln!(out, "# TYPE kubelet_running_containers gauge");
    let _ = writeln!(out, "kubelet_running_containers {}", stats.len());
    let _ = writeln!(out, "# TYPE container_cpu_usage_seconds_total counter");
    for own in stats {
        let seconds = usage(own).0 as f64 / 1e9;
        let _ = writeln!(out, "container_cpu_usage_seconds_total{} {seconds}", labels(own));
    }
    let _ = writeln!(out, "# TYPE container_memory_working_set_bytes gauge");
    for own in stats {
        let bytes = usage(own).1;
        let _ = writeln!(out, "container_memory_working_set_bytes{} {bytes}", labels(own));
    }
    out
}

fn labels(own: &cri::ContainerStats) -> String {
    let attributes = own.attributes.clone().unwrap_or_default();
    let label = |key: &str| attributes.labels.get(key).cloned().unwrap_or_default();
    format!(
        "{{namespace={:?},pod={:?},container={:?}}}",
        label(names::POD_NAMESPACE),
        label(names::POD_NAME),
        label(names::CONTAINER_NAME)
    )
}
