//! Owner references, selectors, and who owns what.

use std::collections::BTreeMap;

use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, LabelSelectorRequirement, ObjectMeta, OwnerReference,
};
use hansa_client::kube::{Api, Error, Resource};
use serde::de::DeserializeOwned;

/// The owner reference that is the controller, if any.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))
}

/// Whether `meta` is controlled by the object with this uid.
pub(crate) fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    controller_of(meta).is_some_and(|owner| owner.uid == uid)
}

/// A controller's owner reference to `owner`.
pub(crate) fn reference_to<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: uid_of(owner.meta()).to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Asks the server whether an owner is still there and stays. Whoever adopts asks first: seen
/// through a late informer, what a deletion has just orphaned would be taken back.
pub(crate) async fn stands<K>(api: &Api<K>, owner: &ObjectMeta) -> Result<bool, Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let found = api.get_opt(name_of(owner)).await?;
    Ok(found.is_some_and(|found| found.meta().uid == owner.uid && !is_deleting(found.meta())))
}

/// The uid; empty only for objects that never were on a server.
pub(crate) fn uid_of(meta: &ObjectMeta) -> &str {
    meta.uid.as_deref().unwrap_or_default()
}

/// The name; empty only for objects that never were on a server.
pub(crate) fn name_of(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

/// Whether the object is being deleted.
pub(crate) fn is_deleting(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some()
}

/// Whether labels satisfy a LabelSelector; an empty selector matches all (API convention).
pub(crate) fn selects(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let empty = BTreeMap::new();
    let labels = labels.unwrap_or(&empty);
    let equal = selector.match_labels.iter().flatten();
    let wanted = selector.match_expressions.iter().flatten();
    equal.into_iter().all(|(key, value)| labels.get(key) == Some(value))
        && wanted.into_iter().all(|requirement| satisfies(requirement, labels))
}

fn satisfies(requirement: &LabelSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&requirement.key);
    let values = requirement.values.as_deref().unwrap_or_default();
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|value| values.contains(value)),
        "NotIn" => value.is_none_or(|value| !values.contains(value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(operator: &str, values: &[&str]) -> LabelSelector {
        let requirement = LabelSelectorRequirement {
            key: "tier".into(),
            operator: operator.into(),
            values: Some(values.iter().map(|&value| value.to_owned()).collect()),
        };
        LabelSelector { match_expressions: Some(vec![requirement]), match_labels: None }
    }

    #[test]
    fn requirements_follow_the_api_convention() {
        let labels = BTreeMap::from([("tier".to_owned(), "web".to_owned())]);
        assert!(selects(&LabelSelector::default(), None));
        assert!(selects(&selector("In", &["web"]), Some(&labels)));
        assert!(!selects(&selector("In", &["web"]), None));
        assert!(!selects(&selector("NotIn", &["web"]), Some(&labels)));
        assert!(selects(&selector("NotIn", &["web"]), None), "NotIn holds where there is no label");
        assert!(selects(&selector("Exists", &[]), Some(&labels)));
        assert!(selects(&selector("DoesNotExist", &[]), None));
        assert!(!selects(&selector("Near", &[]), Some(&labels)), "unknown operators match nothing");
    }
}
