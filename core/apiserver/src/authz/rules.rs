//! RBAC policy rules: reading, matching, and whether some cover another.

use serde_json::{Value, json};

use super::Attributes;

/// One PolicyRule of a Role or ClusterRole (rbac.authorization.k8s.io/v1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Verbs, `*` for all.
    pub verbs: Vec<String>,
    /// API groups, `*` for all.
    pub api_groups: Vec<String>,
    /// `resource`, `resource/subresource`, `*/subresource` or `*`.
    pub resources: Vec<String>,
    /// Only these objects; empty for all.
    pub resource_names: Vec<String>,
    /// Paths, a trailing `*` matches the rest.
    pub non_resource_urls: Vec<String>,
}

impl Rule {
    /// Reads one rule of an object.
    pub fn from_json(rule: &Value) -> Self {
        Self {
            verbs: strings(&rule["verbs"]),
            api_groups: strings(&rule["apiGroups"]),
            resources: strings(&rule["resources"]),
            resource_names: strings(&rule["resourceNames"]),
            non_resource_urls: strings(&rule["nonResourceURLs"]),
        }
    }

    /// The rule as it stands in an object; empty lists are left out.
    pub fn to_json(&self) -> Value {
        let fields = [
            ("apiGroups", &self.api_groups),
            ("nonResourceURLs", &self.non_resource_urls),
            ("resourceNames", &self.resource_names),
            ("resources", &self.resources),
            ("verbs", &self.verbs),
        ];
        let kept = fields.into_iter().filter(|(_, list)| !list.is_empty());
        kept.map(|(name, list)| (name.to_string(), json!(list))).collect()
    }

    /// Whether the rule allows what is asked.
    pub fn allows(&self, attrs: &Attributes<'_>) -> bool {
        if !has(&self.verbs, attrs.verb) {
            return false;
        }
        if !attrs.is_resource {
            return self.non_resource_urls.iter().any(|url| url_matches(url, attrs.path));
        }
        has(&self.api_groups, attrs.group)
            && self.matches_resource(attrs.resource, attrs.subresource)
            && self.matches_name(attrs.name)
    }

    fn matches_resource(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|own| match own.split_once('/') {
            None => own == "*" || (subresource.is_empty() && own == resource),
            Some(("*", sub)) => !subresource.is_empty() && sub == subresource,
            Some((own, sub)) => own == resource && sub == subresource,
        })
    }

    fn matches_name(&self, name: &str) -> bool {
        self.resource_names.is_empty() || self.resource_names.iter().any(|own| own == name)
    }

    /// Whether this rule alone gives everything that `atom` gives; an atom has one of each.
    fn covers_atom(&self, atom: &Rule) -> bool {
        let all = |own: &[String], asked: &[String]| asked.iter().all(|one| has(own, one));
        all(&self.verbs, &atom.verbs)
            && all(&self.api_groups, &atom.api_groups)
            && atom.resources.iter().all(|resource| self.covers_resource(resource))
            && self.covers_names(&atom.resource_names)
            && atom.non_resource_urls.iter().all(|url| {
                self.non_resource_urls.iter().any(|own| own == url || url_matches(own, url))
            })
    }

    fn covers_resource(&self, asked: &str) -> bool {
        self.resources.iter().any(|own| {
            own == "*"
                || own == asked
                || own
                    .strip_prefix("*/")
                    .is_some_and(|sub| asked.split_once('/').is_some_and(|(_, asked)| asked == sub))
        })
    }

    fn covers_names(&self, asked: &[String]) -> bool {
        self.resource_names.is_empty()
            || (!asked.is_empty() && asked.iter().all(|name| self.resource_names.contains(name)))
    }

    /// The smallest rules that together are this one.
    fn atoms(&self) -> Vec<Rule> {
        let mut atoms = Vec::new();
        for verb in &self.verbs {
            atoms.extend(self.non_resource_urls.iter().map(|url| Self {
                verbs: vec![verb.clone()],
                non_resource_urls: vec![url.clone()],
                ..Self::default()
            }));
            for group in &self.api_groups {
                for resource in &self.resources {
                    self.resource_atoms(verb, group, resource, &mut atoms);
                }
            }
        }
        atoms
    }

    fn resource_atoms(&self, verb: &str, group: &str, resource: &str, atoms: &mut Vec<Rule>) {
        let atom = |names: Vec<String>| Self {
            verbs: vec![verb.to_string()],
            api_groups: vec![group.to_string()],
            resources: vec![resource.to_string()],
            resource_names: names,
            ..Self::default()
        };
        if self.resource_names.is_empty() {
            atoms.push(atom(Vec::new()));
        } else {
            atoms.extend(self.resource_names.iter().map(|name| atom(vec![name.clone()])));
        }
    }

    /// The rule in the form that upstream's escalation errors show.
    pub fn compact(&self) -> String {
        let fields = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("ResourceNames", &self.resource_names),
            ("NonResourceURLs", &self.non_resource_urls),
            ("Verbs", &self.verbs),
        ];
        let shown: Vec<_> = fields
            .into_iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(name, list)| format!("{name}:{list:?}"))
            .collect();
        format!("{{{}}}", shown.join(", "))
    }
}

