//! A hub and two members: from a Deployment applied on the hub to its pods Running in both.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use hansa_client::kube::api::{DynamicObject, PostParams, WatchEvent, WatchParams};
use hansa_client::kube::core::{ApiResource, GroupVersionKind};
use hansa_client::kube::{Api, Client};
use hansa_tests::League;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::swap::{self, Swap};
use crate::{client, creates, millis, percentile, report};

const DEPLOYMENTS: usize = 40;
const PATIENCE: Duration = Duration::from_secs(60);

/// Which apps have a Running pod in a member, as its watch tells.
type Running = watch::Receiver<HashMap<String, Instant>>;

/// Measures on a league of its own; its nodes are hollow: a pod runs as soon as its kubelet says.
pub async fn run() {
    let league = Arc::new(League::start());
    for words in [&["init"][..], &["join", "eu-west"], &["join", "us-east"]] {
        league.fedctl_ok(words);
    }
    let hub = client(&league.hub).await;
    create(&hub, "policy.karmada.io/v1alpha1", "PropagationPolicy", &everywhere()).await;
    let members = [follow(client(&league.eu).await), follow(client(&league.us).await)];
    // The members get the namespace and the hub learns what they serve with the first one.
    reaches_both(&hub, &members, "first").await;
    let mut took = Vec::new();
    for number in 0..DEPLOYMENTS {
        took.push(reaches_both(&hub, &members, &format!("app-{number}")).await);
    }
    report("Deployment created on the hub, pods Running in both: p50", p(&mut took, 0.5), "ms");
    report("  p99", p(&mut took, 0.99), "ms");
    swap::run(&Swap {
        client: &hub,
        what: "placement policy of a hub",
        world: "federation",
        guests: ["federation-default", "federation-prefer-region"],
        configs: [json!({}), json!({ "prefer": "us-east" })],
    })
    .await;
}

fn p(took: &mut [Duration], share: f64) -> f64 {
    millis(percentile(took, share))
}

/// Creates a Deployment on the hub; how long until a pod of it is seen Running in both members.
async fn reaches_both(hub: &Client, members: &[Running; 2], name: &str) -> Duration {
    let begun = Instant::now();
    create(hub, "apps/v1", "Deployment", &deployment(name)).await;
    let mut latest = begun;
    for member in members {
        let mut member = member.clone();
        let seen = member.wait_for(|apps| apps.contains_key(name));
        let apps = tokio::time::timeout(PATIENCE, seen).await.expect("it runs in time");
        latest = latest.max(apps.expect("the watch goes on")[name]);
    }
    latest - begun
}

/// Follows the pods of a member's default namespace.
fn follow(client: Client) -> Running {
    let (sender, receiver) = watch::channel(HashMap::new());
    tokio::spawn(async move {
        let pods = creates::api(&client, "Pod");
        let watch = pods.watch(&WatchParams::default().timeout(290), "0").await;
        let mut stream = std::pin::pin!(watch.expect("the watch opens"));
        while let Some(Ok(event)) = stream.next().await {
            let (WatchEvent::Added(pod) | WatchEvent::Modified(pod)) = event else { continue };
            if pod.data["status"]["phase"] != "Running" {
                continue;
            }
            let app = pod.metadata.labels.unwrap_or_default().remove("app").unwrap_or_default();
            sender.send_modify(|apps| {
                apps.entry(app).or_insert_with(Instant::now);
            });
        }
    });
    receiver
}

fn everywhere() -> Value {
    json!({
        "metadata": { "name": "everywhere" },
        "spec": { "resourceSelectors": [{ "apiVersion": "apps/v1", "kind": "Deployment" }] },
    })
}

fn deployment(name: &str) -> Value {
    let labels = json!({ "app": name });
    json!({
        "metadata": { "name": name },
        "spec": {
            "replicas": 1, "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "main", "image": "hansa.dev/storefront:v1" }] },
            },
        },
    })
}

async fn create(client: &Client, api_version: &str, kind: &str, object: &Value) {
    let (group, version) = api_version.split_once('/').expect("a group and a version");
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let api: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &resource);
    let object = serde_json::from_value(object.clone()).expect("the object is well formed");
    api.create(&PostParams::default(), &object).await.expect("the create succeeds");
}
