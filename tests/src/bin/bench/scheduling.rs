//! Pods bound per second with 1,000 nodes, decided by the WASM guests.

use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream;
use hansa_client::kube::api::{ListParams, Patch, PatchParams, PostParams};
use hansa_client::kube::core::{ApiResource, GroupVersionKind};
use hansa_client::kube::{Api, Client};
use hansa_tests::{Cluster, Options};
use serde_json::{Value, json};

use crate::{client, cpu_secs, creates, report, resident_mib, start};

const NODES: usize = 1_000;
const PODS: usize = 5_000;
const PATIENCE: Duration = Duration::from_secs(180);

/// Measures with nodes that are objects only, where nobody runs the pods, and with as many hollow
/// nodes, whose kubelets run in the same process and report every pod Running.
pub async fn run() {
    let cluster = start("bench-scheduling", "hollow", false);
    let client = client(&cluster).await;
    make_nodes(&client, NODES).await;
    measure(&cluster, &client, json!({ "bench": "node" }), "1,000 Node objects").await;
    drop(cluster);
    let nodes = u16::try_from(NODES).expect("it fits");
    let options = Options { name: "bench-hollow", runtime: "hollow", nodes, hub: false };
    let begun = Instant::now();
    let cluster = Cluster::start(&options);
    let client = crate::client(&cluster).await;
    report("1,000 hollow nodes: all Ready after", begun.elapsed().as_secs_f64(), "s");
    measure(&cluster, &client, json!({}), "1,000 hollow nodes").await;
}

#[allow(clippy::cast_precision_loss)]
async fn measure(cluster: &Cluster, client: &Client, selector: Value, what: &str) {
    let pods = creates::api(client, "Pod");
    let (begun, cpu) = (Instant::now(), cpu_secs(cluster));
    stream::iter(0..PODS)
        .for_each_concurrent(64, |number| {
            let (pods, selector) = (&pods, &selector);
            async move {
                let mut pod = creates::pod(&format!("s{number}"));
                pod["spec"]["schedulerName"] = json!("default-scheduler");
                pod["spec"]["nodeSelector"] = selector.clone();
                let pod = serde_json::from_value(pod).expect("a pod");
                pods.create(&PostParams::default(), &pod).await.expect("the create succeeds");
            }
        })
        .await;
    let created = begun.elapsed().as_secs_f64();
    let waiting = ListParams::default().fields("spec.nodeName=").limit(1);
    while begun.elapsed() < PATIENCE {
        let left = pods.list(&waiting).await.expect("the list succeeds");
        if left.items.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = begun.elapsed().as_secs_f64();
    report(&format!("5,000 pods, {what}: created at"), PODS as f64 / created, "per s");
    report("  created and bound at", PODS as f64 / took, "per s");
    report(
        "  CPU of the whole cluster per pod",
        (cpu_secs(cluster) - cpu) * 1000.0 / PODS as f64,
        "ms",
    );
    report("  memory of the whole cluster (RSS)", resident_mib(cluster), "MiB");
}

/// Makes Node objects that are Ready and that no kubelet stands behind.
pub async fn make_nodes(client: &Client, count: usize) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Node"));
    let nodes: Api<_> = Api::all_with(client.clone(), &resource);
    stream::iter(0..count)
        .for_each_concurrent(32, |number| {
            let nodes: &Api<hansa_client::kube::api::DynamicObject> = &nodes;
            async move {
                let name = format!("node-{number:04}");
                let capacity = json!({ "cpu": "32", "memory": "256Gi", "pods": "110" });
                let node = json!({
                    "apiVersion": "v1", "kind": "Node",
                    "metadata": { "name": name, "labels": {
                        "bench": "node", "kubernetes.io/hostname": name,
                        "topology.kubernetes.io/zone": format!("zone-{}", number % 3),
                    } },
                    "status": {
                        "capacity": capacity, "allocatable": capacity,
                        "conditions": [{ "type": "Ready", "status": "True", "reason": "Bench",
                            "message": "", "lastHeartbeatTime": null, "lastTransitionTime": null }],
                    },
                });
                let status = Patch::Merge(json!({ "status": node["status"] }));
                let node = serde_json::from_value(node).expect("a node");
                nodes.create(&PostParams::default(), &node).await.expect("the create succeeds");
                let patched = nodes.patch_status(&name, &PatchParams::default(), &status).await;
                patched.expect("the status is written");
            }
        })
        .await;
}
