//! Admission policies: asked by many at once, swapped, fenced off when they fail.

use hansa_extension::admission::{Change, Operation, Pool, Request};
use hansa_extension::runtime::FailurePolicy;
use hansa_plugin_sdk::admission::{Policy, request as question};
use serde_json::{Value, json};

use super::*;

fn create(object: &Value) -> Request {
    let object = Some(object.to_string().into_bytes());
    Request { operation: Operation::Create, object, ..Request::default() }
}

/// The one policy that decides.
fn pool(host: &Host) -> Pool {
    let sources = host.admission().current();
    assert_eq!(sources.len(), 1);
    Pool::new(sources[0].clone())
}

async fn policy(host: &Host, guest_name: &str, config: Value) -> Loaded {
    let request = request("policy", World::Admission, guest_name, config);
    load_and_activate(host, request).await.unwrap()
}

#[tokio::test]
async fn a_policy_decides_as_its_native_twin() {
    let host = host();
    let config = json!({"labels": {"team": ["shop"]}});
    let loaded = policy(&host, "admission-required-labels", config.clone()).await;
    assert_eq!(loaded.guest_name, "required-labels");
    let pool = pool(&host);
    let mut twin =
        hansa_admission_required_labels_logic::RequiredLabels::configure(&config.into()).unwrap();
    for labels in [json!({"team": "shop"}), json!({"team": "x"}), json!({}), json!(7)] {
        let asked = create(&json!({"metadata": {"labels": labels}}));
        let (said, by) = pool.ask(&mut |policy| policy.validate(&asked)).unwrap();
        let native = hansa_plugin_sdk::admission::Request {
            object: asked.object.clone(),
            ..question(hansa_plugin_sdk::admission::Operation::Create)
        };
        let own = twin.validate(&native);
        assert_eq!((said.allowed, said.code, said.message), (own.allowed, own.code, own.message));
        assert_eq!(by, loaded.identity);
    }
}

#[tokio::test]
async fn what_a_policy_is_about_is_known_before_it_is_asked() {
    let host = host();
    let constraints = json!({"resourceRules": [{"resources": ["configmaps"]}]});
    let config = json!({"labels": {"team": "nobody"}});
    let wanted = LoadRequest {
        constraints: constraints.clone(),
        failure: FailurePolicy::Closed,
        ..request("policy", World::Admission, "admission-default-labels", config)
    };
    load_and_activate(&host, wanted).await.unwrap();
    let pool = pool(&host);
    let scope = pool.source().scope().unwrap();
    assert_eq!((&scope.constraints, scope.failure), (&constraints, FailurePolicy::Closed));
    assert!(scope.interests.mutates && !scope.interests.validates);
    let asked = create(&json!({"metadata": {"labels": {"a": "b"}}}));
    let (said, _) = pool.ask(&mut |policy| policy.mutate(&asked)).unwrap();
    let Change::Patch(patch) = said.change else { panic!("it patches") };
    assert_eq!(
        serde_json::from_slice::<Value>(&patch).unwrap(),
        json!([{"op": "add", "path": "/metadata/labels/team", "value": "nobody"}])
    );
}

#[tokio::test]
async fn all_policies_decide_and_each_keeps_its_last_good_version() {
    let host = host();
    let config = json!({"labels": {"team": []}});
    let good = policy(&host, "admission-required-labels", config.clone()).await;
    let other = request("other", World::Admission, "admission-required-labels", config);
    load_and_activate(&host, other).await.unwrap();
    assert_eq!(host.admission().current().len(), 2);
    policy(&host, "admission-trapping", Value::Null).await;
    let first = Pool::new(host.admission().current()[0].clone());
    let asked = create(&json!({"metadata": {}}));
    let (said, by) = first.ask(&mut |policy| policy.validate(&asked)).unwrap();
    assert_eq!((by, said.allowed), (good.identity.clone(), false), "the answer is not lost");
    let now = host.admission().current();
    assert_eq!(*now[0].identity(), good.identity);
    let state = host.status().into_iter().find(|state| state.name == "policy").unwrap();
    assert!(state.fenced.unwrap().to_string().contains("traps on purpose"));
    host.deactivate("policy").await.unwrap();
    host.deactivate("other").await.unwrap();
    assert!(host.admission().is_empty());
}

/// What becomes of a policy that nobody steps in for.
async fn failure(at: &str, call_ms: u32) -> PluginError {
    let host = host();
    let failure = FailurePolicy::Fallback;
    let limits = Limits { call_ms, ..Limits::default() };
    let name = "admission-trapping";
    let bad = request("bad", World::Admission, name, json!({"at": at}));
    load_and_activate(&host, LoadRequest { failure, limits, ..bad }).await.unwrap();
    let pool = pool(&host);
    let asked = create(&json!({}));
    // A late answer may be a busy machine's fault: only the third is one too many.
    let mut last = PluginError::Nobody(String::new());
    for _ in 0..3 {
        last = pool.ask(&mut |policy| policy.validate(&asked)).unwrap_err();
    }
    assert!(host.admission().is_empty(), "{at}: it is taken out");
    last
}

#[tokio::test]
async fn a_policy_that_hoards_loops_or_recurses_is_stopped() {
    assert_eq!(failure("decision", 5000).await.reason(), "Trapped");
    assert_eq!(failure("memory", 5000).await, PluginError::Memory { limit_mib: 64 });
    assert_eq!(failure("recurse", 5000).await.reason(), "Trapped");
    assert_eq!(failure("loop", 100).await, PluginError::Timeout { limit_ms: 100 });
}

#[tokio::test]
async fn a_policy_that_wants_to_be_asked_nothing_is_refused() {
    let host = host();
    let idle = request("bad", World::Admission, "admission-trapping", json!({"at": "nothing"}));
    let error = host.load(idle).await.unwrap_err();
    assert_eq!(error.reason(), "ContractBroken", "{error}");
}
