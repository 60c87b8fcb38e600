//! Most writes touch few fields. Then managers whose fields are not among them stay as they are
//! written, and nobody reads them.

use serde_json::{Value, json};

use super::compare::Changes;
use super::element::PathElement;
use super::fields::{encode, from_fields_v1, to_fields_v1};
use super::managers::{self, Manager};
use super::reconcile::reconcile;
use super::schema::Type;
use super::set::Set;
use crate::meta::{self, Fields};

/// A write to an object whose managed fields are all of the version that is written.
pub(super) struct Write<'a> {
    pub(super) kind: Type<'a>,
    pub(super) writer: Manager,
    pub(super) now: &'a str,
}

/// Whether entries can be treated as they are written: few, well formed, and of one version. They
/// were written by [`managers::encode`].
pub(super) fn is_plain(entries: &[Value], api_version: &str, most: usize) -> bool {
    let plain = |entry: &Value| {
        meta::str_at(entry, &["apiVersion"]) == api_version
            && meta::str_at(entry, &["fieldsType"]) == "FieldsV1"
            && matches!(meta::str_at(entry, &["operation"]), "Apply" | "Update")
            && entry.get("fieldsV1").is_some_and(Value::is_object)
    };
    !entries.is_empty() && entries.len() < most && entries.iter().all(plain)
}

impl Write<'_> {
    /// The managed fields after the write; `None` if an entry cannot be read.
    pub(super) fn settle(&self, entries: Vec<Value>, changes: &Changes) -> Option<Vec<Value>> {
        let written = changes.modified.union(&changes.added);
        let mut out = Vec::with_capacity(entries.len() + 1);
        let mut found = false;
        for entry in entries {
            let own = self.is_writer(&entry);
            found |= own;
            let settled = match own {
                true => self.own(entry, &written, &changes.removed)?,
                false => self.others(entry, &written, &changes.removed)?,
            };
            out.extend(settled);
        }
        if !found && !written.is_empty() {
            out.push(self.first(&written));
        }
        managers::sort(&mut out);
        Some(out)
    }

    fn is_writer(&self, entry: &Value) -> bool {
        let Manager { name, operation, subresource, .. } = &self.writer;
        let is = |field: &str, value: &str| meta::str_at(entry, &[field]) == value;
        is("manager", name) && is("operation", operation.as_str()) && is("subresource", subresource)
    }

    /// What is left of another manager: `Some(None)` if nothing is.
    fn others(&self, entry: Value, written: &Set, removed: &Set) -> Option<Option<Value>> {
        let fields = meta::map_at(&entry, &["fieldsV1"])?;
        if !touches(fields, written) && !touches(fields, removed) {
            return Some(Some(entry));
        }
        let set = self.read(&entry)?.difference(written).difference(removed);
        Some(with_set(entry, &set))
    }

    fn own(&self, entry: Value, written: &Set, removed: &Set) -> Option<Option<Value>> {
        let fields = meta::map_at(&entry, &["fieldsV1"])?;
        let keeps = covers(fields, written) && !touches(fields, removed);
        let mut settled = match keeps {
            true => Some(entry),
            false => {
                let set = self.read(&entry)?.difference(removed).union(written);
                with_set(entry, &set)
            }
        };
        if let (Some(entry), false) = (&mut settled, written.is_empty()) {
            entry["time"] = self.now.into();
        }
        Some(settled)
    }

    fn read(&self, entry: &Value) -> Option<Set> {
        let set = from_fields_v1(entry.get("fieldsV1")?).ok()?;
        Some(reconcile(self.kind, &set).unwrap_or(set))
    }

    fn first(&self, written: &Set) -> Value {
        let Manager { name, operation, api_version, subresource } = &self.writer;
        let mut entry = json!({
            "manager": name,
            "operation": operation.as_str(),
            "apiVersion": api_version,
            "time": self.now,
            "fieldsType": "FieldsV1",
            "fieldsV1": to_fields_v1(written),
        });
        if !subresource.is_empty() {
            entry["subresource"] = subresource.as_str().into();
        }
        entry
    }
}

fn with_set(mut entry: Value, set: &Set) -> Option<Value> {
    if set.is_empty() {
        return None;
    }
    entry["fieldsV1"] = to_fields_v1(set);
    Some(entry)
}

fn node<'a>(fields: &'a Fields, element: &PathElement) -> Option<&'a Fields> {
    fields.get(&encode(element)).and_then(Value::as_object)
}

/// Whether a field of the set, or something below it, is among the written ones.
fn touches(fields: &Fields, set: &Set) -> bool {
    let below = |(element, below): &(PathElement, Set)| {
        node(fields, element).is_some_and(|inner| touches(inner, below))
    };
    set.members.iter().any(|member| node(fields, member).is_some())
        || set.children.iter().any(below)
}

/// Whether all fields of the set are among the written ones.
fn covers(fields: &Fields, set: &Set) -> bool {
    let member = |element: &PathElement| {
        node(fields, element).is_some_and(|inner| inner.is_empty() || inner.contains_key("."))
    };
    let below = |(element, below): &(PathElement, Set)| {
        node(fields, element).is_some_and(|inner| covers(inner, below))
    };
    set.members.iter().all(member) && set.children.iter().all(below)
}
