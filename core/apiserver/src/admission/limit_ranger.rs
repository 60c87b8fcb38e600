//! LimitRanger: containers get the namespace's default requests and limits, and keep within its
//! bounds.

use async_trait::async_trait;
use hansa_api::ApiError;
use hansa_api::meta::{self, as_fields_mut, list_at, map_at, str_at};
use hansa_api::pod_resources::{self, Counting};
use hansa_api::quantity::Quantity;
use hansa_api::quota::{Amounts, amounts};
use serde_json::Value;

use super::{forbidden, lookup};
use crate::generic::admit::{Admission, Attributes, Operation};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";
const CLAIMS: &str = "persistentvolumeclaims";

pub(super) struct LimitRanger;

#[async_trait]
impl Admission for LimitRanger {
    fn concerns(&self, attrs: &Attributes<'_>) -> bool {
        if attrs.old.is_some_and(|old| meta::deletion_timestamp(old).is_some()) {
            return false;
        }
        match (attrs.operation, attrs.ctx.subresource.as_str()) {
            (Operation::Create, "") => attrs.is("", "pods") || attrs.is("", CLAIMS),
            (Operation::Update, "") => attrs.is("", CLAIMS),
            (Operation::Update, "resize") => attrs.is("", "pods"),
            _ => false,
        }
    }

    async fn mutate(&self, attrs: &Attributes<'_>, pod: &mut Value) -> Result<(), ApiError> {
        if !attrs.is("", "pods") {
            return Ok(());
        }
        for range in lookup::list(attrs, "", "limitranges", &attrs.ctx.namespace).await? {
            fill(pod, &range);
        }
        Ok(())
    }

    async fn validate(&self, attrs: &Attributes<'_>, obj: Option<&Value>) -> Result<(), ApiError> {
        let Some(obj) = obj else { return Ok(()) };
        let check = if attrs.is("", CLAIMS) { claim_complaints } else { pod_complaints };
        for range in lookup::list(attrs, "", "limitranges", &attrs.ctx.namespace).await? {
            match &distinct(check(obj, &range))[..] {
                [] => {}
                [only] => return Err(forbidden(attrs, obj, only)),
                many => return Err(forbidden(attrs, obj, format!("[{}]", many.join(", ")))),
            }
        }
        Ok(())
    }
}

/// Without repetitions, as upstream's lists of errors are shown.
fn distinct(complaints: Vec<String>) -> Vec<String> {
    let mut seen = Vec::new();
    for complaint in complaints {
        if !seen.contains(&complaint) {
            seen.push(complaint);
        }
    }
    seen
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

fn pod_complaints(pod: &Value, range: &Value) -> Vec<String> {
    let mut complaints = Vec::new();
    for item in list_at(range, &["spec", "limits"]) {
        match str_at(item, &["type"]) {
            "Container" => {
                for list in ["containers", "initContainers"] {
                    for container in list_at(pod, &["spec", list]) {
                        let of = |list: &str| amounts(container, &["resources", list]);
                        complaints.extend(bounds(item, &of("requests"), &of("limits")));
                    }
                }
            }
            "Pod" => {
                let asked = pod_resources::requests(pod, Counting::SpecOnly);
                let limits = pod_resources::limits(pod, Counting::SpecOnly);
                complaints.extend(bounds(item, &asked, &limits));
            }
            _ => {}
        }
    }
    complaints
}

/// Claims have requests alone.
fn claim_complaints(claim: &Value, range: &Value) -> Vec<String> {
    let asked = amounts(claim, &["spec", "resources", "requests"]);
    let mut complaints = Vec::new();
    for item in items(range, "PersistentVolumeClaim") {
        complaints.extend(least(item, &asked, &Amounts::new()));
        complaints.extend(most(item, &Amounts::new(), &asked, "request"));
    }
    complaints
}

/// What one item of a LimitRange has against these requests and limits.
fn bounds(item: &Value, asked: &Amounts, limits: &Amounts) -> Vec<String> {
    let mut complaints = least(item, asked, limits);
    complaints.extend(most(item, asked, limits, "limit"));
    complaints.extend(ratios(item, asked, limits));
    complaints
}

fn least(item: &Value, asked: &Amounts, limits: &Amounts) -> Vec<String> {
    let kind = str_at(item, &["type"]);
    let complaint = |(name, min): (&String, &Quantity)| {
        let rule = format!("minimum {name} usage per {kind} is {min}");
        match (asked.get(name), limits.get(name)) {
            (None, _) => Some(format!("{rule}.  No request is specified")),
            (Some(own), _) if own < min => Some(format!("{rule}, but request is {own}")),
            (_, Some(own)) if own < min => Some(format!("{rule}, but limit is {own}")),
            _ => None,
        }
    };
    amounts(item, &["min"]).iter().filter_map(complaint).collect()
}

/// `must` is how complaints call what has to be there; `limits` holds it.
fn most(item: &Value, asked: &Amounts, limits: &Amounts, must: &str) -> Vec<String> {
    let kind = str_at(item, &["type"]);
    let complaint = |(name, max): (&String, &Quantity)| {
        let rule = format!("maximum {name} usage per {kind} is {max}");
        match (limits.get(name), asked.get(name)) {
            (None, _) => Some(format!("{rule}.  No {must} is specified")),
            (Some(own), _) if own > max => Some(format!("{rule}, but {must} is {own}")),
            (_, Some(own)) if own > max => Some(format!("{rule}, but request is {own}")),
            _ => None,
        }
    };
    amounts(item, &["max"]).iter().filter_map(complaint).collect()
}

fn ratios(item: &Value, asked: &Amounts, limits: &Amounts) -> Vec<String> {
    let kind = str_at(item, &["type"]);
    let some = |amounts: &Amounts, name: &String| {
        amounts.get(name).copied().filter(|amount| !amount.is_zero())
    };
    let complaint = |(name, max): (&String, &Quantity)| {
        let rule = format!("{name} max limit to request ratio per {kind} is {max}, but");
        let Some(asked) = some(asked, name) else {
            return Some(format!("{rule} no request is specified or request is 0"));
        };
        let Some(limit) = some(limits, name) else {
            return Some(format!("{rule} no limit is specified or limit is 0"));
        };
        let ratio = precise(limit) / precise(asked);
        (ratio > precise(*max)).then(|| format!("{rule} provided ratio is {ratio:.6}"))
    };
    amounts(item, &["maxLimitRequestRatio"]).iter().filter_map(complaint).collect()
}

/// In thousandths where they can be counted, which is what the ratios are taken of.
#[allow(clippy::cast_precision_loss)]
fn precise(amount: Quantity) -> f64 {
    match amount.value() < i64::MAX / 1000 {
        true => amount.milli_value() as f64 / 1000.0,
        false => amount.value() as f64,
    }
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
            {"type": "Pod", "max": {"cpu": "1500m"}, "maxLimitRequestRatio": {"cpu": "2"}}]}});
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
                "cpu max limit to request ratio per Pod is 2, but provided ratio is 3.000000",
            ]
        );
    }
}
