//! Which policy an object belongs to.
//!
//! The higher `priority` wins; then the closer selector: by name, by labels, by kind alone; then
//! the alphabetically first name. A policy of the object's namespace beats a cluster-wide one. An
//! object that a policy has claimed stays with it while it still matches.

use std::cmp::Reverse;

use serde_json::Value;

use crate::affinity::selects;
use crate::kinds::{PreemptionBehavior, PropagationSpec, ResourceSelector};

/// A policy's namespace, none if it is cluster-wide, and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyKey {
    /// The namespace, if the policy has one.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

/// A policy that may match.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// Which one.
    pub key: PolicyKey,
    /// Its rules.
    pub spec: &'a PropagationSpec,
}

/// How closely a selector names an object; the greater the closer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closeness {
    /// By kind alone.
    Kind,
    /// By labels.
    Labels,
    /// By name.
    Name,
}

/// The policy that an object belongs to, given who claimed it before.
pub fn choose<'a>(
    object: &Value,
    policies: &[Candidate<'a>],
    claimed: Option<&PolicyKey>,
) -> Option<Candidate<'a>> {
    let matching = |p: &&Candidate<'a>| closeness(&p.key, p.spec, object).is_some();
    let best = policies.iter().filter(matching).min_by_key(|p| rank(p, object));
    let holder = policies.iter().filter(|p| Some(&p.key) == claimed).find(matching);
    let Some(holder) = holder else { return best.cloned() };
    let rude = policies.iter().filter(matching).filter(|p| preempts(p, holder));
    Some(rude.min_by_key(|p| rank(p, object)).unwrap_or(holder).clone())
}

/// Whether a policy takes an object over from the one that holds it: a namespace's own takes it
/// from a cluster-wide one whatever the priorities, never the other way round.
fn preempts(challenger: &Candidate<'_>, holder: &Candidate<'_>) -> bool {
    let wide = |p: &Candidate<'_>| p.key.namespace.is_none();
    let stronger = match (wide(challenger), wide(holder)) {
        (false, true) => true,
        (true, false) => false,
        _ => challenger.spec.priority > holder.spec.priority,
    };
    challenger.key != holder.key
        && challenger.spec.preemption == PreemptionBehavior::Always
        && stronger
}

type Rank = (bool, Reverse<i32>, Reverse<Option<Closeness>>, String);

fn rank(policy: &Candidate<'_>, object: &Value) -> Rank {
    let cluster_wide = policy.key.namespace.is_none();
    let close = closeness(&policy.key, policy.spec, object);
    (cluster_wide, Reverse(policy.spec.priority), Reverse(close), policy.key.name.clone())
}

/// How closely a policy names an object, if it does at all.
pub fn closeness(key: &PolicyKey, spec: &PropagationSpec, object: &Value) -> Option<Closeness> {
    let namespace = text(object, "/metadata/namespace");
    if key.namespace.as_deref().is_some_and(|own| own != namespace) {
        return None;
    }
    spec.resource_selectors.iter().filter_map(|s| selector_closeness(s, object)).max()
}

