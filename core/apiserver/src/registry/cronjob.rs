//! CronJobs.

use hansa_api::field::FieldError;
use hansa_api::meta::{self, at, default_field, default_text, fields_mut, list_at, str_at};
use hansa_api::names;
use jiff::Timestamp;
use serde_json::Value;

use super::check::Check;
use super::{cells, job};
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
        let job = fields_mut(obj, &["spec", "jobTemplate", "spec"]);
        if let Some(template) = job.get_mut("template") {
            super::pod::defaults::template(template);
        }
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, obj))
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        let mut complaints = names::dns1123_subdomain(name);
        if name.len() > NAME_MAX {
            complaints.push(format!("must be no more than {NAME_MAX} characters"));
        }
        complaints
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

fn validate(check: &mut Check, obj: &Value) {
    let spec = &obj["spec"];
    if str_at(spec, &["schedule"]).is_empty() {
        check.required("spec.schedule", "");
    }
    check.one_of(
        "spec.concurrencyPolicy",
        str_at(spec, &["concurrencyPolicy"]),
        &["Allow", "Forbid", "Replace"],
    );
    for name in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"]
    {
        check.non_negative_field("spec", spec, name);
    }
    job::validate(check, "spec.jobTemplate.spec", &spec["jobTemplate"]["spec"]);
}
