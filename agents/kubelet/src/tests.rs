//! Pods through the kubelet's code on the embedded runtimes, against a fake API server.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hansa_api::k8s_openapi::api::core::v1::Pod;
use hansa_client::Change;
use hansa_runtime::testing::{pod_cidr, storefront_component};
use hansa_runtime::{HollowConfig, WasmConfig, import_image, serve_hollow, serve_wasm};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::fake::Fake;
use crate::config::Config;
use crate::context::Context;
use crate::cri::Cri;
use crate::manager::Manager;

const PATIENCE: Duration = Duration::from_secs(120);

struct Rig {
    root: std::path::PathBuf,
    api: Arc<Fake>,
    changes: UnboundedSender<Change<Pod>>,
    cri: Cri,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

fn quick(root: &Path) -> Config {
    let socket = root.join("cri.sock").display().to_string();
    let mut config = Config::new("node-1", &socket, root.join("kubelet"));
    config.periods.relist = Duration::from_millis(20);
    config.periods.resync = Duration::from_millis(200);
    config.periods.backoff = Duration::from_millis(100);
    config
}

fn runtime(root: &Path, wasm: bool, stop: CancellationToken) -> JoinHandle<()> {
    let socket = root.join("cri.sock");
    let config = WasmConfig::new(socket.clone(), root.join("wasm"));
    tokio::spawn(async move {
        if wasm {
            serve_wasm(config, stop).await.unwrap();
        } else {
            serve_hollow(HollowConfig { socket }, stop).await.unwrap();
        }
    })
}

impl Rig {
    async fn new(root: &Path, wasm: bool, cidr: &str, api: Arc<Fake>) -> Self {
        let stop = CancellationToken::new();
        let served = runtime(root, wasm, stop.clone());
        let mut rig = Self::kubelet(root, api, stop).await;
        rig.tasks.push(served);
        rig.cri.set_pod_cidr(cidr).await.unwrap();
        rig
    }

    async fn kubelet(root: &Path, api: Arc<Fake>, stop: CancellationToken) -> Self {
        let config = quick(root);
        let cri = Cri::new(&config.cri_endpoint).unwrap();
        let runtime = crate::wait_for_runtime(&cri).await;
        let context = Arc::new(Context::new(config, cri.clone(), api.clone(), runtime));
        let (changes, receiver) = unbounded_channel();
        let running = Manager::run(context, receiver, async {}, stop.clone());
        let root = root.to_path_buf();
        Self { root, api, changes, cri, stop, tasks: vec![tokio::spawn(running)] }
    }

    fn apply(&self, pod: Value) {
        let pod: Pod = serde_json::from_value(pod).unwrap();
        self.api.put(&pod);
        self.changes.send(Change::Applied { old: None, new: Arc::new(pod) }).unwrap();
    }

