//! Both controllers against a pretended cloud and a pretended API server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hansa_api::k8s_openapi::api::core::v1::{Node, Service};
use hansa_client::kube::Client;
use hansa_client::kube::client::Body;
use hansa_client::{Informers, ObjectKey, Recorder, Reporter, Requeue};
use hansa_extension::cloud::*;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{Config, node, service};

/// Objects by their path; enough of an API server for one reconcile.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<BTreeMap<String, Value>>>);

impl Server {
    fn with(path: &str, object: Value) -> Server {
        let server = Server::default();
        server.0.lock().insert(path.into(), object);
        server
    }

    fn object(&self, path: &str) -> Option<Value> {
        self.0.lock().get(path).cloned()
    }

    fn client(&self) -> Client {
        let server = self.clone();
        let answer = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, std::convert::Infallible>(server.answer(request).await) }
        });
        Client::new(answer, "default")
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let path = parts.uri.path().trim_end_matches("/status").to_owned();
        let body = body.collect().await.expect("bodies are in memory").to_bytes();
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        if query.contains("watch=") {
            std::future::pending::<()>().await;
        }
        let mut objects = self.0.lock();
        let answer = match (parts.method, objects.get_mut(&path)) {
            (Method::PATCH, Some(object)) => {
                match json.is_array() {
                    true => {
                        let patch: json_patch::Patch = serde_json::from_value(json).unwrap();
                        json_patch::patch(object, &patch).unwrap();
                    }
                    false => json_patch::merge(object, &json),
                }
                object.clone()
            }
            (Method::DELETE, Some(_)) => objects.remove(&path).unwrap_or_default(),
            (Method::GET, Some(object)) => object.clone(),
            (Method::GET, None) => list(&objects, &path),
            _ => json,
        };
        Response::new(Body::from(answer.to_string().into_bytes()))
    }
}

fn list(objects: &BTreeMap<String, Value>, path: &str) -> Value {
    let plural = path.rsplit('/').next().unwrap_or_default();
    let of_kind = |key: &&String| key.rsplit('/').nth(1) == Some(plural);
    let items: Vec<_> = objects.keys().filter(of_kind).map(|key| objects[key].clone()).collect();
    json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": "1" },
            "items": items })
}

/// A cloud with one instance and as many balancers as are wanted.
#[derive(Default)]
struct Cloud {
    state: Mutex<Option<InstanceState>>,
    calls: Mutex<Vec<String>>,
}

impl Cloud {
    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock())
    }
    fn note(&self, call: String) {
        self.calls.lock().push(call);
    }
}

#[async_trait]
impl CloudProvider for Cloud {
    async fn instance_states(&self, _: &[NodeRef]) -> Result<Vec<InstanceState>, CloudError> {
        Ok(vec![self.state.lock().unwrap_or(InstanceState::Running)])
    }
    async fn instance_metadata(
        &self,
        nodes: &[NodeRef],
    ) -> Result<Vec<Result<Instance, CloudError>>, CloudError> {
        let known = |node: &NodeRef| Instance {
            provider_id: format!("pretended://{}", node.name),
            zone: "z".into(),
            ..Instance::default()
        };
        Ok(nodes.iter().map(|node| Ok(known(node))).collect())
    }
    async fn local_zone(&self) -> Result<(String, String), CloudError> {
        Ok(("r".into(), "z".into()))
    }
    async fn load_balancer_name(&self, spec: &LbSpec) -> Result<String, CloudError> {
        Ok(spec.uid.clone())
    }
    async fn load_balancer(&self, _: &LbSpec) -> Result<Option<Vec<LbIngress>>, CloudError> {
        Ok(None)
    }
    async fn ensure_load_balancer(
        &self,
        spec: &LbSpec,
        nodes: &[NodeRef],
    ) -> Result<Vec<LbIngress>, CloudError> {
        self.note(format!("ensure {} for {} nodes", spec.name, nodes.len()));
        Ok(vec![LbIngress { ip: "192.0.2.1".into(), ..LbIngress::default() }])
    }
    async fn update_load_balancer(
        &self,
        spec: &LbSpec,
        nodes: &[NodeRef],
    ) -> Result<(), CloudError> {
        self.note(format!("update {} for {} nodes", spec.name, nodes.len()));
        Ok(())
    }
    async fn delete_load_balancer(&self, spec: &LbSpec) -> Result<(), CloudError> {
        self.note(format!("delete {}", spec.name));
        Ok(())
    }
    async fn routes(&self, _: &str) -> Result<Vec<Route>, CloudError> {
        Ok(Vec::new())
    }
    async fn create_route(&self, _: &str, _: &str, _: &Route) -> Result<(), CloudError> {
        Ok(())
    }
    async fn delete_route(&self, _: &str, _: &Route) -> Result<(), CloudError> {
        Ok(())
    }
}

/// Informers over what the server has now, synced for the kinds of both controllers.
async fn informers(server: &Server) -> Informers {
    let informers = Informers::new(server.client(), CancellationToken::new());
    informers.of::<Node>().synced().await;
    informers.of::<Service>().synced().await;
    informers
}

