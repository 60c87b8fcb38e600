//! DefaultIngressClass: an Ingress that names no class gets the cluster's default one.

use std::cmp::Reverse;
use std::sync::Arc;

use async_trait::async_trait;
use hansa_api::ApiError;
use hansa_api::meta::{self, fields_mut};
use serde_json::Value;

use super::lookup;
use crate::generic::admit::{Admission, Attributes, Operation};

const GROUP: &str = "networking.k8s.io";
const IS_DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
const OLD_WAY: &str = "kubernetes.io/ingress.class";

pub(super) struct DefaultIngressClass;

#[async_trait]
impl Admission for DefaultIngressClass {
    fn concerns(&self, attrs: &Attributes<'_>) -> bool {
        attrs.operation == Operation::Create && attrs.is_whole() && attrs.is(GROUP, "ingresses")
    }

    async fn mutate(&self, attrs: &Attributes<'_>, ingress: &mut Value) -> Result<(), ApiError> {
        let named = meta::at(ingress, &["spec", "ingressClassName"]).is_some();
        if named || meta::annotation(ingress, OLD_WAY).is_some() {
            return Ok(());
        }
        let classes = lookup::list(attrs, GROUP, "ingressclasses", "").await?;
        if let Some(class) = newest(&classes, IS_DEFAULT) {
            fields_mut(ingress, &["spec"]).insert("ingressClassName".into(), class.into());
        }
        Ok(())
    }
}

/// The newest of the classes that an annotation marks as the default; of equals the first by name.
pub(super) fn newest<'a>(classes: &'a [Arc<Value>], mark: &str) -> Option<&'a str> {
    let marked = classes.iter().filter(|class| meta::annotation(class, mark) == Some("true"));
    let rank = |class: &&Arc<Value>| {
        let created = meta::creation_timestamp(class).unwrap_or_default().to_owned();
        (Reverse(created), meta::name(class).to_owned())
    };
    marked.min_by_key(rank).map(|class| meta::name(class))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_newest_default_counts() {
        let class = |name: &str, day: &str, default: &str| {
            Arc::new(json!({"metadata": {"name": name, "annotations": {IS_DEFAULT: default},
                "creationTimestamp": format!("2026-01-{day}T00:00:00Z")}}))
        };
        let classes = [
            class("old", "01", "true"),
            class("b", "02", "true"),
            class("a", "02", "true"),
            class("no", "03", "false"),
        ];
        assert_eq!(newest(&classes, IS_DEFAULT), Some("a"));
        assert_eq!(newest(&classes[3..], IS_DEFAULT), None);
    }
}
