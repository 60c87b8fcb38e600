//! What a Job's status may say, in view of what it said.

use std::collections::HashSet;

use hansa_api::field::{FieldError, child, index};
use hansa_api::meta::{at, int_at, list_at, str_at};
use hansa_api::time::parse;
use serde_json::Value;

use super::{holds, indexes, validate};
use crate::registry::cells;
use crate::registry::check::Check;

const CONDITIONS: &str = "status.conditions";

/// A Job, and the one whose status it changes.
struct Change<'a> {
    obj: &'a Value,
    old: &'a Value,
}

impl Change<'_> {
    fn text(&self, field: &str) -> &str {
        str_at(self.obj, &["status", field])
    }

    fn number(&self, field: &str) -> i64 {
        cells::int(self.obj, &["status", field])
    }

    /// Whether any of these fields changed.
    fn changed(&self, fields: &[&str]) -> bool {
        let differs =
            |field: &&str| at(self.obj, &["status", field]) != at(self.old, &["status", field]);
        fields.iter().any(differs)
    }

    fn is(&self, condition: &str) -> bool {
        holds(self.obj, condition)
    }

    fn was(&self, condition: &str) -> bool {
        holds(self.old, condition)
    }

    /// Whether any of these conditions was turned on or off.
    fn turned(&self, conditions: &[&str]) -> bool {
        conditions.iter().any(|condition| self.is(condition) != self.was(condition))
    }

    fn finished(&self) -> bool {
        self.is("Complete") || self.is("Failed")
    }

    fn finish_turned(&self) -> bool {
        (self.was("Complete") || self.was("Failed")) != self.finished()
    }
}

/// A changed status.
pub(super) fn change(check: &mut Check, obj: &Value, old: &Value) {
    let change = Change { obj, old };
    counts(check, &change);
    uncounted(check, &change);
    ends(check, &change);
    times(check, &change);
    finished(check, &change);
    lists(check, &change);
    if change.changed(&["ready", "active"]) && change.number("ready") > change.number("active") {
        let ready = change.number("ready");
        check.invalid("status.ready", ready, "cannot set more ready pods than active");
    }
    criteria(check, &change);
    never_back(check, &change);
}

fn counts(check: &mut Check, change: &Change<'_>) {
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        check.non_negative_field("status", &change.obj["status"], field);
    }
}

fn uncounted(check: &mut Check, change: &Change<'_>) {
    let mut seen = HashSet::new();
    for list in ["succeeded", "failed"] {
        let path = child("status.uncountedTerminatedPods", list);
        let uids = list_at(change.obj, &["status", "uncountedTerminatedPods", list]);
        for (at, uid) in uids.iter().enumerate() {
            let (path, uid) = (index(&path, at), uid.as_str().unwrap_or_default());
            if uid.is_empty() {
                check.invalid(&path, uid, "must not be empty");
            } else if !seen.insert(uid) {
                check.duplicate(&path, uid);
            }
        }
    }
}

fn contradicts(check: &mut Check, why: &str) {
    check.add(FieldError::invalid_omitted(CONDITIONS, why));
}

/// Conditions that exclude or need each other.
fn ends(check: &mut Check, change: &Change<'_>) {
    if change.turned(&["Complete", "Failed"]) && change.is("Complete") && change.is("Failed") {
        contradicts(check, "cannot set Complete=True and Failed=true conditions");
    }
    if change.turned(&["Complete", "FailureTarget"])
        && change.is("Complete")
        && change.is("FailureTarget")
    {
        contradicts(check, "cannot set Complete=True and FailureTarget=true conditions");
    }
    if (change.turned(&["Failed"]) || change.changed(&["failedIndexes"]))
        && change.is("Failed")
        && !change.is("FailureTarget")
    {
        let why = "cannot set Failed=True condition without the FailureTarget=true condition";
        contradicts(check, why);
    }
    if change.turned(&["Complete", "SuccessCriteriaMet"])
        && change.is("Complete")
        && !change.is("SuccessCriteriaMet")
    {
        let why =
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
        contradicts(check, why);
    }
}

fn times(check: &mut Check, change: &Change<'_>) {
    let (path, end) = ("status.completionTime", change.text("completionTime"));
    let end_changed = change.turned(&["Complete"]) || change.changed(&["completionTime"]);
    if end_changed && !end.is_empty() && !change.is("Complete") {
        let why = "cannot set completionTime when there is no Complete=True condition";
        check.invalid(path, end, why);
    }
    if end_changed && end.is_empty() && change.is("Complete") {
        check.required(path, "completionTime is required for Complete jobs");
    }
    let start = change.text("startTime");
    let before = parse(end).zip(parse(start)).is_some_and(|(end, start)| end < start);
    if change.changed(&["startTime", "completionTime"]) && before {
        check.invalid(path, end, "must be equal to or after `startTime`");
    }
}

