//! What a policy adds to a create: none, a component, and the same decision by a webhook on
//! loopback.

use std::time::{Duration, Instant};

use hansa_client::kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use hansa_client::kube::core::{ApiResource, GroupVersionKind};
use hansa_client::kube::{Api, Client};
use hansa_tests::guests;
use hansa_tests::webhook::Webhook;
use serde_json::{Value, json};

use crate::{client, percentile, report, start};

const ROUNDS: usize = 3_000;
const PATIENCE: Duration = Duration::from_secs(120);
/// One namespace each, named after what is asked there.
const KINDS: [&str; 3] = ["none", "component", "webhook"];

/// Measures dry runs, one after the other and in turns, so that neither the disk nor other work
/// drowns the difference.
pub async fn run() {
    let cluster = start("bench-admission", "wasm", true);
    let client = client(&cluster).await;
    for name in KINDS {
        apply(&client, "", "v1", "Namespace", &json!({"metadata": {"name": name}})).await;
    }
    let webhook = tokio::task::spawn_blocking(|| Webhook::start(review)).await.expect("it starts");
    install_component(&client).await;
    install_webhook(&client, &webhook).await;
    for name in &KINDS[1..] {
        wait_until_refused(&client, name).await;
    }
    let mut took = [const { Vec::new() }; 3];
    for round in 0..ROUNDS {
        for (kind, samples) in KINDS.iter().zip(&mut took) {
            let asked = Instant::now();
            create(&client, kind, round, true).await.expect("it has the label");
            samples.push(asked.elapsed());
        }
    }
    print(&mut took);
}

fn print(took: &mut [Vec<Duration>; 3]) {
    let micros = |samples: &mut Vec<Duration>| percentile(samples, 0.5).as_secs_f64() * 1e6;
    let [none, component, webhook] = took.each_mut().map(micros);
    report("ConfigMap dry-run create, no policy, p50", none, "us");
    report("  added by a WASM policy", component - none, "us");
    report("  added by a validating webhook on loopback", webhook - none, "us");
    report("  webhook to WASM policy", (webhook - none) / (component - none), "x");
}

/// A ConfigMap of 1 KiB.
async fn create(
    client: &Client,
    namespace: &str,
    round: usize,
    labelled: bool,
) -> hansa_client::kube::Result<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let labels = if labelled { json!({"team": "bench"}) } else { json!({}) };
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": format!("m{round}"), "labels": labels },
        "data": { "text": "x".repeat(1024) },
    });
    let map = serde_json::from_value(map).expect("it is well formed");
    api.create(&PostParams { dry_run: true, ..PostParams::default() }, &map).await
}

async fn apply(client: &Client, group: &str, version: &str, kind: &str, object: &Value) {
    let gvk = GroupVersionKind::gvk(group, version, kind);
    let resource = ApiResource::from_gvk(&gvk);
    let mut object = object.clone();
    object["apiVersion"] = resource.api_version.as_str().into();
    object["kind"] = kind.into();
    let namespace = object["metadata"]["namespace"].as_str().map(str::to_owned);
    let api: Api<DynamicObject> = match &namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let force = PatchParams::apply("bench").force();
    api.patch(&name, &force, &Patch::Apply(&object)).await.expect("it is taken");
}

fn rules() -> Value {
    json!([{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
        "resources": ["configmaps"]}])
}

fn only_in(namespace: &str) -> Value {
    json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}})
}

async fn install_component(client: &Client) {
    use base64::Engine;
    let guest = "admission-required-labels";
    let bytes = std::fs::read(guests().join(format!("{guest}.wasm"))).expect("guests are built");
    let digest = std::fs::read_to_string(guests().join(format!("{guest}.sha256")));
    let digest = digest.expect("guests are built");
    let bytes = base64::engine::general_purpose::STANDARD.encode(bytes);
    let map = json!({"metadata": {"name": "policy", "namespace": "default"},
        "binaryData": {"policy.wasm": bytes}});
    apply(client, "", "v1", "ConfigMap", &map).await;
    let source = json!({"configMap": {"namespace": "default", "name": "policy",
        "key": "policy.wasm"}});
    let plugin = json!({"metadata": {"name": "labels"}, "spec": {
        "world": "admission", "source": source, "digest": digest.trim(),
        "config": {"labels": {"team": []}},
        "matchConstraints": {"resourceRules": rules(), "namespaceSelector": only_in("component")},
    }});
    apply(client, "plugins.hansa.dev", "v1alpha1", "Plugin", &plugin).await;
}

/// The decision of the component, by a webhook.
fn review(review: &Value) -> Value {
    let request = &review["request"];
    let allowed = !request["object"]["metadata"]["labels"]["team"].is_null();
    let response = json!({"uid": request["uid"], "allowed": allowed,
        "status": {"code": 403, "message": "label \"team\" is required"}});
    json!({"kind": "AdmissionReview", "apiVersion": review["apiVersion"], "response": response})
}

async fn install_webhook(client: &Client, webhook: &Webhook) {
    let configuration = json!({"metadata": {"name": "labels"}, "webhooks": [{
        "name": "labels.bench.dev", "rules": rules(), "namespaceSelector": only_in("webhook"),
        "clientConfig": {"url": webhook.url, "caBundle": webhook.ca_bundle},
        "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail",
    }]});
    let group = "admissionregistration.k8s.io";
    apply(client, group, "v1", "ValidatingWebhookConfiguration", &configuration).await;
}

async fn wait_until_refused(client: &Client, namespace: &str) {
    let begun = Instant::now();
    while create(client, namespace, 0, false).await.is_ok() {
        assert!(begun.elapsed() < PATIENCE, "nobody decides in {namespace}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
