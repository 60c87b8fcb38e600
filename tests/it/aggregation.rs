//! Aggregation: another API server's group version, served as if it were this one's.

use hansa_apiserver::authn::Identity;
use hansa_tests::extension::{Extension, GROUP};
use hansa_tests::{Answer, Local, soon};
use serde_json::{Value, json};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
const API_SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const ECHOES: &str = "/apis/agg.ex.org/v1/echoes";

/// A cluster and a server behind it that is registered.
fn aggregated() -> (Local, Extension) {
    let server = Local::aggregating();
    let extension = Extension::start(Local::pki());
    for (path, object) in [
        (SERVICES, extension.service()),
        (SLICES, extension.slice()),
        (API_SERVICES, extension.api_service()),
    ] {
        let made = server.post(path, &object);
        assert_eq!(made.code, 201, "{path}: {}", made.text);
    }
    wait_for(&server, "True", "Passed");
    soon("requests are sent on", || server.get(ECHOES).code == 200);
    (server, extension)
}

fn condition(server: &Local) -> Value {
    let service = server.get(&format!("{API_SERVICES}/v1.{GROUP}"));
    service.body["status"]["conditions"][0].clone()
}

fn wait_for(server: &Local, status: &str, reason: &str) {
    soon(&format!("the APIService is {status} for {reason}"), || {
        let own = condition(server);
        own["status"] == status && own["reason"] == reason
    });
}

fn accept(server: &Local, path: &str, accept: &str) -> Answer {
    server.send_with("GET", path, &[("accept", accept)], b"")
}

#[test]
fn another_server_is_told_who_asks_by_one_it_can_believe() {
    let (server, _extension) = aggregated();
    let ann = Identity::user("ann", &["dev", "system:masters"]);
    let told = server.send_as(ann, "GET", &format!("{ECHOES}?limit=5"), "", b"").body;
    assert_eq!((&told["user"], &told["proxy"]), (&json!(["ann"]), &json!("front-proxy-client")));
    assert_eq!(told["groups"], json!(["dev", "system:masters", "system:authenticated"]));
    assert_eq!((&told["query"], &told["authorization"]), (&json!("limit=5"), &json!([])));
    let forged = [("x-remote-user", "root"), ("x-remote-group", "all"), ("authorization", "x")];
    let told = server.send_with("GET", ECHOES, &forged, b"").body;
    assert_eq!((&told["user"], &told["authorization"]), (&json!(["admin"]), &json!([])));
    let nobody = Identity::user("bob", &[]);
    server.send_as(nobody, "GET", ECHOES, "", b"").assert_status(403, "Forbidden");
    assert_eq!(server.get(&format!("/apis/{GROUP}/v1/none")).code, 404, "its own answer");
    let map =
        server.get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication");
    assert_eq!(map.body["data"]["requestheader-allowed-names"], r#"["front-proxy-client"]"#);
    assert!(map.body["data"]["requestheader-client-ca-file"].as_str().unwrap().contains("BEGIN"));
}

#[test]
fn documents_of_both_servers_are_one() {
    let (server, _extension) = aggregated();
    let group = server.get(&format!("/apis/{GROUP}")).body;
    assert_eq!(group["preferredVersion"]["groupVersion"], format!("{GROUP}/v1"));
    let list = server.get("/apis").body["groups"].as_array().unwrap().clone();
    let names: Vec<&str> = list.iter().filter_map(|group| group["name"].as_str()).collect();
    assert_eq!(names[..2], ["apiregistration.k8s.io", "apps"], "the preferred ones come first");
    assert_eq!(names.last(), Some(&GROUP));
    soon("its resources are known", || {
        let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let all = accept(&server, "/apis", aggregated).body["items"].take();
        let own = all.as_array().unwrap().last().unwrap()["versions"][0].clone();
        own["freshness"] == "Current"
            && own["resources"][0]["resource"] == "echoes"
            && own["resources"][0]["responseKind"]["group"] == GROUP
    });
    let path = format!("apis/{GROUP}/v1");
    soon("its schemas are known", || {
        let index = server.get("/openapi/v3").body;
        index["paths"][&path]["serverRelativeURL"] == format!("/openapi/v3/{path}?hash=ABC123")
    });
    assert_eq!(server.get(&format!("/openapi/v3/{path}")).body["info"]["title"], "echoes");
    let old = server.get("/openapi/v2").body;
    assert!(old["definitions"]["org.ex.agg.v1.Echo"].is_object());
    assert!(old["definitions"]["io.k8s.api.core.v1.Pod"].is_object());
    assert!(old["paths"][ECHOES].is_object() && old["paths"]["/apis/other/v1"].is_null());
}

#[test]
fn a_server_that_is_wrong_slow_or_gone_hurts_nobody_else() {
    let (server, extension) = aggregated();
    let slow = server.get(&format!("/apis/{GROUP}/v1/slow?timeout=1s"));
    slow.assert_status(504, "Timeout");
    let touch = || {
        let patch = json!({"metadata": {"labels": {"n": rand_label()}}});
        assert_eq!(server.patch(&format!("{SERVICES}/api"), "merge", &patch).code, 200);
    };
    extension.set_broken(true);
    touch();
    wait_for(&server, "False", "FailedDiscoveryCheck");
    let why = condition(&server)["message"].as_str().unwrap().to_owned();
    assert!(why.contains("bad status from https://127.0.0.1:") && why.ends_with(": 500"), "{why}");
    soon("requests are refused", || server.get(ECHOES).code == 503);
    assert_eq!(server.get(ECHOES).text, "service unavailable\n");
    assert_eq!(server.get(SERVICES).code, 200);
    extension.set_broken(false);
    touch();
    wait_for(&server, "True", "Passed");
    assert_eq!(server.delete(&format!("{SLICES}/api"), &json!({})).code, 200);
    wait_for(&server, "False", "EndpointsNotFound");
    assert_eq!(server.delete(&format!("{SERVICES}/api"), &json!({})).code, 200);
    wait_for(&server, "False", "ServiceNotFound");
    assert_eq!(server.delete(&format!("{API_SERVICES}/v1.{GROUP}"), &json!({})).code, 200);
    soon("the group is gone", || server.get(&format!("/apis/{GROUP}")).code == 404);
}

fn rand_label() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

#[test]
fn what_is_served_here_has_local_api_services() {
    let server = Local::aggregating();
    soon("they are made", || server.get(API_SERVICES).names().len() > 15);
    let apps = server.get(&format!("{API_SERVICES}/v1.apps")).body;
    assert_eq!(apps["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "onstart");
    let condition = &apps["status"]["conditions"][0];
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("True"), &json!("Local")));
    let table = accept(
        &server,
        &format!("{API_SERVICES}/v1."),
        "application/json;as=Table;g=meta.k8s.io;v=v1",
    )
    .body;
    assert_eq!(
        table["rows"][0]["cells"].as_array().unwrap()[..3],
        [json!("v1."), json!("Local"), json!("True")]
    );
    let odd = json!({"metadata": {"name": "v1.x.org"}, "spec": {"group": "y.org", "version": "v1",
        "groupPriorityMinimum": 1, "versionPriority": 1}});
    server.post(API_SERVICES, &odd).assert_status(422, "Invalid");
}