/// What no longer runs has nothing left over.
fn finished(check: &mut Check, change: &Change<'_>) {
    if !change.finished() {
        return;
    }
    let turned = change.finish_turned();
    for (field, why) in [
        ("active", "active>0 is invalid for finished job"),
        ("terminating", "terminating>0 is invalid for finished job"),
    ] {
        let number = change.number(field);
        if (turned || change.changed(&[field])) && number > 0 {
            check.invalid(&child("status", field), number, why);
        }
    }
    let spec = &change.obj["spec"];
    let empty = spec["suspend"] == true && int_at(spec, &["completions"]) == Some(0);
    if (turned || change.changed(&["startTime"])) && change.text("startTime").is_empty() && !empty {
        check.required("status.startTime", "startTime is required for finished job");
    }
    let field = "uncountedTerminatedPods";
    let left = at(change.obj, &["status", field]);
    let some = |list| left.is_some_and(|left| !list_at(left, &[list]).is_empty());
    if (turned || change.changed(&[field])) && (some("failed") || some("succeeded")) {
        let value = left.cloned().unwrap_or_default();
        check.invalid(&child("status", field), value, "must be empty for finished job");
    }
}

/// The lists of indexes that are done and that have failed.
fn lists(check: &mut Check, change: &Change<'_>) {
    let spec = &change.obj["spec"];
    let completions = int_at(spec, &["completions"]);
    let retries = at(spec, &["backoffLimitPerIndex"]).is_some();
    for field in ["completedIndexes", "failedIndexes"] {
        let (path, list) = (child("status", field), change.text(field));
        let there = at(change.obj, &["status", field]).is_some();
        if !change.changed(&[field]) {
            continue;
        }
        let counts = field == "completedIndexes" || retries;
        if let Some(Err(why)) = completions.filter(|_| counts).map(|n| indexes::count(list, n)) {
            check.invalid(&path, list, &format!("error parsing {field}: {why}"));
        }
        if field == "completedIndexes" && !list.is_empty() && !validate::is_indexed(spec) {
            let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
            check.invalid(&path, list, why);
        }
        if field == "failedIndexes" && there && !retries {
            let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
            check.invalid(&path, list, why);
        }
    }
    let (done, failed) = (change.text("completedIndexes"), change.text("failedIndexes"));
    let shared = completions.and_then(|count| indexes::overlap(done, failed, count));
    if let Some(shared) = shared.filter(|_| change.changed(&["completedIndexes", "failedIndexes"]))
    {
        let why = format!("failedIndexes and completedIndexes overlap at index: {shared}");
        check.invalid("status.failedIndexes", failed, &why);
    }
}

fn criteria(check: &mut Check, change: &Change<'_>) {
    let met = change.is("SuccessCriteriaMet");
    if met && change.is("Failed") {
        contradicts(check, "cannot set SuccessCriteriaMet=True and Failed=true conditions");
    }
    if met && change.is("FailureTarget") {
        contradicts(check, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
    }
    let policy = at(change.obj, &["spec", "successPolicy"]).is_some();
    if policy && !met && change.is("Complete") {
        let why = "cannot set Complete=True for Job with SuccessPolicy unless \
                   SuccessCriteriaMet=True";
        contradicts(check, why);
    }
}

/// What cannot be undone.
fn never_back(check: &mut Check, change: &Change<'_>) {
    for condition in ["Failed", "Complete", "FailureTarget"] {
        if change.was(condition) && !change.is(condition) {
            contradicts(check, &format!("cannot disable the terminal {condition}=True condition"));
        }
    }
    let spec = &change.obj["spec"];
    let scales =
        validate::is_indexed(spec) && at(spec, &["completions"]) == at(spec, &["parallelism"]);
    for (field, frees) in [("failed", false), ("succeeded", scales)] {
        let (new, old) = (change.number(field), cells::int(change.old, &["status", field]));
        if new < old && !frees {
            let why = format!("cannot decrease the {field} counter");
            check.invalid(&child("status", field), new, &why);
        }
    }
    let old = |field| str_at(change.old, &["status", field]);
    let end = change.text("completionTime");
    if !end.is_empty() && !old("completionTime").is_empty() && end != old("completionTime") {
        check.invalid("status.completionTime", end, "field is immutable");
    }
    let resumes = change.was("Suspended") && !change.is("Suspended");
    let start = at(change.obj, &["status", "startTime"]).cloned().unwrap_or_default();
    if !old("startTime").is_empty()
        && change.changed(&["startTime"])
        && !resumes
        && spec["suspend"] != true
    {
        let why = "field is immutable for unsuspended job once set";
        check.invalid("status.startTime", start, why);
    }
    let met = "SuccessCriteriaMet";
    if change.was(met) && !change.is(met) {
        contradicts(check, "cannot disable the SuccessCriteriaMet=True condition");
    }
    if change.was("Complete") && !change.was(met) && change.is(met) {
        let why = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        contradicts(check, why);
    }
}
