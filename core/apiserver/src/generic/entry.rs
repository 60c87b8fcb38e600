//! One object as readers share it, and one change as watchers share it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use hansa_storage::KeyValue;
use serde::Deserialize;
use serde_json::Value;

use super::catalog::Served;
use super::encode;
use super::resource::Str;
use crate::negotiate::Encoding;
use crate::protobuf;

/// A stored object that is not JSON.
#[derive(Debug, thiserror::Error)]
#[error("decode the stored object {key}")]
pub struct DecodeError {
    key: String,
    #[source]
    source: serde_json::Error,
}

/// One version of one object, in the served version, with its resourceVersion.
#[derive(Debug)]
pub struct Entry {
    /// The key below the resource's prefix: `namespace/name` or `name`.
    pub key: Arc<str>,
    /// The revision of its commit, which is its resourceVersion.
    pub revision: u64,
    /// The JSON that every reader gets.
    pub bytes: Bytes,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// The kind's selectable fields and their values.
    pub fields: Vec<(Str, String)>,
    value: OnceLock<Arc<Value>>,
    message: OnceLock<Bytes>,
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    metadata: HeadMetadata,
}

#[derive(Default, Deserialize)]
struct HeadMetadata {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

impl Entry {
    /// Reads what is stored under a key of the resource.
    pub fn read(served: &Served, kv: &KeyValue) -> Result<Self, DecodeError> {
        let stored = served_bytes(served, kv)?;
        let paths = served.strategy.selectable_fields();
        let (labels, fields) = if paths.is_empty() {
            let head: Head = serde_json::from_slice(&stored).map_err(error(kv))?;
            (head.metadata.labels.unwrap_or_default(), Vec::new())
        } else {
            let obj: Value = serde_json::from_slice(&stored).map_err(error(kv))?;
            let read = |path: Str| {
                let value = served.strategy.field_value(&obj, &path);
                (path, value)
            };
            (labels_of(&obj), paths.into_iter().map(read).collect())
        };
        Ok(Self {
            key: relative_key(served, &kv.key).into(),
            revision: kv.mod_revision,
            bytes: encode::with_revision(&stored, kv.mod_revision),
            labels,
            fields,
            value: OnceLock::new(),
            message: OnceLock::new(),
        })
    }

    /// The object's namespace; empty for cluster-scoped ones.
    pub fn namespace(&self) -> &str {
        self.key.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        self.key.split_once('/').map_or(&*self.key, |(_, name)| name)
    }

    /// The parsed object; parsed at first use and then shared.
    pub fn value(&self) -> Arc<Value> {
        let parse = || serde_json::from_slice(&self.bytes).unwrap_or(Value::Null);
        self.value.get_or_init(|| Arc::new(parse())).clone()
    }

    /// The parsed object for one use; kept only if somebody asked for [`value`](Entry::value).
    pub fn parsed(&self) -> Arc<Value> {
        match self.value.get() {
            Some(value) => value.clone(),
            None => Arc::new(serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)),
        }
    }

    /// The object's protobuf message without an envelope; encoded at first use and then shared. Empty
    /// if its kind has none.
    pub fn message(&self) -> Bytes {
        let encode = || protobuf::message(&self.parsed()).unwrap_or_default();
        self.message.get_or_init(encode).clone()
    }

    /// The value of a field that selectors may name.
    pub fn field(&self, path: &str) -> &str {
        match path {
            "metadata.name" => self.name(),
            "metadata.namespace" => self.namespace(),
            _ => self
                .fields
                .iter()
                .find(|(name, _)| name == path)
                .map_or("", |(_, value)| value.as_str()),
        }
    }
}

fn error(kv: &KeyValue) -> impl FnOnce(serde_json::Error) -> DecodeError {
    let key = String::from_utf8_lossy(&kv.key).into_owned();
    move |source| DecodeError { key, source }
}

fn relative_key<'a>(served: &Served, key: &'a [u8]) -> std::borrow::Cow<'a, str> {
    let prefix = served.resource.storage_prefix.len();
    String::from_utf8_lossy(key.get(prefix..).unwrap_or_default())
}

/// The stored bytes, converted first if the resource is served as another version.
pub(super) fn served_bytes(served: &Served, kv: &KeyValue) -> Result<Bytes, DecodeError> {
    if is_stored_as(served, &kv.value) && !served.is_custom() {
        return Ok(kv.value.clone());
    }
    let mut obj: Value = serde_json::from_slice(&kv.value).map_err(error(kv))?;
    to_served(served, &mut obj);
    let bytes = encode::stored(&obj);
    Ok(if bytes == kv.value { kv.value.clone() } else { bytes })
}

/// Whether the bytes already are of the served version.
pub(super) fn is_stored_as(served: &Served, stored: &[u8]) -> bool {
    let head = format!("{{\"apiVersion\":\"{}\",", served.resource.api_version());
    stored.starts_with(head.as_bytes())
}

/// Turns a stored object into the served version, whatever version it was stored as.
pub(super) fn to_served(served: &Served, obj: &mut Value) {
    let resource = &served.resource;
    let api_version = resource.api_version();
    if obj["apiVersion"] != api_version.as_str() {
        served.strategy.from_hub(obj);
        obj["apiVersion"] = api_version.into();
        obj["kind"] = resource.kind.to_string().into();
    }
    served.strategy.revive(obj);
}

