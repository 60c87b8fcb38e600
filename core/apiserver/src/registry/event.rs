//! Events: one storage (core/v1), served as core/v1 and as events.k8s.io/v1.

use hansa_api::field::FieldError;
use hansa_api::meta::{self, Fields, as_fields_mut, at, int_at, str_at};
use hansa_api::names;
use jiff::Timestamp;
use serde_json::Value;

use super::cells;
use super::check::Check;
use crate::generic::resource::{Resource, Str};
use crate::generic::strategy::{Column, Strategy};
use crate::generic::table;

/// core/v1 names and those of events.k8s.io/v1.
const RENAMED: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

pub(super) fn resource() -> Resource {
    Resource::new("", "v1", "Event", "events").namespaced().short(&["ev"])
}

pub(super) fn resource_v1() -> Resource {
    let core = resource();
    Resource::new("events.k8s.io", "v1", "Event", "events")
        .namespaced()
        .short(&["ev"])
        .stored_as(core.storage_prefix, core.storage_version)
}

/// The strategy of Events.
pub(super) struct Events {
    /// Whether they are served as events.k8s.io/v1.
    pub(super) renamed: bool,
}

fn rename(fields: &mut Fields, from: &str, to: &str) {
    if let Some(value) = fields.remove(from) {
        fields.insert(to.into(), value);
    }
}

/// A field under either name.
fn either<'a>(obj: &'a Value, core: &str) -> Option<&'a Value> {
    let renamed = RENAMED.iter().find(|(name, _)| *name == core).map(|(_, other)| *other);
    at(obj, &[core]).or_else(|| at(obj, &[renamed?]))
}

fn text<'a>(obj: &'a Value, core: &str) -> &'a str {
    either(obj, core).and_then(Value::as_str).unwrap_or_default()
}

impl Strategy for Events {
    fn to_hub(&self, obj: &mut Value) {
        if self.renamed {
            let fields = as_fields_mut(obj);
            RENAMED.iter().for_each(|(core, other)| rename(fields, other, core));
        }
    }

    fn from_hub(&self, obj: &mut Value) {
        if self.renamed {
            let fields = as_fields_mut(obj);
            RENAMED.iter().for_each(|(core, other)| rename(fields, core, other));
        }
    }

