//! The operations of every resource, synthesised from its verbs.

use hansa_api::GroupVersionKind;
use hansa_api::schema;
use serde_json::{Map, Value, json};

use super::schemas::gvk;
use crate::generic::resource::{Resource, Subresource};

/// Parameters that several verbs share: name, type, what it does.
const LIST: &[(&str, &str, &str)] = &[
    ("allowWatchBookmarks", "boolean", "Whether a watch may get events of type BOOKMARK."),
    ("continue", "string", "The token of the page before, to get the next one."),
    ("fieldSelector", "string", "Only objects whose fields match."),
    ("labelSelector", "string", "Only objects whose labels match."),
    ("limit", "integer", "The most objects per page."),
    ("resourceVersion", "string", "How old the answer may be, or where a watch starts."),
    ("resourceVersionMatch", "string", "How resourceVersion is meant: NotOlderThan or Exact."),
    ("sendInitialEvents", "boolean", "Whether a watch begins with the objects that exist."),
    ("timeoutSeconds", "integer", "When the call ends by itself."),
    ("watch", "boolean", "Whether to stream changes instead of listing."),
];
const DRY_RUN: (&str, &str, &str) =
    ("dryRun", "string", "With All the request is checked in full and nothing is stored.");
const FIELD_MANAGER: (&str, &str, &str) =
    ("fieldManager", "string", "Who makes the change, in at most 128 printable characters.");
const FIELD_VALIDATION: (&str, &str, &str) = (
    "fieldValidation",
    "string",
    "What happens to unknown and repeated fields: Ignore, Warn (the default) or Strict.",
);
const FORCE: (&str, &str, &str) =
    ("force", "boolean", "Whether an apply patch takes over fields that others manage.");
const DELETE: &[(&str, &str, &str)] = &[
    DRY_RUN,
    ("gracePeriodSeconds", "integer", "How long the object has before it goes."),
    ("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
    (
        "propagationPolicy",
        "string",
        "Orphan, Background or Foreground: what becomes of dependents.",
    ),
];
const PATCH_MEDIA: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
];
/// Only for kinds of the schema bundle; by this kubectl knows how to patch an object.
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";

/// One operation about to be written.
struct Operation<'a> {
    resource: &'a Resource,
    sub: Option<&'a Subresource>,
    verb: &'a str,
    /// The component that it answers with.
    component: &'a str,
    all_namespaces: bool,
}

/// Adds the paths of a resource; `component` names the schema of each of its kinds.
pub(super) fn add(
    paths: &mut Map<String, Value>,
    resource: &Resource,
    component: &dyn Fn(&str, &str, &str) -> String,
) {
    let root = match resource.group.as_ref() {
        "" => format!("/api/{}", resource.version),
        group => format!("/apis/{group}/{}", resource.version),
    };
    let collection = match resource.namespaced {
        true => format!("{root}/namespaces/{{namespace}}/{}", resource.plural),
        false => format!("{root}/{}", resource.plural),
    };
    let (group, version) = (resource.group.as_ref(), resource.version.as_ref());
    let object = component(group, version, &resource.kind);
    let list = component(group, version, &resource.list_kind);
    let has = |verb: &str| resource.verbs.iter().any(|own| own == verb);
    let mut add = |path: String, operation: &Operation<'_>| {
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[method(operation.verb)] = operation.render();
    };
    for (verb, component) in [("list", &list), ("create", &object), ("deletecollection", &list)] {
        if has(verb) {
            add(collection.clone(), &operation(resource, verb, component, false));
        }
    }
    for verb in ["get", "update", "patch", "delete"] {
        if has(verb) {
            add(format!("{collection}/{{name}}"), &operation(resource, verb, &object, false));
        }
    }
    if resource.namespaced && has("list") {
        add(format!("{root}/{}", resource.plural), &operation(resource, "list", &list, true));
    }
    for sub in &resource.subresources {
        let component = component(&sub.group, &sub.version, &sub.kind);
        for verb in sub.verbs.iter() {
            let path = format!("{collection}/{{name}}/{}", sub.name);
            let operation =
                Operation { sub: Some(sub), ..operation(resource, verb, &component, false) };
            add(path, &operation);
        }
    }
}

fn operation<'a>(
    resource: &'a Resource,
    verb: &'a str,
    component: &'a str,
    all_namespaces: bool,
) -> Operation<'a> {
    Operation { resource, sub: None, verb, component, all_namespaces }
}

fn method(verb: &str) -> &'static str {
    match verb {
        "create" => "post",
        "update" => "put",
        "patch" => "patch",
        "delete" | "deletecollection" => "delete",
        _ => "get",
    }
}