fn recorder(server: &Server) -> Recorder {
    Recorder::new(server.client(), Reporter { controller: "test".into(), instance: None })
}

const NODE: &str = "/api/v1/nodes/n";
const SERVICE: &str = "/api/v1/namespaces/ns/services/s";

async fn reconcile_node(server: &Server, cloud: &Arc<Cloud>) -> Requeue {
    let informers = informers(server).await;
    let (config, recorder) = (Config::default(), recorder(server));
    let controller = node::Controller::new(&config, &informers, cloud.clone(), recorder);
    controller.reconcile("n".into()).await.expect("the pretended world works")
}

async fn reconcile_service(server: &Server, cloud: &Arc<Cloud>) {
    let informers = informers(server).await;
    let (config, recorder) = (Config::default(), recorder(server));
    let controller = service::Controller::new(&config, &informers, cloud.clone(), recorder);
    let done = controller.reconcile(ObjectKey::new("ns", "s")).await;
    done.expect("the pretended world works");
}

#[tokio::test]
async fn a_new_node_is_initialised() {
    let server = Server::with(
        NODE,
        json!({
            "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n", "resourceVersion": "1" },
            "spec": { "taints": [{ "key": node::UNINITIALIZED, "effect": "NoSchedule" }] },
        }),
    );
    reconcile_node(&server, &Arc::default()).await;
    let node = server.object(NODE).expect("it is still there");
    assert_eq!(node["spec"], json!({ "providerID": "pretended://n", "taints": [] }));
    assert_eq!(node["metadata"]["labels"]["topology.kubernetes.io/zone"], "z");
}

#[tokio::test]
async fn a_node_without_an_instance_goes_once_it_is_not_ready() {
    let server = Server::with(
        NODE,
        json!({
            "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n", "resourceVersion": "1" },
            "spec": { "providerID": "pretended://n" },
            "status": { "conditions": [{ "type": "Ready", "status": "Unknown" }] },
        }),
    );
    let cloud = Arc::new(Cloud::default());
    let again = reconcile_node(&server, &cloud).await;
    assert_eq!(again, Requeue::After(Duration::from_secs(5)));
    assert!(server.object(NODE).is_some(), "its instance runs");
    *cloud.state.lock() = Some(InstanceState::NotFound);
    reconcile_node(&server, &cloud).await;
    assert_eq!(server.object(NODE), None);
}

#[tokio::test]
async fn a_balancer_is_made_published_and_removed() {
    let server = Server::with(
        SERVICE,
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": "s", "namespace": "ns", "resourceVersion": "1" },
            "spec": { "type": "LoadBalancer", "ports": [{ "port": 80, "nodePort": 30080 }] },
        }),
    );
    server.0.lock().insert(
        NODE.into(),
        json!({
            "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n", "resourceVersion": "1" },
        }),
    );
    let cloud = Arc::new(Cloud::default());
    reconcile_service(&server, &cloud).await;
    assert_eq!(cloud.calls(), ["ensure s for 1 nodes"]);
    let made = server.object(SERVICE).expect("it is still there");
    let ingress = json!([{ "ip": "192.0.2.1", "ipMode": "VIP" }]);
    assert_eq!(made["status"]["loadBalancer"]["ingress"], ingress);
    assert_eq!(made["metadata"]["finalizers"], json!([service::FINALIZER]));
    let mut deleted = made;
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    server.0.lock().insert(SERVICE.into(), deleted);
    reconcile_service(&server, &cloud).await;
    assert_eq!(cloud.calls(), ["delete s"]);
    let left = server.object(SERVICE).expect("the server would remove it");
    assert_eq!(left["metadata"]["finalizers"], json!([]));
}

#[tokio::test]
async fn after_a_start_those_who_have_an_address_come_before_those_who_want_one() {
    let service = |name: &str, ingress: Value| {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": name, "namespace": "ns", "resourceVersion": "1",
                          "finalizers": [service::FINALIZER] },
            "spec": { "type": "LoadBalancer", "ports": [{ "port": 80 }] },
            "status": { "loadBalancer": { "ingress": ingress } },
        })
    };
    let server = Server::default();
    for (name, ingress) in [("a", json!([])), ("z", json!([{ "ip": "192.0.2.1" }]))] {
        let path = format!("/api/v1/namespaces/ns/services/{name}");
        server.0.lock().insert(path, service(name, ingress));
    }
    let informers = informers(&server).await;
    let (config, cloud) = (Config::default(), Arc::new(Cloud::default()));
    let controller =
        service::Controller::new(&config, &informers, cloud.clone(), recorder(&server));
    let stop = CancellationToken::new();
    let both = async {
        while cloud.calls.lock().len() < 2 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let run = stop.run_until_cancelled(controller.run(2, stop.clone()));
    let (_, ()) = tokio::join!(run, both);
    assert_eq!(cloud.calls(), ["ensure z for 0 nodes", "ensure a for 0 nodes"]);
}
