//! CSIDrivers.

use std::collections::HashSet;

use hansa_api::field::{FieldError, child, index};
use hansa_api::meta::{self, at, bool_at, default_field, fields_mut, int_at, list_at, str_at};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::cells;
use super::check::Check;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

const TOKENS_ADVICE: &str = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI \
                             driver, set to true to prevent possible logging of tokens in volume \
                             attributes";
const MODES: [&str; 2] = ["Persistent", "Ephemeral"];

pub(super) fn resource() -> Resource {
    Resource::new("storage.k8s.io", "v1", "CSIDriver", "csidrivers")
}

/// The strategy of CSIDrivers.
pub(super) struct CsiDrivers;

impl Strategy for CsiDrivers {
    fn default(&self, obj: &mut Value) {
        let spec = fields_mut(obj, &["spec"]);
        default_field(spec, "attachRequired", true);
        for field in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
            default_field(spec, field, false);
        }
        default_field(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        if spec.get("volumeLifecycleModes").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            spec.insert("volumeLifecycleModes".into(), json!(["Persistent"]));
        }
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, &obj["spec"]))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            validate(check, &obj["spec"]);
            let spec = |obj, field| at(obj, &["spec", field]);
            for (path, field) in [
                ("spec.attachedRequired", "attachRequired"),
                ("spec.volumeLifecycleModes", "volumeLifecycleModes"),
            ] {
                check.immutable(path, spec(obj, field), spec(old, field));
            }
        })
    }

    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        let requests = |obj| list_at(obj, &["spec", "tokenRequests"]);
        let changed = old.is_none_or(|old| requests(old) != requests(obj));
        let unsaid = at(obj, &["spec", "serviceAccountTokenInSecrets"]).is_none();
        let advise = changed && unsaid && !requests(obj).is_empty();
        if advise { vec![TOKENS_ADVICE.into()] } else { Vec::new() }
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::of("AttachRequired", "boolean", "Whether volumes are attached first.", 0),
            Column::of("PodInfoOnMount", "boolean", "Whether it is told of the pod.", 0),
            Column::of("StorageCapacity", "boolean", "Whether it tells what it has left.", 0),
            Column::new("TokenRequests", "The audiences of the tokens that it gets."),
            Column::of("RequiresRepublish", "boolean", "Whether it is called again and again.", 0),
            Column::new("Modes", "What kinds of volumes it has."),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let spec = &obj["spec"];
        let modes = list_at(spec, &["volumeLifecycleModes"]).iter().filter_map(Value::as_str);
        vec![
            cells::name(obj),
            spec["attachRequired"].as_bool().unwrap_or(true).into(),
            bool_at(spec, &["podInfoOnMount"]).into(),
            bool_at(spec, &["storageCapacity"]).into(),
            audiences(spec).into(),
            bool_at(spec, &["requiresRepublish"]).into(),
            cells::or(&modes.collect::<Vec<_>>().join(","), cells::NONE),
            cells::age(obj, now),
        ]
    }

    /// A driver is new without a generation and counts its changes from then on.
    fn has_generation(&self, obj: &Value) -> bool {
        !meta::uid(obj).is_empty()
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn audiences(spec: &Value) -> String {
    let Some(requests) = at(spec, &["tokenRequests"]).and_then(Value::as_array) else {
        return cells::UNSET.into();
    };
    let all: Vec<_> = requests.iter().map(|request| str_at(request, &["audience"])).collect();
    all.join(",")
}

fn validate(check: &mut Check, spec: &Value) {
    for (path, field) in [
        ("attachedRequired", "attachRequired"),
        ("podInfoOnMount", "podInfoOnMount"),
        ("storageCapacity", "storageCapacity"),
        ("seLinuxMount", "seLinuxMount"),
    ] {
        if at(spec, &[field]).is_none() {
            check.required(&child("spec", path), "");
        }
    }
    let policies = ["File", "None", "ReadWriteOnceWithFSType"];
    check.supported("spec.fsGroupPolicy", at(spec, &["fsGroupPolicy"]), &policies);
    token_requests(check, list_at(spec, &["tokenRequests"]));
    for mode in list_at(spec, &["volumeLifecycleModes"]) {
        check.supported("spec.volumeLifecycleModes", Some(mode), &MODES);
    }
    let period = int_at(spec, &["nodeAllocatableUpdatePeriodSeconds"]);
    if let Some(period) = period.filter(|period| *period < 10) {
        let path = "spec.nodeAllocatableUpdatePeriodSeconds";
        check.invalid(path, period, "must be greater than or equal to 10 seconds");
    }
    let in_secrets = at(spec, &["serviceAccountTokenInSecrets"]);
    if let Some(in_secrets) = in_secrets.filter(|_| list_at(spec, &["tokenRequests"]).is_empty()) {
        let why = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        check.invalid("spec.serviceAccountTokenInSecrets", in_secrets.clone(), why);
    }
}

fn token_requests(check: &mut Check, requests: &[Value]) {
    let mut seen = HashSet::new();
    for (at, request) in requests.iter().enumerate() {
        let path = index("spec.tokenRequests", at);
        let audience = str_at(request, &["audience"]);
        if !seen.insert(audience) {
            check.duplicate(&child(&path, "audience"), audience);
            continue;
        }
        let path = child(&path, "expirationSeconds");
        match int_at(request, &["expirationSeconds"]) {
            Some(seconds) if seconds < 600 => {
                check.invalid(&path, seconds, "may not specify a duration less than 10 minutes");
            }
            Some(seconds) if seconds > 1 << 32 => {
                let why = "may not specify a duration larger than 2^32 seconds";
                check.invalid(&path, seconds, why);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::check::{refuses, texts};

    fn driver(spec: Value) -> Value {
        let mut obj = json!({"metadata": {"name": "d"}, "spec": spec});
        CsiDrivers.default(&mut obj);
        obj
    }

    #[test]
    fn mistakes_are_named() {
        let requests = |requests: Value| driver(json!({"tokenRequests": requests}));
        refuses(
            &CsiDrivers,
            [
                (
                    driver(json!({"fsGroupPolicy": "All"})),
                    "spec.fsGroupPolicy: Unsupported value: \"All\": supported values: \"File\", \
              \"None\", \"ReadWriteOnceWithFSType\"",
                ),
                (
                    driver(json!({"volumeLifecycleModes": ["Persistent", "Eternal"]})),
                    "spec.volumeLifecycleModes: Unsupported value: \"Eternal\": supported values: \
              \"Persistent\", \"Ephemeral\"",
                ),
                (
                    requests(json!([{"audience": "a", "expirationSeconds": 9}])),
                    "spec.tokenRequests[0].expirationSeconds: Invalid value: 9: may not specify a \
              duration less than 10 minutes",
                ),
                (
                    requests(json!([{"audience": "a"}, {"audience": "a"}])),
                    "spec.tokenRequests[1].audience: Duplicate value: \"a\"",
                ),
                (
                    driver(json!({"serviceAccountTokenInSecrets": true})),
                    "spec.serviceAccountTokenInSecrets: Invalid value: true: \
              serviceAccountTokenInSecrets is set but no tokenRequests are specified",
                ),
                (
                    driver(json!({"nodeAllocatableUpdatePeriodSeconds": 1})),
                    "spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 1: must be greater than or \
              equal to 10 seconds",
                ),
            ],
        );
    }

    #[test]
    fn how_volumes_are_attached_stays() {
        let (old, new) = (driver(json!({})), driver(json!({"attachRequired": false})));
        assert_eq!(
            texts(&CsiDrivers.validate_update(&new, &old)),
            ["spec.attachedRequired: Invalid value: false: field is immutable"]
        );
    }

    #[test]
    fn rows_and_warnings() {
        let obj = driver(json!({"tokenRequests": [{"audience": "a"}, {"audience": "b"}]}));
        let row = CsiDrivers.row(&obj, Timestamp::now());
        let shown = json!(["d", true, false, false, "a,b", false, "Persistent"]);
        assert_eq!(json!(row[..7]), shown);
        assert_eq!(CsiDrivers.row(&driver(json!({})), Timestamp::now())[4], "<unset>");
        assert_eq!(CsiDrivers.warnings(&obj, None), [TOKENS_ADVICE]);
        assert!(CsiDrivers.warnings(&obj, Some(&obj)).is_empty());
    }
}
