//! Jobs, their policies and statuses.

use serde_json::json;

use super::*;
use crate::registry::check::{refuses, texts};

fn job(more: Value) -> Value {
    let template = json!({"spec": {"restartPolicy": "Never",
        "containers": [{"name": "a", "image": "b"}]}});
    let mut spec = json!({"template": template});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut obj = json!({"metadata": {"name": "j", "uid": "u"}, "spec": spec});
    Jobs.default(&mut obj);
    Jobs.prepare_create(&Context::default(), &mut obj);
    obj
}

#[test]
fn defaults_are_upstreams() {
    let spec = &job(json!({}))["spec"];
    assert_eq!((&spec["completions"], &spec["parallelism"]), (&json!(1), &json!(1)));
    assert_eq!(spec["backoffLimit"], 6);
    assert_eq!(spec["podReplacementPolicy"], "TerminatingOrFailed");
    assert_eq!(texts(&Jobs.validate_create(&job(json!({})))), [""; 0]);
    let indexed = job(json!({"completionMode": "Indexed", "completions": 2,
        "backoffLimitPerIndex": 1}));
    assert_eq!(indexed["spec"]["backoffLimit"], i32::MAX);
}

#[test]
fn mistakes_are_named() {
    let rule = |rule: Value| job(json!({"podFailurePolicy": {"rules": [rule]}}));
    let path = "spec.podFailurePolicy.rules[0]";
    let cases = [
        (
            job(json!({"completionMode": "Indexed", "parallelism": 1})),
            "spec.completions: Required value: when completion mode is Indexed".to_owned(),
        ),
        (
            job(json!({"backoffLimitPerIndex": 1})),
            "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode".into(),
        ),
        (
            job(json!({"managedBy": "me"})),
            "spec.managedBy: Invalid value: \"me\": must be a domain-prefixed path (such as \
             \"acme.io/foo\")"
                .into(),
        ),
        (
            rule(json!({"onPodConditions": [{"type": "A"}]})),
            format!(
                "{path}.action: Required value: valid values: [\"Count\" \"FailIndex\" \
                 \"FailJob\" \"Ignore\"]"
            ),
        ),
        (
            rule(json!({"action": "Count"})),
            format!(
                "{path}: Invalid value: specifying one of OnExitCodes and OnPodConditions is \
                 required"
            ),
        ),
        (
            rule(json!({"action": "Count", "onExitCodes": {"operator": "In", "values": [2, 1]}})),
            format!("{path}.onExitCodes.values: Invalid value: [2,1]: must be ordered"),
        ),
        (
            job(json!({"successPolicy": {"rules": []}})),
            "spec.successPolicy: Invalid value: {\"rules\":[]}: requires indexed completion mode"
                .into(),
        ),
        (
            job(json!({"completionMode": "Indexed", "completions": 2,
                "successPolicy": {"rules": [{"succeededIndexes": "0-5"}]}})),
            "spec.successPolicy.rules[0].succeededIndexes: Invalid value: \"0-5\": error parsing \
             succeededIndexes: too large index: \"5\""
                .into(),
        ),
    ];
    for (obj, error) in cases {
        assert_eq!(texts(&Jobs.validate_create(&obj)), [error], "{obj}");
    }
    let mut own = job(json!({}));
    own["spec"]["template"]["metadata"]["labels"]["job-name"] = "other".into();
    let errors = texts(&Jobs.validate_create(&own));
    assert!(errors[0].ends_with(": must be 'j'"), "{errors:?}");
    refuses(
        &Jobs,
        [(
            {
                let mut obj = job(json!({}));
                obj["spec"]["template"]["spec"]["restartPolicy"] = "Always".into();
                obj
            },
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \
             \"Never\"",
        )],
    );
}

#[test]
fn a_running_jobs_template_stays() {
    let old = job(json!({}));
    let mut new = old.clone();
    new["spec"]["template"]["spec"]["nodeSelector"] = json!({"a": "b"});
    let errors = texts(&Jobs.validate_update(&new, &old));
    assert!(errors[0].starts_with("spec.template: Invalid value: {"), "{errors:?}");
    let mut idle = old.clone();
    idle["spec"]["suspend"] = true.into();
    assert_eq!(texts(&Jobs.validate_update(&new, &idle)), [""; 0]);
    new["spec"]["template"]["spec"]["containers"][0]["image"] = "c".into();
    let errors = texts(&Jobs.validate_update(&new, &idle));
    assert!(errors[0].starts_with("spec.template.spec: Invalid value: {"), "{errors:?}");
}

#[test]
fn a_status_does_not_contradict_itself() {
    let old = job(json!({}));
    let with = |status: Value| {
        let mut obj = old.clone();
        obj["status"] = status;
        obj
    };
    let condition = |kind: &str| json!({"type": kind, "status": "True"});
    let (start, end) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z");
    let done = with(json!({"startTime": start, "completionTime": end, "succeeded": 1,
        "conditions": [condition("SuccessCriteriaMet"), condition("Complete")]}));
    assert_eq!(texts(&Jobs.validate_status_update(&done, &old)), [""; 0]);
    assert_eq!(
        texts(&Jobs.validate_status_update(&old, &done)),
        [
            "status.conditions: Invalid value: cannot disable the terminal Complete=True \
             condition",
            "status.succeeded: Invalid value: 0: cannot decrease the succeeded counter",
            "status.startTime: Invalid value: null: field is immutable for unsuspended job once \
             set",
            "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True \
             condition",
        ]
    );
    let early = with(json!({"startTime": start,
        "conditions": [condition("SuccessCriteriaMet"), condition("Complete")]}));
    assert_eq!(
        texts(&Jobs.validate_status_update(&early, &old)),
        ["status.completionTime: Required value: completionTime is required for Complete jobs"]
    );
}
