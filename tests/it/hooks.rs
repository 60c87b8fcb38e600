//! Admission webhooks: a server of the test's own says yes, no, something else, or nothing at all.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hansa_tests::webhook::Webhook;
use hansa_tests::{Local, soon};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";

/// A webhook server, and the requests that it was asked about.
struct Server {
    webhook: Webhook,
    seen: Arc<Mutex<Vec<Value>>>,
}

impl Server {
    /// `answer` makes a response without the uid of a review's request; null is an error of the
    /// server's own.
    fn start(answer: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let webhook = Webhook::start(move |review| {
            let request = &review["request"];
            log.lock().unwrap().push(request.clone());
            let mut response = answer(request);
            if response.is_null() {
                return response;
            }
            response["uid"] = request["uid"].clone();
            json!({"kind": "AdmissionReview", "apiVersion": review["apiVersion"],
                "response": response})
        });
        Self { webhook, seen }
    }

    /// A configuration with this server's webhook for ConfigMaps; `more` goes over it.
    fn configuration(&self, name: &str, more: &Value) -> Value {
        let mut webhook = json!({
            "name": format!("{name}.test.dev"),
            "clientConfig": {"url": self.webhook.url, "caBundle": self.webhook.ca_bundle},
            "rules": [{"operations": ["CREATE", "UPDATE", "DELETE"], "apiGroups": [""],
                "apiVersions": ["v1"], "resources": ["configmaps"]}],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 1,
        });
        for (field, value) in more.as_object().unwrap() {
            webhook[field] = value.clone();
        }
        json!({"metadata": {"name": name}, "webhooks": [webhook]})
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn last(&self) -> Value {
        self.seen.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"k": "v"}})
}

/// Waits until a configuration works, as whoever installs one does.
fn installed(local: &Local, path: &str, configuration: &Value, server: &Server) {
    let made = local.post(path, configuration);
    assert_eq!(made.code, 201, "{}", made.text);
    let probe = map("probe");
    soon("the webhook to be called", || {
        local.post(&format!("{MAPS}?dryRun=All"), &probe);
        server.count() > 0
    });
}

#[test]
fn a_webhook_refuses_in_its_own_words() {
    let local = Local::start();
    let server = Server::start(|request| {
        let bad = request["name"] == "bad";
        json!({"allowed": !bad, "warnings": ["looked at it"],
            "status": {"message": "bad is not good", "code": 403, "reason": "Forbidden"}})
    });
    installed(&local, VALIDATING, &server.configuration("no", &json!({})), &server);
    let refused = local.post(MAPS, &map("bad"));
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.message(),
        "admission webhook \"no.test.dev\" denied the request: bad is not good"
    );
    assert_eq!(local.post(MAPS, &map("good")).code, 201);
    let asked = server.last();
    assert_eq!(asked["operation"], "CREATE");
    assert_eq!(asked["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(asked["requestResource"]["resource"], "configmaps");
    assert_eq!((&asked["namespace"], &asked["name"]), (&json!("default"), &json!("good")));
    assert_eq!(asked["userInfo"]["username"], "admin");
    assert_eq!(asked["object"]["data"], json!({"k": "v"}));
    assert_eq!(asked["options"]["kind"], "CreateOptions");
    local.delete(&format!("{MAPS}/good"), &json!({}));
    let asked = server.last();
    assert_eq!((&asked["operation"], &asked["object"]), (&json!("DELETE"), &Value::Null));
    assert_eq!(asked["oldObject"]["metadata"]["name"], "good");
}

#[test]
fn webhooks_change_objects_and_see_what_others_changed() {
    let local = Local::start();
    let add = |key: &'static str| {
        move |request: &Value| {
            let there = request["object"]["data"].get(key).is_some();
            let patch = json!([{"op": "add", "path": format!("/data/{key}"), "value": "1"}]);
            let patch = STANDARD.encode(patch.to_string());
            match there {
                true => json!({"allowed": true}),
                false => json!({"allowed": true, "patch": patch, "patchType": "JSONPatch"}),
            }
        }
    };
    let (first, second) = (Server::start(add("one")), Server::start(add("two")));
    let again = json!({"reinvocationPolicy": "IfNeeded"});
    installed(&local, MUTATING, &first.configuration("a-first", &again), &first);
    installed(&local, MUTATING, &second.configuration("b-second", &json!({})), &second);
    let (before, other) = (first.count(), second.count());
    let made = local.post(MAPS, &map("m"));
    assert_eq!(made.body["data"], json!({"k": "v", "one": "1", "two": "1"}));
    assert_eq!(first.count(), before + 2, "it looks again at what the second one changed");
    assert_eq!(second.count(), other + 1);
    let seen = first.last();
    assert_eq!(seen["object"]["data"]["two"], "1");
}