impl Operation<'_> {
    fn render(&self) -> Value {
        let (group, version, kind) = self.gvk();
        let mut operation = json!({
            "tags": [tag(self.resource)],
            "operationId": self.id(),
            "parameters": self.parameters(),
            "responses": self.responses(),
            "x-kubernetes-action": self.action(),
            "x-kubernetes-group-version-kind": gvk(group, version, kind),
        });
        if let Some(body) = self.body() {
            operation["requestBody"] = body;
        }
        operation
    }

    fn gvk(&self) -> (&str, &str, &str) {
        match self.sub {
            Some(sub) => (&sub.group, &sub.version, &sub.kind),
            None => (&self.resource.group, &self.resource.version, &self.resource.kind),
        }
    }

    fn action(&self) -> &str {
        match self.verb {
            "create" => "post",
            "update" => "put",
            other => other,
        }
    }

    fn id(&self) -> String {
        let verb = match self.verb {
            "get" => "read",
            "update" => "replace",
            "deletecollection" => "deleteCollection",
            other => other,
        };
        let place = match (self.resource.namespaced, self.all_namespaces) {
            (true, false) => "Namespaced",
            _ => "",
        };
        let sub = self.sub.map(|sub| capitalized(&sub.name)).unwrap_or_default();
        let all = if self.all_namespaces { "ForAllNamespaces" } else { "" };
        let (tag, kind) = (tag(self.resource), &self.resource.kind);
        let tag: String = tag.split('_').map(capitalized).collect();
        format!("{verb}{tag}{place}{kind}{sub}{all}")
    }

    fn parameters(&self) -> Vec<Value> {
        let mut out = Vec::new();
        if self.resource.namespaced && !self.all_namespaces {
            out.push(path_parameter("namespace", "The namespace."));
        }
        if !matches!(self.verb, "list" | "deletecollection") && !self.is_collection_create() {
            out.push(path_parameter("name", "The object's name."));
        }
        let query: Vec<&(&str, &str, &str)> = match self.verb {
            "list" => LIST.iter().collect(),
            "create" | "update" => vec![&DRY_RUN, &FIELD_MANAGER, &FIELD_VALIDATION],
            "patch" => vec![&DRY_RUN, &FIELD_MANAGER, &FIELD_VALIDATION, &FORCE],
            "delete" => DELETE.iter().collect(),
            "deletecollection" => LIST.iter().chain(DELETE).collect(),
            _ => Vec::new(),
        };
        out.extend(query.into_iter().map(query_parameter));
        let pretty = ("pretty", "string", "Whether to indent the answer.");
        out.push(query_parameter(&pretty));
        out
    }

    fn is_collection_create(&self) -> bool {
        self.verb == "create" && self.sub.is_none()
    }

    fn body(&self) -> Option<Value> {
        let schema = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
        match self.verb {
            "create" | "update" => Some(
                json!({"content": {"*/*": {"schema": schema(self.component)}}, "required": true}),
            ),
            "patch" => {
                let patch = json!({"schema": {"type": "object"}});
                let media =
                    PATCH_MEDIA.iter().chain(self.knows_merge_keys().then_some(&STRATEGIC_PATCH));
                let content: Map<String, Value> =
                    media.map(|media| (media.to_string(), patch.clone())).collect();
                Some(json!({"content": content, "required": true}))
            }
            "delete" | "deletecollection" => {
                let options = schema("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions");
                Some(json!({"content": {"*/*": {"schema": options}}}))
            }
            _ => None,
        }
    }

    fn knows_merge_keys(&self) -> bool {
        let (group, version, kind) = self.gvk();
        schema::builtin().type_of(&GroupVersionKind::new(group, version, kind)).is_some()
    }

    fn responses(&self) -> Value {
        let answer = match self.verb {
            "delete" | "deletecollection" => "io.k8s.apimachinery.pkg.apis.meta.v1.Status",
            _ => self.component,
        };
        let schema = json!({"$ref": format!("#/components/schemas/{answer}")});
        let answer = json!({
            "description": "OK",
            "content": {
                "application/json": {"schema": schema},
                "application/yaml": {"schema": schema},
            },
        });
        let code = if self.verb == "create" { "201" } else { "200" };
        json!({code: answer, "401": {"description": "Unauthorized"}})
    }
}

fn path_parameter(name: &str, text: &str) -> Value {
    json!({
        "name": name, "in": "path", "required": true, "description": text,
        "schema": {"type": "string", "uniqueItems": true},
    })
}

fn query_parameter((name, kind, text): &(&str, &str, &str)) -> Value {
    json!({
        "name": name, "in": "query", "description": text,
        "schema": {"type": kind, "uniqueItems": true},
    })
}

/// `core_v1`, `apps_v1`, `rbacAuthorization_v1`.
fn tag(resource: &Resource) -> String {
    let group = match resource.group.as_ref() {
        "" => "core".to_string(),
        group => {
            let group = group.strip_suffix(".k8s.io").unwrap_or(group);
            let mut parts = group.split('.');
            let first = parts.next().unwrap_or_default().to_string();
            first + &parts.map(capitalized).collect::<String>()
        }
    };
    format!("{group}_{}", resource.version)
}

fn capitalized(word: impl AsRef<str>) -> String {
    let mut chars = word.as_ref().chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
