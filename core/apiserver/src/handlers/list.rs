//! GET of a collection.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use hansa_api::status::ApiError;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::Call;
use crate::body::Body;
use crate::generic::entry::{Entry, Form};
use crate::generic::list::Listing;
use crate::generic::options::ListOptions;
use crate::generic::table::{encode, partial, table};

const CHUNK: usize = 64 << 10;

pub(super) async fn handle(call: &Call) -> Result<Response<Body>, ApiError> {
    let options = ListOptions::parse(&call.query, &call.namespace, false)?;
    let listing = call.registry.list(&call.served, &options).await?;
    answer(call, listing)
}

/// A list in the form that the client accepts.
pub(super) fn answer(call: &Call, listing: Listing) -> Result<Response<Body>, ApiError> {
    let metadata = list_metadata(&listing);
    match call.accepted.form {
        Form::Table => {
            let include = call.rendering()?.include;
            let objects: Vec<Arc<Value>> = listing.entries.iter().map(|e| e.parsed()).collect();
            let rows = objects.iter().map(|obj| &**obj);
            Ok(call.document(StatusCode::OK, &table(&call.served, rows, include, metadata)))
        }
        Form::Partial => {
            let head = list_head("PartialObjectMetadataList", "meta.k8s.io/v1", &metadata);
            let items = listing.entries.into_iter().map(|e| encode(&partial(&e.parsed())));
            Ok(stream(call, head, items.collect()))
        }
        Form::Whole => {
            let resource = &call.served.resource;
            let head = list_head(&resource.list_kind, &resource.api_version(), &metadata);
            let items = listing.entries.iter().map(|entry: &Arc<Entry>| entry.bytes.clone());
            Ok(stream(call, head, items.collect()))
        }
    }
}

fn list_metadata(listing: &Listing) -> Value {
    let mut metadata = json!({"resourceVersion": listing.revision.to_string()});
    if !listing.continue_token.is_empty() {
        metadata["continue"] = listing.continue_token.clone().into();
    }
    if let Some(remaining) = listing.remaining.filter(|count| *count > 0) {
        metadata["remainingItemCount"] = remaining.into();
    }
    metadata
}

fn list_head(kind: &str, api_version: &str, metadata: &Value) -> Bytes {
    format!(
        "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{metadata},\"items\":[",
        Value::from(kind),
        Value::from(api_version)
    )
    .into()
}

fn stream(call: &Call, head: Bytes, items: Vec<Bytes>) -> Response<Body> {
    let size: usize = items.iter().map(|item| item.len() + 1).sum();
    let blocks = blocks(head, items);
    if size <= CHUNK || call.needs_reshaping() {
        let mut whole = BytesMut::with_capacity(size + 256);
        blocks.for_each(|block| whole.extend_from_slice(&block));
        return call.json(StatusCode::OK, whole.freeze());
    }
    call.chunks(blocks)
}

/// The list's text in blocks of about 64 KiB: objects are joined as they are, never encoded again.
fn blocks(head: Bytes, items: Vec<Bytes>) -> impl Iterator<Item = Bytes> + Send + 'static {
    let mut items = items.into_iter().enumerate().peekable();
    let mut head = Some(head);
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let mut block = BytesMut::with_capacity(CHUNK);
        block.extend(head.take());
        while block.len() < CHUNK
            && let Some((at, item)) = items.next()
        {
            if at > 0 {
                block.put_u8(b',');
            }
            block.extend_from_slice(&item);
        }
        if items.peek().is_none() {
            block.extend_from_slice(b"]}");
            ended = true;
        }
        Some(block.freeze())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_join_into_one_list() {
        for count in [0, 1, 3000] {
            let item = Bytes::from_static(br#"{"metadata":{"name":"a-name-of-some-length"}}"#);
            let head = list_head("PodList", "v1", &json!({"resourceVersion": "1"}));
            let parts: Vec<_> = blocks(head, vec![item; count]).collect();
            let text: Vec<u8> = parts.concat();
            let list: Value = serde_json::from_slice(&text).unwrap();
            assert_eq!(list["items"].as_array().unwrap().len(), count);
            assert_eq!(parts.len(), text.len() / (CHUNK + 100) + 1);
        }
    }
}
