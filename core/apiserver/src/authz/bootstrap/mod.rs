//! The roles and bindings that every cluster starts with, and how a changed cluster gets them back.
//!
//! `policy.txt` holds them in a compact form; upstream's names and contents, plus Hansa's own
//! components. Reconciling follows upstream: rules and subjects may be added to, not taken away,
//! and an object annotated `rbac.authorization.kubernetes.io/autoupdate: "false"` is left alone.

use hansa_api::meta;
use serde_json::{Value, json};

use super::escalation::RBAC;
use super::rules::{rules_of, uncovered};

const POLICY: &str = include_str!("policy.txt");
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
/// Who runs the controllers that upstream runs under ServiceAccounts.
const CONTROLLER_MANAGER: &str = "User:system:kube-controller-manager";

/// Every bootstrap object, roles before the bindings that need them.
pub fn objects() -> Vec<Value> {
    let mut objects = Vec::new();
    for line in POLICY.lines().map(str::trim) {
        if !line.is_empty() && !line.starts_with('#') {
            read_line(line, &mut objects);
        }
    }
    objects
}

/// The bootstrap ClusterRoles.
pub fn cluster_roles() -> Vec<Value> {
    objects().into_iter().filter(|object| object["kind"] == "ClusterRole").collect()
}

fn read_line(line: &str, objects: &mut Vec<Value>) {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["role", name, rest @ ..] => objects.push(role(name, rest)),
        ["binding", name, rest @ ..] => objects.push(binding(name, rest)),
        ["controller", account] => {
            let role = format!("system:controller:{account}");
            let subject = format!("ServiceAccount:kube-system:{account}");
            objects.push(binding(&role, &[&role, &subject, CONTROLLER_MANAGER]));
        }
        ["aggregate", label] => {
            let key = aggregation_label(label);
            let role = objects.last_mut().expect("aggregate follows its role");
            role["aggregationRule"] =
                json!({"clusterRoleSelectors": [{"matchLabels": {key: "true"}}]});
        }
        _ => {
            let role = objects.last_mut().expect("a rule follows its role");
            let rules = role["rules"].as_array_mut().expect("roles start with a list of rules");
            rules.push(rule(line));
        }
    }
}

fn role(name: &str, rest: &[&str]) -> Value {
    let (namespace, labels) = split_namespace(rest);
    let mut role =
        object(if namespace.is_empty() { "ClusterRole" } else { "Role" }, name, namespace);
    for label in labels {
        let label = label.trim_start_matches('+');
        meta::set_label(&mut role, &aggregation_label(label), "true");
    }
    role["rules"] = json!([]);
    role
}

fn binding(name: &str, rest: &[&str]) -> Value {
    let (namespace, rest) = split_namespace(rest);
    let (role, subjects) = rest.split_first().expect("a binding names its role");
    let kind = if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
    let mut binding = object(kind, name, namespace);
    let (role_kind, role) = role.split_once('/').unwrap_or(("ClusterRole", role));
    binding["roleRef"] = json!({"apiGroup": RBAC, "kind": role_kind, "name": role});
    if !subjects.is_empty() {
        binding["subjects"] = subjects.iter().map(|subject| subject_of(subject)).collect();
    }
    binding
}

