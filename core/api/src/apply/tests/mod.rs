//! A small world of one object and several managers, and the tables that are played in it.

mod built_in;
mod cases;
mod properties;
mod scaling;
mod sets;

use serde_json::{Value, json};

use super::{ApplyError, ObjectType, OneVersion, Set, Tracker, from_fields_v1};
use crate::gvk::GroupVersionKind;

/// A kind with one field of every way to merge.
fn schema() -> Value {
    let text = json!({"type": "string"});
    let number = json!({"type": "integer"});
    let element = json!({"type": "object", "properties": {
        "name": text, "port": {"type": "integer", "default": 80}, "value": number,
        "more": {"type": "object", "additionalProperties": text},
    }});
    json!({"type": "object", "properties": {
        "text": text,
        "number": number,
        "flag": {"type": "boolean"},
        "part": {"type": "object", "properties": {"a": number, "b": number}},
        "whole": {"type": "object", "x-kubernetes-map-type": "atomic",
            "additionalProperties": text},
        "map": {"type": "object", "additionalProperties": text},
        "set": {"type": "array", "items": text, "x-kubernetes-list-type": "set"},
        "list": {"type": "array", "items": element, "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name", "port"]},
        "bag": {"type": "array", "items": number},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }})
}

/// One object and who manages it. Time is a counter.
struct World {
    kind: ObjectType,
    object: Value,
    reset: Set,
    subresource: &'static str,
    minute: u8,
}

impl World {
    fn new() -> Self {
        Self::of(&schema())
    }

    fn of(schema: &Value) -> Self {
        Self {
            kind: ObjectType::custom(schema),
            object: json!({}),
            reset: Set::default(),
            subresource: "",
            minute: 0,
        }
    }

    fn track<T>(&mut self, what: impl FnOnce(&Tracker<'_>, &Value) -> T) -> T {
        self.minute += 1;
        let now = format!("2026-01-01T00:{:02}:00Z", self.minute);
        let versions =
            OneVersion { api_version: "a.io/v1", kind: self.kind.get(), reset: self.reset.clone() };
        let tracker = Tracker {
            kind: &GroupVersionKind::new("a.io", "v1", "Thing"),
            versions: &versions,
            subresource: self.subresource,
            now: &now,
        };
        what(&tracker, &self.object)
    }

    fn try_apply(&mut self, manager: &str, part: &Value, force: bool) -> Result<(), ApplyError> {
        let part = object(part);
        let applied = self.track(|tracker, live| tracker.apply(live, &part, manager, force))?;
        self.object = applied;
        self.object["metadata"]["uid"] = "u".into();
        Ok(())
    }

    fn apply(&mut self, manager: &str, part: Value) -> &mut Self {
        self.try_apply(manager, &part, false)
            .unwrap_or_else(|error| panic!("{manager}: {error:?}"));
        self
    }

    fn force(&mut self, manager: &str, part: Value) -> &mut Self {
        self.try_apply(manager, &part, true).unwrap_or_else(|error| panic!("{manager}: {error:?}"));
        self
    }

    /// The fields that an applier may not take; sorted.
    fn conflicts(&mut self, manager: &str, part: Value) -> Vec<String> {
        match self.try_apply(manager, &part, false) {
            Err(ApplyError::Conflicts(conflicts)) => {
                let paths = conflicts.0.iter().map(|conflict| super::set::text(&conflict.path));
                paths.collect()
            }
            other => panic!("{manager} should meet a conflict: {other:?}"),
        }
    }

    /// A write of the whole object; what it says of managed fields is dropped.
    fn update(&mut self, manager: &str, new: Value) -> &mut Self {
        let mut new = object(&new);
        new["metadata"]["uid"] = "u".into();
        self.write(manager, new)
    }

    fn write(&mut self, manager: &str, mut new: Value) -> &mut Self {
        self.track(|tracker, live| tracker.update(live, &mut new, manager)).unwrap();
        self.object = new;
        self
    }

    /// The object without its type and metadata.
    fn body(&self) -> Value {
        let mut body = self.object.clone();
        for field in ["apiVersion", "kind", "metadata"] {
            body.as_object_mut().unwrap().remove(field);
        }
        body
    }

    fn entries(&self) -> Vec<Value> {
        super::managers::of(&self.object).cloned().unwrap_or_default()
    }

    fn entry(&self, manager: &str, operation: &str) -> Option<Value> {
        let entries = self.entries();
        entries.into_iter().find(|one| one["manager"] == manager && one["operation"] == operation)
    }

    /// What a manager has, as paths; sorted.
    fn fields(&self, manager: &str, operation: &str) -> Vec<String> {
        let Some(entry) = self.entry(manager, operation) else { return Vec::new() };
        paths(&from_fields_v1(&entry["fieldsV1"]).unwrap())
    }
}

/// A part of a thing as a whole one.
fn object(part: &Value) -> Value {
    let mut object = part.clone();
    object["apiVersion"] = "a.io/v1".into();
    object["kind"] = "Thing".into();
    object["metadata"]["name"] = "x".into();
    object
}

fn paths(set: &Set) -> Vec<String> {
    let mut paths: Vec<_> = set.paths().iter().map(|path| super::set::text(path)).collect();
    paths.sort();
    paths
}
