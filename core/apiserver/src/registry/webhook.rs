//! Mutating and validating webhook configurations: kept; nothing calls webhooks yet.

use hansa_api::meta::{default_field, default_text, fields_mut, list_at};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::cells;
use super::pod::defaults::{each, within};
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};

const GROUP: &str = "admissionregistration.k8s.io";

pub(super) fn mutating() -> Resource {
    Resource::new(GROUP, "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations")
        .categories(&["api-extensions"])
}

pub(super) fn validating() -> Resource {
    Resource::new(GROUP, "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
        .categories(&["api-extensions"])
}

/// The strategy of webhook configurations.
pub(super) struct Webhooks {
    /// Whether they change objects.
    pub(super) mutating: bool,
}

impl Strategy for Webhooks {
    fn default(&self, obj: &mut Value) {
        each(fields_mut(obj, &[]), "webhooks", |webhook| {
            default_text(webhook, "failurePolicy", "Fail");
            default_text(webhook, "matchPolicy", "Equivalent");
            default_field(webhook, "namespaceSelector", Map::new());
            default_field(webhook, "objectSelector", Map::new());
            default_field(webhook, "timeoutSeconds", 10);
            if self.mutating {
                default_text(webhook, "reinvocationPolicy", "Never");
            }
            within(webhook, "clientConfig", |config| {
                within(config, "service", |service| default_field(service, "port", 443));
            });
            each(webhook, "rules", |rule| default_text(rule, "scope", "*"));
        });
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::of("Webhooks", "integer", "How many it names.", 0),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let count = list_at(obj, &["webhooks"]).len();
        vec![cells::name(obj), count.into(), cells::age(obj, now)]
    }

    fn has_generation(&self, _: &Value) -> bool {
        true
    }
}