/// How closely a selector names an object, if it does at all.
pub fn selector_closeness(selector: &ResourceSelector, object: &Value) -> Option<Closeness> {
    let differs = |wanted: &str, path| !wanted.is_empty() && wanted != text(object, path);
    if selector.api_version != text(object, "/apiVersion")
        || selector.kind != text(object, "/kind")
        || differs(&selector.namespace, "/metadata/namespace")
    {
        return None;
    }
    if !selector.name.is_empty() {
        return (selector.name == text(object, "/metadata/name")).then_some(Closeness::Name);
    }
    let Some(labels) = &selector.label_selector else { return Some(Closeness::Kind) };
    let of_object = object.pointer("/metadata/labels").cloned().unwrap_or_default();
    let of_object = serde_json::from_value(of_object).ok();
    selects(labels, of_object.as_ref()).then_some(Closeness::Labels)
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn web() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}}})
    }

    fn spec(priority: i32, preemption: &str, selector: Value) -> PropagationSpec {
        let mut selector = selector;
        selector["apiVersion"] = json!("apps/v1");
        selector["kind"] = json!("Deployment");
        serde_json::from_value(json!({
            "resourceSelectors": [selector], "priority": priority, "preemption": preemption,
        }))
        .unwrap()
    }

    fn of<'a>(namespace: &str, name: &str, spec: &'a PropagationSpec) -> Candidate<'a> {
        let namespace = (!namespace.is_empty()).then(|| namespace.to_owned());
        Candidate { key: PolicyKey { namespace, name: name.into() }, spec }
    }

    fn chosen(policies: &[Candidate<'_>], claimed: Option<&PolicyKey>) -> Option<String> {
        choose(&web(), policies, claimed).map(|c| c.key.name)
    }

    #[test]
    fn priority_then_closeness_then_name() {
        let by_kind = spec(0, "Never", json!({}));
        let by_label = spec(0, "Never", json!({"labelSelector": {"matchLabels": {"app": "web"}}}));
        let by_name = spec(0, "Never", json!({"name": "web"}));
        let high = spec(1, "Never", json!({}));
        let a = of("shop", "a-kind", &by_kind);
        let b = of("shop", "b-label", &by_label);
        let c = of("shop", "c-name", &by_name);
        let d = of("shop", "d-high", &high);
        let e = of("shop", "e-name", &by_name);
        assert_eq!(chosen(&[a.clone(), b.clone()], None).unwrap(), "b-label");
        assert_eq!(chosen(&[a.clone(), b.clone(), e, c.clone()], None).unwrap(), "c-name");
        assert_eq!(chosen(&[a, b, c, d], None).unwrap(), "d-high");
    }

    #[test]
    fn the_namespaces_own_policy_beats_a_cluster_wide_one() {
        let weak = spec(0, "Never", json!({}));
        let strong = spec(9, "Never", json!({"name": "web"}));
        let policies = [of("", "wide", &strong), of("shop", "own", &weak)];
        assert_eq!(chosen(&policies, None).unwrap(), "own");
        assert_eq!(chosen(&policies[..1], None).unwrap(), "wide");
    }

    #[test]
    fn a_claim_holds_unless_preempted() {
        let low = spec(0, "Never", json!({}));
        let polite = spec(5, "Never", json!({}));
        let rude = spec(5, "Always", json!({}));
        let holder = of("shop", "low", &low);
        let key = holder.key.clone();
        assert_eq!(
            chosen(&[holder.clone(), of("shop", "polite", &polite)], Some(&key)).unwrap(),
            "low"
        );
        assert_eq!(chosen(&[holder, of("shop", "rude", &rude)], Some(&key)).unwrap(), "rude");
        assert_eq!(chosen(&[of("shop", "polite", &polite)], Some(&key)).unwrap(), "polite");
    }

    #[test]
    fn who_preempts_is_the_best_of_those_that_may_and_need_not_be_the_best_of_all() {
        let low = spec(0, "Never", json!({}));
        let polite = spec(9, "Never", json!({}));
        let (rude, ruder) = (spec(5, "Always", json!({})), spec(6, "Always", json!({})));
        let policies =
            [of("shop", "low", &low), of("shop", "polite", &polite), of("shop", "rude", &rude)];
        let key = policies[0].key.clone();
        assert_eq!(chosen(&policies, Some(&key)).unwrap(), "rude");
        let more = [&policies[..], &[of("shop", "ruder", &ruder)]].concat();
        assert_eq!(chosen(&more, Some(&key)).unwrap(), "ruder");
    }

    #[test]
    fn the_namespaces_own_policy_preempts_a_cluster_wide_one_and_never_the_reverse() {
        let (weak, strong) = (spec(0, "Always", json!({})), spec(9, "Always", json!({})));
        let policies = [of("", "wide", &strong), of("shop", "own", &weak)];
        let [wide, own] = [policies[0].key.clone(), policies[1].key.clone()];
        assert_eq!(chosen(&policies, Some(&wide)).unwrap(), "own");
        assert_eq!(chosen(&policies, Some(&own)).unwrap(), "own");
    }

    #[test]
    fn selectors_that_name_something_else_do_not_match() {
        for selector in [
            json!({"name": "api"}),
            json!({"namespace": "other"}),
            json!({"labelSelector": {"matchLabels": {"app": "api"}}}),
        ] {
            let spec = spec(0, "Never", selector.clone());
            assert_eq!(chosen(&[of("", "p", &spec)], None), None, "{selector}");
        }
        let spec = spec(0, "Never", json!({}));
        assert_eq!(chosen(&[of("elsewhere", "p", &spec)], None), None);
    }
}
