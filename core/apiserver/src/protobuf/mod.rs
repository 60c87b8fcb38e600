//! Objects in Kubernetes' protobuf encoding, read into the same trees as JSON.
//!
//! Go clients speak built-in kinds this way unless told otherwise. The envelope is four magic bytes
//! and a `runtime.Unknown`; fields are found by the numbers of `data/protobuf.json`, their types by the
//! schema bundle. A list is the messages of its objects one after the other, so that each object is
//! encoded once for all who read it.

mod decode;
mod encode;
mod special;
mod table;
mod wire;

use bytes::Bytes;
use hansa_api::{ApiError, GroupVersionKind, meta, schema};
use serde_json::Value;

use wire::{Field, Reader};

/// The media type of such bodies.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
const MAGIC: &[u8] = b"k8s\0";
/// The envelope's encoding and media type, both empty.
pub const ENVELOPE_END: &[u8] = &[0x1a, 0, 0x22, 0];
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
/// A kind of every group; all have the fields of this one.
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

/// Why bytes are no object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The envelope is missing.
    #[error(
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    )]
    Magic,
    /// The bytes end early or are no protobuf.
    #[error("proto: the message is cut off or malformed")]
    Malformed,
    /// The kind is none that has a protobuf encoding.
    #[error("no kind {kind:?} is registered for version {version:?} with a protobuf encoding")]
    Unknown {
        /// The `kind` in the envelope.
        kind: String,
        /// The `apiVersion` in the envelope.
        version: String,
    },
    /// Messages within messages, deeper than anything real.
    #[error("proto: the message is nested too deeply")]
    Depth,
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        ApiError::bad_request(error.to_string())
    }
}

/// Reads an object in its envelope.
///
/// # Errors
/// If the bytes are no such object.
pub fn decode(bytes: &[u8]) -> Result<Value, Error> {
    let envelope = Envelope::read(bytes.strip_prefix(MAGIC).ok_or(Error::Magic)?)?;
    let unknown =
        || Error::Unknown { kind: envelope.kind.clone(), version: envelope.api_version.clone() };
    let gvk = GroupVersionKind::parse(&envelope.api_version, &envelope.kind);
    let gvk = gvk.map_err(|_| unknown())?;
    let bundle = schema::builtin();
    let id = match envelope.kind.as_str() {
        "DeleteOptions" => bundle.type_named(DELETE_OPTIONS),
        _ => bundle.type_of(&gvk),
    };
    let id = id.filter(|id| table::has(&bundle.get(*id).name)).ok_or_else(unknown)?;
    let mut object = decode::object(bundle.get(id), envelope.raw, 0)?;
    object.insert("apiVersion".into(), envelope.api_version.into());
    object.insert("kind".into(), envelope.kind.into());
    Ok(Value::Object(object))
}

/// Whether a kind has a protobuf encoding.
pub fn is_known(kind: &GroupVersionKind) -> bool {
    schema::builtin().type_of(kind).is_some_and(|id| table::plan(id).is_some())
}

/// The message of an object without its envelope; none if its kind has no protobuf encoding.
pub fn message(obj: &Value) -> Option<Bytes> {
    let fields = obj.as_object()?;
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let kind = GroupVersionKind::parse(text("apiVersion"), text("kind")).ok()?;
    let mut out = Vec::with_capacity(512);
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("meta.k8s.io", "PartialObjectMetadata") => put_metadata(&mut out, obj, OBJECT_META),
        ("meta.k8s.io", "PartialObjectMetadataList") => {
            put_metadata(&mut out, obj, LIST_META);
            for item in meta::list_at(obj, &["items"]) {
                wire::put_message(&mut out, 2, |out| put_metadata(out, item, OBJECT_META));
            }
        }
        _ => {
            let id = schema::builtin().type_of(&kind).filter(|id| table::plan(*id).is_some())?;
            encode::object(id, fields, &mut out);
        }
    }
    Some(out.into())
}

/// The message of a `PartialObjectMetadata` of any object.
pub fn partial(obj: &Value) -> Bytes {
    let mut out = Vec::with_capacity(512);
    put_metadata(&mut out, obj, OBJECT_META);
    out.into()
}

fn put_metadata(out: &mut Vec<u8>, obj: &Value, kind: &str) {
    let id = schema::builtin().type_named(kind).expect("the bundle has the metadata types");
    if let Some(Value::Object(fields)) = obj.get("metadata") {
        wire::put_message(out, 1, |out| encode::object(id, fields, out));
    }
}

/// A whole object; none if its kind has no protobuf encoding.
pub fn encode(obj: &Value) -> Option<Bytes> {
    let message = message(obj)?;
    Some(envelope(meta::api_version(obj), meta::kind(obj), &message))
}

/// Puts a message into its envelope.
pub fn envelope(api_version: &str, kind: &str, message: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(message.len() + api_version.len() + kind.len() + 32);
    open_envelope(&mut out, api_version, kind);
    wire::put_bytes(&mut out, 2, message);
    out.extend_from_slice(ENVELOPE_END);
    out.into()
}

fn open_envelope(out: &mut Vec<u8>, api_version: &str, kind: &str) {
    out.extend_from_slice(MAGIC);
    wire::put_message(out, 1, |out| {
        wire::put_bytes(out, 1, api_version.as_bytes());
        wire::put_bytes(out, 2, kind.as_bytes());
    });
}

/// What comes in front of a list's items, if each is sent as [`item_head`] and its message.
pub fn list_head<'a>(
    api_version: &str,
    kind: &str,
    metadata: &Value,
    messages: impl Iterator<Item = &'a Bytes>,
) -> Bytes {
    let mut head = Vec::with_capacity(128);
    put_metadata(&mut head, metadata, LIST_META);
    let items: usize = messages.map(|one| item_head(one).len() + one.len()).sum();
    let mut out = Vec::with_capacity(256);
    open_envelope(&mut out, api_version, kind);
    wire::put_head(&mut out, 2, head.len() + items);
    out.extend_from_slice(&head);
    out.into()
}

/// What comes in front of an item of a list.
pub fn item_head(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(6);
    wire::put_head(&mut out, 2, message.len());
    out
}

/// One frame of a watch: its length, and a `WatchEvent` that holds an object in its envelope.
pub fn frame(event: &str, object: &[u8]) -> Bytes {
    let mut out = vec![0; 4];
    wire::put_bytes(&mut out, 1, event.as_bytes());
    wire::put_message(&mut out, 2, |out| wire::put_bytes(out, 1, object));
    let length = u32::try_from(out.len() - 4).expect("an object is smaller than 4 GiB");
    out[..4].copy_from_slice(&length.to_be_bytes());
    out.into()
}

/// `runtime.Unknown`: type, and the object's own bytes.
#[derive(Default)]
struct Envelope<'a> {
    api_version: String,
    kind: String,
    raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut envelope = Self::default();
        for field in Reader::new(bytes) {
            match field? {
                (1, Field::Bytes(type_meta)) => {
                    for field in Reader::new(type_meta) {
                        match field? {
                            (1, Field::Bytes(text)) => envelope.api_version = wire::text(text),
                            (2, Field::Bytes(text)) => envelope.kind = wire::text(text),
                            _ => {}
                        }
                    }
                }
                (2, Field::Bytes(raw)) => envelope.raw = raw,
                _ => {}
            }
        }
        Ok(envelope)
    }
}

#[cfg(test)]
mod tests;
