//! Durable creates and reads per second, at 1, 16 and 64 clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hansa_client::kube::api::{DynamicObject, PostParams};
use hansa_client::kube::core::{ApiResource, GroupVersionKind};
use hansa_client::kube::{Api, Client};
use serde_json::{Value, json};

use crate::{client, cpu_secs, millis, percentile, report, start};

const LONG: Duration = Duration::from_secs(5);

/// Measures on a hub: there nothing reacts to the objects.
pub async fn run() {
    let cluster = start("bench-creates", "wasm", true);
    for clients in [1, 16, 64] {
        let before = cpu_secs(&cluster);
        let count =
            load(&cluster, clients, "ConfigMap", move |n| config_map(&format!("c{clients}-{n}")))
                .await;
        cpu_per_request("ConfigMap", cpu_secs(&cluster) - before, count);
    }
    for clients in [1, 16, 64] {
        let before = cpu_secs(&cluster);
        let count = load(&cluster, clients, "Pod", move |n| pod(&format!("p{clients}-{n}"))).await;
        cpu_per_request("Pod", cpu_secs(&cluster) - before, count);
    }
}

// Counts of requests of a few seconds: far below where an f64 loses whole numbers.
#[allow(clippy::cast_precision_loss)]
fn cpu_per_request(kind: &str, seconds: f64, count: usize) {
    report(
        &format!("  server CPU per {kind} create"),
        seconds * 1000.0 / count.max(1) as f64,
        "ms",
    );
}

/// A ConfigMap of 1 KiB.
fn config_map(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name },
        "data": { "text": "x".repeat(1024) },
    })
}

/// A plain pod that no scheduler takes.
pub fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": "bench" } },
        "spec": {
            "schedulerName": "nobody",
            "containers": [{
                "name": "main", "image": "hansa.dev/storefront:v1",
                "resources": { "requests": { "cpu": "100m", "memory": "64Mi" } },
            }],
        },
    })
}

/// The API of a core kind in the default namespace.
pub fn api(client: &Client, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind));
    Api::default_namespaced_with(client.clone(), &resource)
}

async fn load(
    cluster: &hansa_tests::Cluster,
    clients: usize,
    kind: &str,
    object: impl Fn(usize) -> Value + Send + Sync + 'static,
) -> usize {
    let (object, next) = (Arc::new(object), Arc::new(AtomicUsize::new(0)));
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..clients {
        // Every client has a connection of its own.
        let api = api(&client(cluster).await, kind);
        let (object, next) = (object.clone(), next.clone());
        tasks.push(tokio::spawn(async move {
            let mut took = Vec::new();
            while begun.elapsed() < LONG {
                let value = object(next.fetch_add(1, Ordering::Relaxed));
                let value = serde_json::from_value(value).expect("the object is well formed");
                let asked = Instant::now();
                api.create(&PostParams::default(), &value).await.expect("the create succeeds");
                took.push(asked.elapsed());
            }
            took
        }));
    }
    let mut took: Vec<Duration> = Vec::new();
    for task in tasks {
        took.extend(task.await.expect("no client panics"));
    }
    print(kind, clients, &mut took, begun.elapsed());
    took.len()
}

#[allow(clippy::cast_precision_loss)]
fn print(kind: &str, clients: usize, took: &mut [Duration], all: Duration) {
    let rate = took.len() as f64 / all.as_secs_f64();
    report(&format!("{kind} creates, {clients} clients"), rate, "per s");
    report("  p50", millis(percentile(took, 0.5)), "ms");
    report("  p99", millis(percentile(took, 0.99)), "ms");
}
