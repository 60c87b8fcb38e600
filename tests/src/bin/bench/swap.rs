//! Another component for a Plugin that decides: from the write to the moment when the new one
//! decides, while decisions go on.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use hansa_client::kube::api::{
    DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use hansa_client::kube::core::{ApiResource, GroupVersionKind};
use hansa_client::kube::{Api, Client};
use serde_json::{Value, json};

use crate::{client, creates, millis, percentile, report, start};

const SWAPS: usize = 40;
const PODS: usize = 2_000;
const PATIENCE: Duration = Duration::from_secs(60);
const PLUGIN: &str = "swapped";

/// Two components that take turns.
pub struct Swap<'a> {
    /// The cluster.
    pub client: &'a Client,
    /// What is swapped, for the report.
    pub what: &'a str,
    /// The plugin's world.
    pub world: &'a str,
    /// The files of the components, without `.wasm`.
    pub guests: [&'a str; 2],
    /// The settings of each.
    pub configs: [Value; 2],
}

/// Swaps back and forth; both components have been compiled before, as after a first load.
pub async fn run(swap: &Swap<'_>) {
    for guest in swap.guests {
        store(swap.client, guest).await;
    }
    swap.to(0).await;
    swap.to(1).await;
    let mut took = Vec::new();
    for number in 0..SWAPS {
        took.push(swap.to(number % 2).await);
    }
    report(&format!("{}: written to deciding, p50", swap.what), p(&mut took, 0.5), "ms");
    report("  p99", p(&mut took, 0.99), "ms");
}

fn p(took: &mut [Duration], share: f64) -> f64 {
    millis(percentile(took, share))
}

/// Swaps a scheduler component of a member while pods are created and bound.
#[allow(clippy::cast_precision_loss)]
pub async fn under_load() {
    let cluster = start("bench-swap", "hollow", false);
    let client = client(&cluster).await;
    crate::scheduling::make_nodes(&client, 100).await;
    let load = tokio::spawn(create_pods(client.clone()));
    run(&Swap {
        client: &client,
        what: "scheduler plugin, pods being bound",
        world: "scheduler",
        guests: ["scheduler-node-name", "scheduler-node-unschedulable"],
        configs: [json!({}), json!({})],
    })
    .await;
    load.await.expect("the load ends");
    let pods = creates::api(&client, "Pod");
    let begun = Instant::now();
    let waiting = ListParams::default().fields("spec.nodeName=").limit(1);
    while begun.elapsed() < PATIENCE
        && !pods.list(&waiting).await.expect("the list succeeds").items.is_empty()
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let bound = ListParams::default().fields("spec.nodeName!=");
    let bound = pods.list(&bound).await.expect("the list succeeds").items.len();
    let events = ListParams::default().fields("reason=Scheduled");
    let events = creates::api(&client, "Event").list(&events).await.expect("the list succeeds");
    report("  pods created meanwhile", PODS as f64, "");
    report("  pods bound", bound as f64, "");
    report("  decisions told as events", events.items.len() as f64, "");
}

async fn create_pods(client: Client) {
    let pods = creates::api(&client, "Pod");
    for number in 0..PODS {
        let mut pod = creates::pod(&format!("u{number}"));
        pod["spec"]["schedulerName"] = json!("default-scheduler");
        pod["spec"]["nodeSelector"] = json!({ "bench": "node" });
        let pod = serde_json::from_value(pod).expect("a pod");
        pods.create(&PostParams::default(), &pod).await.expect("the create succeeds");
    }
}

impl Swap<'_> {
    /// Writes the Plugin; how long until its status says that the written component decides.
    async fn to(&self, turn: usize) -> Duration {
        let resource = GroupVersionKind::gvk("plugins.hansa.dev", "v1alpha1", "Plugin");
        let api: Api<DynamicObject> =
            Api::all_with(self.client.clone(), &ApiResource::from_gvk(&resource));
        let guest = self.guests[turn];
        let digest = digest_of(guest);
        let plugin = json!({
            "apiVersion": "plugins.hansa.dev/v1alpha1", "kind": "Plugin",
            "metadata": { "name": PLUGIN },
            "spec": {
                "world": self.world, "digest": digest, "config": self.configs[turn],
                "source": { "configMap": {
                    "namespace": "default", "name": guest, "key": "policy.wasm",
                } },
            },
        });
        let only = WatchParams::default().fields(&format!("metadata.name={PLUGIN}"));
        let watch = api.watch(&only, "0").await.expect("the watch opens");
        let mut watch = std::pin::pin!(watch);
        let begun = Instant::now();
        let forced = PatchParams::apply("bench").force();
        api.patch(PLUGIN, &forced, &Patch::Apply(&plugin)).await.expect("the write succeeds");
        let decides = async {
            while let Some(event) = watch.next().await {
                let Ok(WatchEvent::Added(now) | WatchEvent::Modified(now)) = event else {
                    continue;
                };
                if now.data["status"]["activeDigest"] == digest {
                    return;
                }
            }
            panic!("the watch ended before {digest} decided");
        };
        tokio::time::timeout(PATIENCE, decides).await.expect("it decides in time");
        begun.elapsed()
    }
}

fn digest_of(guest: &str) -> String {
    let file = hansa_tests::guests().join(format!("{guest}.sha256"));
    std::fs::read_to_string(file).expect("the guests are built").trim().to_owned()
}

async fn store(client: &Client, guest: &str) {
    let file = hansa_tests::guests().join(format!("{guest}.wasm"));
    let bytes = std::fs::read(file).expect("the guests are built");
    let map = json!({
        "metadata": { "name": guest },
        "binaryData": { "policy.wasm": STANDARD.encode(bytes) },
    });
    let map = serde_json::from_value(map).expect("a ConfigMap");
    let maps = creates::api(client, "ConfigMap");
    maps.create(&PostParams::default(), &map).await.expect("the create succeeds");
}
