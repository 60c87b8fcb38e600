//! Which requests a webhook or policy is about: rules, scope, equivalent versions, selectors.

use std::borrow::Cow;
use std::sync::Arc;

use hansa_api::ApiError;
use hansa_api::meta::{self, at, list_at, str_at};
use hansa_api::selector::Selector;
use serde_json::Value;

use super::lookup;
use crate::generic::admit::{Attributes, Operation};
use crate::generic::catalog::Served;
use crate::generic::resource::split_api_version;

const REGISTRATION: &str = "admissionregistration.k8s.io";
/// What no webhook or policy sees, or a bad one could not be taken back.
const EXEMPT: [&str; 6] = [
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
    "mutatingwebhookconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "validatingwebhookconfigurations",
];

/// Whether this is about the configuration of admission itself.
pub(super) fn is_exempt(attrs: &Attributes<'_>) -> bool {
    attrs.resource.group == REGISTRATION && EXEMPT.contains(&&*attrs.resource.plural)
}

/// One rule: operations on resources.
#[derive(Debug)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<(String, String)>,
    names: Vec<String>,
    scope: Scope,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    All,
    Namespaced,
    Cluster,
}

fn any_or(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == "*" || one == wanted)
}

impl Rule {
    fn read(rule: &Value) -> Self {
        let texts = |field: &str| {
            let list = list_at(rule, &[field]).iter().filter_map(Value::as_str);
            list.map(str::to_owned).collect::<Vec<_>>()
        };
        let split = |text: String| match text.split_once('/') {
            Some((resource, sub)) => (resource.to_owned(), sub.to_owned()),
            None => (text, String::new()),
        };
        Self {
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: texts("resources").into_iter().map(split).collect(),
            names: texts("resourceNames"),
            scope: match str_at(rule, &["scope"]) {
                "Namespaced" => Scope::Namespaced,
                "Cluster" => Scope::Cluster,
                _ => Scope::All,
            },
        }
    }

    /// Whether it names the resource as `group`/`version`/`plural`, for what is being done.
    fn matches(&self, attrs: &Attributes<'_>, group: &str, version: &str, plural: &str) -> bool {
        let placed = !attrs.ctx.namespace.is_empty() && !attrs.is("", "namespaces");
        let scope = match self.scope {
            Scope::All => true,
            Scope::Namespaced => placed,
            Scope::Cluster => !placed,
        };
        let sub = attrs.ctx.subresource.as_str();
        let resource = |(resource, own): &(String, String)| {
            (resource == "*" || resource == plural) && (own == "*" || own == sub)
        };
        scope
            && any_or(&self.operations, attrs.operation.as_str())
            && any_or(&self.groups, group)
            && any_or(&self.versions, version)
            && self.resources.iter().any(resource)
    }

    fn names(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|own| own == name)
    }
}

/// Everything that decides whether a request is a webhook's or policy's business.
#[derive(Debug)]
pub(super) struct Matching {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    equivalent: bool,
    namespaces: Selector,
    objects: Selector,
}

/// As what a matched request is seen: the request's own resource, or an equivalent one.
#[derive(Clone)]
pub(super) struct Seen(pub(super) Option<Arc<Served>>);

impl Matching {
    /// Reads a webhook: its rules are `rules`.
    pub(super) fn webhook(webhook: &Value) -> Self {
        Self::read(webhook, "rules")
    }

    /// Reads the `matchConstraints` of a policy or the `matchResources` of a binding.
    pub(super) fn policy(constraints: &Value) -> Self {
        Self::read(constraints, "resourceRules")
    }

    fn read(from: &Value, rules: &str) -> Self {
        let list = |field: &str| list_at(from, &[field]).iter().map(Rule::read).collect();
        let selector = |field: &str| {
            Selector::from_object(Some(
                at(from, &[field]).unwrap_or(&Value::Object(Default::default())),
            ))
            .unwrap_or_else(|_| Selector::nothing())
        };
        Self {
            rules: list(rules),
            excluded: list("excludeResourceRules"),
            equivalent: str_at(from, &["matchPolicy"]) != "Exact",
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
        }
    }

    /// Whether it has no rules: bindings without any are about whatever their policy is about.
    pub(super) fn has_no_rules(&self) -> bool {
        self.rules.is_empty()
    }

    /// The part that looks at no object, and at nothing but what is written where.
    pub(super) fn rules_match(&self, attrs: &Attributes<'_>, obj: Option<&Value>) -> Option<Seen> {
        let name = name_of(attrs, obj);
        if self.find(&self.excluded, attrs, name).is_some() {
            return None;
        }
        self.find(&self.rules, attrs, name)
    }

    fn find(&self, rules: &[Rule], attrs: &Attributes<'_>, name: &str) -> Option<Seen> {
        let own = attrs.resource;
        let named = |rule: &&Rule| rule.names(name);
        let exact = |rule: &Rule| rule.matches(attrs, &own.group, &own.version, &own.plural);
        if rules.iter().filter(named).any(exact) {
            return Some(Seen(None));
        }
        if !self.equivalent || rules.is_empty() {
            return None;
        }
        let snapshot = attrs.registry.catalog.snapshot();
        let alike = || {
            snapshot.all().filter(move |served| {
                served.resource.storage_prefix == own.storage_prefix && served.resource != *own
            })
        };
        rules.iter().filter(named).find_map(|rule| {
            let mut alike = alike().filter(|served| {
                let resource = &served.resource;
                rule.matches(attrs, &resource.group, &resource.version, &resource.plural)
            });
            alike.next().map(|served| Seen(Some(served.clone())))
        })
    }