    async fn wait<T>(&self, what: &str, mut test: impl FnMut(&Fake) -> Option<T>) -> T {
        let trying = async {
            loop {
                if let Some(found) = test(&self.api) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, trying).await {
            Ok(found) => found,
            Err(_) => panic!(
                "{what}; pods: {:#?}; events: {:#?}",
                self.api.pods.lock(),
                self.api.events.lock()
            ),
        }
    }

    async fn ready(&self, name: &str) -> Pod {
        let is_ready = |api: &Fake| {
            let pod = api.get("shop", name)?;
            let conditions = pod.status.as_ref()?.conditions.clone()?;
            let ready = conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
            ready.then_some(pod)
        };
        self.wait("the pod must become ready", is_ready).await
    }

    async fn delete(&self, name: &str) {
        let mut pod = self.api.get("shop", name).unwrap();
        let now = jiff::Timestamp::now();
        pod.metadata.deletion_timestamp =
            Some(hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
        pod.metadata.deletion_grace_period_seconds = Some(5);
        self.changes.send(Change::Applied { old: None, new: Arc::new(pod) }).unwrap();
        self.wait("the pod must go", |api| api.get("shop", name).is_none().then_some(())).await;
        let folder = self.root.join(format!("kubelet/pods/uid-{name}"));
        let empty = async {
            while folder.exists() || !self.cri.sandboxes(None).await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, empty).await.expect("its sandbox and folder must go");
    }

    async fn end(self) {
        self.stop.cancel();
        drop(self.cri);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

fn storefront(name: &str) -> Value {
    let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}")},
        "spec": {"nodeName": "node-1", "containers": [{
            "name": "web", "image": "hansa.dev/storefront:v1",
            "ports": [{"containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
            "env": [{"name": "POD_NAME", "valueFrom": field("metadata.name")},
                    {"name": "NODE_NAME", "valueFrom": field("spec.nodeName")},
                    {"name": "REGION", "valueFrom":
                        {"configMapKeyRef": {"name": "shop", "key": "region"}}}]}]},
    })
}

async fn get(address: &str, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect((address, 8080)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn address_of(pod: &Pod) -> String {
    pod.status.as_ref().unwrap().pod_ip.clone().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wasi_http_pod_from_creation_to_deletion() {
    let root = tempfile::tempdir().unwrap();
    import_image(&root.path().join("wasm"), "hansa.dev/storefront:v1", &storefront_component())
        .unwrap();
    let api = Arc::new(Fake::default());
    let rig = Rig::new(root.path(), true, &pod_cidr(0), api.clone()).await;
    rig.apply(storefront("a"));
    let error = "CreateContainerConfigError";
    let waits = |api: &Fake| {
        let status = api.get("shop", "a")?.status?.container_statuses?;
        let reason = status[0].state.as_ref()?.waiting.as_ref()?.reason.clone()?;
        (reason == error).then_some(())
    };
    rig.wait("the pod must wait for its ConfigMap", waits).await;
    let map = serde_json::from_value(json!({"data": {"region": "eu-west"}})).unwrap();
    api.config_maps.lock().insert("shop/shop".to_string(), map);
    let pod = rig.ready("a").await;
    let answer = get(&address_of(&pod), "/json").await;
    assert!(answer.contains(r#""pod":"a","region":"eu-west","node":"node-1""#), "{answer}");
    rig.delete("a").await;
    let events = api.events.lock().clone();
    for reason in ["Pulled", "Created", "Started", "Killing"] {
        assert!(events.iter().any(|event| event.starts_with(reason)), "{reason}: {events:?}");
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_of_kubelet_and_runtime_the_pod_runs_once_at_the_same_address() {
    let root = tempfile::tempdir().unwrap();
    import_image(&root.path().join("wasm"), "hansa.dev/storefront:v1", &storefront_component())
        .unwrap();
    let api = Arc::new(Fake::default());
    let map = serde_json::from_value(json!({"data": {"region": "eu-west"}})).unwrap();
    api.config_maps.lock().insert("shop/shop".to_string(), map);
    let cidr = pod_cidr(1);
    let rig = Rig::new(root.path(), true, &cidr, api.clone()).await;
    rig.apply(storefront("a"));
    let before = rig.ready("a").await;
    rig.end().await;

    let rig = Rig::new(root.path(), true, &cidr, api.clone()).await;
    let known = serde_json::to_value(api.get("shop", "a").unwrap()).unwrap();
    rig.apply(known);
    let restarted = |api: &Fake| {
        let pod = api.get("shop", "a")?;
        let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?.clone();
        (status.restart_count == 1 && status.ready).then_some(pod)
    };
    let after = rig.wait("the container must be started again", restarted).await;
    assert_eq!(address_of(&before), address_of(&after));
    assert!(get(&address_of(&after), "/").await.contains("eu-west"));
    assert_eq!(rig.cri.sandboxes(None).await.unwrap().len(), 1, "one sandbox, not two");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kubelet_adopts_what_runs_and_ends_what_nobody_wants() {
    let root = tempfile::tempdir().unwrap();
    let api = Arc::new(Fake::default());
    let stop = CancellationToken::new();
    let served = runtime(root.path(), false, stop.clone());
    let first = Rig::kubelet(root.path(), api.clone(), stop.child_token()).await;
    first.cri.set_pod_cidr("10.9.0.0/24").await.unwrap();
    let plain = |name: &str| {
        let metadata = json!({"name": name, "namespace": "shop", "uid": format!("uid-{name}")});
        json!({"metadata": metadata, "spec": {"containers": [{"name": "c", "image": "i:1"}]}})
    };
    first.apply(plain("kept"));
    first.apply(plain("gone"));
    let id_of = |pod: Pod| pod.status.unwrap().container_statuses.unwrap()[0].container_id.clone();
    let before = id_of(first.ready("kept").await);
    first.ready("gone").await;
    first.end().await;

    api.pods.lock().remove("shop/gone");
    let known = serde_json::to_value(api.get("shop", "kept").unwrap()).unwrap();
    let (changes, receiver) = unbounded_channel();
    let pod: Pod = serde_json::from_value(known).unwrap();
    changes.send(Change::Applied { old: None, new: Arc::new(pod) }).unwrap();
    let config = quick(root.path());
    let cri = Cri::new(&config.cri_endpoint).unwrap();
    let name = crate::wait_for_runtime(&cri).await;
    let context = Arc::new(Context::new(config, cri.clone(), api.clone(), name));
    let running = tokio::spawn(Manager::run(context, receiver, async {}, stop.child_token()));
    let one_left = async {
        while cri.sandboxes(None).await.unwrap().len() != 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, one_left).await.expect("the orphan must go");
    let containers = cri.containers(None).await.unwrap();
    assert_eq!(containers.len(), 1);
    let id = format!("hansa-hollow://{}", containers[0].id);
    assert_eq!(before, Some(id), "the same container, not a new one");
    stop.cancel();
    drop(cri);
    running.await.unwrap();
    served.await.unwrap();
}
