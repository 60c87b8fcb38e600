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

/// Most bytes of an event's short texts, and of its message.
const MAX_TEXT: usize = 128;
const MAX_NOTE: usize = 1024;

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

impl Events {
    /// The object with core/v1's names, which both versions are checked by.
    fn in_hub(&self, obj: &Value) -> Value {
        let mut obj = obj.clone();
        self.to_hub(&mut obj);
        obj
    }
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
        let obj = &self.in_hub(obj);
        Check::run(|check| {
            validate(check, obj, self.renamed);
            if self.renamed {
                validate_new(check, obj);
            }
        })
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let (obj, old) = (&self.in_hub(obj), &self.in_hub(old));
        Check::run(|check| {
            validate(check, obj, self.renamed);
            if self.renamed {
                validate_change(check, obj, old);
            }
        })
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
        let (about, by) = match self.renamed {
            true => ("regarding", "reportingController"),
            false => ("involvedObject", "reportingComponent"),
        };
        let mut fields: Vec<Str> = vec!["reason".into(), "type".into(), by.into()];
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
            None if path == "reportingController" => text(obj, "reportingComponent"),
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

/// The rules of both versions; without an `eventTime` only the oldest ones.
fn validate(check: &mut Check, obj: &Value, renamed: bool) {
    const AT: &str = "involvedObject.namespace";
    let about = str_at(obj, &["involvedObject", "namespace"]);
    let own = meta::namespace(obj);
    let microtime = at(obj, &["eventTime"]).is_some();
    let homes: &[&str] = if microtime { &["default", "kube-system"] } else { &["", "default"] };
    let strays = match about {
        "" => !homes.contains(&own),
        about => !microtime && about != own,
    };
    if strays {
        check.invalid(AT, about, "does not match event.namespace");
    }
    if !microtime {
        return;
    }
    let path = if renamed { "reportingController" } else { "reportingComponent" };
    let controller = str_at(obj, &["reportingComponent"]);
    if controller.is_empty() {
        check.required(path, "");
    }
    check.text(path, controller, names::qualified_name(controller));
    for field in ["reportingInstance", "action", "reason"] {
        let text = str_at(obj, &[field]);
        if text.is_empty() {
            check.required(field, "");
        }
        at_most(check, field, text, MAX_TEXT);
    }
    at_most(check, "message", str_at(obj, &["message"]), MAX_NOTE);
}

fn at_most(check: &mut Check, path: &str, text: &str, most: usize) {
    if text.len() > most {
        check.invalid(path, "", &format!("can have at most {most} characters"));
    }
}

/// What the newer version wants of an event besides.
fn validate_new(check: &mut Check, obj: &Value) {
    series(check, obj);
    if at(obj, &["eventTime"]).is_none() {
        check.required("eventTime", "");
    }
    let kind = str_at(obj, &["type"]);
    if !["Normal", "Warning"].contains(&kind) {
        check.invalid("type", "", &format!("has invalid value: {kind}"));
    }
    let source = ["component", "host"].iter().any(|part| at(obj, &["source", part]).is_some());
    let set = |field: &str| at(obj, &[field]).is_some_and(|value| *value != 0);
    for (field, set) in [
        ("firstTimestamp", set("firstTimestamp")),
        ("lastTimestamp", set("lastTimestamp")),
        ("count", set("count")),
        ("source", source),
    ] {
        if set {
            check.invalid(field, "", "needs to be unset");
        }
    }
}

fn series(check: &mut Check, obj: &Value) {
    let Some(series) = at(obj, &["series"]) else { return };
    if int_at(series, &["count"]).unwrap_or_default() < 2 {
        check.invalid("series.count", "", "should be at least 2");
    }
    if at(series, &["lastObservedTime"]).is_none() {
        check.required("series.lastObservedTime", "");
    }
}

/// In the newer version only the series of an event goes on.
fn validate_change(check: &mut Check, obj: &Value, old: &Value) {
    const FROZEN: [(&str, &str); 13] = [
        ("involvedObject", "involvedObject"),
        ("reason", "reason"),
        ("message", "message"),
        ("source", "source"),
        ("firstTimestamp", "firstTimestamp"),
        ("lastTimestamp", "lastTimestamp"),
        ("count", "count"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingComponent", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ];
    if obj.get("series") != old.get("series") {
        series(check, obj);
    }
    for (field, path) in FROZEN {
        check.immutable(path, obj.get(field), old.get(field));
    }
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
    use crate::registry::check::texts;

    fn event(more: &Value) -> Value {
        let mut obj = json!({"metadata": {"name": "e", "namespace": "n"},
            "involvedObject": {"namespace": "n"}, "eventTime": "2026-01-01T00:00:00.000000Z",
            "reportingComponent": "a.io/b", "reportingInstance": "c", "action": "d",
            "reason": "e", "type": "Normal"});
        as_fields_mut(&mut obj).extend(more.as_object().unwrap().clone());
        obj
    }

    #[test]
    fn the_newer_version_wants_more() {
        let [core, renamed] = [false, true].map(|renamed| Events { renamed });
        assert_eq!(texts(&renamed.validate_create(&event(&json!({})))), [""; 0]);
        let old = json!({"eventTime": null, "count": 2, "type": "Odd"});
        assert_eq!(texts(&core.validate_create(&event(&old))), [""; 0]);
        assert_eq!(
            texts(&renamed.validate_create(&event(&old))),
            [
                "eventTime: Required value",
                "type: Invalid value: \"\": has invalid value: Odd",
                "count: Invalid value: \"\": needs to be unset",
            ]
        );
        let mut served = event(&json!({}));
        renamed.from_hub(&mut served);
        assert_eq!(texts(&renamed.validate_create(&served)), [""; 0], "in its own names");
        let bare = json!({"reportingComponent": "", "action": "", "series": {"count": 1}});
        let found = texts(&renamed.validate_create(&event(&bare)));
        assert_eq!(found[0], "reportingController: Required value");
        assert_eq!(
            found[found.len() - 3..],
            [
                "action: Required value",
                "series.count: Invalid value: \"\": should be at least 2",
                "series.lastObservedTime: Required value",
            ]
        );
    }

    #[test]
    fn only_the_series_of_a_newer_event_goes_on() {
        let renamed = Events { renamed: true };
        let old = event(&json!({}));
        let series =
            json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}});
        assert_eq!(texts(&renamed.validate_update(&event(&series), &old)), [""; 0]);
        let new = event(&json!({"message": "other"}));
        assert_eq!(
            texts(&renamed.validate_update(&new, &old)),
            ["message: Invalid value: \"other\": field is immutable"]
        );
        assert_eq!(texts(&Events { renamed: false }.validate_update(&new, &old)), [""; 0]);
    }

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
        assert!(renamed.selectable_fields().contains(&"reportingController".into()));
        for form in [&other, &core] {
            assert_eq!(renamed.field_value(form, "reportingController"), "kubelet");
        }
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
