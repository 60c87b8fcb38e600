//! RuntimeClass: a pod takes over what its RuntimeClass says of overhead and scheduling.

use std::sync::Arc;

use async_trait::async_trait;
use hansa_api::ApiError;
use hansa_api::meta::{self, fields_mut, list_at, map_at, str_at};
use hansa_api::quota::amounts;
use serde_json::{Value, json};

use super::{creates, forbidden, lookup};
use crate::generic::admit::{Admission, Attributes};

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
const UNFOUNDED: &str =
    "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";

pub(super) struct RuntimeClass;

#[async_trait]
impl Admission for RuntimeClass {
    fn concerns(&self, attrs: &Attributes<'_>) -> bool {
        creates(attrs, "pods")
    }

    async fn mutate(&self, attrs: &Attributes<'_>, pod: &mut Value) -> Result<(), ApiError> {
        let Some(class) = class_of(attrs, pod).await? else { return Ok(()) };
        set_overhead(pod, &class)
            .and_then(|()| set_scheduling(pod, &class))
            .map_err(|why| forbidden(attrs, pod, why))
    }

    async fn validate(&self, attrs: &Attributes<'_>, pod: Option<&Value>) -> Result<(), ApiError> {
        let Some(pod) = pod else { return Ok(()) };
        let class = class_of(attrs, pod).await?;
        check_overhead(pod, class.as_deref()).map_err(|why| forbidden(attrs, pod, why))
    }
}

async fn class_of(attrs: &Attributes<'_>, pod: &Value) -> Result<Option<Arc<Value>>, ApiError> {
    let name = match meta::at(pod, &["spec", "runtimeClassName"]).and_then(Value::as_str) {
        Some(name) => name,
        None => return Ok(None),
    };
    match lookup::find(attrs, "node.k8s.io", "runtimeclasses", "", name).await? {
        Some(class) => Ok(Some(class)),
        None => {
            let why = format!("pod rejected: RuntimeClass {name:?} not found");
            Err(forbidden(attrs, pod, why))
        }
    }
}

fn set_overhead(pod: &mut Value, class: &Value) -> Result<(), String> {
    let Some(overhead) = meta::at(class, &["overhead"]) else { return Ok(()) };
    let own = amounts(pod, &["spec", "overhead"]);
    if !own.is_empty() && own != amounts(overhead, &["podFixed"]) {
        return Err(MISMATCH.to_string());
    }
    if let Some(fixed) = meta::at(overhead, &["podFixed"]) {
        fields_mut(pod, &["spec"]).insert("overhead".into(), fixed.clone());
    }
    Ok(())
}

fn check_overhead(pod: &Value, class: Option<&Value>) -> Result<(), String> {
    let own = meta::at(pod, &["spec", "overhead"]);
    match class.and_then(|class| meta::at(class, &["overhead"])) {
        Some(overhead)
            if amounts(overhead, &["podFixed"]) != amounts(pod, &["spec", "overhead"]) =>
        {
            Err(MISMATCH.to_string())
        }
        None if own.is_some() => Err(UNFOUNDED.to_string()),
        _ => Ok(()),
    }
}

fn set_scheduling(pod: &mut Value, class: &Value) -> Result<(), String> {
    let selector = map_at(class, &["scheduling", "nodeSelector"]);
    for (key, wanted) in selector.into_iter().flatten() {
        let own = fields_mut(pod, &["spec", "nodeSelector"]);
        match own.get(key) {
            Some(value) if value != wanted => {
                let (wanted, value) = (text(wanted), text(value));
                return Err(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted}; \
                     pod.spec.nodeSelector[{key}] = {value}"
                ));
            }
            _ => own.insert(key.clone(), wanted.clone()),
        };
    }
    let wanted = list_at(class, &["scheduling", "tolerations"]);
    if !wanted.is_empty() {
        merge_tolerations(pod, wanted);
    }
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The pod's own come first; what another one covers is left out.
fn merge_tolerations(pod: &mut Value, more: &[Value]) {
    let own = list_at(pod, &["spec", "tolerations"]);
    let all: Vec<Value> = own.iter().chain(more).cloned().collect();
    let mut kept: Vec<Value> = Vec::new();
    for (at, one) in all.iter().enumerate() {
        let before = kept.iter().any(|other| covers(other, one));
        let after = all[at + 1..].iter().any(|other| other != one && covers(other, one));
        if !before && !after {
            kept.push(one.clone());
        }
    }
    fields_mut(pod, &["spec"]).insert("tolerations".into(), json!(kept));
}

/// Whether `wide` tolerates everything that `narrow` does.
fn covers(wide: &Value, narrow: &Value) -> bool {
    let same = |field: &str| str_at(wide, &[field]) == str_at(narrow, &[field]);
    let (key, effect) = (str_at(wide, &["key"]), str_at(wide, &["effect"]));
    let exists = str_at(wide, &["operator"]) == "Exists";
    if wide == narrow {
        return true;
    }
    let keys = same("key") || (key.is_empty() && exists);
    let effects = same("effect") || effect.is_empty();
    let equal = str_at(narrow, &["operator"]) == "Equal" && same("value");
    keys && effects && (effect != "NoExecute" || lasts(wide, narrow)) && (exists || equal)
}

/// Whether `wide` tolerates at least as long.
fn lasts(wide: &Value, narrow: &Value) -> bool {
    let seconds = |toleration: &Value| meta::int_at(toleration, &["tolerationSeconds"]);
    match (seconds(wide), seconds(narrow)) {
        (None, _) => true,
        (Some(wide), narrow) => narrow.is_some_and(|narrow| narrow <= wide),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overhead_comes_from_the_class_alone() {
        let class = json!({"overhead": {"podFixed": {"cpu": "10m"}}});
        let mut pod = json!({"spec": {}});
        set_overhead(&mut pod, &class).unwrap();
        assert_eq!(pod["spec"]["overhead"], json!({"cpu": "10m"}));
        assert_eq!(check_overhead(&pod, Some(&class)), Ok(()));
        assert_eq!(check_overhead(&pod, None), Err(UNFOUNDED.into()));
        pod["spec"]["overhead"]["cpu"] = "20m".into();
        assert_eq!(set_overhead(&mut pod, &class), Err(MISMATCH.into()));
        assert_eq!(check_overhead(&pod, Some(&class)), Err(MISMATCH.into()));
    }

    #[test]
    fn scheduling_is_merged() {
        let toleration = |seconds: Option<i64>| {
            let mut one = json!({"key": "a", "operator": "Exists"});
            if let Some(seconds) = seconds {
                one["tolerationSeconds"] = seconds.into();
            }
            one
        };
        let class = json!({"scheduling": {"nodeSelector": {"a": "1"},
            "tolerations": [toleration(None), {"key": "b", "operator": "Exists"}]}});
        let mut pod = json!({"spec": {"nodeSelector": {"b": "2"},
            "tolerations": [toleration(Some(5))]}});
        set_scheduling(&mut pod, &class).unwrap();
        assert_eq!(pod["spec"]["nodeSelector"], json!({"a": "1", "b": "2"}));
        assert_eq!(
            pod["spec"]["tolerations"],
            json!([toleration(None), {"key": "b", "operator": "Exists"}])
        );
        pod["spec"]["nodeSelector"]["a"] = "9".into();
        assert_eq!(
            set_scheduling(&mut pod, &class).unwrap_err(),
            "conflict: runtimeClass.scheduling.nodeSelector[a] = 1; pod.spec.nodeSelector[a] = 9"
        );
    }
}
