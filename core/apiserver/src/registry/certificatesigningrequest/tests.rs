//! Requests, approvals, certificates.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::authn::Identity;
use crate::registry::check::texts;

/// A request for `CN=sample`, signed with its own key.
const REQUEST: &str = concat!(
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlITU1ITUNBUUF3RVRFUE1BMEdBMVVFQXd3R2My",
    "RnRjR3hsTUZrd0V3WUhLb1pJemowQ0FRWUlLb1pJemowRApBUWNEUWdBRXg5eVVwZUsrNG5meGcyUlFHenp1YVBr",
    "ZGpWT0cyWjVjSythVjJyQ0x1MGhsYlZhLzNpQllIdHVkCjJXSHZlWmRJMVRDUi9UL1RmSXd0ZXR6Ry9rQVRVcUFB",
    "TUFvR0NDcUdTTTQ5QkFNQ0Ewa0FNRVlDSVFENllwb0IKYkVrejZUNW5qRlBWTVpUL1pyYmNvYTBtZ1M2aHEwM3Av",
    "d3VzZFFJaEFKdmpwTGM3QWd2MnBpSGxiQzdvZ3pTQgpqd21iZVMvemFNUE9pKzZzcVNyKwotLS0tLUVORCBDRVJU",
    "SUZJQ0FURSBSRVFVRVNULS0tLS0K",
);

fn request() -> Value {
    json!({"metadata": {"name": "r"}, "spec": {"request": REQUEST, "signerName": "a.io/b",
        "usages": ["client auth"], "username": "ann"}, "status": {}})
}

fn changed(pointer: &str, value: Value) -> Value {
    let mut obj = request();
    *obj.pointer_mut(pointer).unwrap() = value;
    obj
}

#[test]
fn mistakes_are_named() {
    let cases = [
        (
            changed("/spec/request", json!("eA==")),
            "spec.request: Invalid value: \"eA==\": PEM block type must be CERTIFICATE REQUEST",
        ),
        (changed("/spec/usages", json!([])), "spec.usages: Required value"),
        (
            changed("/spec/usages", json!(["any", "any"])),
            "spec.usages[1]: Duplicate value: \"any\"",
        ),
        (
            changed("/spec/signerName", json!("kubernetes.io/legacy-unknown")),
            "spec.signerName: Invalid value: \"kubernetes.io/legacy-unknown\": the legacy \
             signerName is not allowed via this API version",
        ),
        (
            changed("/spec/signerName", json!("io/b")),
            "spec.signerName: Invalid value: \"io\": should be a domain with at least two \
             segments separated by dots",
        ),
        (
            changed("/spec/signerName", json!("b")),
            "spec.signerName: Invalid value: \"b\": must be a fully qualified domain and path of \
             the form 'example.com/signer-name'",
        ),
    ];
    for (obj, error) in cases {
        assert_eq!(texts(&SigningRequests.validate_create(&obj)), [error]);
    }
    let found = texts(&SigningRequests.validate_create(&changed("/spec/usages", json!(["x"]))));
    assert!(
        found[0].starts_with("spec.usages[0]: Unsupported value: \"x\": supported values: \"any\"")
    );
    assert_eq!(texts(&SigningRequests.validate_create(&request())), [""; 0]);
}

#[test]
fn who_asks_is_who_is_logged_in() {
    let ctx = Context { user: Arc::new(Identity::user("eve", &["g"])), ..Context::default() };
    let mut obj = request();
    obj["status"]["certificate"] = "x".into();
    SigningRequests.prepare_create(&ctx, &mut obj);
    assert_eq!(obj["spec"]["username"], "eve");
    assert_eq!(obj["spec"]["groups"][0], "g");
    assert_eq!(obj["status"], json!({}));
}

#[test]
fn approval_is_given_once_and_only_through_its_subresource() {
    let old = request();
    let approved = json!([{"type": "Approved", "status": "True", "reason": "r"}]);
    let mut obj = changed("/spec/signerName", json!("other.io/x"));
    obj["status"] = json!({"conditions": approved, "certificate": "x"});
    let ctx = Context::default();
    SigningRequests.prepare_sub_update(&ctx, &mut obj, &old);
    assert_eq!(obj["spec"], old["spec"]);
    assert!(obj["status"].get("certificate").is_none());
    assert!(obj["status"]["conditions"][0]["lastUpdateTime"].is_string());
    assert_eq!(texts(&SigningRequests.validate_sub_update("approval", &obj, &old)), [""; 0]);
    assert_eq!(
        texts(&SigningRequests.validate_status_update(&obj, &old)),
        ["status.conditions: Forbidden: updates may not add a condition of type \"Approved\""]
    );
    assert_eq!(
        texts(&SigningRequests.validate_sub_update("approval", &old, &obj)),
        ["status.conditions: Forbidden: updates may not remove a condition of type \"Approved\""]
    );
    let mut torn = obj.clone();
    let denied = json!({"type": "Denied", "status": "True"});
    torn["status"]["conditions"].as_array_mut().unwrap().push(denied);
    assert_eq!(
        texts(&SigningRequests.validate_sub_update("approval", &torn, &obj)),
        ["status.conditions: Invalid value: \"Denied\": Approved and Denied conditions are \
          mutually exclusive"]
    );
}

#[test]
fn a_certificate_is_one_and_stays() {
    let old = request();
    let mut obj = request();
    obj["status"]["certificate"] = "eA==".into();
    assert_eq!(
        texts(&SigningRequests.validate_status_update(&obj, &old)),
        ["status.certificate: Invalid value: \"<certificate data>\": must contain at least one \
          CERTIFICATE PEM block"]
    );
    obj["status"]["certificate"] = REQUEST.into();
    let found = texts(&SigningRequests.validate_status_update(&obj, &old));
    assert!(found[0].ends_with("blocks are allowed, found \"CERTIFICATE REQUEST\""), "{found:?}");
}

#[test]
fn a_row_tells_how_far_it_is() {
    let mut obj = request();
    obj["spec"]["expirationSeconds"] = 3600.into();
    let row = |obj: &Value| json!(SigningRequests.row(obj, Timestamp::now())[2..]);
    assert_eq!(row(&obj), json!(["a.io/b", "ann", "60m", "Pending"]));
    obj["status"] = json!({"conditions": [{"type": "Approved"}], "certificate": "x"});
    assert_eq!(row(&obj)[3], "Approved,Issued");
}
