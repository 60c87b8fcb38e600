//! Every door answers in the API's terms and changes nothing.

use super::*;

const JSON: &str = "application/json";

/// Method, path, media type, body, code, part of the message.
type Case = (&'static str, String, &'static str, Vec<u8>, u16, &'static str);

fn bodies() -> Vec<Case> {
    let post = |media, body: &str, code, text| {
        ("POST", MAPS.to_string(), media, body.as_bytes().to_vec(), code, text)
    };
    vec![
        post(JSON, "{\"metadata\":", 400, "json parse error"),
        post(JSON, "[]", 400, "must be of type ConfigMap"),
        post("application/yaml", "a: [b", 400, "yaml parse error"),
        post(JSON, r#"{"kind":"Secret","apiVersion":"v1"}"#, 400, "unknown conversion"),
        post(JSON, r#"{"apiVersion":"apps/v1"}"#, 400, "expected API version (v1)"),
        post(JSON, r#"{"metadata":{"name":"a"},"data":{"k":[]}}"#, 400, "cannot unmarshal"),
        post(JSON, r#"{"metadata":{}}"#, 422, "name or generateName is required"),
        post(JSON, r#"{"metadata":{"name":"No_Good"}}"#, 422, "metadata.name: Invalid value"),
        post(
            JSON,
            r#"{"metadata":{"name":"a","namespace":"m"}}"#,
            400,
            "does not match the namesp",
        ),
        post(JSON, r#"{"metadata":{"name":"a","labels":{"-":"b"}}}"#, 422, "metadata.labels"),
        post(JSON, r#"{"metadata":{"name":"a","resourceVersion":"1"}}"#, 400, "should not be set"),
        post("application/cbor", "{}", 415, "accepted media types"),
        post("text/html", "<p>", 415, "unknown format"),
    ]
}

fn paths() -> Vec<Case> {
    let at =
        |method, path: &str, code, text| (method, path.to_string(), JSON, Vec::new(), code, text);
    let missing = "could not find the requested resource";
    vec![
        at("GET", "/api/v1/namespaces/n/nothings", 404, missing),
        at("GET", "/apis/no.such/v1/things", 404, missing),
        at("GET", "/api/v1/configmaps/a", 404, missing),
        at("GET", "/api/v1/namespaces/n/configmaps/a/status", 404, missing),
        at("POST", "/api/v1/configmaps", 405, "does not allow this method"),
        at("POST", "/api/v1/namespaces/n/configmaps/a", 405, "does not allow this method"),
        at("PUT", "/api/v1/namespaces/n/configmaps", 405, "does not allow this method"),
        at("GET", "/api/v1/configmaps?labelSelector=a%20b%20c", 400, "unable to parse requirement"),
        at("GET", "/api/v1/configmaps?fieldSelector=abc", 400, "invalid selector"),
        at("GET", "/api/v1/configmaps?limit=x", 400, "invalid syntax"),
        at("GET", "/api/v1/configmaps?continue=x", 400, "continue key is not valid"),
        at("GET", "/api/v1/configmaps?resourceVersion=x", 400, "invalid resource version"),
        at("GET", "/api/v1/configmaps?watch=1&resourceVersion=x", 500, "invalid syntax"),
        at("DELETE", "/api/v1/namespaces/n/configmaps/none", 404, "not found"),
        at("DELETE", "/api/v1/namespaces/n/configmaps/a?propagationPolicy=No", 422, "Unsupported"),
    ]
}

#[tokio::test]
async fn every_bad_request_gets_a_status_and_changes_nothing() {
    let server = Server::start().await;
    let before = server.storage.current_revision().await.unwrap();
    for (method, path, media, body, code, text) in bodies().into_iter().chain(paths()) {
        let answer = server.call(method, &path, media, &body).await;
        let what = format!("{method} {path} {}: {answer:?}", String::from_utf8_lossy(&body));
        assert_eq!(answer.code, code, "{what}");
        assert_eq!(answer.body["kind"], "Status", "{what}");
        assert_eq!(answer.body["status"], "Failure", "{what}");
        assert!(answer.message().contains(text), "{what}");
    }
    assert_eq!(server.storage.current_revision().await.unwrap(), before);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let server = Server::start().await;
    let mut map = config_map("a");
    map["data"]["k"] = "x".repeat(super::super::BODY_LIMIT).into();
    let answer = server.post(MAPS, &map).await;
    assert_eq!((answer.code, &answer.body["reason"]), (413, &json!("RequestEntityTooLarge")));
}

#[tokio::test]
async fn unknown_fields_are_refused_warned_of_or_ignored() {
    let server = Server::start().await;
    let body = br#"{"metadata":{"name":"a"},"data":{"k":"1"},"data":{"k":"2"},"nope":1}"#;
    let strict = server.call("POST", &format!("{MAPS}?fieldValidation=Strict"), JSON, body).await;
    assert_eq!(strict.code, 400);
    assert!(strict.message().contains("strict decoding error"), "{strict:?}");
    assert!(strict.message().contains(r#"unknown field "nope""#), "{strict:?}");
    assert!(strict.message().contains(r#"duplicate field "data""#), "{strict:?}");
    let warned = server.call("POST", MAPS, JSON, body).await;
    assert_eq!(warned.code, 201);
    assert_eq!(warned.headers.get_all("warning").iter().count(), 2);
    assert!(warned.body.get("nope").is_none());
    let uri = format!("{MAPS}?fieldValidation=Maybe");
    assert_eq!(server.call("POST", &uri, JSON, body).await.code, 422);
}

#[tokio::test]
async fn forms_that_nobody_makes_are_not_acceptable() {
    let server = Server::start().await;
    let answer = server.get_as(MAPS, "application/cbor").await;
    assert_eq!((answer.code, &answer.body["reason"]), (406, &json!("NotAcceptable")));
    let table = "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io";
    assert_eq!(server.get_as(MAPS, table).await.code, 406);
    let watch = format!("{MAPS}?watch=1");
    let answer = server.get_as(&watch, "application/yaml, application/json").await;
    assert!(answer.message().contains("protobuf;stream=watch"), "{answer:?}");
    let odd = format!("{MAPS}?includeObject=Some");
    assert_eq!(server.get_as(&odd, "*/*").await.code, 200, "tables alone have that parameter");
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let answer = server.get_as(&odd, table).await;
    assert_eq!(answer.code, 400);
    assert!(answer.message().starts_with("Unable to convert to Table as requested"));
}
