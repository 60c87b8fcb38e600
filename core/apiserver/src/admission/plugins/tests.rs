//! Fake policies in front of the real registry: who is asked what, and what becomes of the answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hansa_api::meta;
use hansa_api::status::Reason;
use hansa_extension::admission::{Change, Interests, Request, Scope, Verdict};
use hansa_extension::{Identity, PolicySource};
use hansa_storage::embedded::Engine;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::generic::catalog::Catalog;
use crate::generic::context::Context;
use crate::generic::options::DeleteOptions;
use crate::generic::update::Part;
use crate::registry::{AddressRange, NODE_PORTS, Settings, bootstrap, table};

type Answer = fn(&Request) -> Result<Mutation, PluginError>;

/// A policy that answers as a function says, and what it was asked.
struct Fake {
    identity: Identity,
    scope: Scope,
    answer: Answer,
    asked: Arc<Mutex<Vec<Request>>>,
    made: AtomicUsize,
}

struct Instance(Answer, Arc<Mutex<Vec<Request>>>);

impl AdmissionPolicy for Instance {
    fn mutate(&mut self, request: &Request) -> Result<Mutation, PluginError> {
        self.1.lock().unwrap().push(request.clone());
        (self.0)(request)
    }
    fn validate(&mut self, request: &Request) -> Result<Verdict, PluginError> {
        self.mutate(request).map(|mutation| mutation.verdict)
    }
}

impl PolicySource<dyn AdmissionPolicy> for Fake {
    fn identity(&self) -> &Identity {
        &self.identity
    }
    fn scope(&self) -> Option<&Scope> {
        Some(&self.scope)
    }
    fn instantiate(&self) -> Result<Box<dyn AdmissionPolicy>, PluginError> {
        self.made.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Instance(self.answer, self.asked.clone())))
    }
    fn report(&self, _: Result<(), &PluginError>) {}
}

/// A policy for ConfigMaps.
fn fake(name: &str, interests: Interests, failure: FailurePolicy, answer: Answer) -> Arc<Fake> {
    let rules = json!([{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"],
        "resources": ["configmaps"]}]);
    let constraints = json!({"resourceRules": rules, "namespaceSelector": {
        "matchExpressions": [{"key": "free", "operator": "DoesNotExist"}]}});
    Arc::new(Fake {
        identity: Identity { name: name.into(), ..Identity::default() },
        scope: Scope { constraints, interests, failure },
        answer,
        asked: Arc::default(),
        made: AtomicUsize::new(0),
    })
}

const VALIDATES: Interests = Interests { mutates: false, validates: true, old_object: false };
const MUTATES: Interests = Interests { mutates: true, validates: false, old_object: false };

fn yes() -> Mutation {
    let verdict = Verdict { allowed: true, ..Verdict::default() };
    Mutation { verdict, change: Change::Unchanged }
}

fn replaced(request: &Request, edit: impl Fn(&mut Value)) -> Result<Mutation, PluginError> {
    let object = request.object.as_deref().unwrap_or_default();
    let mut object: Value = serde_json::from_slice(object).unwrap();
    edit(&mut object);
    Ok(Mutation { change: Change::Replace(object.to_string().into()), ..yes() })
}

struct Cluster {
    registry: Arc<Registry>,
    active: super::super::Active,
}

impl Cluster {
    async fn start(policies: &[&Arc<Fake>]) -> Self {
        let storage = Arc::new(Engine::ephemeral().unwrap());
        let service_range = AddressRange::parse("127.64.128.0/17").unwrap();
        let table = table(&Settings { service_range, node_ports: NODE_PORTS });
        let catalog = Arc::new(Catalog::new(table));
        let registry = Registry::new(storage, catalog, CancellationToken::new()).await.unwrap();
        let active = super::super::Active::default();
        let chain = super::super::chain(&registry, &Arc::default(), active.clone()).await;
        registry.set_admission(chain);
        let cluster = Self { registry, active };
        for seed in bootstrap::seeds() {
            cluster.create(seed.group, seed.plural, seed.object).await.unwrap();
        }
        cluster.activate(policies);
        cluster
    }

    fn activate(&self, policies: &[&Arc<Fake>]) {
        let source =
            |fake: &&Arc<Fake>| Arc::clone(fake) as Arc<dyn PolicySource<dyn AdmissionPolicy>>;
        self.active.swap(policies.iter().map(source).collect());
    }

    async fn create(&self, group: &str, plural: &str, object: Value) -> Result<Value, ApiError> {
        let served = self.registry.served(group, plural)?;
        let ctx = Context::internal("create", meta::namespace(&object), "");
        Ok(self.registry.create(&served, &ctx, object).await?.obj)
    }

    async fn map(&self, name: &str) -> Result<Value, ApiError> {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "v"},
            "metadata": {"name": name, "namespace": "default"}});
        self.create("", "configmaps", map).await
    }
}

