//! Aggregated ClusterRoles: the union of the rules of those that their selectors match.

use hansa_api::meta;
use serde_json::{Value, json};

/// The rules that an aggregated role should have; `None` if it aggregates nothing.
///
/// Roles are taken in name order and every rule once, so the result is stable.
pub fn aggregated_rules<'a>(
    role: &Value,
    all: impl Iterator<Item = &'a Value> + Clone,
) -> Option<Value> {
    let selectors = role["aggregationRule"]["clusterRoleSelectors"].as_array()?;
    let mut rules: Vec<Value> = Vec::new();
    for selector in selectors {
        let mut matching: Vec<&Value> = all
            .clone()
            .filter(|other| meta::name(other) != meta::name(role) && matches(selector, other))
            .collect();
        matching.sort_by_key(|other| meta::name(other).to_string());
        for rule in matching.iter().flat_map(|other| meta::list_at(other, &["rules"])) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    Some(json!(rules))
}

fn matches(selector: &Value, role: &Value) -> bool {
    let labels = selector["matchLabels"].as_object();
    let equal = labels
        .into_iter()
        .flatten()
        .all(|(key, value)| meta::label(role, key).is_some_and(|label| *value == label));
    let expressions = meta::list_at(selector, &["matchExpressions"]);
    equal && expressions.iter().all(|expression| expression_matches(expression, role))
}

fn expression_matches(expression: &Value, role: &Value) -> bool {
    let key = expression["key"].as_str().unwrap_or_default();
    let label = meta::label(role, key);
    let values = meta::list_at(expression, &["values"]);
    let listed = label.is_some_and(|label| values.iter().any(|value| *value == label));
    match expression["operator"].as_str() {
        Some("In") => listed,
        Some("NotIn") => !listed,
        Some("Exists") => label.is_some(),
        Some("DoesNotExist") => label.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_matching_roles_rules_once_and_not_its_own() {
        let rule = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]});
        let part = |name: &str, label: &str| {
            let metadata = json!({"name": name, "labels": {"to-view": label}});
            json!({"metadata": metadata, "rules": [rule]})
        };
        let view = json!({
            "metadata": {"name": "view", "labels": {"to-view": "true"}},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to-view": "true"}}]},
            "rules": [{"verbs": ["*"]}],
        });
        let all = [view.clone(), part("b", "true"), part("a", "true"), part("c", "false")];
        assert_eq!(aggregated_rules(&view, all.iter()), Some(json!([rule])));
        assert_eq!(aggregated_rules(&all[1], all.iter()), None);
    }
}
