//! CronJobs.

use hansa_api::cron;
use hansa_api::field::FieldError;
use hansa_api::meta::{self, at, default_field, default_text, fields_mut, list_at, str_at};
use jiff::Timestamp;
use serde_json::Value;

use super::check::Check;
use super::{cells, job, workload};
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};
use crate::generic::table;

/// Jobs' names get eleven characters more.
const NAME_MAX: usize = 52;

pub(super) fn resource() -> Resource {
    Resource::new("batch", "v1", "CronJob", "cronjobs")
        .namespaced()
        .short(&["cj"])
        .categories(&["all"])
        .status()
}

/// The strategy of CronJobs.
pub(super) struct CronJobs;

impl Strategy for CronJobs {
    fn default(&self, obj: &mut Value) {
        let spec = fields_mut(obj, &["spec"]);
        default_text(spec, "concurrencyPolicy", "Allow");
        default_field(spec, "suspend", false);
        default_field(spec, "successfulJobsHistoryLimit", 3);
        default_field(spec, "failedJobsHistoryLimit", 1);
        job::default_template(fields_mut(obj, &["spec", "jobTemplate", "spec"]));
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            validate(check, obj, &Value::Null);
            let name = meta::name(obj);
            if name.len() > NAME_MAX {
                let why = format!("must be no more than {NAME_MAX} characters");
                check.invalid("metadata.name", name, &why);
            }
        })
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, obj, old))
    }

    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        let name = old.is_none().then(|| workload::name_warning(obj)).flatten();
        let path = "spec.jobTemplate.spec";
        let indexes = job::many_indexes(path, &obj["spec"]["jobTemplate"]["spec"]);
        let zone = old.is_some() && str_at(obj, &["spec", "schedule"]).contains("TZ");
        let zone = zone.then(|| {
            "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see \
             https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
                .into()
        });
        name.into_iter().chain(indexes).chain(zone).collect()
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Schedule", "When it runs, in cron's notation."),
            Column::new("Timezone", "Whose clock the schedule means."),
            Column::new("Suspend", "Whether it is paused."),
            Column::of("Active", "integer", "Jobs that run now.", 0),
            Column::new("Last Schedule", "When it last started a Job."),
            Column::age(),
            Column::wide("Containers", "The template's containers."),
            Column::wide("Images", "The template's images."),
            Column::wide("Selector", "The labels of its pods."),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let spec = &obj["spec"];
        let last = str_at(obj, &["status", "lastScheduleTime"]);
        let job = &spec["jobTemplate"]["spec"];
        let [containers, images] = cells::containers(&job["template"]["spec"]);
        let suspended = if meta::bool_at(spec, &["suspend"]) { "True" } else { "False" };
        vec![
            cells::name(obj),
            str_at(spec, &["schedule"]).into(),
            cells::or(str_at(spec, &["timeZone"]), cells::NONE),
            suspended.into(),
            list_at(obj, &["status", "active"]).len().into(),
            if last.is_empty() { cells::NONE.into() } else { table::since(Some(last), now).into() },
            cells::age(obj, now),
            containers,
            images,
            cells::selector(at(job, &["selector"])),
        ]
    }
}

fn validate(check: &mut Check, obj: &Value, old: &Value) {
    let spec = &obj["spec"];
    schedule(check, spec, &old["spec"]);
    check.non_negative_field("spec", spec, "startingDeadlineSeconds");
    let zone = spec["timeZone"].as_str();
    if let Some(zone) = zone.filter(|zone| old["spec"]["timeZone"].as_str() != Some(zone)) {
        time_zone(check, "spec.timeZone", zone);
    }
    let policy = str_at(spec, &["concurrencyPolicy"]);
    check.one_of("spec.concurrencyPolicy", policy, &["Allow", "Forbid", "Replace"]);
    let (path, template) = ("spec.jobTemplate.spec", &spec["jobTemplate"]["spec"]);
    job::validate::job_spec(check, path, template);
    if let Some(selector) = at(template, &["selector"]) {
        let why = "`selector` will be auto-generated";
        check.invalid(&format!("{path}.selector"), selector.clone(), why);
    }
    if meta::bool_at(template, &["manualSelector"]) {
        let path = format!("{path}.manualSelector");
        check.add(FieldError::not_supported(path, true, &["nil", "false"]));
    }
    for name in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        check.non_negative_field("spec", spec, name);
    }
}