    /// Times that are not set are told as null: `kubectl get events --sort-by` needs the field.
    fn default(&self, obj: &mut Value) {
        let fields = as_fields_mut(obj);
        for core in ["eventTime", "firstTimestamp", "lastTimestamp"] {
            let renamed = RENAMED.iter().find(|(name, _)| self.renamed && *name == core);
            let name = renamed.map_or(core, |(_, other)| *other);
            fields.entry(name).or_insert(Value::Null);
        }
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, obj))
    }

    fn validate_update(&self, _: &Value, _: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::new("Last Seen", "Time since it last happened."),
            Column::new("Type", "Normal or Warning."),
            Column::new("Reason", "Why, in one word."),
            Column::new("Object", "What it happened to."),
            Column::wide("Subobject", "The part that it happened to."),
            Column::wide("Source", "Who says so."),
            Column::new("Message", "What happened."),
            Column::wide("First Seen", "Time since it first happened."),
            Column::wide("Count", "How often it happened."),
            Column { priority: 1, ..Column::name() },
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let (first, last) = (first_seen(obj, now), last_seen(obj, now));
        let empty = Value::Null;
        let about = either(obj, "involvedObject").unwrap_or(&empty);
        let (kind, name) = (str_at(about, &["kind"]).to_lowercase(), str_at(about, &["name"]));
        vec![
            last.unwrap_or_else(|| first.clone()).into(),
            text(obj, "type").into(),
            text(obj, "reason").into(),
            format!("{kind}/{name}").into(),
            str_at(about, &["fieldPath"]).into(),
            source(obj).into(),
            text(obj, "message").trim().into(),
            first.into(),
            count(obj).into(),
            cells::name(obj),
        ]
    }

    fn selectable_fields(&self) -> Vec<Str> {
        let mut fields: Vec<Str> =
            vec!["reason".into(), "type".into(), "reportingComponent".into()];
        let about = if self.renamed { "regarding" } else { "involvedObject" };
        for part in
            ["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"]
        {
            fields.push(format!("{about}.{part}").into());
        }
        if !self.renamed {
            fields.push("source".into());
        }
        fields
    }

    fn field_value(&self, obj: &Value, path: &str) -> String {
        let text = match path.split_once('.') {
            Some((_, part)) => {
                either(obj, "involvedObject").map_or("", |about| str_at(about, &[part]))
            }
            None if path == "source" => {
                let source = either(obj, "source").map_or("", |s| str_at(s, &["component"]));
                if source.is_empty() { text(obj, "reportingComponent") } else { source }
            }
            None => text(obj, path),
        };
        text.to_owned()
    }

    fn has_generation(&self, _: &Value) -> bool {
        false
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn validate(check: &mut Check, obj: &Value) {
    let namespace = either(obj, "involvedObject").map_or("", |about| str_at(about, &["namespace"]));
    let own = meta::namespace(obj);
    let cluster_scoped = namespace.is_empty() && matches!(own, "default" | "kube-system");
    if namespace != own && !cluster_scoped {
        check.invalid("involvedObject.namespace", namespace, "does not match event.namespace");
    }
    if str_at(obj, &["eventTime"]).is_empty() {
        return;
    }
    let controller = text(obj, "reportingComponent");
    check.required_text("reportingController", controller, names::qualified_name);
    for field in ["reportingInstance", "action", "reason"] {
        if str_at(obj, &[field]).is_empty() {
            check.required(field, "");
        }
    }
    check.optional_one_of("type", str_at(obj, &["type"]), &["Normal", "Warning"]);
}

fn count(obj: &Value) -> i64 {
    let series = int_at(obj, &["series", "count"]);
    let counted = either(obj, "count").and_then(Value::as_i64).filter(|count| *count > 0);
    series.or(counted).unwrap_or(1)
}

fn first_seen(obj: &Value, now: Timestamp) -> String {
    let then = match text(obj, "firstTimestamp") {
        "" => str_at(obj, &["eventTime"]),
        then => then,
    };
    table::since(Some(then), now)
}

/// Time since the last of several; `None` if there was one.
fn last_seen(obj: &Value, now: Timestamp) -> Option<String> {
    let last = match str_at(obj, &["series", "lastObservedTime"]) {
        "" => text(obj, "lastTimestamp"),
        last => last,
    };
    (!last.is_empty()).then(|| table::since(Some(last), now))
}

fn source(obj: &Value) -> String {
    let part = |field: &str| either(obj, "source").map_or("", |source| str_at(source, &[field]));
    let component = match part("component") {
        "" => text(obj, "reportingComponent"),
        component => component,
    };
    let host = match part("host") {
        "" => str_at(obj, &["reportingInstance"]),
        host => host,
    };
    if host.is_empty() { component.into() } else { format!("{component}, {host}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_versions_are_one_object() {
        let core = json!({"involvedObject": {"kind": "Pod", "name": "p", "namespace": "n"},
            "message": "hello", "reason": "Started", "count": 2, "reportingComponent": "kubelet",
            "firstTimestamp": "2026-01-01T00:00:00Z", "type": "Normal"});
        let renamed = Events { renamed: true };
        let mut other = core.clone();
        renamed.from_hub(&mut other);
        assert_eq!(other["regarding"]["name"], "p");
        assert_eq!(other["note"], "hello");
        assert_eq!(renamed.field_value(&other, "regarding.kind"), "Pod");
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        assert_eq!(renamed.row(&other, now), Events { renamed: false }.row(&core, now));
        assert_eq!(renamed.row(&other, now)[..4], ["60s", "Normal", "Started", "pod/p"]);
        renamed.to_hub(&mut other);
        assert_eq!(other, core);
        renamed.from_hub(&mut other);
        renamed.default(&mut other);
        assert_eq!(other["deprecatedLastTimestamp"], Value::Null);
        renamed.to_hub(&mut other);
        let mut expected = core.clone();
        Events { renamed: false }.default(&mut expected);
        assert_eq!(other, expected);
    }
}
