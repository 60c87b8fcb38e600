//! ResourceQuota: a namespace holds no more objects, and its pods ask for no more, than allowed.
//!
//! Usage is counted from the caches at the moment of the write, so that writes at the very same
//! time
//! may together go a little over.

use std::sync::Arc;

use async_trait::async_trait;
use hansa_api::ApiError;
use hansa_api::meta::{self, list_at, map_at, str_at};
use hansa_api::quantity::Quantity;
use serde_json::Value;

use super::limit_ranger::pod_total;
use super::{forbidden, lookup};
use crate::generic::admit::{Admission, Attributes, Operation};

/// Core resources that a quota may count by their plain name.
const COUNTED: [&str; 8] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "limitranges",
];

pub(super) struct ResourceQuota;

#[async_trait]
impl Admission for ResourceQuota {
    async fn mutate(&self, _: &Attributes<'_>, _: &mut Value) -> Result<(), ApiError> {
        Ok(())
    }

    async fn validate(&self, attrs: &Attributes<'_>, obj: Option<&Value>) -> Result<(), ApiError> {
        let creates = attrs.operation == Operation::Create && attrs.ctx.subresource.is_empty();
        let Some(obj) = obj.filter(|_| creates && attrs.resource.namespaced) else { return Ok(()) };
        let namespace = &attrs.ctx.namespace;
        let quotas = lookup::list(attrs, "", "resourcequotas", namespace).await?;
        if quotas.is_empty() {
            return Ok(());
        }
        let (group, plural) = (&*attrs.resource.group, &*attrs.resource.plural);
        let others = lookup::list(attrs, group, plural, namespace).await?;
        for quota in quotas.iter().filter(|quota| applies(quota)) {
            check(quota, group, plural, obj, &others).map_err(|why| forbidden(attrs, obj, why))?;
        }
        Ok(())
    }
}

/// Quotas with scopes are not counted.
fn applies(quota: &Value) -> bool {
    list_at(quota, &["spec", "scopes"]).is_empty() && quota["spec"].get("scopeSelector").is_none()
}

fn check(
    quota: &Value,
    group: &str,
    plural: &str,
    obj: &Value,
    others: &[Arc<Value>],
) -> Result<(), String> {
    let (mut asked, mut used, mut limited) = (Vec::new(), Vec::new(), Vec::new());
    for (name, hard) in map_at(quota, &["spec", "hard"]).into_iter().flatten() {
        let Some(hard) = hard.as_str().and_then(|text| text.parse::<Quantity>().ok()) else {
            continue;
        };
        let Some(own) = usage(name, group, plural, obj) else { continue };
        let own = own.ok_or_else(|| {
            format!(
                "failed quota: {}: must specify {name} for: {}",
                meta::name(quota),
                unset(obj, name)
            )
        })?;
        let others = others.iter().filter_map(|other| usage(name, group, plural, other).flatten());
        let before = others.fold(Quantity::default(), |sum, amount| sum + amount);
        if !own.is_zero() && before + own > hard {
            asked.push(format!("{name}={own}"));
            used.push(format!("{name}={before}"));
            limited.push(format!("{name}={hard}"));
        }
    }
    if asked.is_empty() {
        return Ok(());
    }
    let (asked, used, limited) = (asked.join(","), used.join(","), limited.join(","));
    let name = meta::name(quota);
    Err(format!("exceeded quota: {name}, requested: {asked}, used: {used}, limited: {limited}"))
}

/// What an object uses of a quota's entry: `None` if the entry is about something else,
/// `Some(None)` if the object had to say and does not.
fn usage(name: &str, group: &str, plural: &str, obj: &Value) -> Option<Option<Quantity>> {
    let one = Some(Some(Quantity::from_units(1)));
    let gone = is_over(plural, obj);
    if let Some(counted) = name.strip_prefix("count/") {
        let own = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
        return if counted == own { one } else { None };
    }
    if !group.is_empty() {
        return None;
    }
    let kind = str_at(obj, &["spec", "type"]);
    match (plural, name) {
        ("pods", _) if gone => Some(Some(Quantity::default())),
        ("services", "services.loadbalancers") => (kind == "LoadBalancer").then_some(one?),
        ("services", "services.nodeports") => {
            matches!(kind, "NodePort" | "LoadBalancer").then_some(one?)
        }
        ("pods", "cpu" | "memory" | "ephemeral-storage") => Some(pod_total(obj, "requests", name)),
        ("pods", name) if name.contains('.') => {
            let (list, resource) = name.split_once('.')?;
            matches!(list, "requests" | "limits").then(|| pod_total(obj, list, resource))
        }
        (plural, name) if plural == name && COUNTED.contains(&plural) => one,
        _ => None,
    }
}

/// Pods that have ended use nothing.
fn is_over(plural: &str, obj: &Value) -> bool {
    plural == "pods" && matches!(str_at(obj, &["status", "phase"]), "Succeeded" | "Failed")
}

/// The containers that do not say what a quota asks of them.
fn unset(pod: &Value, name: &str) -> String {
    let (list, resource) = match name.split_once('.') {
        Some((list @ ("requests" | "limits"), resource)) => (list, resource),
        _ => ("requests", name),
    };
    let containers = list_at(pod, &["spec", "containers"]).iter();
    let silent = containers.filter(|c| c["resources"][list].get(resource).is_none());
    silent.map(|c| str_at(c, &["name"])).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(cpu: &str, phase: &str) -> Value {
        json!({"metadata": {"name": "p"}, "status": {"phase": phase},
            "spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]}})
    }

    fn quota(hard: Value) -> Value {
        json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})
    }

    #[test]
    fn counts_and_sums_are_limited() {
        let others = [Arc::new(pod("1", "Running")), Arc::new(pod("5", "Succeeded"))];
        let check = |hard: Value| check(&quota(hard), "", "pods", &pod("1", "Pending"), &others);
        assert_eq!(check(json!({"pods": "2", "requests.cpu": "2"})), Ok(()));
        assert_eq!(
            check(json!({"pods": "1"})),
            Err("exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1".into())
        );
        assert_eq!(
            check(json!({"requests.cpu": "1500m"})),
            Err("exceeded quota: q, requested: requests.cpu=1, used: requests.cpu=1, limited: \
                 requests.cpu=1500m"
                .into())
        );
        assert_eq!(
            check(json!({"limits.memory": "1Gi"})),
            Err("failed quota: q: must specify limits.memory for: a".into())
        );
        assert_eq!(check(json!({"services": "0", "count/deployments.apps": "0"})), Ok(()));
    }
}
