//! What a claim got, and what drivers say of it.

use hansa_api::field::{FieldError, child};
use hansa_api::meta::{self, at, list_at, str_at};
use hansa_api::{address, meta::map_at};
use serde_json::{Value, json};

use super::request::{binding_conditions, configuration, raw, references};
use super::{MAX_CONFIGS, MAX_REQUESTS, list, names, set};
use crate::registry::check::Check;
use crate::registry::{conditions, node_selector};

const MAX_CONSUMERS: usize = 256;
const MAX_CONDITIONS: usize = 8;
const MAX_DATA: usize = 10 << 10;
const MAX_IPS: usize = 16;
const MAX_INTERFACE: usize = 256;
const MAX_HARDWARE: usize = 128;

/// A changed status of a claim.
pub(super) fn validate(check: &mut Check, obj: &Value, old: &Value) {
    let (status, before) = (&obj["status"], &old["status"]);
    let claim = &obj["spec"]["devices"];
    let consumers = list_at(status, &["reservedFor"]);
    let uid = |consumer: &Value| consumer["uid"].clone();
    set(check, "status.reservedFor", consumers, MAX_CONSUMERS, consumer, uid);
    let allocated = list_at(status, &["allocation", "devices", "results"]);
    let allocated: Vec<_> = allocated.iter().map(device_id).collect();
    let device = |check: &mut Check, path: &str, device: &Value| {
        validate_device(check, path, device, &allocated);
    };
    let devices = list_at(status, &["devices"]);
    set(check, "status.devices", devices, usize::MAX, device, device_id);
    reserved(check, obj, consumers, list_at(before, &["reservedFor"]));
    match (at(status, &["allocation"]), at(before, &["allocation"])) {
        (Some(new), Some(old)) => check.immutable("status.allocation", Some(new), Some(old)),
        (Some(new), None) => validate_allocation(check, "status.allocation", new, claim),
        (None, _) => {}
    }
}

fn consumer(check: &mut Check, path: &str, consumer: &Value) {
    for field in ["resource", "name", "uid"] {
        if str_at(consumer, &[field]).is_empty() {
            check.required(&child(path, field), "");
        }
    }
}

fn reserved(check: &mut Check, obj: &Value, new: &[Value], old: &[Value]) {
    let path = "status.reservedFor";
    if new.is_empty() {
        return;
    }
    if at(obj, &["status", "allocation"]).is_none() {
        check.forbidden(path, "may not be specified when `allocated` is not set");
    } else if meta::deletion_timestamp(obj).is_some() && new.iter().any(|one| !old.contains(one)) {
        let why = "new entries may not be added while `deallocationRequested` or \
                   `deletionTimestamp` are set";
        check.forbidden(path, why);
    }
}

/// Which device, or share of one, this is about.
pub(super) fn device_id(device: &Value) -> Value {
    let mut id = json!({});
    for field in ["driver", "pool", "device", "shareID"] {
        if let Some(value) = at(device, &[field]) {
            id[field] = value.clone();
        }
    }
    id
}

fn named_device(check: &mut Check, path: &str, device: &Value) {
    let text = |field: &str| (child(path, field), str_at(device, &[field]));
    let (at_driver, driver) = text("driver");
    names::driver(check, &at_driver, driver);
    let (at_pool, pool) = text("pool");
    names::pool(check, &at_pool, pool);
    let (at_device, name) = text("device");
    names::label(check, &at_device, name);
    if let Some(share) = device["shareID"].as_str() {
        names::uid(check, &child(path, "shareID"), share);
    }
}

fn validate_device(check: &mut Check, path: &str, device: &Value, allocated: &[Value]) {
    named_device(check, path, device);
    let id = device_id(device);
    if !allocated.contains(&id) {
        check.invalid(path, id, "must be an allocated device in the claim");
    }
    let (path_of, all) = (child(path, "conditions"), list_at(device, &["conditions"]));
    if all.len() > MAX_CONDITIONS {
        check.add(FieldError::too_many(&path_of, all.len(), MAX_CONDITIONS));
    }
    conditions::validate(check, &path_of, all);
    if at(device, &["data"]).is_some() {
        raw(check, &child(path, "data"), at(device, &["data"]), MAX_DATA);
    }
    if map_at(device, &["networkData"]).is_some() {
        network(check, &child(path, "networkData"), &device["networkData"]);
    }
}

fn network(check: &mut Check, path: &str, data: &Value) {
    for (field, max) in [("interfaceName", MAX_INTERFACE), ("hardwareAddress", MAX_HARDWARE)] {
        if str_at(data, &[field]).len() > max {
            check.add(FieldError::too_long(child(path, field), max));
        }
    }
    let validate = |check: &mut Check, path: &str, ip: &Value| {
        let ip = ip.as_str().unwrap_or_default();
        check.text(path, ip, address::interface(ip));
    };
    set(check, &child(path, "ips"), list_at(data, &["ips"]), MAX_IPS, validate, Value::clone);
}

fn validate_allocation(check: &mut Check, path: &str, allocation: &Value, claim: &Value) {
    let devices = child(path, "devices");
    let field = |name: &str| (child(&devices, name), list_at(allocation, &["devices", name]));
    let (at_results, results) = field("results");
    list(check, &at_results, results, MAX_REQUESTS, |check, path, result| {
        let request = str_at(result, &["request"]);
        names::request_reference(check, &child(path, "request"), request, claim);
        named_device(check, path, result);
        binding_conditions(check, path, result);
    });
    let (at_configs, configs) = field("config");
    list(check, &at_configs, configs, 2 * MAX_CONFIGS, |check, path, config| {
        let source = str_at(config, &["source"]);
        check.one_of(&child(path, "source"), source, &["FromClaim", "FromClass"]);
        references(check, path, config, claim);
        configuration(check, path, config);
    });
    if let Some(selector) = at(allocation, &["nodeSelector"]) {
        node_selector::validate(check, &child(path, "nodeSelector"), selector);
    }
}
