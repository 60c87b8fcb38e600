//! Bad components: each is refused or fenced off with its own words, and changes nothing.

use serde_json::{Value, json};

use super::*;

/// What loading says.
async fn refusal(request: LoadRequest) -> PluginError {
    let host = host();
    let error = host.load(request).await.unwrap_err();
    assert_eq!(host.status(), []);
    error
}

fn trapping(config: Value) -> LoadRequest {
    request("bad", World::Federation, "federation-trapping", config)
}

/// What becomes of a policy that passes the checks and fails when it decides: the default policy
/// must have decided, and the bad one be fenced off.
async fn failure(at: &str) -> PluginError {
    let host = host();
    let default = placement(&host, "default", "federation-default", Value::Null).await;
    load_and_activate(&host, trapping(json!({ "at": at }))).await.unwrap();
    let mut set = members(&host);
    let placement = storefront();
    for _ in 0..3 {
        assert_eq!(set.select(&placement).unwrap().by, default.identity);
    }
    assert_eq!(set.identity(), Some(default.identity));
    host.status().remove(0).fenced.unwrap()
}

#[tokio::test]
async fn bytes_that_are_no_component_are_refused() {
    for bytes in [&b"kind: Plugin"[..], b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x01\0garbage", b""] {
        let digest = digest_of(bytes);
        let request = LoadRequest { bytes: bytes.into(), digest, ..trapping(Value::Null) };
        let error = refusal(request).await;
        assert_eq!(error.reason(), "NotAComponent", "{error}");
    }
}

#[tokio::test]
async fn other_bytes_than_the_digest_says_are_refused() {
    let digest = digest_of(b"something else");
    let error = refusal(LoadRequest { digest, ..trapping(Value::Null) }).await;
    assert_eq!(error.reason(), "DigestMismatch", "{error}");
}

#[tokio::test]
async fn a_component_of_another_world_is_refused_and_its_world_named() {
    let error = refusal(request("bad", World::Scheduler, "cloud-local", Value::Null)).await;
    assert_eq!(error.reason(), "WrongWorld", "{error}");
    let text = error.to_string();
    assert!(text.contains("hansa:scheduler/evaluate") && text.contains("\"cloud\""), "{text}");
}

#[tokio::test]
async fn settings_that_the_guest_refuses_are_refused() {
    for at in ["validate", "refuse"] {
        let error = refusal(trapping(json!({ "at": at }))).await;
        assert_eq!(error.reason(), "SettingsRefused", "{at}: {error}");
    }
    let typo = json!({"perfer": "us-east"});
    let error = refusal(request("bad", World::Federation, "federation-prefer-region", typo)).await;
    assert!(error.to_string().contains("perfer"), "{error}");
}

#[tokio::test]
async fn a_guest_that_fails_while_configured_is_refused() {
    let error = refusal(trapping(json!({"at": "configure"}))).await;
    assert_eq!(error.reason(), "Trapped", "{error}");
    let limits = Limits { init_ms: 50, ..Limits::default() };
    let endless = LoadRequest { limits, ..trapping(json!({"at": "loop-configure"})) };
    let error = refusal(endless).await;
    assert_eq!(error, PluginError::Timeout { limit_ms: 50 });
}

#[tokio::test]
async fn a_guest_that_wants_more_memory_than_allowed_from_the_start_is_refused() {
    let limits = Limits { memory_mib: 1, ..Limits::default() };
    let error = refusal(LoadRequest { limits, ..trapping(Value::Null) }).await;
    assert_eq!(error, PluginError::Memory { limit_mib: 1 });
}

#[tokio::test]
async fn a_guest_that_traps_deciding_is_fenced_off() {
    assert_eq!(failure("decision").await.reason(), "Trapped");
}

#[tokio::test]
async fn a_guest_that_never_returns_is_fenced_off() {
    assert_eq!(failure("loop").await, PluginError::Timeout { limit_ms: 1000 });
}

#[tokio::test]
async fn a_guest_that_eats_memory_is_fenced_off() {
    assert_eq!(failure("memory").await, PluginError::Memory { limit_mib: 64 });
}

#[tokio::test]
async fn a_guest_that_lies_is_fenced_off() {
    for at in ["version", "length", "score", "stranger"] {
        let error = failure(at).await;
        assert_eq!(error.reason(), "ContractBroken", "{at}: {error}");
    }
}

#[tokio::test]
async fn shares_that_do_not_add_up_are_not_used() {
    let host = host();
    let default = placement(&host, "default", "federation-default", Value::Null).await;
    load_and_activate(&host, trapping(json!({"at": "shares"}))).await.unwrap();
    let mut set = members(&host);
    let divided = set.divide(&storefront(), &[0, 1], &[1, 1], &[9, 9]).unwrap();
    assert_eq!(divided.by, default.identity);
}

#[tokio::test]
async fn without_anybody_to_step_in_the_failure_is_the_callers() {
    let host = host();
    load_and_activate(&host, trapping(Value::Null)).await.unwrap();
    let mut set = members(&host);
    assert_eq!(set.select(&storefront()).unwrap_err().reason(), "Trapped");
    assert_eq!(set.select(&storefront()).unwrap_err().reason(), "NobodyDecides");
}
