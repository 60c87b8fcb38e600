//! Mutating and validating webhook configurations.

use std::collections::HashSet;

use hansa_api::field::{FieldError, child, index};
use hansa_api::meta::{at, default_field, fields_mut, int_at, list_at, str_at};
use hansa_api::names;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{CATEGORIES, FAILURE_POLICIES, GROUP, MATCH_POLICIES, REINVOCATION, client, rules};
use crate::admission::expressions::env;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};
use crate::registry::cells;
use crate::registry::check::Check;
use crate::registry::pod::defaults::{each, within};

/// The versions of AdmissionReview that we speak.
const REVIEWS: [&str; 2] = ["v1", "v1beta1"];
const HARMLESS: [&str; 2] = ["None", "NoneOnDryRun"];
const SIDE_EFFECTS: [&str; 4] = ["None", "NoneOnDryRun", "Some", "Unknown"];

pub(in crate::registry) fn mutating() -> Resource {
    Resource::new(GROUP, "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations")
        .categories(CATEGORIES)
}

pub(in crate::registry) fn validating() -> Resource {
    Resource::new(GROUP, "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
        .categories(CATEGORIES)
}

/// The strategy of webhook configurations.
pub(in crate::registry) struct Webhooks {
    /// Whether they change objects.
    pub(in crate::registry) mutating: bool,
}

impl Strategy for Webhooks {
    fn default(&self, obj: &mut Value) {
        each(fields_mut(obj, &[]), "webhooks", |webhook| {
            default_field(webhook, "failurePolicy", "Fail");
            default_field(webhook, "matchPolicy", "Equivalent");
            default_field(webhook, "namespaceSelector", Map::new());
            default_field(webhook, "objectSelector", Map::new());
            default_field(webhook, "timeoutSeconds", 10);
            if self.mutating {
                default_field(webhook, "reinvocationPolicy", "Never");
            }
            within(webhook, "clientConfig", |config| {
                within(config, "service", |service| default_field(service, "port", 443));
            });
            rules::default_rules(webhook, "rules");
        });
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, obj, Tolerated::default()))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, obj, Tolerated::of(obj, old)))
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::of("Webhooks", "integer", "How many it names.", 0),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![cells::name(obj), webhooks(obj).len().into(), cells::age(obj, now)]
    }

    fn has_generation(&self, _: &Value) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn webhooks(obj: &Value) -> &[Value] {
    list_at(obj, &["webhooks"])
}

/// What an object may keep because it had it before.
#[derive(Clone, Copy, Default)]
struct Tolerated {
    conditions: bool,
    side_effects: bool,
    reviews: bool,
    names: bool,
}

impl Tolerated {
    fn of(new: &Value, old: &Value) -> Self {
        let conditions = |obj| webhooks(obj).iter().map(|one| &one["matchConditions"]);
        let harmless = |one: &Value| HARMLESS.contains(&str_at(one, &["sideEffects"]));
        let reviews = |one: &Value| list_at(one, &["admissionReviewVersions"]).to_vec();
        let spoken = |one: &Value| reviews(one).is_empty() || speaks(&reviews(one));
        let names: HashSet<_> = webhooks(old).iter().map(|one| str_at(one, &["name"])).collect();
        Self {
            conditions: conditions(new).eq(conditions(old)),
            side_effects: !webhooks(old).iter().all(harmless),
            reviews: !webhooks(old).iter().all(spoken),
            names: names.len() != webhooks(old).len(),
        }
    }
}

fn speaks(versions: &[Value]) -> bool {
    versions.iter().any(|version| REVIEWS.contains(&version.as_str().unwrap_or_default()))
}

fn validate(check: &mut Check, obj: &Value, tolerated: Tolerated) {
    let mut seen = HashSet::new();
    for (at, webhook) in webhooks(obj).iter().enumerate() {
        let path = index("webhooks", at);
        validate_webhook(check, &path, webhook, tolerated);
        reviews(check, &child(&path, "admissionReviewVersions"), webhook, tolerated);
        let name = str_at(webhook, &["name"]);
        if !name.is_empty() && !seen.insert(name) && !tolerated.names {
            check.duplicate(&child(&path, "name"), name);
        }
    }
}

fn validate_webhook(check: &mut Check, path: &str, webhook: &Value, tolerated: Tolerated) {
    full_name(check, &child(path, "name"), str_at(webhook, &["name"]));
    for (at, rule) in list_at(webhook, &["rules"]).iter().enumerate() {
        rules::validate(check, &index(&child(path, "rules"), at), rule);
    }
    let text = |field: &str| (child(path, field), at(webhook, &[field]));
    for (field, known) in [("failurePolicy", FAILURE_POLICIES), ("matchPolicy", MATCH_POLICIES)] {
        let (path, found) = text(field);
        check.supported(&path, found, &known);
    }
    side_effects(check, &child(path, "sideEffects"), webhook, tolerated);
    let seconds = int_at(webhook, &["timeoutSeconds"]);
    if let Some(seconds) = seconds.filter(|seconds| !(1..=30).contains(seconds)) {
        let why = "the timeout value must be between 1 and 30 seconds";
        check.invalid(&child(path, "timeoutSeconds"), seconds, why);
    }
    for field in ["namespaceSelector", "objectSelector"] {
        if let (path, Some(selector)) = text(field) {
            check.label_selector(&path, selector);
        }
    }
    let (at_policy, policy) = text("reinvocationPolicy");
    check.supported(&at_policy, policy, &REINVOCATION);
    client::validate(check, &child(path, "clientConfig"), &webhook["clientConfig"]);
    if !tolerated.conditions {
        let conditions = list_at(webhook, &["matchConditions"]);
        rules::validate_conditions(check, &child(path, "matchConditions"), conditions, &env());
    }
}

/// A domain of at least three parts.
fn full_name(check: &mut Check, path: &str, name: &str) {
    let complaints = names::dns1123_subdomain(name);
    if name.is_empty() {
        check.required(path, "");
    } else if !complaints.is_empty() {
        check.invalid(path, name, &complaints.join(","));
    } else if name.split('.').count() < 3 {
        let why = "should be a domain with at least three segments separated by dots";
        check.invalid(path, name, why);
    }
}

fn side_effects(check: &mut Check, path: &str, webhook: &Value, tolerated: Tolerated) {
    let known: &[&str] = if tolerated.side_effects { &SIDE_EFFECTS } else { &HARMLESS };
    match at(webhook, &["sideEffects"]) {
        None => check.required(path, &format!("must specify one of {}", known.join(", "))),
        found => check.supported(path, found, known),
    }
}

fn reviews(check: &mut Check, path: &str, webhook: &Value, tolerated: Tolerated) {
    let versions = list_at(webhook, &["admissionReviewVersions"]);
    if versions.is_empty() {
        return check.required(path, &format!("must specify one of {}", REVIEWS.join(", ")));
    }
    let mut seen = HashSet::new();
    for (at, version) in versions.iter().enumerate() {
        let (path, version) = (index(path, at), version.as_str().unwrap_or_default());
        match seen.insert(version) {
            false => check.invalid(&path, version, "duplicate version"),
            true => check.text(&path, version, names::dns1035_label(version)),
        }
    }
    if !tolerated.reviews && !speaks(versions) {
        let why = format!("must include at least one of {}", REVIEWS.join(", "));
        check.invalid(path, versions.to_vec(), &why);
    }
}