    /// Whether it is about this request, and as what it sees it.
    pub(super) async fn matches(
        &self,
        attrs: &Attributes<'_>,
        obj: Option<&Value>,
    ) -> Result<Option<Seen>, ApiError> {
        let Some(seen) = self.rules_match(attrs, obj) else { return Ok(None) };
        Ok(self.selects(attrs, obj).await?.then_some(seen))
    }

    /// Whether the selectors choose the object and its namespace.
    pub(super) async fn selects(
        &self,
        attrs: &Attributes<'_>,
        obj: Option<&Value>,
    ) -> Result<bool, ApiError> {
        let selected = self.objects.is_everything()
            || [obj, attrs.old].into_iter().flatten().any(|one| self.objects.matches(one));
        Ok(selected && self.selects_namespace(attrs, obj).await?)
    }

    async fn selects_namespace(
        &self,
        attrs: &Attributes<'_>,
        obj: Option<&Value>,
    ) -> Result<bool, ApiError> {
        let itself = attrs.resource.plural == "namespaces" && attrs.resource.group.is_empty();
        let nowhere = attrs.ctx.namespace.is_empty() && !itself;
        if nowhere || self.namespaces.is_everything() {
            return Ok(true);
        }
        let writes = matches!(attrs.operation, Operation::Create | Operation::Update);
        if itself && attrs.is_whole() && writes {
            return Ok(obj.is_some_and(|namespace| self.namespaces.matches(namespace)));
        }
        match namespace_of(attrs, obj).await? {
            Some(namespace) => Ok(self.namespaces.matches(&namespace)),
            None => {
                let namespaces = hansa_api::GroupResource::new("", "namespaces");
                Err(ApiError::not_found(&namespaces, namespace_name(attrs, obj)))
            }
        }
    }
}

/// The name in the request, or else the object's.
pub(super) fn name_of<'a>(attrs: &'a Attributes<'_>, obj: Option<&'a Value>) -> &'a str {
    match attrs.ctx.name.as_str() {
        "" => obj.or(attrs.old).map_or("", meta::name),
        name => name,
    }
}

/// The namespace that a request is about: a Namespace is about itself.
pub(super) fn namespace_name<'a>(attrs: &'a Attributes<'_>, obj: Option<&'a Value>) -> &'a str {
    if attrs.is("", "namespaces") { name_of(attrs, obj) } else { &attrs.ctx.namespace }
}

/// That namespace, if there is one.
pub(super) async fn namespace_of(
    attrs: &Attributes<'_>,
    obj: Option<&Value>,
) -> Result<Option<Arc<Value>>, ApiError> {
    match namespace_name(attrs, obj) {
        "" => Ok(None),
        name => lookup::find(attrs, "", "namespaces", "", name).await,
    }
}

impl Seen {
    /// Group, version and plural.
    pub(super) fn resource<'a>(&'a self, attrs: &'a Attributes<'_>) -> (&'a str, &'a str, &'a str) {
        let resource = self.0.as_ref().map_or(attrs.resource, |served| &served.resource);
        (&resource.group, &resource.version, &resource.plural)
    }

    /// Group, version and kind of the object that is seen.
    pub(super) fn kind<'a>(&'a self, attrs: &'a Attributes<'_>) -> (&'a str, &'a str, &'a str) {
        let resource = self.0.as_ref().map_or(attrs.resource, |served| &served.resource);
        let sub = resource.subresource(&attrs.ctx.subresource);
        match sub.filter(|sub| sub.kind != resource.kind) {
            Some(sub) => (&sub.group, &sub.version, &sub.kind),
            None => (&resource.group, &resource.version, &resource.kind),
        }
    }

    /// The object as it is seen; the request's own version needs no copy.
    pub(super) fn convert<'a>(&self, attrs: &Attributes<'_>, obj: &'a Value) -> Cow<'a, Value> {
        match &self.0 {
            Some(served) if is_of(attrs, obj) => {
                let mut other = obj.clone();
                let own = attrs.registry.catalog.snapshot();
                let resource = attrs.resource;
                let from = own.get(&resource.group, &resource.version, &resource.plural);
                if let Some(from) = from {
                    recast(from, served, &mut other);
                }
                Cow::Owned(other)
            }
            _ => Cow::Borrowed(obj),
        }
    }

    /// From what was seen back to the request's own version.
    pub(super) fn restore(&self, attrs: &Attributes<'_>, mut obj: Value) -> Value {
        let snapshot = attrs.registry.catalog.snapshot();
        let resource = attrs.resource;
        let own = snapshot.get(&resource.group, &resource.version, &resource.plural);
        if let (Some(served), Some(own)) = (&self.0, own) {
            recast(served, own, &mut obj);
        }
        obj
    }
}

/// Whether the object is of the request's own kind, and not a subresource's.
fn is_of(attrs: &Attributes<'_>, obj: &Value) -> bool {
    let (group, version) = split_api_version(meta::api_version(obj));
    let resource = attrs.resource;
    (group, version) == (&*resource.group, &*resource.version) && meta::kind(obj) == resource.kind
}

/// From one served version to another, by way of the one that is stored.
fn recast(from: &Served, to: &Served, obj: &mut Value) {
    from.strategy.to_hub(obj);
    to.strategy.from_hub(obj);
    obj["apiVersion"] = to.resource.api_version().into();
    obj["kind"] = to.resource.kind.to_string().into();
}
