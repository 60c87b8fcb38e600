//! How objects look to one reader: their form, and the bytes of that form.
//!
//! Whole objects are encoded once per encoding, beside the object, and shared; the other forms are
//! made from its tree.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use super::catalog::Served;
use super::entry::{Change, Entry, EventType, Form};
use super::table::{self, Include};
use crate::negotiate::Encoding;
use crate::protobuf;

/// What a client asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rendering {
    /// Whole, table or partial.
    pub form: Form,
    /// For tables: what each row carries.
    pub include: Include,
    /// Whether tables and metadata are those of `meta.k8s.io/v1beta1`.
    pub beta: bool,
    /// How it is encoded.
    pub encoding: Encoding,
}

impl Rendering {
    /// Whether the rendered bytes are the same for all who ask for this form and encoding.
    pub fn is_shared(self) -> bool {
        !self.beta && (self.form != Form::Table || self.include == Include::Metadata)
    }

    /// The `apiVersion` of tables and metadata.
    pub fn meta_version(self) -> &'static str {
        if self.beta { "meta.k8s.io/v1beta1" } else { "meta.k8s.io/v1" }
    }
}

/// One object as a tree in a form; a table has its column definitions if `headers` is set.
pub fn tree(served: &Served, obj: &Value, rendering: Rendering, headers: bool) -> Value {
    match rendering.form {
        Form::Whole => obj.clone(),
        Form::Partial => partial(obj, rendering),
        Form::Table => {
            let version = hansa_api::meta::resource_version(obj);
            let metadata = json!({"resourceVersion": version});
            let mut table = table::table(served, std::iter::once(obj), rendering, metadata);
            if !headers {
                table["columnDefinitions"] = Value::Null;
            }
            table
        }
    }
}

/// The object's metadata as a `PartialObjectMetadata`.
pub fn partial(obj: &Value, rendering: Rendering) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": rendering.meta_version(),
        "metadata": obj.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}

/// A cached object's bytes in a form, as they stand alone or in an event.
pub fn entry(served: &Served, entry: &Entry, rendering: Rendering, headers: bool) -> Bytes {
    match (rendering.form, rendering.encoding) {
        (Form::Whole, Encoding::Json) => entry.bytes.clone(),
        (Form::Whole, Encoding::Protobuf) => {
            let resource = &served.resource;
            protobuf::envelope(&resource.api_version(), &resource.kind, &entry.message())
        }
        _ => encode(&tree(served, &entry.parsed(), rendering, headers), rendering.encoding),
    }
}

/// The line or frame that a change is to a watcher who was told so.
pub fn event(
    served: &Served,
    change: &Change,
    event: EventType,
    rendering: Rendering,
    headers: bool,
) -> Bytes {
    let object = match (event, rendering.form, rendering.encoding) {
        (EventType::Added | EventType::Modified, ..) => {
            entry(served, change.entry(), rendering, headers)
        }
        (EventType::Deleted, Form::Whole, Encoding::Json) => change.departed(),
        (EventType::Deleted, ..) => {
            let obj = serde_json::from_slice(&change.departed()).unwrap_or(Value::Null);
            encode(&tree(served, &obj, rendering, headers), rendering.encoding)
        }
    };
    frame(event.as_str(), &object, rendering.encoding)
}

/// A bookmark's line or frame: nothing but a resourceVersion and annotations.
pub fn bookmark(
    served: &Served,
    revision: u64,
    initial_end: bool,
    rendering: Rendering,
    headers: bool,
) -> Bytes {
    let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
    if initial_end {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    let resource = &served.resource;
    let whole = json!({
        "kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata,
    });
    // The mark that ends the initial state is told even to those who want no objects in their rows.
    let include = match (rendering.include, initial_end) {
        (Include::Nothing, true) => Include::Metadata,
        (include, _) => include,
    };
    let shown = tree(served, &whole, Rendering { include, ..rendering }, headers);
    frame("BOOKMARK", &encode(&shown, rendering.encoding), rendering.encoding)
}

/// A tree as bytes; JSON where the kind has no protobuf encoding.
pub fn encode(value: &Value, encoding: Encoding) -> Bytes {
    match encoding {
        Encoding::Json => json_bytes(value),
        Encoding::Yaml => {
            serde_saphyr::to_string(value).map_or_else(|_| json_bytes(value), Into::into)
        }
        Encoding::Protobuf => protobuf::encode(value).unwrap_or_else(|| json_bytes(value)),
    }
}

/// A tree as JSON.
pub fn json_bytes(value: &Value) -> Bytes {
    Bytes::from(serde_json::to_vec(value).expect("a JSON tree encodes into memory"))
}

/// One event of a watch around an object's bytes: a line of JSON or a frame of protobuf.
pub fn frame(event: &str, object: &[u8], encoding: Encoding) -> Bytes {
    if encoding == Encoding::Protobuf {
        return protobuf::frame(event, object);
    }
    let mut line = BytesMut::with_capacity(object.len() + 40);
    line.put_slice(b"{\"type\":\"");
    line.put_slice(event.as_bytes());
    line.put_slice(b"\",\"object\":");
    line.put_slice(object);
    line.put_slice(b"}\n");
    line.freeze()
}

#[cfg(test)]
mod tests {
    use super::super::resource::Resource;
    use super::super::strategy::Plain;
    use super::*;

    #[test]
    fn the_last_initial_event_is_marked_in_every_encoding() {
        let served = Served::builtin(Resource::new("", "v1", "Pod", "pods"), Plain);
        let line = bookmark(&served, 9, true, Rendering::default(), true);
        let mark: Value = serde_json::from_slice(&line).unwrap();
        let annotations = &mark["object"]["metadata"]["annotations"];
        assert_eq!(annotations["k8s.io/initial-events-end"], "true");
        assert_eq!(mark["object"]["kind"], "Pod");
        let rendering = Rendering { encoding: Encoding::Protobuf, ..Rendering::default() };
        let frame = bookmark(&served, 9, true, rendering, true);
        assert_eq!(frame.len() - 4, u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize);
        let at = frame.windows(4).position(|bytes| bytes == b"k8s\0").unwrap();
        assert_eq!(protobuf::decode(&frame[at..]).unwrap()["metadata"]["resourceVersion"], "9");
    }

    #[test]
    fn only_the_first_table_of_a_watch_has_headers() {
        let served = Served::builtin(Resource::new("", "v1", "Pod", "pods"), Plain);
        let rendering = Rendering { form: Form::Table, beta: true, ..Rendering::default() };
        let pod = json!({"metadata": {"name": "a"}});
        let first = tree(&served, &pod, rendering, true);
        assert_eq!(first["apiVersion"], "meta.k8s.io/v1beta1");
        assert!(first["columnDefinitions"].is_array());
        assert!(tree(&served, &pod, rendering, false)["columnDefinitions"].is_null());
    }
}
