//! What a Job may say.

use hansa_api::field::{FieldError, child};
use hansa_api::meta::{self, at, int_at, list_at, str_at};
use hansa_api::names;
use hansa_api::selector::Selector;
use serde_json::Value;

use super::policies;
use crate::registry::cells;
use crate::registry::check::Check;
use crate::registry::pod::validate as pod_validate;

const MAX_INDEXED: i64 = 100_000;
/// The same, if every index has retries of its own.
const MAX_INDEXED_RETRIES: i64 = 10_000;
const MAX_MANAGER: usize = 63;
const INDEXED: &str = "Indexed";
const NEEDS_INDEX: &str = "requires indexed completion mode";
/// The labels that a Job's pods are found by, and which of its names they carry.
const LABELS: [(&str, bool); 4] = [
    ("controller-uid", true),
    ("job-name", false),
    ("batch.kubernetes.io/controller-uid", true),
    ("batch.kubernetes.io/job-name", false),
];

/// A Job, which has a selector that fits its template.
pub(super) fn job(check: &mut Check, obj: &Value) {
    let spec = &obj["spec"];
    if !meta::bool_at(spec, &["manualSelector"]) && at(spec, &["selector"]).is_some() {
        generated(check, obj);
    }
    job_spec(check, "spec", spec);
    let Some(selector) = at(spec, &["selector"]) else {
        return check.required("spec.selector", "");
    };
    check.label_selector("spec.selector", selector);
    let labels = meta::map_at(spec, &["template", "metadata", "labels"]);
    if Selector::from_object(Some(selector)).is_ok_and(|parsed| !parsed.matches_map(labels)) {
        let value = labels.cloned().map_or(Value::Null, Value::Object);
        let why = "`selector` does not match template `labels`";
        check.invalid("spec.template.metadata.labels", value, why);
    }
    let last = int_at(spec, &["completions"]).filter(|count| *count > 0);
    if let Some(count) = last.filter(|_| is_indexed(spec)) {
        let host = format!("{}-{}", meta::name(obj), count - 1);
        if !names::dns1123_label(&host).is_empty() {
            let why = format!("will not able to create pod with invalid DNS label: {host}");
            check.invalid("metadata.name", meta::name(obj), &why);
        }
    }
}

/// The template must carry what the selector was made of.
fn generated(check: &mut Check, obj: &Value) {
    let path = "spec.template.metadata.labels";
    let labels = meta::map_at(obj, &["spec", "template", "metadata", "labels"]);
    let mut expected = serde_json::Map::new();
    for (key, is_uid) in LABELS {
        let wanted = if is_uid { meta::uid(obj) } else { meta::name(obj) };
        expected.insert(key.into(), wanted.into());
        match labels.and_then(|labels| labels.get(key)).and_then(Value::as_str) {
            None => check.required(path, &format!("must be '{wanted}'")),
            Some(found) if found != wanted => {
                let value = labels.cloned().map_or(Value::Null, Value::Object);
                check.invalid(path, value, &format!("must be '{wanted}'"));
            }
            Some(_) => {}
        }
    }
    let selector = at(obj, &["spec", "selector"]);
    let parsed = Selector::from_object(selector);
    if parsed.is_ok_and(|parsed| !parsed.matches_map(Some(&expected))) {
        let value = selector.cloned().unwrap_or_default();
        check.invalid("spec.selector", value, "`selector` not auto-generated");
    }
}

pub(super) fn is_indexed(spec: &Value) -> bool {
    str_at(spec, &["completionMode"]) == INDEXED
}

/// A Job's spec at a path, selector apart: CronJobs have these, too.
pub(in crate::registry) fn job_spec(check: &mut Check, path: &str, spec: &Value) {
    for name in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        check.non_negative_field(path, spec, name);
    }
    let has = |field: &str| at(spec, &[field]).is_some();
    if has("maxFailedIndexes") && !has("backoffLimitPerIndex") {
        let why = "when maxFailedIndexes is specified";
        check.required(&child(path, "backoffLimitPerIndex"), why);
    }
    if let Some(manager) = spec["managedBy"].as_str() {
        let path = child(path, "managedBy");
        check.domain_prefixed_path(&path, manager);
        if manager.len() > MAX_MANAGER {
            check.add(FieldError::too_long(path, MAX_MANAGER));
        }
    }
    let mode = at(spec, &["completionMode"]);
    check.supported(&child(path, "completionMode"), mode, &["NonIndexed", INDEXED]);
    match str_at(spec, &["completionMode"]) {
        INDEXED => indexed(check, path, spec),
        "" | "NonIndexed" => not_indexed(check, path, spec),
        _ => {}
    }
    policies::failure(check, path, spec);
    policies::success(check, path, spec, is_indexed(spec));
    replacement(check, &child(path, "podReplacementPolicy"), spec);
    template(check, path, spec);
}

fn not_indexed(check: &mut Check, path: &str, spec: &Value) {
    for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
        if let Some(value) = at(spec, &[field]) {
            check.invalid(&child(path, field), value.clone(), NEEDS_INDEX);
        }
    }
}

