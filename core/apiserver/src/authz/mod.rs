//! May they? The node authorizer and RBAC, asked in that order; `system:masters` passes always.

pub mod aggregate;
pub mod bootstrap;
pub mod escalation;
pub mod index;
pub mod keeper;
pub mod node;
pub mod rules;
pub mod signers;

use hansa_api::{ApiError, gvk::GroupResource};
use parking_lot::RwLock;

use crate::authn::{Identity, MASTERS};
use crate::objects::Objects;
use crate::request_info::RequestInfo;
use index::Index;
use rules::Rule;

/// One question to the authorizer.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a Identity,
    /// API verb, or lower-case HTTP method of a path.
    pub verb: &'a str,
    /// Namespace, empty for the cluster scope.
    pub namespace: &'a str,
    /// API group, empty for the core group.
    pub group: &'a str,
    /// Plural resource.
    pub resource: &'a str,
    /// Subresource or empty.
    pub subresource: &'a str,
    /// Object name or empty.
    pub name: &'a str,
    /// The path of a non-resource request.
    pub path: &'a str,
    /// Whether this is about a resource.
    pub is_resource: bool,
    /// The decoded field selector of a list or watch; empty if there is none.
    pub field_selector: &'a str,
}

impl<'a> Attributes<'a> {
    /// The question that a request poses.
    pub fn of(user: &'a Identity, info: &'a RequestInfo) -> Self {
        Self {
            user,
            verb: &info.verb,
            namespace: &info.namespace,
            group: &info.api_group,
            resource: &info.resource,
            subresource: &info.subresource,
            name: &info.name,
            path: &info.path,
            is_resource: info.is_resource_request,
            field_selector: "",
        }
    }

    /// Upstream's sentence on who cannot do what.
    pub fn refusal(&self) -> String {
        let user = &self.user.name;
        let verb = self.verb;
        if !self.is_resource {
            return format!("User {user:?} cannot {verb} path {:?}", self.path);
        }
        let resource = match self.subresource {
            "" => self.resource.to_string(),
            subresource => format!("{}/{subresource}", self.resource),
        };
        let group = self.group;
        let place = match self.namespace {
            "" => "at the cluster scope".to_string(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        format!("User {user:?} cannot {verb} resource {resource:?} in API group {group:?} {place}")
    }

    /// The 403 that goes with a refusal; `reason` may be empty.
    pub fn forbidden(&self, reason: &str) -> ApiError {
        let why = match reason {
            "" => self.refusal(),
            reason => format!("{}: {reason}", self.refusal()),
        };
        ApiError::forbidden(&GroupResource::new(self.group, self.resource), self.name, why)
    }
}

/// The authorizer's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes; the reason names the binding and role.
    Allow(String),
    /// No; the reason may be empty.
    Deny(String),
}

impl Decision {
    /// Whether it is a yes.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }
}

/// Answers every question from live RBAC objects.
#[derive(Default)]
pub struct Authorizer {
    index: RwLock<Index>,
}

impl Authorizer {
    /// Answers; `objects` is read only for nodes.
    pub async fn authorize(&self, attrs: &Attributes<'_>, objects: &dyn Objects) -> Decision {
        if attrs.user.in_group(MASTERS) {
            return Decision::Allow(String::new());
        }
        let mut refusal = String::new();
        if let Some(node) = node::node_of(attrs.user) {
            match node::authorize(node, attrs, objects).await {
                Decision::Deny(reason) => refusal = reason,
                allow => return allow,
            }
        }
        match self.rbac(attrs) {
            Some(reason) => Decision::Allow(reason),
            None => Decision::Deny(refusal),
        }
    }

    /// RBAC alone: the reason if it allows.
    pub fn rbac(&self, attrs: &Attributes<'_>) -> Option<String> {
        self.index.read().allowing(attrs)
    }

    /// Every rule that a user holds in a namespace, cluster-wide ones included.
    pub fn rules_for(&self, user: &Identity, namespace: &str) -> Vec<Rule> {
        let mut rules = Vec::new();
        self.index.read().visit(user, namespace, &mut |rule, _| {
            rules.push(rule.clone());
            false
        });
        rules
    }

    /// The rules of a role, if it exists; cluster roles have an empty namespace.
    pub fn role_rules(&self, namespace: &str, name: &str) -> Option<Vec<Rule>> {
        self.index.read().role(namespace, name).map(<[Rule]>::to_vec)
    }

    /// Changes the index; the only writer is the keeper (and tests).
    pub fn update<R>(&self, change: impl FnOnce(&mut Index) -> R) -> R {
        change(&mut self.index.write())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_in_upstreams_words() {
        let ann = Identity::user("ann", &[]);
        let info = |method: &str, uri: &str| {
            let method = http::Method::from_bytes(method.as_bytes()).unwrap();
            RequestInfo::parse(&method, &uri.parse().unwrap())
        };
        let cases = [
            (
                info("GET", "/api/v1/namespaces/default/pods"),
                "pods is forbidden: User \"ann\" cannot list resource \"pods\" in API group \"\" \
                 in the namespace \"default\"",
            ),
            (
                info("PATCH", "/apis/apps/v1/namespaces/a/deployments/web/scale"),
                "deployments.apps \"web\" is forbidden: User \"ann\" cannot patch resource \
                 \"deployments/scale\" in API group \"apps\" in the namespace \"a\"",
            ),
            (
                info("GET", "/api/v1/nodes"),
                "nodes is forbidden: User \"ann\" cannot list resource \"nodes\" in API group \
                 \"\" at the cluster scope",
            ),
            (info("GET", "/metrics"), "forbidden: User \"ann\" cannot get path \"/metrics\""),
        ];
        for (info, expected) in cases {
            let error = Attributes::of(&ann, &info).forbidden("");
            assert_eq!((error.code, error.message.as_str()), (403, expected));
        }
    }
}
