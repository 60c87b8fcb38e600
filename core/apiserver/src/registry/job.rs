//! Jobs.

use hansa_api::field::FieldError;
use hansa_api::meta::{self, default_field, default_text, fields_mut, int_at, list_at, str_at};
use hansa_api::time::{human_duration, parse};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::check::Check;
use super::pod::{defaults, validate as pod_validate};
use super::{cells, workload};
use crate::generic::context::Context;
use crate::generic::resource::{Resource, Str};
use crate::generic::strategy::{Column, Strategy};

pub(super) fn resource() -> Resource {
    Resource::new("batch", "v1", "Job", "jobs").namespaced().categories(&["all"]).status()
}

/// The strategy of Jobs.
pub(super) struct Jobs;

/// Defaults of a Job's spec, which CronJobs hold too.
pub(super) fn default_spec(spec: &mut meta::Fields) {
    if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
        default_field(spec, "completions", 1);
    }
    default_field(spec, "parallelism", 1);
    default_field(spec, "backoffLimit", 6);
    default_text(spec, "completionMode", "NonIndexed");
    default_field(spec, "suspend", false);
    default_field(spec, "manualSelector", false);
    let replacement =
        if spec.contains_key("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    default_text(spec, "podReplacementPolicy", replacement);
    if let Some(template) = spec.get_mut("template") {
        defaults::template(template);
    }
}

impl Strategy for Jobs {
    fn default(&self, obj: &mut Value) {
        default_spec(fields_mut(obj, &["spec"]));
    }

    fn prepare_create(&self, _: &Context, obj: &mut Value) {
        if !workload::flag(obj, "manualSelector") {
            generate_selector(obj);
        }
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, "spec", &obj["spec"]))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            validate(check, "spec", &obj["spec"]);
            for name in ["completions", "selector", "completionMode"] {
                let path = format!("spec.{name}");
                check.immutable(&path, obj["spec"].get(name), old["spec"].get(name));
            }
            let suspended =
                workload::flag(old, "suspend") && old["status"].get("startTime").is_none();
            if !suspended {
                let (new, old) = (obj["spec"].get("template"), old["spec"].get("template"));
                check.immutable("spec.template", new, old);
            }
        })
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Status", "How it stands."),
            Column::new("Completions", "Pods that succeeded, of those wanted."),
            Column::new("Duration", "How long it took or has been running."),
            Column::age(),
            Column::wide("Containers", "The template's containers."),
            Column::wide("Images", "The template's images."),
            Column::wide("Selector", "The labels of its pods."),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let [containers, images] = cells::containers(&obj["spec"]["template"]["spec"]);
        vec![
            cells::name(obj),
            status(obj).into(),
            completions(obj).into(),
            duration(obj, now).into(),
            cells::age(obj, now),
            containers,
            images,
            cells::selector(meta::at(obj, &["spec", "selector"])),
        ]
    }

    fn selectable_fields(&self) -> Vec<Str> {
        vec!["status.successful".into()]
    }

    fn field_value(&self, obj: &Value, _: &str) -> String {
        cells::int(obj, &["status", "succeeded"]).to_string()
    }
}

/// A selector by the Job's UID, and the labels that it selects.
fn generate_selector(obj: &mut Value) {
    let (uid, name) = (meta::uid(obj).to_owned(), meta::name(obj).to_owned());
    let labels = fields_mut(obj, &["spec", "template", "metadata", "labels"]);
    for prefix in ["", "batch.kubernetes.io/"] {
        default_field(labels, &format!("{prefix}controller-uid"), uid.clone());
        default_field(labels, &format!("{prefix}job-name"), name.clone());
    }
    fields_mut(obj, &["spec"]).insert(
        "selector".into(),
        json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}),
    );
}

/// What is wrong with a Job's spec at `path`.
pub(super) fn validate(check: &mut Check, path: &str, spec: &Value) {
    for name in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    ] {
        check.non_negative_field(path, spec, name);
    }
    let mode = str_at(spec, &["completionMode"]);
    check.optional_one_of(&format!("{path}.completionMode"), mode, &["Indexed", "NonIndexed"]);
    if mode == "Indexed" && spec.get("completions").is_none() {
        check.required(&format!("{path}.completions"), "when completion mode is Indexed");
    }
    let template = format!("{path}.template");
    pod_validate::template(check, &template, &spec["template"]);
    let policy = str_at(spec, &["template", "spec", "restartPolicy"]);
    if policy == "Always" {
        let at = format!("{template}.spec.restartPolicy");
        check.add(FieldError::new(
            hansa_api::FieldErrorType::Required,
            at,
            "",
            "valid values: \"OnFailure\", \"Never\"",
        ));
    }
}

fn holds(obj: &Value, kind: &str) -> bool {
    list_at(obj, &["status", "conditions"]).iter().any(|condition| {
        str_at(condition, &["type"]) == kind && str_at(condition, &["status"]) == "True"
    })
}

fn status(obj: &Value) -> &'static str {
    let named = [("Complete", "Complete"), ("Failed", "Failed")];
    if let Some((_, shown)) = named.into_iter().find(|(kind, _)| holds(obj, kind)) {
        shown
    } else if meta::deletion_timestamp(obj).is_some() {
        "Terminating"
    } else if holds(obj, "Suspended") {
        "Suspended"
    } else if holds(obj, "FailureTarget") {
        "FailureTarget"
    } else if holds(obj, "SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(obj: &Value) -> String {
    let done = cells::int(obj, &["status", "succeeded"]);
    let parallelism = cells::int(obj, &["spec", "parallelism"]);
    match int_at(obj, &["spec", "completions"]) {
        Some(wanted) => format!("{done}/{wanted}"),
        None if parallelism > 1 => format!("{done}/1 of {parallelism}"),
        None => format!("{done}/1"),
    }
}

fn duration(obj: &Value, now: Timestamp) -> String {
    let Some(start) = parse(str_at(obj, &["status", "startTime"])) else { return String::new() };
    let end = parse(str_at(obj, &["status", "completionTime"])).unwrap_or(now);
    human_duration(end.as_second() - start.as_second())
}
