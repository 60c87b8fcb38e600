//! ResourceSlices: the devices that a driver offers.

use hansa_api::field::FieldError;
use hansa_api::meta::{at, default_field, fields_mut, list_at, str_at};
use hansa_api::names as api_names;
use hansa_api::time;
use jiff::Timestamp;
use serde_json::Value;

use super::{GROUP, device, names, set};
use crate::generic::resource::{Resource, Str};
use crate::generic::strategy::{Column, Strategy};
use crate::registry::check::{Check, entries};
use crate::registry::pod::defaults::each;
use crate::registry::{cells, node_selector};

const MAX_DEVICES: usize = 128;
/// The same, if devices have taints or counters.
const MAX_RICH_DEVICES: usize = 64;
const MAX_COUNTER_SETS: usize = 8;

pub(in crate::registry) fn resource() -> Resource {
    Resource::new(GROUP, "v1", "ResourceSlice", "resourceslices")
}

/// The strategy of ResourceSlices.
pub(in crate::registry) struct Slices;

impl Strategy for Slices {
    fn default(&self, obj: &mut Value) {
        each(fields_mut(obj, &["spec"]), "devices", |device| {
            each(device, "taints", |taint| default_field(taint, "timeAdded", time::now()));
        });
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, &obj["spec"], &Value::Null))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            validate(check, &obj["spec"], &old["spec"]);
            for path in ["spec.pool.name", "spec.driver", "spec.nodeName"] {
                check.frozen(path, obj, old);
            }
        })
    }

    fn warnings(&self, obj: &Value, _: Option<&Value>) -> Vec<String> {
        let driver = str_at(obj, &["spec", "driver"]);
        if driver == driver.to_lowercase() {
            return Vec::new();
        }
        vec![format!(
            "spec.driver: driver names should be lowercase; {driver:?} contains uppercase \
             characters"
        )]
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Node", "Where its devices are."),
            Column::new("Driver", "Whose they are."),
            Column::new("Pool", "The pool that they belong to."),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            cells::name(obj),
            str_at(obj, &["spec", "nodeName"]).into(),
            str_at(obj, &["spec", "driver"]).into(),
            str_at(obj, &["spec", "pool", "name"]).into(),
            cells::age(obj, now),
        ]
    }

    fn selectable_fields(&self) -> Vec<Str> {
        vec!["spec.driver".into(), "spec.nodeName".into()]
    }
}

fn validate(check: &mut Check, spec: &Value, old: &Value) {
    names::driver(check, "spec.driver", str_at(spec, &["driver"]));
    validate_pool(check, &spec["pool"]);
    node_name(check, "spec.nodeName", spec);
    where_it_is(check, spec);
    places(check, spec);
    let devices = list_at(spec, &["devices"]);
    let counters = list_at(spec, &["sharedCounters"]);
    if at(spec, &["devices"]).is_some() && at(spec, &["sharedCounters"]).is_some() {
        check.invalid("spec", "", "only one of `sharedCounters` or `devices` is allowed");
    }
    let filled = |device: &Value, field: &str| !list_at(device, &[field]).is_empty();
    let rich = |device: &Value| filled(device, "taints") || filled(device, "consumesCounters");
    let max = if devices.iter().any(rich) { MAX_RICH_DEVICES } else { MAX_DEVICES };
    let per_device = spec["perDeviceNodeSelection"] == true;
    let validate = |check: &mut Check, path: &str, device: &Value| {
        let mut before = list_at(old, &["devices"]).iter();
        let before = before.find(|own| own["name"] == device["name"]);
        device::validate(check, path, device, before, per_device);
    };
    let name = |device: &Value| device["name"].clone();
    set(check, "spec.devices", devices, max, validate, name);
    set(check, "spec.sharedCounters", counters, MAX_COUNTER_SETS, device::counter_set, name);
}

fn validate_pool(check: &mut Check, pool: &Value) {
    names::pool(check, "spec.pool.name", str_at(pool, &["name"]));
    let count = cells::int(pool, &["resourceSliceCount"]);
    if count <= 0 {
        check.invalid("spec.pool.resourceSliceCount", count, "must be greater than zero");
    }
    let generation = cells::int(pool, &["generation"]);
    if generation < 0 {
        let why = "must be greater than or equal to zero";
        check.invalid("spec.pool.generation", generation, why);
    }
}

/// A node's name, if there is one.
fn node_name(check: &mut Check, path: &str, spec: &Value) {
    match spec["nodeName"].as_str() {
        None => {}
        Some("") => {
            check.invalid(path, "", "must be either unset or set to a non-empty string");
        }
        Some(name) => check.text(path, name, api_names::dns1123_subdomain(name)),
    }
}

/// The other ways to say where devices are.
fn where_it_is(check: &mut Check, spec: &Value) {
    if let Some(selector) = at(spec, &["nodeSelector"]) {
        let path = "spec.nodeSelector";
        node_selector::validate(check, path, selector);
        let terms = list_at(selector, &["nodeSelectorTerms"]);
        if terms.len() != 1 {
            let path = format!("{path}.nodeSelectorTerms");
            check.invalid(&path, terms.to_vec(), "must have exactly one node selector term");
        }
    }
    for field in ["allNodes", "perDeviceNodeSelection"] {
        if at(spec, &[field]) == Some(&Value::Bool(false)) {
            let path = format!("spec.{field}");
            check.invalid(&path, false, "must be either unset or set to true");
        }
    }
}

/// There is exactly one place.
fn places(check: &mut Check, spec: &Value) {
    let why = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is \
               required";
    let used = |field: &&&str| match at(spec, &[**field]) {
        Some(Value::Bool(used)) => *used,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Object(_)) => true,
        _ => false,
    };
    let all = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"];
    let used: Vec<_> = all.iter().filter(used).map(|field| format!("`{field}`")).collect();
    if used.is_empty() {
        check.required("spec", why);
    } else if used.len() > 1 {
        let value = format!("{{{}}}", used.join(", "));
        check.invalid("spec", value, &format!("{why}, but multiple fields are set"));
    }
}

/// The counters of a set or of what a device takes from one.
pub(super) fn counter_count(holder: &Value) -> usize {
    entries(holder, &["counters"]).count()
}