/// What of `wanted` the `owned` rules do not give; empty if they give all of it.
pub fn uncovered(owned: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let atoms = wanted.iter().flat_map(Rule::atoms);
    atoms.filter(|atom| !owned.iter().any(|own| own.covers_atom(atom))).collect()
}

/// The rules of a Role or ClusterRole.
pub fn rules_of(role: &Value) -> Vec<Rule> {
    let rules = role["rules"].as_array();
    rules.into_iter().flatten().map(Rule::from_json).collect()
}

fn has(list: &[String], asked: &str) -> bool {
    list.iter().any(|one| one == "*" || one == asked)
}

fn url_matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => pattern == path,
    }
}

fn strings(value: &Value) -> Vec<String> {
    let list = value.as_array();
    list.into_iter().flatten().filter_map(Value::as_str).map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::Identity;
    use crate::request_info::RequestInfo;

    fn allows(rule: Value, method: &str, uri: &str) -> bool {
        let method = http::Method::from_bytes(method.as_bytes()).unwrap();
        let info = RequestInfo::parse(&method, &uri.parse().unwrap());
        Rule::from_json(&rule).allows(&Attributes::of(&Identity::user("x", &[]), &info))
    }

    #[test]
    fn a_resource_does_not_give_its_subresources() {
        let pods = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]});
        assert!(allows(pods.clone(), "GET", "/api/v1/namespaces/a/pods/p"));
        assert!(!allows(pods.clone(), "GET", "/api/v1/namespaces/a/pods/p/log"));
        assert!(!allows(pods, "GET", "/apis/x.io/v1/namespaces/a/pods/p"));
        let any_scale = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*/scale"]});
        assert!(allows(any_scale.clone(), "PUT", "/apis/apps/v1/namespaces/a/deployments/d/scale"));
        assert!(!allows(any_scale, "PUT", "/apis/apps/v1/namespaces/a/deployments/d"));
    }

    #[test]
    fn names_limit_a_rule() {
        let rule = json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["secrets"],
            "resourceNames": ["tls"]});
        assert!(allows(rule.clone(), "GET", "/api/v1/namespaces/a/secrets/tls"));
        assert!(!allows(rule.clone(), "GET", "/api/v1/namespaces/a/secrets/other"));
        assert!(!allows(rule.clone(), "GET", "/api/v1/namespaces/a/secrets"));
        let pinned = "/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Dtls";
        assert!(allows(rule, "GET", pinned));
    }

    #[test]
    fn paths_match_exactly_or_by_prefix() {
        let rule = json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/openapi/*"]});
        assert!(allows(rule.clone(), "GET", "/healthz"));
        assert!(allows(rule.clone(), "GET", "/openapi/v3/api/v1"));
        assert!(!allows(rule.clone(), "GET", "/healthz/x"));
        assert!(!allows(rule, "POST", "/healthz"));
    }

    #[test]
    fn cover_is_by_parts_and_wildcards_cover_more() {
        let rule = |verbs: &[&str], resources: &[&str]| {
            let json = json!({"verbs": verbs, "apiGroups": [""], "resources": resources});
            Rule::from_json(&json)
        };
        let owned = [rule(&["get"], &["pods", "secrets"]), rule(&["list"], &["pods"])];
        assert_eq!(uncovered(&owned, &[rule(&["get", "list"], &["pods"])]), []);
        let missing = uncovered(&owned, &[rule(&["get", "list"], &["secrets"])]);
        assert_eq!(missing, [rule(&["list"], &["secrets"])]);
        assert_eq!(
            missing[0].compact(),
            r#"{APIGroups:[""], Resources:["secrets"], Verbs:["list"]}"#
        );
        assert_eq!(uncovered(&[rule(&["*"], &["*"])], &owned), []);
        assert_eq!(uncovered(&owned, &[rule(&["*"], &["pods"])]).len(), 1);
    }

    #[test]
    fn json_and_back() {
        let json = json!({"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]});
        assert_eq!(Rule::from_json(&json).to_json(), json);
    }
}
