//! Objects in Kubernetes' protobuf encoding, read into the same trees as JSON.
//!
//! Go clients send built-in kinds this way unless told otherwise. The envelope is four magic bytes
//! and a `runtime.Unknown`; fields are found by the numbers of `data/protobuf.json`, their types by the
//! schema bundle. Answers are JSON, which the same clients accept.

mod decode;
mod special;
mod table;
mod wire;

use hansa_api::schema;
use hansa_api::{ApiError, GroupVersionKind};
use serde_json::Value;

use wire::{Field, Reader};

/// The media type of such bodies.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
const MAGIC: &[u8] = b"k8s\0";
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
