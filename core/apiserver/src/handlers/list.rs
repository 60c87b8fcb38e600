//! GET of a collection.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hansa_api::status::ApiError;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::Call;
use crate::body::Body;
use crate::generic::entry::{Entry, Form};
use crate::generic::list::Listing;
use crate::generic::render::{self, Rendering};
use crate::generic::table::table;
use crate::negotiate::Encoding;
use crate::protobuf;

const CHUNK: usize = 64 << 10;

pub(super) async fn handle(call: &Call) -> Result<Response<Body>, ApiError> {
    let options = call.list_options(false)?;
    let listing = call.registry.list(&call.served, &options).await?;
    answer(call, listing)
}

/// A list in the form that the client accepts.
pub(super) fn answer(call: &Call, listing: Listing) -> Result<Response<Body>, ApiError> {
    let metadata = list_metadata(&listing);
    let rendering = call.rendering()?;
    if rendering.form == Form::Table {
        let objects: Vec<Arc<Value>> = listing.entries.iter().map(|e| e.parsed()).collect();
        let rows = objects.iter().map(|obj| &**obj);
        return Ok(call.document(StatusCode::OK, &table(&call.served, rows, rendering, metadata)));
    }
    let list = match rendering.encoding {
        Encoding::Protobuf => messages(call, &listing, rendering, &metadata),
        Encoding::Json | Encoding::Yaml => lines(call, &listing, rendering, &metadata),
    };
    Ok(stream(call, list))
}

/// A list as text: what is in front of the items, the items, what is behind them.
struct Joined {
    head: Bytes,
    items: Vec<Bytes>,
    /// What is in front of an item: its place and its bytes tell.
    between: fn(usize, &[u8]) -> Vec<u8>,
    tail: &'static [u8],
}

fn lines(call: &Call, listing: &Listing, rendering: Rendering, metadata: &Value) -> Joined {
    let (kind, api_version) = list_kind(call, rendering);
    let json = Rendering { encoding: Encoding::Json, ..rendering };
    let item = |entry: &Arc<Entry>| render::entry(&call.served, entry, json, true);
    let items = listing.entries.iter().map(item).collect();
    let between = |at: usize, _: &[u8]| if at > 0 { vec![b','] } else { Vec::new() };
    Joined { head: list_head(kind, &api_version, metadata), items, between, tail: b"]}" }
}

fn messages(call: &Call, listing: &Listing, rendering: Rendering, metadata: &Value) -> Joined {
    let (kind, api_version) = list_kind(call, rendering);
    let items: Vec<Bytes> = match rendering.form {
        Form::Whole => listing.entries.iter().map(|entry| entry.message()).collect(),
        _ => listing.entries.iter().map(|entry| protobuf::partial(&entry.parsed())).collect(),
    };
    let metadata = json!({"metadata": metadata});
    let head = protobuf::list_head(&api_version, kind, &metadata, items.iter());
    let between = |_: usize, item: &[u8]| protobuf::item_head(item);
    Joined { head, items, between, tail: protobuf::ENVELOPE_END }
}

fn list_kind(call: &Call, rendering: Rendering) -> (&str, String) {
    match rendering.form {
        Form::Whole => (&call.served.resource.list_kind, call.served.resource.api_version()),
        _ => ("PartialObjectMetadataList", rendering.meta_version().to_string()),
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

fn stream(call: &Call, list: Joined) -> Response<Body> {
    let items: usize = list.items.iter().map(|item| item.len() + 1).sum();
    let size = list.head.len() + items;
    let blocks = blocks(list);
    if size > CHUNK && !call.needs_reshaping() {
        return call.chunks(size, blocks);
    }
    let mut whole = BytesMut::with_capacity(size + 256);
    blocks.for_each(|block| whole.extend_from_slice(&block));
    if !call.needs_reshaping() {
        return call.bytes(StatusCode::OK, whole.freeze());
    }
    let tree = serde_json::from_slice(&whole).unwrap_or(Value::Null);
    call.document(StatusCode::OK, &tree)
}

/// The list's bytes in blocks of about 64 KiB: objects are joined as they are, never encoded again.
fn blocks(list: Joined) -> impl Iterator<Item = Bytes> + Send + 'static {
    let mut items = list.items.into_iter().enumerate().peekable();
    let mut head = Some(list.head);
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
            block.extend_from_slice(&(list.between)(at, &item));
            block.extend_from_slice(&item);
        }
        if items.peek().is_none() {
            block.extend_from_slice(list.tail);
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
            let between = |at: usize, _: &[u8]| if at > 0 { vec![b','] } else { Vec::new() };
            let list = Joined { head, items: vec![item; count], between, tail: b"]}" };
            let parts: Vec<_> = blocks(list).collect();
            let text: Vec<u8> = parts.concat();
            let list: Value = serde_json::from_slice(&text).unwrap();
            assert_eq!(list["items"].as_array().unwrap().len(), count);
            assert_eq!(parts.len(), text.len() / (CHUNK + 100) + 1);
        }
    }
}
