//! Lists and watches as clients' caches use them: through the whole server, filters and all.

use hansa_tests::{Answer, Local, hollow};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn with_maps(names: &[&str]) -> Local {
    let server = Local::start();
    names.iter().for_each(|name| create(&server, name));
    server
}

fn create(server: &Local, name: &str) {
    let made = server.post(MAPS, &json!({"metadata": {"name": name, "labels": {"n": name}}}));
    assert_eq!(made.code, 201, "{}", made.text);
}

/// A watch of one second, read to its end.
fn watch(server: &Local, query: &str) -> Answer {
    server.get(&format!("{MAPS}?watch=1&timeoutSeconds=1&{query}"))
}

/// `TYPE name` of each event.
fn told(answer: &Answer) -> Vec<String> {
    let brief = |event: &Value| {
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
        format!("{} {name}", event["type"].as_str().unwrap_or_default()).trim_end().to_owned()
    };
    answer.events().iter().map(brief).collect()
}

#[test]
fn a_watch_resumes_where_a_list_ended_and_repeats_nothing() {
    let server = with_maps(&["a"]);
    let list = server.get(MAPS);
    create(&server, "b");
    server.patch(&format!("{MAPS}/a"), "merge", &json!({"data": {"k": "v"}}));
    server.delete(&format!("{MAPS}/b"), &json!({}));
    let from = format!("resourceVersion={}", list.version());
    let events = watch(&server, &from);
    assert_eq!(told(&events), ["ADDED b", "MODIFIED a", "DELETED b"]);
    let after: Vec<u64> = events.events().iter().map(version).collect();
    assert!(after.is_sorted() && after[0] > list.version().parse().unwrap(), "{after:?}");
    let second = format!("resourceVersion={}", after[1]);
    assert_eq!(told(&watch(&server, &second)), ["DELETED b"]);
}

fn version(event: &Value) -> u64 {
    let version = &event["object"]["metadata"]["resourceVersion"];
    version.as_str().and_then(|v| v.parse().ok()).expect("an object has a version")
}

#[test]
fn a_watch_list_begins_with_the_state_and_marks_its_end() {
    let server = with_maps(&["a", "b"]);
    let list = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let answer = watch(&server, list);
    assert_eq!(told(&answer)[..3], ["ADDED a", "ADDED b", "BOOKMARK"]);
    let bookmark = &answer.events()[2];
    let mark = &bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"];
    assert_eq!(mark, "true");
    create(&server, "c");
    let from = format!("resourceVersion={}", version(bookmark));
    assert_eq!(told(&watch(&server, &from)), ["ADDED c"], "one can go on from there");
}

#[test]
fn a_selection_is_entered_and_left() {
    let server = with_maps(&["a"]);
    let from = server.get(MAPS).version().to_owned();
    let label = |value: &str| {
        let patch = json!({"metadata": {"labels": {"n": value}}});
        assert_eq!(server.patch(&format!("{MAPS}/a"), "merge", &patch).code, 200);
    };
    label("wanted");
    label("unwanted");
    let query = format!("resourceVersion={from}&labelSelector=n=wanted");
    assert_eq!(told(&watch(&server, &query)), ["ADDED a", "DELETED a"]);
    let one = format!("resourceVersion={from}&fieldSelector=metadata.name=other");
    assert_eq!(told(&watch(&server, &one)), Vec::<String>::new());
}

#[test]
fn a_forgotten_version_is_gone_and_a_future_one_is_waited_for_in_vain() {
    // The store's first revisions are older than anything that a server remembers.
    let expired =
        hollow().http().get(&format!("{MAPS}?watch=1&resourceVersion=1&timeoutSeconds=1"));
    let gone = match expired.code {
        410 => expired.body,
        _ => expired.events()[0]["object"].clone(),
    };
    assert_eq!(
        (&gone["code"], &gone["reason"]),
        (&json!(410), &json!("Expired")),
        "{}",
        expired.text
    );
    let future = hollow().http().get(&format!("{MAPS}?resourceVersion=99999999"));
    future.assert_status(504, "Timeout");
}

#[test]
fn chunks_are_one_list_whatever_happens_meanwhile() {
    let server = with_maps(&["a", "b", "c", "d", "e"]);
    let mut names = Vec::new();
    let mut versions = Vec::new();
    let mut token = String::new();
    loop {
        let page = server.get(&format!("{MAPS}?limit=2&continue={token}"));
        names.extend(page.names().iter().map(ToString::to_string));
        versions.push(page.version().to_owned());
        // Neither what is new nor what is gone disturbs the pages to come.
        server.delete(&format!("{MAPS}/d"), &json!({}));
        create(&server, &format!("b{}", versions.len()));
        token = page.body["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
        if token.is_empty() {
            break;
        }
        let left = &page.body["metadata"]["remainingItemCount"];
        assert_eq!(left, &json!(5 - names.len()), "{}", page.text);
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    versions.dedup();
    assert_eq!(versions.len(), 1, "one version for all pages");
}

#[test]
fn tables_and_metadata_are_given_to_those_who_ask() {
    let http = hollow().http();
    let accept = |kind: &str| format!("application/json;as={kind};v=v1;g=meta.k8s.io");
    let get = |kind: &str| http.send("GET", "/api/v1/nodes", &[("accept", &accept(kind))], "");
    let table = get("Table");
    assert_eq!(table.body["kind"], "Table");
    assert_eq!(table.body["columnDefinitions"][0]["name"], "Name");
    let names = table.body["rows"].as_array().unwrap().iter().map(|row| &row["cells"][0]);
    assert!(names.filter(|name| name.as_str().unwrap().starts_with("hollow-")).count() == 3);
    let partial = get("PartialObjectMetadataList");
    assert_eq!(partial.body["kind"], "PartialObjectMetadataList");
    assert_eq!(partial.body["items"][0]["spec"], Value::Null);
    let odd = http.send("GET", "/api/v1/nodes", &[("accept", "image/png")], "");
    odd.assert_status(406, "NotAcceptable");
}

#[test]
fn a_collection_is_deleted_as_selected_and_a_dry_run_deletes_nothing() {
    let server = with_maps(&["a", "b", "c"]);
    let some = format!("{MAPS}?labelSelector=n+in+(a,b)");
    assert_eq!(server.delete(&format!("{some}&dryRun=All"), &json!({})).code, 200);
    assert_eq!(server.get(MAPS).names(), ["a", "b", "c"]);
    assert_eq!(server.delete(&some, &json!({})).code, 200);
    assert_eq!(server.get(MAPS).names(), ["c"]);
}
