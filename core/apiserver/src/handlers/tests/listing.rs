//! Lists: selectors, chunks that stay consistent, tokens that expire, other forms.

use super::*;

async fn with_maps(count: usize) -> Server {
    let server = Server::start().await;
    for at in 0..count {
        server.config_map(&format!("m{at:02}")).await;
    }
    server
}

#[tokio::test]
async fn chunks_are_one_consistent_list_whatever_happens_meanwhile() {
    let server = with_maps(5).await;
    let first = server.get(&format!("{MAPS}?limit=2")).await;
    assert_eq!(first.names(), ["m00", "m01"]);
    assert_eq!(first.body["metadata"]["remainingItemCount"], 3);
    server.config_map("m02a").await;
    server.delete(&format!("{MAPS}/m03"), &Value::Null).await;
    let mut names = Vec::new();
    let mut token = first.body["metadata"]["continue"].as_str().unwrap().to_string();
    while !token.is_empty() {
        let page = server.get(&format!("{MAPS}?limit=2&continue={token}")).await;
        assert_eq!(page.version(), first.version());
        names.extend(page.names().into_iter().map(str::to_string));
        token = page.body["metadata"]["continue"].as_str().unwrap_or_default().to_string();
    }
    assert_eq!(names, ["m02", "m03", "m04"]);
    assert_eq!(server.get(MAPS).await.names(), ["m00", "m01", "m02", "m02a", "m04"]);
}

#[tokio::test]
async fn an_expired_token_offers_the_inconsistent_rest() {
    let server = with_maps(4).await;
    let first = server.get(&format!("{MAPS}?limit=2")).await;
    let token = first.body["metadata"]["continue"].as_str().unwrap().to_string();
    server.config_map("m02a").await;
    let now = server.storage.current_revision().await.unwrap();
    server.storage.compact(now).await.unwrap();
    let expired = server.get(&format!("{MAPS}?limit=9&continue={token}")).await;
    assert_eq!((expired.code, &expired.body["reason"]), (410, &json!("Expired")));
    assert!(expired.message().starts_with("The provided continue parameter is too old"));
    let rest = expired.body["metadata"]["continue"].as_str().unwrap();
    let rest = server.get(&format!("{MAPS}?limit=9&continue={rest}")).await;
    assert_eq!(rest.names(), ["m02", "m02a", "m03"]);
}

#[tokio::test]
async fn pages_are_filled_although_a_selector_drops_objects() {
    let server = with_maps(9).await;
    for name in ["m04", "m07"] {
        let patch = json!({"metadata": {"labels": {"pick": "me"}}});
        server.patch(&format!("{MAPS}/{name}"), "merge", &patch).await;
    }
    let selector = "labelSelector=pick%3Dme";
    assert_eq!(server.get(&format!("{MAPS}?{selector}")).await.names(), ["m04", "m07"]);
    let exact = server.storage.current_revision().await.unwrap();
    let uri =
        format!("{MAPS}?{selector}&limit=1&resourceVersion={exact}&resourceVersionMatch=Exact");
    let first = server.get(&uri).await;
    assert_eq!(first.names(), ["m04"]);
    let token = first.body["metadata"]["continue"].as_str().unwrap();
    let second = server.get(&format!("{MAPS}?{selector}&limit=1&continue={token}")).await;
    assert_eq!(second.names(), ["m07"]);
}

#[tokio::test]
async fn lists_of_the_past_and_of_the_future() {
    let server = with_maps(2).await;
    let then = server.get(MAPS).await.version().to_string();
    server.config_map("m02").await;
    let uri = format!("{MAPS}?resourceVersion={then}&resourceVersionMatch");
    let exact = server.get(&format!("{uri}=Exact")).await;
    assert_eq!((exact.names(), exact.version()), (vec!["m00", "m01"], then.as_str()));
    let now = server.storage.current_revision().await.unwrap();
    let fresh = format!("{MAPS}?resourceVersion={now}&resourceVersionMatch=NotOlderThan");
    assert_eq!(server.get(&fresh).await.names().len(), 3);
    let future = server.get(&format!("{MAPS}?resourceVersion=999999")).await;
    assert_eq!(future.code, 504);
    assert!(future.message().contains("Too large resource version: 999999, current:"));
}

#[tokio::test]
async fn field_selectors_know_the_kinds_fields() {
    let server = with_maps(3).await;
    let by_name = server.get(&format!("{MAPS}?fieldSelector=metadata.name%3Dm01")).await;
    assert_eq!(by_name.names(), ["m01"]);
    let all = "/api/v1/configmaps?fieldSelector=metadata.namespace%3Dn,metadata.name%21%3Dm01";
    assert_eq!(server.get(all).await.names(), ["m00", "m02"]);
    let unknown = server.get(&format!("{MAPS}?fieldSelector=data.k%3Dv")).await;
    let why =
        r#""data.k" is not a known field selector: only "metadata.name", "metadata.namespace""#;
    assert_eq!((unknown.code, unknown.message()), (400, why));
}

#[tokio::test]
async fn tables_and_partial_metadata() {
    let server = with_maps(2).await;
    let table =
        server.get_as(MAPS, "application/json;as=Table;v=v1;g=meta.k8s.io,application/json").await;
    assert_eq!(table.body["kind"], "Table");
    assert_eq!(table.body["rows"][1]["cells"][0], "m01");
    assert_eq!(table.body["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let partial = server
        .get_as(MAPS, "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")
        .await;
    assert_eq!(partial.body["kind"], "PartialObjectMetadataList");
    assert_eq!(partial.names(), ["m00", "m01"]);
    assert!(partial.body["items"][0].get("data").is_none());
    let one = server
        .get_as(
            &format!("{MAPS}/m00"),
            "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
        )
        .await;
    assert_eq!(one.body["kind"], "PartialObjectMetadata");
}

#[tokio::test]
async fn large_lists_are_compressed_for_those_who_read_it() {
    let server = Server::start().await;
    for at in 0..40 {
        let mut map = config_map(&format!("m{at:02}"));
        map["data"]["k"] = "x".repeat(5000).into();
        server.post(MAPS, &map).await;
    }
    let request = Request::builder().uri(MAPS).header("accept-encoding", "gzip");
    let response = server.send(request.body(empty()).unwrap()).await;
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let packed = response.into_body().collect().await.unwrap().to_bytes();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed[..]), &mut text)
        .unwrap();
    let plain = server.get(MAPS).await;
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), plain.body);
    assert_eq!(plain.names().len(), 40);
}
