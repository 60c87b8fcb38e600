//! Kubernetes' protobuf encoding, read into JSON trees by the bundle's types.
//!
//! `kubectl` 1.33 and typed Go clients send it. A body is the four bytes `k8s\0` and a
//! `runtime.Unknown` that names the kind and holds its message. Field numbers are in
//! `data/protobuf.txt` (made by `examples/make_protobuf.rs`); `2.7` is field 7 of the message in
//! field 2, which JSON writes inline.

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::{Bundle, FieldDef, FieldType, TypeId, builtin};
use crate::gvk::GroupVersionKind;
use crate::time;

const MAGIC: &[u8] = b"k8s\0";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const MAX_DEPTH: usize = 64;

/// Why bytes are no object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// The first four bytes are others.
    #[error(
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    )]
    Magic,
    /// The message is cut off or its wire format is broken.
    #[error("unexpected EOF")]
    Broken,
    /// A kind that has no known encoding.
    #[error("no kind {kind:?} is registered for version {version:?}")]
    Unknown {
        /// The kind.
        kind: String,
        /// Its `apiVersion`.
        version: String,
    },
}

/// One value on the wire.
#[derive(Clone, Copy)]
enum Wire<'a> {
    Varint(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

/// Where a field number of a message goes.
enum Target {
    Field(String),
    Inline(HashMap<u32, String>),
}

type Message = HashMap<u32, Target>;

static MESSAGES: LazyLock<HashMap<String, Message>> =
    LazyLock::new(|| include_str!("../../data/protobuf.txt").lines().map(read_line).collect());

fn read_line(line: &str) -> (String, Message) {
    let mut words = line.split(' ');
    let name = format!("io.k8s.{}", words.next().unwrap_or_default());
    let mut message = Message::new();
    for (field, number) in words.filter_map(|word| word.rsplit_once('=')) {
        let (outer, inner) = number.split_once('.').unwrap_or((number, ""));
        let Ok(outer) = outer.parse() else { continue };
        match inner.parse() {
            Err(_) => {
                message.insert(outer, Target::Field(field.to_string()));
            }
            Ok(inner) => {
                let inline = message.entry(outer).or_insert_with(|| Target::Inline(HashMap::new()));
                if let Target::Inline(fields) = inline {
                    fields.insert(inner, field.to_string());
                }
            }
        }
    }
    (name, message)
}

/// Reads an object; `apiVersion` and `kind` are those of its envelope.
///
/// # Errors
/// What is no protobuf, is cut off, or of a kind that is not built in.
pub fn decode(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let envelope = bytes.strip_prefix(MAGIC).ok_or(ProtobufError::Magic)?;
    let (mut version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in fields(envelope) {
        match field? {
            (1, Wire::Bytes(meta)) => (version, kind) = type_meta(meta)?,
            (2, Wire::Bytes(message)) => raw = message,
            _ => {}
        }
    }
    let id = type_of(&version, &kind)
        .ok_or_else(|| ProtobufError::Unknown { kind: kind.clone(), version: version.clone() })?;
    let mut object = message(builtin(), id, raw, 0)?;
    object.insert("apiVersion".into(), version.into());
    object.insert("kind".into(), kind.into());
    Ok(Value::Object(object))
}

fn type_of(version: &str, kind: &str) -> Option<TypeId> {
    if kind == "DeleteOptions" {
        return builtin().type_named(DELETE_OPTIONS);
    }
    builtin().type_of(&GroupVersionKind::parse(version, kind).ok()?)
}

fn type_meta(bytes: &[u8]) -> Result<(String, String), ProtobufError> {
    Ok((text(bytes, 1)?, text(bytes, 2)?))
}

/// The string in one field of a small message; empty if it is not there.
fn text(bytes: &[u8], number: u32) -> Result<String, ProtobufError> {
    let found = member(bytes, number)?;
    Ok(found.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default())
}

fn member(bytes: &[u8], number: u32) -> Result<Option<&[u8]>, ProtobufError> {
    for field in fields(bytes) {
        if let (found, Wire::Bytes(bytes)) = field?
            && found == number
        {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

fn number(bytes: &[u8], number: u32) -> Result<i64, ProtobufError> {
    for field in fields(bytes) {
        if let (found, Wire::Varint(value)) = field?
            && found == number
        {
            return Ok(value as i64);
        }
    }
    Ok(0)
}

fn message(
    bundle: &Bundle,
    id: TypeId,
    bytes: &[u8],
    depth: usize,
) -> Result<Map<String, Value>, ProtobufError> {
    let def = bundle.get(id);
    let mut object = Map::new();
    let Some(targets) = MESSAGES.get(&def.name).filter(|_| depth < MAX_DEPTH) else {
        return Ok(object);
    };
    let mut put = |name: &str, wire| match def.field(name) {
        Some(field) => insert(bundle, field, &mut object, wire, depth),
        None => Ok(()),
    };
    for field in fields(bytes) {
        let (number, wire) = field?;
        match (targets.get(&number), wire) {
            (Some(Target::Field(name)), _) => put(name, wire)?,
            (Some(Target::Inline(inner)), Wire::Bytes(bytes)) => {
                for field in fields(bytes) {
                    let (number, wire) = field?;
                    inner.get(&number).map_or(Ok(()), |name| put(name, wire))?;
                }
            }
            _ => {}
        }
    }
    Ok(object)
}

fn insert(
    bundle: &Bundle,
    field: &FieldDef,
    object: &mut Map<String, Value>,
    wire: Wire<'_>,
    depth: usize,
) -> Result<(), ProtobufError> {
    match &field.kind {
        FieldType::List(item) => {
            let value = value(bundle, item, wire, depth)?;
            let list = object.entry(field.name.clone()).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(items) = list {
                items.push(value);
            }
        }
        FieldType::Map(item) => {
            let Wire::Bytes(entry) = wire else { return Ok(()) };
            let value = value(bundle, item, Wire::Bytes(member(entry, 2)?.unwrap_or(&[])), depth)?;
            let map = object.entry(field.name.clone()).or_insert_with(|| Map::new().into());
            if let Value::Object(fields) = map {
                fields.insert(text(entry, 1)?, value);
            }
        }
        kind => {
            let value = value(bundle, kind, wire, depth)?;
            if is_meant(field, &value) {
                object.insert(field.name.clone(), value);
            }
        }
    }
    Ok(())
}

/// Go writes zeros of plain fields that JSON leaves out; those behind pointers are meant.
fn is_meant(field: &FieldDef, value: &Value) -> bool {
    let zero = match value {
        Value::Null => return false,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(value) => value.is_empty(),
        _ => false,
    };
    !zero || field.required || POINTERS.contains(&field.name.as_str())
}

/// Optional scalars whose zero differs from their absence.
const POINTERS: [&str; 47] = [
    "activeDeadlineSeconds",
    "allocateLoadBalancerNodePorts",
    "allowPrivilegeEscalation",
    "automountServiceAccountToken",
    "backoffLimit",
    "blockOwnerDeletion",
    "completions",
    "controller",
    "defaultMode",
    "deletionGracePeriodSeconds",
    "enableServiceLinks",
    "expirationSeconds",
    "failedJobsHistoryLimit",
    "fsGroup",
    "gracePeriodSeconds",
    "hostProcess",
    "hostUsers",
    "immutable",
    "leaseDurationSeconds",
    "leaseTransitions",
    "manualSelector",
    "minReplicas",
    "mode",
    "optional",
    "orphanDependents",
    "parallelism",
    "partition",
    "priority",
    "privileged",
    "progressDeadlineSeconds",
    "readOnlyRootFilesystem",
    "ready",
    "replicas",
    "revisionHistoryLimit",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "serving",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "startingDeadlineSeconds",
    "storageClassName",
    "successfulJobsHistoryLimit",
    "suspend",
    "terminating",
    "terminationGracePeriodSeconds",
    "tolerationSeconds",
];

fn value(
    bundle: &Bundle,
    kind: &FieldType,
    wire: Wire<'_>,
    depth: usize,
) -> Result<Value, ProtobufError> {
    Ok(match (kind, wire) {
        (FieldType::Bool, Wire::Varint(bit)) => (bit != 0).into(),
        (FieldType::Int32, Wire::Varint(bits)) => (bits as i32).into(),
        (FieldType::Int64, Wire::Varint(bits)) => (bits as i64).into(),
        (FieldType::Double, Wire::Fixed(bits)) => f64::from_bits(bits).into(),
        (FieldType::String, Wire::Bytes(bytes)) => String::from_utf8_lossy(bytes).into(),
        (FieldType::Bytes, Wire::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        (FieldType::Quantity, Wire::Bytes(bytes)) => text(bytes, 1)?.into(),
        (FieldType::IntOrString, Wire::Bytes(bytes)) => match number(bytes, 1)? {
            0 => (number(bytes, 2)? as i32).into(),
            _ => text(bytes, 3)?.into(),
        },
        (FieldType::Time, Wire::Bytes(bytes)) => instant(bytes, time::format_time)?,
        (FieldType::MicroTime, Wire::Bytes(bytes)) => instant(bytes, time::format_micro)?,
        (FieldType::Any | FieldType::FreeObject, Wire::Bytes(bytes)) => {
            let raw = member(bytes, 1)?.unwrap_or_default();
            serde_json::from_slice(raw).unwrap_or_default()
        }
        (FieldType::Object(id), Wire::Bytes(bytes)) => {
            Value::Object(message(bundle, *id, bytes, depth + 1)?)
        }
        // A list in a map has a message of its own, with the items in field 1.
        (FieldType::List(item), Wire::Bytes(bytes)) => {
            let items = fields(bytes).map(|field| value(bundle, item, field?.1, depth + 1));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        _ => Value::Null,
    })
}

fn instant(
    bytes: &[u8],
    print: impl Fn(jiff::Timestamp) -> String,
) -> Result<Value, ProtobufError> {
    let (seconds, nanos) = (number(bytes, 1)?, number(bytes, 2)?);
    // The zero time of Go, which JSON writes as null.
    if bytes.is_empty() || (seconds == 0 && nanos == 0) || seconds == -62_135_596_800 {
        return Ok(Value::Null);
    }
    let instant = jiff::Timestamp::new(seconds, i32::try_from(nanos).unwrap_or(0));
    Ok(instant.map_or(Value::Null, |instant| print(instant).into()))
}

/// The fields of a message in order; ends after the first error.
fn fields(bytes: &[u8]) -> impl Iterator<Item = Result<(u32, Wire<'_>), ProtobufError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = next_field(&mut rest);
        if field.is_none() {
            rest = &[];
        }
        Some(field.ok_or(ProtobufError::Broken))
    })
}

fn next_field<'a>(rest: &mut &'a [u8]) -> Option<(u32, Wire<'a>)> {
    let key = varint(rest)?;
    let number = u32::try_from(key >> 3).ok()?;
    let wire = match key & 7 {
        0 => Wire::Varint(varint(rest)?),
        1 => Wire::Fixed(u64::from_le_bytes(take(rest, 8)?.try_into().ok()?)),
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            Wire::Bytes(take(rest, length)?)
        }
        5 => Wire::Fixed(u32::from_le_bytes(take(rest, 4)?.try_into().ok()?).into()),
        _ => return None,
    };
    Some((number, wire))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(rest, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A length-delimited field.
    fn len(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        out.extend_from_slice(bytes);
        out
    }

    /// A number below 128.
    fn int(number: u8, value: u8) -> Vec<u8> {
        vec![number << 3, value]
    }

    fn envelope(version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [len(1, version.as_bytes()), len(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), len(1, &meta), len(2, raw), len(3, b""), len(4, b"")].concat()
    }

    #[test]
    fn an_object_is_read_as_json_would_have_it() {
        let metadata = [len(1, b"web"), len(2, b""), len(8, b""), int(7, 0)].concat();
        let template =
            len(2, &[len(2, &[len(1, b"c"), len(2, b"")].concat()), int(11, 0)].concat());
        let spec = [int(1, 0), len(3, &template), int(5, 0), int(6, 3)].concat();
        let raw = [len(1, &metadata), len(2, &spec), len(3, b"")].concat();
        let deployment = decode(&envelope("apps/v1", "Deployment", &raw)).unwrap();
        assert_eq!(deployment["apiVersion"], "apps/v1");
        assert_eq!(deployment["metadata"], json!({"name": "web"}));
        assert_eq!(deployment["spec"]["replicas"], 0, "behind a pointer: meant");
        assert!(deployment["spec"].get("minReadySeconds").is_none());
        assert_eq!(deployment["spec"]["revisionHistoryLimit"], 3);
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(*pod, json!({"containers": [{"name": "c"}]}));
    }

    #[test]
    fn inlines_maps_and_special_types_are_read() {
        let path = len(2, &len(1, &len(1, b"/tmp")));
        let volume = [len(1, b"v"), path].concat();
        let limits = len(1, &[len(1, b"cpu"), len(2, &len(1, b"100m"))].concat());
        let port = [int(1, 0), int(2, 80)].concat();
        let probe = len(1, &len(2, &[len(1, b"/"), len(2, &port)].concat()));
        let container = [len(1, b"c"), len(8, &limits), len(10, &probe)].concat();
        let spec = [len(1, &volume), len(2, &container)].concat();
        let pod = decode(&envelope("v1", "Pod", &len(2, &spec))).unwrap();
        assert_eq!(pod["spec"]["volumes"], json!([{"name": "v", "hostPath": {"path": "/tmp"}}]));
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["resources"]["limits"], json!({"cpu": "100m"}));
        assert_eq!(container["livenessProbe"]["httpGet"], json!({"path": "/", "port": 80}));
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        assert_eq!(decode(b"{}"), Err(ProtobufError::Magic));
        let good = envelope("v1", "Pod", &len(1, &len(1, b"name")));
        // At 15 ends the first field: a Pod without anything.
        for end in (5..15).chain(16..good.len() - 4) {
            assert!(decode(&good[..end]).is_err(), "cut at {end}");
        }
        let unknown = decode(&envelope("a.io/v1", "Ship", b"")).unwrap_err();
        assert!(matches!(unknown, ProtobufError::Unknown { .. }));
        assert!(decode(&envelope("v1", "Pod", &[0xff; 20])).is_err());
    }
}
