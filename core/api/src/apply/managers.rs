//! `metadata.managedFields`: who manages what, since when, read and written.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::fields::{FieldsError, from_fields_v1, to_fields_v1};
use super::set::Set;
use crate::meta::{self, Fields};
use crate::time;

/// How a manager came by its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Server-side apply.
    Apply,
    /// Any other write.
    Update,
}

impl Operation {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// Who manages fields. The same name is several managers if it writes in several ways.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Manager {
    /// The name that the client gave, or its user agent's.
    pub name: String,
    /// How it writes.
    pub operation: Operation,
    /// The version it writes; empty for appliers, who are the same in every version.
    pub api_version: String,
    /// The subresource it writes to; empty for the object itself.
    pub subresource: String,
}

/// What a manager has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The fields.
    pub set: Set,
    /// The version whose fields they are.
    pub api_version: String,
    /// When the manager last changed something.
    pub time: Option<String>,
}

/// All managers of an object.
pub type Managers = BTreeMap<Manager, Owned>;

/// Why a list of managed fields makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManagersError {
    /// Neither `Apply` nor `Update`.
    #[error("operation must be `Apply` or `Update`")]
    Operation,
    /// No version.
    #[error("apiVersion must not be empty")]
    ApiVersion,
    /// No type of fields.
    #[error("missing fieldsType in managed fields entry {0}")]
    MissingFieldsType(usize),
    /// Another type of fields.
    #[error("invalid fieldsType {1:?} in managed fields entry {0}")]
    FieldsType(usize, String),
    /// The fields do not parse.
    #[error("error decoding versioned set from {0}: error decoding set: {1}")]
    Fields(String, #[source] FieldsError),
}

impl Manager {
    /// Whether it came by its fields through server-side apply.
    pub fn applies(&self) -> bool {
        self.operation == Operation::Apply
    }

    /// The manager that an object's write is by.
    pub fn new(name: &str, operation: Operation, api_version: &str, subresource: &str) -> Self {
        let api_version = if operation == Operation::Apply { "" } else { api_version };
        Self {
            name: if name.is_empty() { "unknown".into() } else { name.into() },
            operation,
            api_version: api_version.into(),
            subresource: subresource.into(),
        }
    }
}

/// Checks an object's managed fields.
///
/// # Errors
/// At the first entry that makes no sense.
pub fn check_managed_fields(object: &Value) -> Result<(), ManagersError> {
    decode(of(object).map_or(&[][..], Vec::as_slice)).map(drop)
}

/// Reads `metadata.managedFields`.
///
/// # Errors
/// At the first entry that makes no sense.
pub(super) fn decode(entries: &[Value]) -> Result<Managers, ManagersError> {
    entries.iter().enumerate().map(|(at, entry)| decode_entry(at, entry)).collect()
}

fn decode_entry(at: usize, entry: &Value) -> Result<(Manager, Owned), ManagersError> {
    let text = |field: &str| meta::str_at(entry, &[field]);
    let operation = match text("operation") {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return Err(ManagersError::Operation),
    };
    let api_version = text("apiVersion");
    if api_version.is_empty() {
        return Err(ManagersError::ApiVersion);
    }
    match text("fieldsType") {
        "FieldsV1" => {}
        "" => return Err(ManagersError::MissingFieldsType(at)),
        other => return Err(ManagersError::FieldsType(at, other.into())),
    }
    let set = match entry.get("fieldsV1").filter(|fields| !fields.is_null()) {
        None => Set::default(),
        Some(fields) => from_fields_v1(fields)
            .map_err(|error| ManagersError::Fields(entry.to_string(), error))?,
    };
    let manager = Manager {
        name: text("manager").into(),
        operation,
        api_version: if operation == Operation::Apply { "" } else { api_version }.into(),
        subresource: text("subresource").into(),
    };
    let time = Some(text("time")).filter(|time| !time.is_empty()).map(str::to_owned);
    Ok((manager, Owned { set, api_version: api_version.into(), time }))
}

/// Writes `metadata.managedFields`.
pub(super) fn encode(managers: &Managers) -> Vec<Value> {
    let mut entries: Vec<_> =
        managers.iter().map(|(manager, owned)| encode_entry(manager, owned)).collect();
    sort(&mut entries);
    entries
}

/// Appliers come first, older before younger.
pub(super) fn sort(entries: &mut [Value]) {
    let text = |entry: &Value, field: &str| meta::str_at(entry, &[field]).to_owned();
    entries.sort_by_cached_key(|entry| {
        let seconds = time::parse(meta::str_at(entry, &["time"])).map_or(0, |at| at.as_second());
        let rest = ["manager", "apiVersion", "subresource"].map(|field| text(entry, field));
        (text(entry, "operation"), seconds, rest)
    });
}

fn encode_entry(manager: &Manager, owned: &Owned) -> Value {
    let mut entry = Map::new();
    let mut text = |field: &str, value: &str| {
        if !value.is_empty() {
            entry.insert(field.into(), value.into());
        }
    };
    text("manager", &manager.name);
    text("operation", manager.operation.as_str());
    text("apiVersion", &owned.api_version);
    text("time", owned.time.as_deref().unwrap_or_default());
    text("fieldsType", "FieldsV1");
    text("subresource", &manager.subresource);
    entry.insert("fieldsV1".into(), to_fields_v1(&owned.set));
    Value::Object(entry)
}

/// When a manager last wrote, in seconds; never is 0.
pub(super) fn seconds(owned: &Owned) -> i64 {
    owned.time.as_deref().and_then(time::parse).map_or(0, |instant| instant.as_second())
}

/// An object's `metadata.managedFields`, `None` if the field is absent.
pub(super) fn of(object: &Value) -> Option<&Vec<Value>> {
    meta::metadata(object)?.get("managedFields")?.as_array()
}

/// Puts `metadata.managedFields` in, or takes it away if there is nothing to say.
pub(super) fn put(object: &mut Value, managers: &Managers) {
    put_entries(object, encode(managers));
}

/// The same for what is written already.
pub(super) fn put_entries(object: &mut Value, entries: Vec<Value>) {
    let metadata: &mut Fields = meta::metadata_mut(object);
    if entries.is_empty() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".into(), entries.into());
    }
}

/// Takes `metadata.managedFields` away.
pub(super) fn strip(object: &mut Value) {
    if of(object).is_some() || meta::at(object, &["metadata", "managedFields"]).is_some() {
        meta::metadata_mut(object).remove("managedFields");
    }
}
