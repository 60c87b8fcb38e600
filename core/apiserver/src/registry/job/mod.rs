//! Jobs.

mod indexes;
mod policies;
mod status;
pub(super) mod validate;

use hansa_api::field::FieldError;
use hansa_api::meta::{self, default_field, default_text, fields_mut, int_at, list_at, str_at};
use hansa_api::time::{human_duration, parse};
use jiff::Timestamp;
use serde_json::Value;

use super::check::Check;
use super::pod::defaults::{self, each, within};
use super::{cells, workload};
use crate::generic::context::Context;
use crate::generic::resource::{Resource, Str};
use crate::generic::strategy::{Column, Strategy};

pub(super) fn resource() -> Resource {
    Resource::new("batch", "v1", "Job", "jobs").namespaced().categories(&["all"]).status()
}

/// The strategy of Jobs.
pub(super) struct Jobs;

/// Defaults of what in a Job's spec CronJobs' templates get, too.
pub(super) fn default_template(spec: &mut meta::Fields) {
    within(spec, "podFailurePolicy", |policy| {
        each(policy, "rules", |rule| {
            each(rule, "onPodConditions", |pattern| default_text(pattern, "status", "True"));
        });
    });
    if let Some(template) = spec.get_mut("template") {
        defaults::template(template);
    }
}

fn default_spec(spec: &mut meta::Fields) {
    if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
        default_field(spec, "completions", 1);
    }
    default_field(spec, "parallelism", 1);
    let retries = spec.contains_key("backoffLimitPerIndex");
    default_field(spec, "backoffLimit", if retries { i64::from(i32::MAX) } else { 6 });
    default_field(spec, "completionMode", "NonIndexed");
    default_field(spec, "suspend", false);
    default_field(spec, "manualSelector", false);
    let replacement =
        if spec.contains_key("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    default_field(spec, "podReplacementPolicy", replacement);
    default_template(spec);
}

impl Strategy for Jobs {
    fn default(&self, obj: &mut Value) {
        default_spec(fields_mut(obj, &["spec"]));
        workload::labels_of_template(obj);
    }

    fn prepare_create(&self, _: &Context, obj: &mut Value) {
        if !workload::flag(obj, "manualSelector") {
            generate_selector(obj);
        }
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate::job(check, obj))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            validate::job(check, obj);
            validate::change(check, obj, old);
        })
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| status::change(check, obj, old))
    }

    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        let name = old.is_none().then(|| workload::name_warning(obj)).flatten();
        name.into_iter().chain(many_indexes("spec", &obj["spec"])).collect()
    }

    /// As it always was in this version: whoever deletes a job and does not say how keeps its pods.
    fn default_orphans(&self) -> bool {
        true
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

/// Upstream's word on Jobs whose failed indexes may be too many to keep.
pub(super) fn many_indexes(path: &str, spec: &Value) -> Option<String> {
    let over = |field: &str, limit| int_at(spec, &[field]).is_some_and(|number| number > limit);
    let many = over("completions", 100_000) && over("parallelism", 10_000);
    (validate::is_indexed(spec) && many).then(|| {
        format!(
            "{path}: In Indexed Jobs with a number of completions higher than 10^5 and a \
             parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes \
             when a big number of indexes fail"
        )
    })
}

/// A selector by the Job's UID, and the labels that it selects.
fn generate_selector(obj: &mut Value) {
    let (uid, name) = (meta::uid(obj).to_owned(), meta::name(obj).to_owned());
    let labels = fields_mut(obj, &["spec", "template", "metadata", "labels"]);
    for prefix in ["", "batch.kubernetes.io/"] {
        default_field(labels, &format!("{prefix}controller-uid"), uid.clone());
        default_field(labels, &format!("{prefix}job-name"), name.clone());
    }
    let selected = fields_mut(obj, &["spec", "selector", "matchLabels"]);
    default_field(selected, "batch.kubernetes.io/controller-uid", uid);
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

#[cfg(test)]
mod tests;
