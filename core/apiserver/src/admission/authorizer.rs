//! `authorizer` in expressions: asks what the requesting user, or a ServiceAccount, may do.
//!
//! RBAC is asked, and whether the user is in the group that may do everything; what a node may do
//! for its pods' sake is not.

use std::any::Any;
use std::sync::Arc;

use hansa_cel::{EvalError, Host, Value as Cel};
use serde_json::Value;

use super::matching::{Seen, name_of};
use crate::authn::{Identity, MASTERS, service_account};
use crate::authz::{Attributes as Question, Authorizer};
use crate::generic::admit::Attributes;

/// Everything that a question may be about, as far as it is known.
#[derive(Clone, Debug, Default)]
struct About {
    group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Start,
    Path,
    Group,
    Resource,
}

#[derive(Clone)]
struct Asker {
    authorizer: Arc<Authorizer>,
    user: Arc<Identity>,
    step: Step,
    about: About,
}

impl std::fmt::Debug for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} for {}", self.type_name(), self.user.name)
    }
}

/// The values of `authorizer` and `authorizer.requestResource`.
pub(super) fn of(
    authorizer: &Arc<Authorizer>,
    attrs: &Attributes<'_>,
    seen: &Seen,
    obj: Option<&Value>,
) -> (Cel, Cel) {
    let (authorizer, user) = (authorizer.clone(), attrs.ctx.user.clone());
    let start = Asker { authorizer, user, step: Step::Start, about: About::default() };
    let (group, _, resource) = seen.resource(attrs);
    let about = About {
        group: group.to_owned(),
        resource: resource.to_owned(),
        subresource: attrs.ctx.subresource.clone(),
        namespace: attrs.ctx.namespace.clone(),
        name: name_of(attrs, obj).to_owned(),
        path: String::new(),
    };
    let request = Asker { step: Step::Resource, about, ..start.clone() };
    (value(start), value(request))
}

fn value(asker: Asker) -> Cel {
    Cel::Host(Arc::new(asker))
}

impl Host for Asker {
    fn type_name(&self) -> &str {
        match self.step {
            Step::Start => "kubernetes.authorization.Authorizer",
            Step::Path => "kubernetes.authorization.PathCheck",
            Step::Group => "kubernetes.authorization.GroupCheck",
            Step::Resource => "kubernetes.authorization.ResourceCheck",
        }
    }

    fn call(&self, function: &str, args: &[Cel]) -> Option<Result<Cel, EvalError>> {
        let texts: Option<Vec<&str>> = args.iter().map(Cel::as_text).collect();
        let next = |step: Step, set: &dyn Fn(&mut About)| {
            let mut asker = Self { step, ..self.clone() };
            set(&mut asker.about);
            Some(Ok(value(asker)))
        };
        match (self.step, function, texts?.as_slice()) {
            (Step::Start, "path", [path]) => next(Step::Path, &|about| about.path = (*path).into()),
            (Step::Start, "group", [group]) => {
                next(Step::Group, &|about| about.group = (*group).into())
            }
            (Step::Start, "serviceAccount", [namespace, name]) => {
                let user = service_account::username(namespace, name);
                let groups =
                    ["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}")];
                let user = Arc::new(Identity::user(user, &groups));
                Some(Ok(value(Self { user, ..self.clone() })))
            }
            (Step::Group, "resource", [name]) => {
                next(Step::Resource, &|about| about.resource = (*name).into())
            }
            (Step::Resource, "subresource", [name]) => {
                next(Step::Resource, &|about| about.subresource = (*name).into())
            }
            (Step::Resource, "namespace", [name]) => {
                next(Step::Resource, &|about| about.namespace = (*name).into())
            }
            (Step::Resource, "name", [name]) => {
                next(Step::Resource, &|about| about.name = (*name).into())
            }
            (Step::Resource, "fieldSelector" | "labelSelector", [_]) => {
                next(Step::Resource, &|_| {})
            }
            (Step::Path | Step::Resource, "check", [verb]) => Some(Ok(self.check(verb))),
            _ => None,
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Asker {
    fn check(&self, verb: &str) -> Cel {
        let About { group, resource, subresource, namespace, name, path } = &self.about;
        let question = Question {
            user: &self.user,
            verb,
            namespace,
            group,
            resource,
            subresource,
            name,
            path,
            is_resource: self.step == Step::Resource,
            field_selector: "",
        };
        let reason = self.authorizer.rbac(&question);
        let allowed = reason.is_some() || self.user.in_group(MASTERS);
        Cel::Host(Arc::new(Decision { allowed, reason: reason.unwrap_or_default() }))
    }
}

#[derive(Debug)]
struct Decision {
    allowed: bool,
    reason: String,
}

impl Host for Decision {
    fn type_name(&self) -> &str {
        "kubernetes.authorization.Decision"
    }

    fn call(&self, function: &str, args: &[Cel]) -> Option<Result<Cel, EvalError>> {
        match (function, args) {
            ("allowed", []) => Some(Ok(Cel::Bool(self.allowed))),
            ("reason", []) => Some(Ok(Cel::text(&self.reason))),
            ("errored", []) => Some(Ok(Cel::Bool(false))),
            ("error", []) => Some(Ok(Cel::text(""))),
            _ => None,
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
