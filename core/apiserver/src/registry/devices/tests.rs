//! Claims, slices and what happens between them.

use serde_json::json;

use super::claim::Claims;
use super::class::Classes;
use super::slice::Slices;
use super::template::Templates;
use super::*;
use crate::generic::strategy::Strategy;
use crate::registry::check::{refuses, texts};

fn claim(requests: Value) -> Value {
    let mut obj = json!({"metadata": {"name": "c", "namespace": "n"},
        "spec": {"devices": {"requests": requests}}});
    Claims.default(&mut obj);
    obj
}

fn one(more: Value) -> Value {
    let mut exactly = json!({"deviceClassName": "gpu"});
    exactly.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!([{"name": "a", "exactly": exactly}])
}

#[test]
fn a_request_is_for_one_device() {
    let obj = claim(one(json!({})));
    assert_eq!(obj["spec"]["devices"]["requests"][0]["exactly"]["count"], 1);
    assert_eq!(texts(&Claims.validate_create(&obj)), [""; 0]);
    let all = claim(one(json!({"allocationMode": "All"})));
    assert!(all["spec"]["devices"]["requests"][0]["exactly"].get("count").is_none());
}

#[test]
fn mistakes_in_claims_are_named() {
    let constrained = |constraint: Value| {
        let mut obj = claim(one(json!({})));
        obj["spec"]["devices"]["constraints"] = json!([constraint]);
        obj
    };
    let path = "spec.devices.requests[0]";
    let cases = [
        (
            claim(json!([{"name": "a"}])),
            format!(
                "{path}: Required value: exactly one of `exactly` or `firstAvailable` is required"
            ),
        ),
        (
            claim(one(json!({"deviceClassName": ""}))),
            format!("{path}.exactly.deviceClassName: Required value"),
        ),
        (
            claim(one(json!({"count": -1}))),
            format!("{path}.exactly.count: Invalid value: -1: must be greater than zero"),
        ),
        (
            claim(one(json!({"selectors": [{}]}))),
            format!("{path}.exactly.selectors[0].cel: Required value"),
        ),
        (
            claim(one(json!({"tolerations": [{"operator": "Exists", "value": "x"}]}))),
            format!(
                "{path}.exactly.tolerations[0].value: Invalid value: \"x\": must be empty for \
                  operator `Exists`"
            ),
        ),
        (
            constrained(json!({"matchAttribute": "x"})),
            "spec.devices.constraints[0].matchAttribute: Invalid value: \"x\": a fully qualified \
          name must be a domain and a name separated by a slash"
                .into(),
        ),
        (
            constrained(json!({"matchAttribute": "a.io/x", "requests": ["b"]})),
            "spec.devices.constraints[0].requests[0]: Invalid value: \"b\": must be the name of a \
          request in the claim or the name of a request and a subrequest separated by '/'"
                .into(),
        ),
    ];
    for (obj, error) in cases {
        assert_eq!(texts(&Claims.validate_create(&obj)), [error]);
    }
    let many = (0..33).map(|_| json!({})).collect();
    let found = texts(&Claims.validate_create(&claim(Value::Array(many))));
    assert_eq!(found, ["spec.devices.requests: Too many: 33: must have at most 32 items"]);
}

#[test]
fn an_allocation_fits_the_claim_and_stays() {
    let old = claim(one(json!({})));
    let result = json!({"request": "a", "driver": "d.io", "pool": "p", "device": "x"});
    let mut new = old.clone();
    new["status"] = json!({"allocation": {"devices": {"results": [result]}},
        "reservedFor": [{"resource": "pods", "name": "p", "uid": "1"}],
        "devices": [{"driver": "d.io", "pool": "p", "device": "x"}]});
    assert_eq!(texts(&Claims.validate_status_update(&new, &old)), [""; 0]);
    let mut moved = new.clone();
    moved["status"]["allocation"]["devices"]["results"][0]["device"] = "y".into();
    let errors = texts(&Claims.validate_status_update(&moved, &new));
    assert!(errors[0].contains("must be an allocated device in the claim"), "{errors:?}");
    assert!(errors[1].ends_with("field is immutable"), "{errors:?}");
    Claims.prepare_status_update(&Default::default(), &mut moved, &new);
    assert_eq!(moved["status"]["devices"], json!([]));
    assert_eq!(Claims.row(&new, jiff::Timestamp::now())[1], "allocated,reserved");
    let mut unallocated = old.clone();
    unallocated["status"]["reservedFor"] = new["status"]["reservedFor"].clone();
    assert_eq!(
        texts(&Claims.validate_status_update(&unallocated, &old)),
        ["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"]
    );
}

