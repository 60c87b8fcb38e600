//! The running scheduler against a pretended API server.

use std::collections::BTreeMap;
use std::convert::Infallible;

use hansa_client::kube::client::Body;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, UnboundedSender};

use super::*;

/// What the scheduler wrote: method, path, body.
type Written = (Method, String, Value);

/// Lists by path, endless watches, and a note of every write.
#[derive(Clone)]
struct Server {
    lists: Arc<BTreeMap<&'static str, Value>>,
    written: UnboundedSender<Written>,
    /// Bindings to refuse before one is taken.
    refusals: Arc<Mutex<u32>>,
}

impl Server {
    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, Infallible> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        if parts.uri.query().unwrap_or_default().contains("watch=") {
            std::future::pending::<()>().await;
        }
        if parts.method == Method::GET {
            let items = self.lists.get(path.as_str()).cloned().unwrap_or(json!([]));
            let list = json!({ "kind": "List", "apiVersion": "v1", "items": items,
                "metadata": { "resourceVersion": "1" }, "groupVersion": "v1", "resources": [] });
            return Ok(reply(200, &list));
        }
        let body = body.collect().await.expect("bodies are in memory").to_bytes();
        let body: Value = serde_json::from_slice(&body).expect("the scheduler writes JSON");
        if path.ends_with("/binding") && self.refuses() {
            let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure",
                "reason": "Conflict", "message": "not now", "code": 409 });
            return Ok(reply(409, &status));
        }
        let _ = self.written.send((parts.method, path, body.clone()));
        Ok(reply(201, &body))
    }

    fn refuses(&self) -> bool {
        let mut left = self.refusals.lock();
        let refuses = *left > 0;
        *left = left.saturating_sub(1);
        refuses
    }
}

fn reply(code: u16, body: &Value) -> Response<Body> {
    let response = Response::builder().status(code);
    response.body(Body::from(body.to_string().into_bytes())).expect("a valid response")
}

/// Runs the scheduler over one node and these pods until `enough` writes were seen.
async fn written(pods: Value, refusals: u32, enough: usize) -> Vec<Written> {
    let node = json!([{ "metadata": { "name": "n", "resourceVersion": "1" },
        "status": { "allocatable": { "cpu": "2", "memory": "4Gi", "pods": "10" } } }]);
    let lists = BTreeMap::from([("/api/v1/nodes", node), ("/api/v1/pods", pods)]);
    let (written, mut seen) = mpsc::unbounded_channel();
    let refusals = Arc::new(Mutex::new(refusals));
    let server = Server { lists: Arc::new(lists), written, refusals };
    let answer = tower::service_fn(move |request| server.clone().answer(request));
    let client = Client::new(answer, "default");
    let stop = CancellationToken::new();
    let policies = hansa_scheduler_oracle::active();
    let running = tokio::spawn(run(Config::default(), client, policies, stop.clone()));
    let mut writes = Vec::new();
    while writes.len() < enough {
        writes.push(seen.recv().await.expect("the scheduler runs"));
    }
    stop.cancel();
    running.await.expect("it does not panic").expect("it ends well");
    writes.sort_by(|a, b| a.1.cmp(&b.1));
    writes
}

fn pod(name: &str, cpu: &str) -> Value {
    json!({ "metadata": { "name": name, "namespace": "ns", "uid": format!("uid-{name}"),
            "resourceVersion": "1" },
        "spec": { "schedulerName": "default-scheduler", "containers": [
            { "name": "c", "resources": { "requests": { "cpu": cpu } } }] } })
}

#[tokio::test]
async fn a_pod_is_bound_and_an_event_says_so_even_after_a_refusal() {
    let writes = written(json!([pod("p", "1")]), 1, 3).await;
    let events: Vec<_> = writes.iter().filter(|w| w.1.contains("/events")).collect();
    let notes: Vec<_> = events.iter().filter_map(|w| w.2["note"].as_str()).collect();
    assert!(notes.contains(&"Successfully assigned ns/p to n"), "{notes:?}");
    assert!(notes.iter().any(|note| note.starts_with("Binding rejected")), "{notes:?}");
    let binding = writes.iter().find(|w| w.1.ends_with("/binding")).expect("it was bound");
    assert_eq!(binding.1, "/api/v1/namespaces/ns/pods/p/binding");
    assert_eq!(binding.2["target"]["name"], "n");
    assert_eq!(binding.2["metadata"]["uid"], "uid-p");
}

#[tokio::test]
async fn a_pod_without_a_node_is_told_why() {
    let writes = written(json!([pod("big", "8")]), 0, 2).await;
    let why = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: \
               1 Preemption is not helpful for scheduling.";
    let (method, path, status) = &writes[0];
    assert_eq!((method, path.as_str()), (&Method::PATCH, "/api/v1/namespaces/ns/pods/big/status"));
    let condition = &status["status"]["conditions"][0];
    assert_eq!(
        (condition["status"].as_str(), condition["message"].as_str()),
        (Some("False"), Some(why))
    );
    let event = &writes[1].2;
    assert_eq!(
        (event["reason"].as_str(), event["note"].as_str()),
        (Some("FailedScheduling"), Some(why))
    );
    assert_eq!(event["regarding"]["name"], "big");
}