fn split_namespace<'a, 'w>(rest: &'w [&'a str]) -> (&'a str, &'w [&'a str]) {
    match rest {
        ["in", namespace, tail @ ..] => (namespace, tail),
        _ => ("", rest),
    }
}

fn subject_of(text: &str) -> Value {
    let (kind, name) = text.split_once(':').expect("a subject is KIND:NAME");
    match (kind, name.split_once(':')) {
        ("ServiceAccount", Some((namespace, name))) => {
            json!({"kind": kind, "namespace": namespace, "name": name})
        }
        _ => json!({"apiGroup": RBAC, "kind": kind, "name": name}),
    }
}

fn object(kind: &str, name: &str, namespace: &str) -> Value {
    let mut object = json!({
        "apiVersion": format!("{RBAC}/v1"),
        "kind": kind,
        "metadata": {
            "name": name,
            "annotations": {AUTOUPDATE: "true"},
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        },
    });
    if !namespace.is_empty() {
        meta::set_text(&mut object, "namespace", namespace);
    }
    object
}

fn aggregation_label(label: &str) -> String {
    format!("{RBAC}/aggregate-to-{label}")
}

/// Fields are separated by ` : `, because names have colons of their own.
fn rule(line: &str) -> Value {
    let fields: Vec<Vec<&str>> =
        line.split(" : ").map(|field| field.split_whitespace().collect()).collect();
    match fields.as_slice() {
        [verbs, paths] => json!({"nonResourceURLs": paths, "verbs": expand(verbs)}),
        [verbs, groups, resources] => resource_rule(verbs, groups, resources),
        [verbs, groups, resources, names] => {
            let mut rule = resource_rule(verbs, groups, resources);
            rule["resourceNames"] = json!(names);
            rule
        }
        _ => unreachable!("policy.txt has rules of two to four fields"),
    }
}

fn resource_rule(verbs: &[&str], groups: &[&str], resources: &[&str]) -> Value {
    let groups: Vec<&str> =
        groups.iter().map(|group| if *group == "core" { "" } else { group }).collect();
    json!({"apiGroups": groups, "resources": resources, "verbs": expand(verbs)})
}

fn expand(verbs: &[&str]) -> Vec<String> {
    let mut all: Vec<&str> = Vec::new();
    for verb in verbs {
        match *verb {
            "READ" => all.extend(READ),
            "WRITE" => all.extend(WRITE),
            "ALL" => all.extend(READ.iter().chain(WRITE)),
            other => all.push(other),
        }
    }
    all.sort_unstable();
    all.into_iter().map(String::from).collect()
}

/// What a live object should become; `None` if it is good as it is.
///
/// A binding whose roleRef differs cannot be changed in place and is left to its owner.
pub fn reconciled(live: &Value, wanted: &Value) -> Option<Value> {
    if meta::annotation(live, AUTOUPDATE) == Some("false") {
        return None;
    }
    let mut next = live.clone();
    if wanted["roleRef"].is_null() {
        merge_role(&mut next, wanted);
    } else {
        merge_subjects(&mut next, wanted);
    }
    for field in ["labels", "annotations"] {
        let entries = wanted["metadata"][field].as_object().into_iter().flatten();
        for (key, value) in entries {
            let own = meta::fields_mut(&mut next, &["metadata", field]);
            own.entry(key.as_str()).or_insert_with(|| value.clone());
        }
    }
    (next != *live).then_some(next)
}

fn merge_role(next: &mut Value, wanted: &Value) {
    if !wanted["aggregationRule"].is_null() {
        // The rules of an aggregated role belong to the aggregation.
        if next["aggregationRule"].is_null() {
            next["aggregationRule"] = wanted["aggregationRule"].clone();
        }
        return;
    }
    let missing = uncovered(&rules_of(next), &rules_of(wanted));
    if missing.is_empty() {
        return;
    }
    if !next["rules"].is_array() {
        next["rules"] = json!([]);
    }
    let rules = next["rules"].as_array_mut().expect("made a list above");
    rules.extend(missing.iter().map(super::rules::Rule::to_json));
}

fn merge_subjects(next: &mut Value, wanted: &Value) {
    let mut subjects = meta::list_at(next, &["subjects"]).to_vec();
    let same = |a: &Value, b: &Value| {
        ["kind", "name", "namespace"].iter().all(|field| a[*field] == b[*field])
    };
    for subject in meta::list_at(wanted, &["subjects"]) {
        if !subjects.iter().any(|own| same(own, subject)) {
            subjects.push(subject.clone());
        }
    }
    if !subjects.is_empty() {
        next["subjects"] = json!(subjects);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::Identity;
    use crate::authz::{Attributes, index::Index};
    use crate::request_info::RequestInfo;

    fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
        let mut named = objects.iter().filter(|one| meta::name(one) == name);
        named.find(|one| one["kind"] == kind).unwrap()
    }

    fn index() -> Index {
        let mut index = Index::default();
        for object in objects() {
            match object["roleRef"].is_null() {
                true => index.set_role(&object),
                false => index.set_binding(&object),
            }
        }
        index
    }

    fn may(user: &Identity, method: &str, uri: &str) -> bool {
        let method = http::Method::from_bytes(method.as_bytes()).unwrap();
        let info = RequestInfo::parse(&method, &uri.parse().unwrap());
        index().allowing(&Attributes::of(user, &info)).is_some()
    }

    #[test]
    fn names_are_unique_and_bindings_name_roles_that_exist() {
        let objects = objects();
        let mut seen = std::collections::HashSet::new();
        for object in &objects {
            let key = (object["kind"].to_string(), meta::namespace(object), meta::name(object));
            assert!(seen.insert(key), "twice: {object}");
            if let Some(role) = object["roleRef"]["name"].as_str() {
                let kind = object["roleRef"]["kind"].as_str().unwrap();
                assert_eq!(find(&objects, kind, role)["kind"], kind);
            }
        }
    }

    #[test]
    fn anonymous_sees_health_and_version_and_no_more() {
        let anonymous = Identity::anonymous();
        assert!(may(&anonymous, "GET", "/readyz"));
        assert!(may(&anonymous, "GET", "/version"));
        assert!(!may(&anonymous, "GET", "/api"));
        assert!(!may(&anonymous, "GET", "/api/v1/namespaces"));
        let ann = Identity::user("ann", &[]);
        assert!(may(&ann, "GET", "/apis/apps/v1"));
        assert!(may(&ann, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"));
        assert!(!may(&ann, "GET", "/api/v1/pods"));
    }

    #[test]
    fn components_may_do_their_work_and_not_each_others() {
        let scheduler = Identity::user("system:kube-scheduler", &[]);
        assert!(may(&scheduler, "POST", "/api/v1/namespaces/a/pods/p/binding"));
        assert!(!may(&scheduler, "POST", "/api/v1/namespaces/a/pods"));
        assert!(!may(&scheduler, "GET", "/api/v1/namespaces/a/secrets/s"));
        let controllers = Identity::user("system:kube-controller-manager", &[]);
        assert!(may(&controllers, "POST", "/api/v1/namespaces/a/pods"));
        assert!(may(&controllers, "PUT", "/apis/apps/v1/namespaces/a/deployments/d/status"));
        let proxy = Identity::user("system:kube-proxy", &[]);
        assert!(may(&proxy, "GET", "/apis/discovery.k8s.io/v1/endpointslices?watch=1"));
        assert!(!may(&proxy, "GET", "/api/v1/secrets"));
        let node = Identity::user("system:node:n", &["system:nodes"]);
        assert!(
            !may(&node, "PATCH", "/api/v1/nodes/n/status"),
            "nodes go through their authorizer"
        );
    }

    #[test]
    fn reconciling_adds_what_is_missing_and_keeps_what_was_added() {
        let objects = objects();
        let wanted = find(&objects, "ClusterRole", "system:kube-dns");
        assert_eq!(reconciled(wanted, wanted), None);
        let mut live = wanted.clone();
        let own = json!({"apiGroups": ["x.io"], "resources": ["y"], "verbs": ["get"]});
        live["rules"] = json!([own]);
        let next = reconciled(&live, wanted).unwrap();
        assert_eq!(next["rules"][0], own);
        assert!(uncovered(&rules_of(&next), &rules_of(wanted)).is_empty());
        meta::set_annotation(&mut live, AUTOUPDATE, "false");
        assert_eq!(reconciled(&live, wanted), None);
    }

    #[test]
    fn reconciling_a_binding_restores_its_subjects() {
        let objects = objects();
        let wanted = find(&objects, "ClusterRoleBinding", "cluster-admin");
        let mut live = wanted.clone();
        live["subjects"] = json!([{"kind": "User", "name": "ann"}]);
        let next = reconciled(&live, wanted).unwrap();
        assert_eq!(next["subjects"].as_array().unwrap().len(), 2);
    }
}