fn slice(more: Value) -> Value {
    let mut spec = json!({"driver": "d.io", "nodeName": "n",
        "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    json!({"metadata": {"name": "s"}, "spec": spec})
}

#[test]
fn mistakes_in_slices_are_named() {
    let device = |device: Value| slice(json!({"devices": [device]}));
    let places = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, \
                  `perDeviceNodeSelection` is required";
    refuses(
        &Slices,
        [
            (slice(json!({"nodeName": null})), &*format!("spec: Required value: {places}")),
            (
                slice(json!({"allNodes": true})),
                &*format!(
                    "spec: Invalid value: \"{{`nodeName`, `allNodes`}}\": {places}, but multiple fields \
             are set"
                ),
            ),
            (
                slice(json!({"pool": {"name": "p", "resourceSliceCount": 0}})),
                "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
            ),
            (
                device(json!({"name": "a", "attributes": {"x": {}}})),
                "spec.devices[0].attributes[x]: Invalid value: \"\": exactly one value must be \
          specified",
            ),
            (
                device(json!({"name": "a", "attributes": {"x": {"version": "1"}}})),
                "spec.devices[0].attributes[x].version: Invalid value: \"1\": must be a string \
          compatible with semver.org spec 2.0.0",
            ),
            (
                device(json!({"name": "a", "taints": [{"key": "k", "effect": "Maybe"}]})),
                "spec.devices[0].taints[0].effect: Unsupported value: \"Maybe\": supported values: \
          \"NoExecute\", \"NoSchedule\", \"None\"",
            ),
            (
                device(json!({"name": "a", "capacity": {"m": {"value": "1",
            "requestPolicy": {"default": "1"}}}})),
                "spec.devices[0].capacity[m].requestPolicy: Forbidden: allowMultipleAllocations must be \
          true",
            ),
            (
                slice(json!({"devices": [{"name": "a"}, {"name": "a"}]})),
                "spec.devices[1]: Duplicate value: \"a\"",
            ),
        ],
    );
    let other = slice(json!({"driver": "e.io"}));
    assert_eq!(
        texts(&Slices.validate_update(&other, &slice(json!({})))),
        ["spec.driver: Invalid value: \"e.io\": field is immutable"]
    );
    assert_eq!(Slices.warnings(&slice(json!({"driver": "D.io"})), None).len(), 1);
}

#[test]
fn shared_capacity_is_dealt_out_in_steps() {
    let device = |policy: Value| {
        slice(json!({"devices": [{"name": "a",
        "allowMultipleAllocations": true,
        "capacity": {"m": {"value": "10", "requestPolicy": policy}}}]}))
    };
    let path = "spec.devices[0].capacity[m].requestPolicy";
    refuses(
        &Slices,
        [
            (
                device(json!({"validValues": ["1", "2"]})),
                &*format!("{path}.default: Required value: required when validValues is defined"),
            ),
            (
                device(json!({"default": "3", "validRange": {"min": "1", "step": "4"}})),
                &*format!(
                    "{path}.validRange.step: Invalid value: \"3\": value is not a multiple of a \
                    given step (4) from (1)"
                ),
            ),
            (
                device(json!({"default": "1", "validValues": ["1", "11"]})),
                &*format!(
                    "{path}.validValues[1]: Invalid value: \"11\": option is larger than capacity \
                    value: 10"
                ),
            ),
        ],
    );
}

#[test]
fn classes_and_templates_hold_the_same_things() {
    refuses(
        &Classes,
        [
            (json!({"spec": {"config": [{}]}}), "spec.config[0].opaque: Required value"),
            (
                json!({"spec": {"extendedResourceName": "cpu"}}),
                "spec.extendedResourceName: Invalid value: \"cpu\": must be a valid extended resource \
          name",
            ),
        ],
    );
    let template = json!({"spec": {"spec": {"devices": {"requests": [{"name": "a"}]}}}});
    let errors = texts(&Templates.validate_create(&template));
    assert!(errors[0].starts_with("spec.spec.devices.requests[0]: Required value"));
}
