//! `matchLabelKeys` and `mismatchLabelKeys`: a new pod's own values of these labels become part of
//! the selectors beside them.

use hansa_api::meta::{self, Fields};
use serde_json::{Value, json};

/// The list of keys, and how a selector compares the labels that it names.
const KEYS: [(&str, &str); 2] = [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")];

/// Adds to the selectors of a new pod what its labels are.
pub(super) fn merge(pod: &mut Value) {
    let Some(labels) = meta::labels(pod).cloned() else { return };
    let items = |value: Option<&mut Value>| match value {
        Some(Value::Array(items)) => std::mem::take(items),
        _ => Vec::new(),
    };
    let spec = &mut pod["spec"];
    for list in LISTS {
        let pointer = format!("/{}", list.join("/"));
        let mut terms = items(spec.pointer_mut(&pointer));
        for term in &mut terms {
            match term.get_mut("podAffinityTerm") {
                Some(term) => merge_term(term, &labels),
                None => merge_term(term, &labels),
            }
        }
        if let (false, Some(place)) = (terms.is_empty(), spec.pointer_mut(&pointer)) {
            *place = terms.into();
        }
    }
}

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Where such terms are in a pod's spec.
const LISTS: [&[&str]; 5] = [
    &["topologySpreadConstraints"],
    &["affinity", "podAffinity", REQUIRED],
    &["affinity", "podAffinity", PREFERRED],
    &["affinity", "podAntiAffinity", REQUIRED],
    &["affinity", "podAntiAffinity", PREFERRED],
];

/// A term without a selector selects nothing, and stays so.
fn merge_term(term: &mut Value, labels: &Fields) {
    let requirement = |(list, operator): (&str, &str)| {
        let keys = meta::list_at(term, &[list]).iter().filter_map(Value::as_str);
        let found = keys.filter_map(|key| {
            let value = labels.get(key)?;
            Some(json!({"key": key, "operator": operator, "values": [value]}))
        });
        found.collect::<Vec<_>>()
    };
    let fresh: Vec<Value> = KEYS.into_iter().flat_map(requirement).collect();
    let selector = term.get_mut("labelSelector").and_then(Value::as_object_mut);
    if let (false, Some(selector)) = (fresh.is_empty(), selector) {
        let expressions = selector.entry("matchExpressions").or_insert_with(|| json!([]));
        if let Some(expressions) = expressions.as_array_mut() {
            expressions.extend(fresh);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pods_own_labels_are_selected() {
        let term = |keys: &str| json!({"topologyKey": "zone", "labelSelector": {}, keys: ["app"]});
        let mut pod = json!({
            "metadata": {"labels": {"app": "a"}},
            "spec": {
                "topologySpreadConstraints": [
                    {"labelSelector": {"matchLabels": {"b": "c"}}, "matchLabelKeys": ["app", "no"]},
                    {"matchLabelKeys": ["app"]},
                ],
                "affinity": {"podAntiAffinity": {
                    REQUIRED: [term("mismatchLabelKeys")],
                    PREFERRED: [{"weight": 1, "podAffinityTerm": term("matchLabelKeys")}],
                }},
            },
        });
        merge(&mut pod);
        let spec = &pod["spec"];
        let own = |operator: &str| json!([{"key": "app", "operator": operator, "values": ["a"]}]);
        let spread = &spec["topologySpreadConstraints"];
        assert_eq!(spread[0]["labelSelector"]["matchExpressions"], own("In"));
        assert_eq!(spread[1], json!({"matchLabelKeys": ["app"]}));
        let anti = &spec["affinity"]["podAntiAffinity"];
        assert_eq!(anti[REQUIRED][0]["labelSelector"]["matchExpressions"], own("NotIn"));
        let preferred = &anti[PREFERRED][0]["podAffinityTerm"];
        assert_eq!(preferred["labelSelector"]["matchExpressions"], own("In"));
    }
}
