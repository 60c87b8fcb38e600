//! LimitRanger: containers get the namespace's default requests and limits, and keep within its
//! bounds.

use async_trait::async_trait;
use hansa_api::ApiError;
use hansa_api::meta::{self, as_fields_mut, list_at, map_at, str_at};
use hansa_api::quantity::Quantity;
use serde_json::Value;

use super::{creates, forbidden, lookup};
use crate::generic::admit::{Admission, Attributes};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

pub(super) struct LimitRanger;

#[async_trait]
impl Admission for LimitRanger {
    async fn mutate(&self, attrs: &Attributes<'_>, pod: &mut Value) -> Result<(), ApiError> {
        if !creates(attrs, "pods") {
            return Ok(());
        }
        for range in lookup::list(attrs, "", "limitranges", &attrs.ctx.namespace).await? {
            fill(pod, &range);
        }
        Ok(())
    }

    async fn validate(&self, attrs: &Attributes<'_>, obj: Option<&Value>) -> Result<(), ApiError> {
        let Some(obj) = obj else { return Ok(()) };
        let check = if creates(attrs, "pods") {
            pod_complaints
        } else if creates(attrs, "persistentvolumeclaims") {
            claim_complaints
        } else {
            return Ok(());
        };
        let ranges = lookup::list(attrs, "", "limitranges", &attrs.ctx.namespace).await?;
        let complaints: Vec<_> = ranges.iter().flat_map(|range| check(obj, range)).collect();
        match &complaints[..] {
            [] => Ok(()),
            [only] => Err(forbidden(attrs, obj, only)),
            many => Err(forbidden(attrs, obj, format!("[{}]", many.join(", ")))),
        }
    }
}

fn items<'a>(range: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    list_at(range, &["spec", "limits"]).iter().filter(move |item| str_at(item, &["type"]) == kind)
}

/// Default requests and limits for containers that have none, and a note of what was set.
fn fill(pod: &mut Value, range: &Value) {
    let mut notes = Vec::new();
    for item in items(range, "Container") {
        for list in ["containers", "initContainers"] {
            let path = format!("/spec/{list}");
            let containers = pod.pointer_mut(&path).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                let kind = if list == "containers" { "container" } else { "init container" };
                notes.extend(fill_container(container, item, kind));
            }
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        meta::set_annotation(pod, ANNOTATION, &note);
    }
}

fn fill_container(container: &mut Value, item: &Value, kind: &str) -> Vec<String> {
    let name = str_at(container, &["name"]).to_owned();
    let mut notes = Vec::new();
    for (from, to, word) in
        [("defaultRequest", "requests", "request"), ("default", "limits", "limit")]
    {
        let mut set = Vec::new();
        for (resource, amount) in map_at(item, &[from]).into_iter().flatten() {
            let amounts = meta::fields_mut(container, &["resources"]);
            let amounts = amounts.entry(to).or_insert_with(|| Value::Object(Default::default()));
            let amounts = as_fields_mut(amounts);
            if !amounts.contains_key(resource) {
                amounts.insert(resource.clone(), amount.clone());
                set.push(resource.as_str());
            }
        }
        if !set.is_empty() {
            notes.push(format!("{} {word} for {kind} {name}", set.join(", ")));
        }
    }
    notes
}

fn amount(object: &Value, path: &[&str], resource: &str) -> Option<Quantity> {
    map_at(object, path)?.get(resource)?.as_str()?.parse().ok()
}

fn pod_complaints(pod: &Value, range: &Value) -> Vec<String> {
    let mut complaints = Vec::new();
    for item in items(range, "Container") {
        for list in ["containers", "initContainers"] {
            for container in list_at(pod, &["spec", list]) {
                let of = |list: &str, name: &str| amount(container, &["resources", list], name);
                bounds(item, "Container", |name| of("requests", name), |name| of("limits", name))
                    .into_iter()
                    .for_each(|complaint| complaints.push(complaint));
            }
        }
    }
    for item in items(range, "Pod") {
        let of = |list: &str, name: &str| pod_total(pod, list, name);
        complaints.extend(bounds(
            item,
            "Pod",
            |name| of("requests", name),
            |name| of("limits", name),
        ));
    }
    complaints
}