fn indexed(check: &mut Check, path: &str, spec: &Value) {
    let number = |field: &str| int_at(spec, &[field]);
    let (completions, failed) = (number("completions"), number("maxFailedIndexes"));
    let parallelism = number("parallelism").unwrap_or_default();
    if completions.is_none() {
        check.required(&child(path, "completions"), "when completion mode is Indexed");
    }
    let at_parallelism = child(path, "parallelism");
    let at_failed = child(path, "maxFailedIndexes");
    if parallelism > MAX_INDEXED {
        let why = format!(
            "must be less than or equal to {MAX_INDEXED} when completion mode is {INDEXED}"
        );
        check.invalid(&at_parallelism, parallelism, &why);
    }
    if let (Some(failed), Some(completions)) = (failed, completions)
        && failed > completions
    {
        check.invalid(&at_failed, failed, "must be less than or equal to completions");
    }
    if let Some(failed) = failed.filter(|failed| *failed > MAX_INDEXED) {
        check.invalid(&at_failed, failed, &format!("must be less than or equal to {MAX_INDEXED}"));
    }
    let many = completions.is_some_and(|count| count > MAX_INDEXED);
    if many && at(spec, &["backoffLimitPerIndex"]).is_some() {
        let why = format!(
            "must be less than or equal to {MAX_INDEXED_RETRIES} when completions are above \
             {MAX_INDEXED} and used with backoff limit per index"
        );
        if failed.is_none() {
            let why = format!("must be specified when completions is above {MAX_INDEXED}");
            check.required(&at_failed, &why);
        }
        if parallelism > MAX_INDEXED_RETRIES {
            check.invalid(&at_parallelism, parallelism, &why);
        }
        if let Some(failed) = failed.filter(|failed| *failed > MAX_INDEXED_RETRIES) {
            check.invalid(&at_failed, failed, &why);
        }
    }
}

fn replacement(check: &mut Check, path: &str, spec: &Value) {
    let known: &[&str] = match at(spec, &["podFailurePolicy"]) {
        Some(_) => &["Failed"],
        None => &["Failed", "TerminatingOrFailed"],
    };
    check.supported(path, at(spec, &["podReplacementPolicy"]), known);
}

/// Pods that end.
fn template(check: &mut Check, path: &str, spec: &Value) {
    let path = child(path, "template");
    pod_validate::template(check, &path, &spec["template"]);
    let path = child(&path, "spec.restartPolicy");
    match str_at(spec, &["template", "spec", "restartPolicy"]) {
        "" | "Always" => check.required(&path, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if at(spec, &["podFailurePolicy"]).is_some() => {
            let why = "only \"Never\" is supported when podFailurePolicy is specified";
            check.invalid(&path, "OnFailure", why);
        }
        "OnFailure" | "Never" => {}
        other => check.add(FieldError::not_supported(path, other, &["OnFailure", "Never"])),
    }
}

/// What stays as it was.
pub(super) fn change(check: &mut Check, obj: &Value, old: &Value) {
    let (spec, before) = (&obj["spec"], &old["spec"]);
    completions(check, spec, before);
    check.frozen("spec.selector", obj, old);
    frozen_template(check, obj, old);
    for field in
        ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
    {
        check.frozen(&child("spec", field), obj, old);
    }
}

/// Indexed Jobs may grow and shrink, if as many pods run as there are indexes.
fn completions(check: &mut Check, spec: &Value, before: &Value) {
    let (new, old) = (at(spec, &["completions"]), at(before, &["completions"]));
    let path = "spec.completions";
    if !is_indexed(spec) {
        return check.immutable(path, new, old);
    }
    let parallelism = cells::int(spec, &["parallelism"]);
    if let Some(new) = new.filter(|new| Some(*new) != old && new.as_i64() != Some(parallelism)) {
        let why = "can only be modified in tandem with spec.parallelism";
        check.invalid(path, new.clone(), why);
    }
}

/// A suspended Job that runs no pods may still be told where and with what they will run.
fn frozen_template(check: &mut Check, obj: &Value, old: &Value) {
    let suspended = meta::bool_at(old, &["spec", "suspend"]);
    let stopped = at(old, &["status", "startTime"]).is_none() || super::holds(old, "Suspended");
    let idle = suspended && stopped && cells::int(old, &["status", "active"]) == 0;
    let [mut new, mut before] = [obj, old].map(|obj| obj["spec"]["template"].clone());
    if idle {
        let [new_spec, old_spec] = [&mut new, &mut before].map(|template| {
            free(template);
            template["spec"].take()
        });
        return check.immutable("spec.template.spec", Some(&new_spec), Some(&old_spec));
    }
    check.immutable("spec.template", Some(&new), Some(&before));
}

/// Takes off what may change in a template that is not in use.
fn free(template: &mut Value) {
    for field in ["nodeSelector", "tolerations", "schedulingGates"] {
        template["spec"].as_object_mut().and_then(|spec| spec.remove(field));
    }
    if let Some(affinity) = template["spec"]["affinity"].as_object_mut() {
        affinity.remove("nodeAffinity");
    }
    if template["spec"]["affinity"].as_object().is_some_and(serde_json::Map::is_empty)
        || template["spec"]["affinity"].is_null()
    {
        template["spec"].as_object_mut().and_then(|spec| spec.remove("affinity"));
    }
    for list in ["containers", "initContainers"] {
        for container in template["spec"][list].as_array_mut().into_iter().flatten() {
            container.as_object_mut().and_then(|container| container.remove("resources"));
        }
        if list_at(template, &["spec", list]).is_empty() {
            template["spec"].as_object_mut().and_then(|spec| spec.remove(list));
        }
    }
}