/// Turns an object of the served version into the one that is stored.
pub(super) fn to_stored(served: &Served, obj: &Value) -> Bytes {
    let resource = &served.resource;
    if obj["apiVersion"] == resource.storage_version.as_ref() {
        return encode::stored(obj);
    }
    let mut hub = obj.clone();
    served.strategy.to_hub(&mut hub);
    hub["apiVersion"] = resource.storage_version.to_string().into();
    encode::stored(&hub)
}

fn labels_of(obj: &Value) -> BTreeMap<String, String> {
    let labels = hansa_api::meta::labels(obj).into_iter().flatten();
    let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_string()));
    labels.filter_map(text).collect()
}

/// What a watch event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// The object is new, or came into the selection.
    Added,
    /// The object changed.
    Modified,
    /// The object is gone, or left the selection.
    Deleted,
}

impl EventType {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// How objects look to one reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As they are.
    #[default]
    Whole,
    /// `Table` with each row's metadata.
    Table,
    /// `PartialObjectMetadata`.
    Partial,
}

/// One change to one object, shared by everyone who watches.
#[derive(Debug)]
pub struct Change {
    /// The revision that did it.
    pub revision: u64,
    /// The object after; `None` if it was deleted.
    pub new: Option<Arc<Entry>>,
    /// The object before; `None` if it was created.
    pub old: Option<Arc<Entry>>,
    departed: OnceLock<Bytes>,
    lines: Frames,
    messages: OnceLock<Box<Frames>>,
}

/// One event's bytes per event type and form, made when they are first wanted.
type Frames = [OnceLock<Bytes>; 9];

impl Change {
    /// A change; at least one of the two is there.
    pub fn new(revision: u64, new: Option<Arc<Entry>>, old: Option<Arc<Entry>>) -> Self {
        let (departed, lines, messages) = Default::default();
        Self { revision, new, old, departed, lines, messages }
    }

    /// The object after, or before if there is none after.
    pub fn entry(&self) -> &Arc<Entry> {
        self.new.as_ref().or(self.old.as_ref()).expect("a change has a before or an after")
    }

    /// The object as it was, at this revision: to those for whom it is gone or left the selection.
    pub fn departed(&self) -> Bytes {
        let old = self.old.as_ref().unwrap_or_else(|| self.entry());
        self.departed.get_or_init(|| restamp(&old.bytes, self.revision)).clone()
    }

    /// The event that watchers of one form and encoding get; made once, by the first of them.
    pub fn frame(
        &self,
        event: EventType,
        form: Form,
        encoding: Encoding,
        make: impl FnOnce() -> Bytes,
    ) -> Bytes {
        let frames = match encoding {
            Encoding::Protobuf => self.messages.get_or_init(Box::default),
            Encoding::Json | Encoding::Yaml => &self.lines,
        };
        frames[event as usize * 3 + form as usize].get_or_init(make).clone()
    }
}

/// The same object with another resourceVersion.
fn restamp(bytes: &Bytes, revision: u64) -> Bytes {
    let Ok(obj) = serde_json::from_slice::<Value>(bytes) else { return bytes.clone() };
    encode::with_revision(&encode::stored(&obj), revision)
}

#[cfg(test)]
mod tests {
    use super::super::render::{Rendering, event};
    use super::super::resource::Resource;
    use super::super::strategy::Plain;
    use super::*;
    use serde_json::json;

    fn kv(key: &str, obj: &Value, revision: u64) -> KeyValue {
        KeyValue {
            key: Bytes::from(key.to_string()),
            value: encode::stored(obj),
            create_revision: 1,
            mod_revision: revision,
            version: 1,
            lease: 0,
        }
    }

    fn served(version: &'static str) -> Served {
        let resource = Resource::new("a.io", version, "Thing", "things").namespaced();
        Served::builtin(resource.stored_as("/registry/a.io/things/", "a.io/v1"), Plain)
    }

    #[test]
    fn entries_know_their_name_labels_and_version() {
        let obj = json!({"apiVersion": "a.io/v1", "kind": "Thing",
            "metadata": {"name": "x", "namespace": "n", "labels": {"k": "v"}}});
        let kv = kv("/registry/a.io/things/n/x", &obj, 5);
        for version in ["v1", "v2"] {
            let entry = Entry::read(&served(version), &kv).unwrap();
            assert_eq!((entry.namespace(), entry.name(), entry.revision), ("n", "x", 5));
            assert_eq!(entry.labels["k"], "v");
            assert_eq!(entry.value()["apiVersion"], format!("a.io/{version}"));
            assert_eq!(entry.value()["metadata"]["resourceVersion"], "5");
            assert_eq!(entry.field("metadata.name"), "x");
        }
    }

    #[test]
    fn a_departed_object_is_as_it_was_but_at_the_new_revision() {
        let obj = json!({"apiVersion": "a.io/v1", "kind": "Thing", "metadata": {"name": "x"}});
        let old = Entry::read(&served("v1"), &kv("/registry/a.io/things/x", &obj, 5)).unwrap();
        let change = Change::new(9, None, Some(Arc::new(old)));
        let frame = |make: &dyn Fn() -> Bytes| {
            change.frame(EventType::Deleted, Form::Whole, Encoding::Json, make)
        };
        let (served, rendering) = (served("v1"), Rendering::default());
        let line = frame(&|| event(&served, &change, EventType::Deleted, rendering, true));
        let told: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(told["type"], "DELETED");
        assert_eq!(told["object"]["metadata"]["resourceVersion"], "9");
        let again = frame(&|| unreachable!());
        assert_eq!(again.as_ptr(), line.as_ptr(), "watchers share the bytes");
    }
}