#[test]
fn only_what_matches_is_sent() {
    let local = Local::start();
    let server = Server::start(|_| json!({"allowed": false}));
    let more = json!({
        "objectSelector": {"matchLabels": {"checked": "yes"}},
        "matchConditions": [{"name": "n", "expression": "object.metadata.name != 'spared'"}],
    });
    let made = local.post(VALIDATING, &server.configuration("some", &more));
    assert_eq!(made.code, 201, "{}", made.text);
    let labelled = |name: &str| {
        let mut map = map(name);
        map["metadata"]["labels"] = json!({"checked": "yes"});
        map
    };
    soon("the webhook to be called", || local.post(MAPS, &labelled("x")).code == 400);
    let before = server.count();
    assert_eq!(local.post(MAPS, &map("plain")).code, 201);
    assert_eq!(local.post(MAPS, &labelled("spared")).code, 201);
    let secret = json!({"metadata": {"name": "s", "labels": {"checked": "yes"}}});
    assert_eq!(local.post("/api/v1/namespaces/default/secrets", &secret).code, 201);
    assert_eq!(local.post(VALIDATING, &server.configuration("more", &more)).code, 201);
    assert_eq!(server.count(), before, "nor does it see webhook configurations");
}

#[test]
fn a_webhook_that_fails_is_what_its_policy_says() {
    let local = Local::start();
    let slow = Server::start(|_| {
        tokio::task::block_in_place(|| std::thread::sleep(Duration::from_secs(2)));
        json!({"allowed": true})
    });
    let broken = Server::start(|_| Value::Null);
    let odd = Server::start(|_| json!({"allowed": true, "patch": "bm8=", "patchType": "X"}));
    let cases = [
        ("slow", &slow, "context deadline exceeded"),
        (
            "broken",
            &broken,
            "failed calling webhook \"broken.test.dev\": failed to call webhook: an error",
        ),
        ("odd", &odd, "validating webhook may not return response.patch"),
    ];
    for (name, server, why) in cases {
        let mut configuration = server.configuration(name, &json!({}));
        assert_eq!(local.post(VALIDATING, &configuration).code, 201);
        let failed = soon_failing(&local);
        assert_eq!((failed.code, failed.reason()), (500, "InternalError"));
        assert!(failed.message().contains(why), "{name}: {}", failed.message());
        let secret = json!({"metadata": {"generateName": "s-"}});
        assert_eq!(local.post("/api/v1/namespaces/default/secrets", &secret).code, 201);
        let path = format!("{VALIDATING}/{name}");
        let live = local.get(&path);
        configuration["metadata"] = live.body["metadata"].clone();
        configuration["webhooks"][0]["failurePolicy"] = "Ignore".into();
        assert_eq!(local.put(&path, &configuration).code, 200);
        soon("the failure to be ignored", || {
            local.post(&format!("{MAPS}?dryRun=All"), &map("y")).code == 201
        });
        local.delete(&path, &json!({}));
    }
}

fn soon_failing(local: &Local) -> hansa_tests::Answer {
    hansa_tests::eventually("the webhook to be called", || {
        let answer = local.post(&format!("{MAPS}?dryRun=All"), &map("x"));
        (answer.code != 201).then_some(answer)
    })
}