#[tokio::test]
async fn only_requests_that_match_are_shown_and_once_as_bytes() {
    let policy = fake("p", VALIDATES, FailurePolicy::Closed, |_| Ok(yes()));
    let cluster = Cluster::start(&[&policy]).await;
    let free = json!({"metadata": {"name": "free", "labels": {"free": "yes"}}});
    cluster.create("", "namespaces", free).await.unwrap();
    let elsewhere = json!({"metadata": {"name": "m", "namespace": "free"}});
    cluster.create("", "configmaps", elsewhere).await.unwrap();
    assert_eq!(policy.made.load(Ordering::Relaxed), 0, "nothing was there to be asked");

    cluster.map("m").await.unwrap();
    let asked = policy.asked.lock().unwrap().pop().unwrap();
    assert_eq!((asked.namespace.as_str(), asked.name.as_str()), ("default", "m"));
    assert_eq!((asked.kind.kind.as_str(), &*asked.resource.resource), ("ConfigMap", "configmaps"));
    let object: Value = serde_json::from_slice(&asked.object.unwrap()).unwrap();
    assert_eq!(object["data"], json!({"k": "v"}));
    assert_eq!(asked.old_object, None);

    let served = cluster.registry.served("", "configmaps").unwrap();
    let ctx = Context::internal("delete", "default", "m");
    cluster.registry.delete(&served, &ctx, &DeleteOptions::default()).await.unwrap();
    let asked = policy.asked.lock().unwrap().pop().unwrap();
    assert_eq!(
        (asked.operation, asked.object),
        (hansa_extension::admission::Operation::Delete, None)
    );
    let old: Value = serde_json::from_slice(&asked.old_object.unwrap()).unwrap();
    assert_eq!(old["metadata"]["name"], "m");
    assert_eq!(policy.made.load(Ordering::Relaxed), 1, "one instance is enough");
}

#[tokio::test]
async fn updates_show_the_old_object_to_those_who_want_it() {
    let both = Interests { mutates: true, validates: true, old_object: true };
    let policy = fake("p", both, FailurePolicy::Closed, |_| Ok(yes()));
    let cluster = Cluster::start(&[&policy]).await;
    cluster.map("m").await.unwrap();
    policy.asked.lock().unwrap().clear();
    let served = cluster.registry.served("", "configmaps").unwrap();
    let ctx = Context::internal("update", "default", "m");
    let edit = |map: &Value| {
        let mut map = map.clone();
        map["data"]["k"] = "w".into();
        Ok(map)
    };
    cluster.registry.update(&served, &ctx, Part::Whole, edit).await.unwrap();
    let asked = policy.asked.lock().unwrap();
    assert_eq!(asked.len(), 2, "once to change it, once to say yes");
    for request in asked.iter() {
        let of = |bytes: &Option<Vec<u8>>| -> Value {
            serde_json::from_slice(bytes.as_deref().unwrap()).unwrap()
        };
        assert_eq!(of(&request.old_object)["data"]["k"], "v");
        assert_eq!(of(&request.object)["data"]["k"], "w");
    }
}

#[tokio::test]
async fn changes_are_seen_by_the_next_and_again_by_the_first() {
    let first = fake("a", MUTATES, FailurePolicy::Closed, |request| {
        replaced(request, |map| {
            let seen = map["data"]["b"].is_null();
            map["data"]["a"] = if seen { "before b" } else { "after b" }.into();
        })
    });
    let second = fake("b", MUTATES, FailurePolicy::Closed, |_| {
        let patch = json!([{"op": "add", "path": "/data/b", "value": "1"}]).to_string().into();
        Ok(Mutation { change: Change::Patch(patch), ..yes() })
    });
    let cluster = Cluster::start(&[&first, &second]).await;
    let made = cluster.map("m").await.unwrap();
    assert_eq!(made["data"], json!({"k": "v", "a": "after b", "b": "1"}));
}

#[tokio::test]
async fn a_no_is_the_policys_with_its_status() {
    let policy = fake("strict", VALIDATES, FailurePolicy::Skip, |request| {
        let code = if request.name == "odd" { 422 } else { 7 };
        let message = request.name.clone();
        Ok(Mutation { verdict: Verdict { code, message, ..Verdict::default() }, ..yes() })
    });
    let cluster = Cluster::start(&[&policy]).await;
    let error = cluster.map("odd").await.unwrap_err();
    assert_eq!((error.code, error.reason), (422, Reason::Invalid));
    assert_eq!(error.message, "admission plugin \"strict\" denied the request: odd");
    let error = cluster.map("even").await.unwrap_err();
    assert_eq!((error.code, error.reason), (403, Reason::Forbidden));
}

#[tokio::test]
async fn a_failure_means_what_the_policy_says() {
    let trap: Answer = |_| Err(PluginError::Trap("unreachable".into()));
    let closed = fake("p", VALIDATES, FailurePolicy::Closed, trap);
    let cluster = Cluster::start(&[&closed]).await;
    let error = cluster.map("m").await.unwrap_err();
    assert_eq!((error.code, error.reason), (500, Reason::InternalError));
    assert_eq!(
        error.message,
        "Internal error occurred: failed calling admission plugin \"p\": failed to run the guest: \
         trap: unreachable"
    );
    let default = fake("p", MUTATES, FailurePolicy::Fallback, trap);
    cluster.activate(&[&default]);
    assert!(cluster.map("m").await.is_err(), "it goes on deciding, so it cannot be done without");
    let skipped = fake("p", MUTATES, FailurePolicy::Skip, trap);
    cluster.activate(&[&skipped]);
    cluster.map("m").await.unwrap();
}

#[tokio::test]
async fn changes_that_make_no_object_of_the_kind_are_failures() {
    let answers: [Answer; 4] = [
        |_| Ok(Mutation { change: Change::Patch(b"[{}]".to_vec()), ..yes() }),
        |_| Ok(Mutation { change: Change::Replace(b"{".to_vec()), ..yes() }),
        |request| replaced(request, |map| map["kind"] = "Secret".into()),
        |request| replaced(request, |map| map["data"] = json!([1])),
    ];
    for answer in answers {
        let policy = fake("p", MUTATES, FailurePolicy::Closed, answer);
        let cluster = Cluster::start(&[&policy]).await;
        let error = cluster.map("m").await.unwrap_err();
        assert!(error.message.contains("failed to use the answer"), "{}", error.message);
    }
}