/// Zones in schedules are an old habit that only old objects may have.
fn schedule(check: &mut Check, spec: &Value, old: &Value) {
    let (path, text) = ("spec.schedule", str_at(spec, &["schedule"]));
    if text.is_empty() {
        return check.required(path, "");
    }
    if let Err(why) = cron::check(text) {
        check.invalid(path, text, &why);
    }
    let allowed = str_at(old, &["schedule"]).contains("TZ");
    match (text.contains("TZ"), allowed, at(spec, &["timeZone"])) {
        (true, true, Some(_)) => {
            let why = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
            check.invalid(path, text, why);
        }
        (true, false, _) => {
            let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
            check.invalid(path, text, why);
        }
        _ => {}
    }
}

fn time_zone(check: &mut Check, path: &str, zone: &str) {
    let fits = |part: &str| {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte);
        (1..=14).contains(&part.len())
            && part.bytes().all(word)
            && !matches!(part, "." | "..")
            && !part.starts_with('-')
    };
    let unknown = format!("unknown time zone {zone}");
    if zone.is_empty() {
        check.invalid(path, zone, "timeZone must be nil or non-empty string");
    } else if !zone.split('/').all(fits) {
        check.invalid(path, zone, &unknown);
    } else if zone.eq_ignore_ascii_case("Local") {
        let why = "timeZone must be an explicit time zone as defined in \
                   https://www.iana.org/time-zones";
        check.invalid(path, zone, why);
    } else if jiff::tz::TimeZone::get(zone).is_err() {
        check.invalid(path, zone, &unknown);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::check::{refuses, texts};

    fn cron(more: Value) -> Value {
        let template = json!({"spec": {"restartPolicy": "Never",
            "containers": [{"name": "a", "image": "b"}]}});
        let mut spec = json!({"schedule": "* * * * *",
            "jobTemplate": {"spec": {"template": template}}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut obj = json!({"metadata": {"name": "c"}, "spec": spec});
        CronJobs.default(&mut obj);
        obj
    }

    #[test]
    fn mistakes_are_named() {
        refuses(
            &CronJobs,
            [
                (cron(json!({"schedule": ""})), "spec.schedule: Required value"),
                (
                    cron(json!({"schedule": "often"})),
                    "spec.schedule: Invalid value: \"often\": expected exactly 5 fields, found \
                     1: [often]",
                ),
                (
                    cron(json!({"schedule": "TZ=UTC * * * * *"})),
                    "spec.schedule: Invalid value: \"TZ=UTC * * * * *\": cannot use TZ or CRON_TZ \
                     in schedule, use timeZone field instead",
                ),
                (
                    cron(json!({"timeZone": "Mars/Olympus"})),
                    "spec.timeZone: Invalid value: \"Mars/Olympus\": unknown time zone \
                     Mars/Olympus",
                ),
                (
                    cron(json!({"concurrencyPolicy": "Race"})),
                    "spec.concurrencyPolicy: Unsupported value: \"Race\": supported values: \
                     \"Allow\", \"Forbid\", \"Replace\"",
                ),
            ],
        );
        let mut long = cron(json!({}));
        long["metadata"]["name"] = "x".repeat(53).into();
        let found = texts(&CronJobs.validate_create(&long));
        assert!(found[0].ends_with("must be no more than 52 characters"), "{found:?}");
        assert_eq!(texts(&CronJobs.validate_update(&long, &long)), [""; 0]);
    }
}