/// What a pod asks for in all: its containers' sum, or an init container's if that is more.
pub(super) fn pod_total(pod: &Value, list: &str, resource: &str) -> Option<Quantity> {
    let of = |container: &Value| amount(container, &["resources", list], resource);
    let containers = list_at(pod, &["spec", "containers"]).iter().filter_map(of);
    let sum = containers.reduce(|sum, amount| sum + amount);
    let largest = list_at(pod, &["spec", "initContainers"]).iter().filter_map(of).max();
    sum.max(largest)
}

fn claim_complaints(claim: &Value, range: &Value) -> Vec<String> {
    let of = |name: &str| amount(claim, &["spec", "resources", "requests"], name);
    let kind = "PersistentVolumeClaim";
    items(range, kind).flat_map(|item| bounds(item, kind, of, of)).collect()
}

/// What one item of a LimitRange has against these requests and limits.
fn bounds(
    item: &Value,
    kind: &str,
    request: impl Fn(&str) -> Option<Quantity>,
    limit: impl Fn(&str) -> Option<Quantity>,
) -> Vec<String> {
    let mut complaints = Vec::new();
    for name in map_at(item, &["min"]).into_iter().flatten().map(|(name, _)| name) {
        let Some(min) = amount(item, &["min"], name) else { continue };
        let rule = format!("minimum {name} usage per {kind} is {min}");
        match request(name) {
            None => complaints.push(format!("{rule}.  No request is specified")),
            Some(own) if own < min => complaints.push(format!("{rule}, but request is {own}")),
            Some(_) => {}
        }
        if let Some(own) = limit(name).filter(|own| *own < min) {
            complaints.push(format!("{rule}, but limit is {own}"));
        }
    }
    for name in map_at(item, &["max"]).into_iter().flatten().map(|(name, _)| name) {
        let Some(max) = amount(item, &["max"], name) else { continue };
        let rule = format!("maximum {name} usage per {kind} is {max}");
        match limit(name) {
            None => complaints.push(format!("{rule}.  No limit is specified")),
            Some(own) if own > max => complaints.push(format!("{rule}, but limit is {own}")),
            Some(_) => {}
        }
        if let Some(own) = request(name).filter(|own| *own > max) {
            complaints.push(format!("{rule}, but request is {own}"));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_are_filled_in_and_noted() {
        let range = json!({"spec": {"limits": [{"type": "Container",
            "default": {"cpu": "1"}, "defaultRequest": {"cpu": "100m"}}]}});
        let mut pod = json!({"spec": {"containers": [{"name": "a"},
            {"name": "b", "resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "2"}}}]}});
        fill(&mut pod, &range);
        let resources = &pod["spec"]["containers"][0]["resources"];
        assert_eq!(*resources, json!({"limits": {"cpu": "1"}, "requests": {"cpu": "100m"}}));
        assert_eq!(
            meta::annotation(&pod, ANNOTATION),
            Some("LimitRanger plugin set: cpu request for container a; cpu limit for container a")
        );
    }

    #[test]
    fn bounds_are_kept() {
        let range = json!({"spec": {"limits": [
            {"type": "Container", "max": {"cpu": "1"}, "min": {"memory": "1Mi"}},
            {"type": "Pod", "max": {"cpu": "1500m"}}]}});
        let container = json!({"name": "a", "resources": {"limits": {"cpu": "1"},
            "requests": {"cpu": "1", "memory": "2Mi"}}});
        let mut pod = json!({"spec": {"containers": [container]}});
        assert_eq!(pod_complaints(&pod, &range), [""; 0]);
        pod["spec"]["containers"] =
            json!([container, {"name": "b", "resources": {"limits": {"cpu": "2"}}}]);
        assert_eq!(
            pod_complaints(&pod, &range),
            [
                "minimum memory usage per Container is 1Mi.  No request is specified",
                "maximum cpu usage per Container is 1, but limit is 2",
                "maximum cpu usage per Pod is 1500m, but limit is 3",
            ]
        );
    }
}
