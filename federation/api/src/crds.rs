//! The CustomResourceDefinitions of the federation's kinds and of `Plugin`.
//!
//! Schemas come from the Rust types and are made structural: references inlined, nulls and
//! unions of a value with null folded away, enumerations of documented variants joined.

use hansa_api::plugin::{PluginSpec, PluginStatus};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as ext;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::kinds::{
    ClusterSpec, ClusterStatus, OverrideSpec, PropagationSpec, ResourceBindingSpec,
    ResourceBindingStatus, WorkSpec, WorkStatus,
};

const READY: &str = r#".status.conditions[?(@.type=="Ready")].status"#;
const SCHEDULED: &str = r#".status.conditions[?(@.type=="Scheduled")].status"#;
const FULLY_APPLIED: &str = r#".status.conditions[?(@.type=="FullyApplied")].status"#;
const APPLIED: &str = r#".status.conditions[?(@.type=="Applied")].status"#;
const CREATED: &str = ".metadata.creationTimestamp";

/// What a definition says besides its schema.
struct Names {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    short: &'static [&'static str],
    category: &'static str,
    namespaced: bool,
}

/// A printer column: name, type, path, priority.
type Column = (&'static str, &'static str, &'static str, i32);

const POLICY_COLUMNS: [Column; 3] = [
    ("Conflict-Resolution", "string", ".spec.conflictResolution", 0),
    ("Priority", "string", ".spec.priority", 0),
    ("Age", "date", CREATED, 0),
];
const AGE: [Column; 1] = [("Age", "date", CREATED, 0)];
const BINDING_COLUMNS: [Column; 3] = [
    ("Scheduled", "string", SCHEDULED, 0),
    ("FullyApplied", "string", FULLY_APPLIED, 0),
    ("Age", "date", CREATED, 0),
];
const WORK_COLUMNS: [Column; 3] = [
    ("Workload-Kind", "string", ".spec.workload.manifests[0].kind", 0),
    ("Applied", "string", APPLIED, 0),
    ("Age", "date", CREATED, 0),
];
const CLUSTER_COLUMNS: [Column; 8] = [
    ("Version", "string", ".status.kubernetesVersion", 0),
    ("Mode", "string", ".spec.syncMode", 0),
    ("Ready", "string", READY, 0),
    ("Age", "date", CREATED, 0),
    ("Zones", "string", ".spec.zones", 1),
    ("Region", "string", ".spec.region", 1),
    ("Provider", "string", ".spec.provider", 1),
    ("APIEndpoint", "string", ".spec.apiEndpoint", 1),
];
const PLUGIN_COLUMNS: [Column; 5] = [
    ("World", "string", ".spec.world", 0),
    ("Digest", "string", ".spec.digest", 0),
    ("Active", "string", ".status.activeDigest", 0),
    ("Ready", "string", READY, 0),
    ("Age", "date", CREATED, 0),
];

/// Fields of one object of which only one may be set.
const EXCLUSIVE: [[&str; 2]; 3] = [
    ["clusterAffinity", "clusterAffinities"],
    ["spreadByField", "spreadByLabel"],
    ["overrideRules", "overriders"],
];
/// The requirements of an affinity's field selector.
const FIELD_REQUIREMENT: &str =
    "/properties/fieldSelector/properties/matchExpressions/items/properties";

/// Every definition, in a stable order.
pub fn crds() -> Vec<ext::CustomResourceDefinition> {
    let mut all = vec![cluster()];
    all.extend(policies());
    all.extend(bindings());
    all.push(work());
    all.push(plugin());
    all
}

fn cluster() -> ext::CustomResourceDefinition {
    let names = Names {
        group: "cluster.karmada.io",
        version: "v1alpha1",
        kind: "Cluster",
        plural: "clusters",
        singular: "cluster",
        short: &[],
        category: "karmada-io",
        namespaced: false,
    };
    define(&names, schema::<ClusterSpec>(), Some(schema::<ClusterStatus>()), &CLUSTER_COLUMNS)
}

fn policies() -> Vec<ext::CustomResourceDefinition> {
    let names = |kind, plural, singular, short, namespaced| Names {
        group: "policy.karmada.io",
        version: "v1alpha1",
        kind,
        plural,
        singular,
        short,
        category: "karmada-io",
        namespaced,
    };
    let propagation =
        names("PropagationPolicy", "propagationpolicies", "propagationpolicy", &["pp"], true);
    let propagation_of_all = names(
        "ClusterPropagationPolicy",
        "clusterpropagationpolicies",
        "clusterpropagationpolicy",
        &["cpp"],
        false,
    );
    let overriding = names("OverridePolicy", "overridepolicies", "overridepolicy", &["op"], true);
    let overriding_of_all = names(
        "ClusterOverridePolicy",
        "clusteroverridepolicies",
        "clusteroverridepolicy",
        &["cop"],
        false,
    );
    vec![
        define(&propagation, schema::<PropagationSpec>(), None, &POLICY_COLUMNS),
        define(&propagation_of_all, schema::<PropagationSpec>(), None, &POLICY_COLUMNS),
        define(&overriding, schema::<OverrideSpec>(), None, &AGE),
        define(&overriding_of_all, schema::<OverrideSpec>(), None, &AGE),
    ]
}

fn bindings() -> Vec<ext::CustomResourceDefinition> {
    let names = |kind, plural, singular, short, namespaced| Names {
        group: "work.karmada.io",
        version: "v1alpha2",
        kind,
        plural,
        singular,
        short,
        category: "karmada-io",
        namespaced,
    };
    let of_namespaced =
        names("ResourceBinding", "resourcebindings", "resourcebinding", &["rb"], true);
    let of_cluster_scoped = names(
        "ClusterResourceBinding",
        "clusterresourcebindings",
        "clusterresourcebinding",
        &["crb"],
        false,
    );
    [of_namespaced, of_cluster_scoped]
        .iter()
        .map(|names| {
            let status = Some(schema::<ResourceBindingStatus>());
            define(names, schema::<ResourceBindingSpec>(), status, &BINDING_COLUMNS)
        })
        .collect()
}

fn work() -> ext::CustomResourceDefinition {
    let names = Names {
        group: "work.karmada.io",
        version: "v1alpha1",
        kind: "Work",
        plural: "works",
        singular: "work",
        short: &["wk"],
        category: "karmada-io",
        namespaced: true,
    };
    let mut spec = schema::<WorkSpec>();
    let manifest = "/properties/workload/properties/manifests/items";
    if let Some(manifest) = spec.pointer_mut(manifest) {
        *manifest = json!({
            "type": "object",
            "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true,
        });
    }
    define(&names, spec, Some(schema::<WorkStatus>()), &WORK_COLUMNS)
}

fn plugin() -> ext::CustomResourceDefinition {
    let names = Names {
        group: "plugins.hansa.dev",
        version: "v1alpha1",
        kind: "Plugin",
        plural: "plugins",
        singular: "plugin",
        short: &[],
        category: "hansa",
        namespaced: false,
    };
    define(&names, schema::<PluginSpec>(), Some(schema::<PluginStatus>()), &PLUGIN_COLUMNS)
}

fn define(
    names: &Names,
    spec: Value,
    status: Option<Value>,
    columns: &[Column],
) -> ext::CustomResourceDefinition {
    let has_status = status.is_some();
    let mut spec = spec;
    restrict(&mut spec);
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}.{}", names.plural, names.group)},
        "spec": {
            "group": names.group,
            "scope": if names.namespaced { "Namespaced" } else { "Cluster" },
            "names": {
                "kind": names.kind,
                "listKind": format!("{}List", names.kind),
                "plural": names.plural,
                "singular": names.singular,
                "shortNames": names.short,
                "categories": [names.category],
            },
            "versions": [{
                "name": names.version,
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": object_schema(spec, status)},
                "subresources": if has_status { json!({"status": {}}) } else { json!({}) },
                "additionalPrinterColumns": columns.iter().map(column).collect::<Vec<_>>(),
            }],
        },
    });
    serde_json::from_value(definition).expect("the literal has the definition's shape")
}

/// Says what the types cannot: fields that exclude each other, and what a field selector knows.
fn restrict(schema: &mut Value) {
    for pair in EXCLUSIVE {
        if pair.iter().all(|field| schema["properties"].get(field).is_some()) {
            schema["not"] = json!({"required": pair});
        }
    }
    let requirement = schema.pointer_mut(FIELD_REQUIREMENT);
    if let Some(requirement) = requirement.and_then(Value::as_object_mut) {
        requirement["key"]["enum"] = json!(["provider", "region", "zone"]);
        requirement["operator"]["enum"] = json!(["In", "NotIn"]);
    }
    for inner in ["items", "additionalProperties"] {
        schema.get_mut(inner).into_iter().for_each(restrict);
    }
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    properties.into_iter().flat_map(Map::values_mut).for_each(restrict);
}

fn column((name, type_, path, priority): &Column) -> Value {
    let mut column = json!({"name": name, "type": type_, "jsonPath": path});
    if *priority > 0 {
        column["priority"] = json!(priority);
    }
    column
}

fn object_schema(spec: Value, status: Option<Value>) -> Value {
    let mut schema = json!({
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
        },
    });
    if let Some(status) = status {
        schema["properties"]["status"] = status;
    }
    schema
}

/// The structural schema of a type.
fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|s| s.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<T>();
    structural(schema.to_value())
}

/// Makes a JSON schema structural.
fn structural(schema: Value) -> Value {
    let mut map = match schema {
        Value::Object(map) => map,
        _ => return json!({"x-kubernetes-preserve-unknown-fields": true}),
    };
    for meaningless in ["$schema", "title", "definitions", "$defs", "examples"] {
        map.remove(meaningless);
    }
    fold_unions(&mut map);
    fold_enumeration(&mut map);
    fold_scalars(&mut map);
    descend(&mut map);
    let says_something = ["type", "properties", "x-kubernetes-int-or-string", "enum"];
    if !says_something.iter().any(|k| map.contains_key(*k)) {
        map.insert("x-kubernetes-preserve-unknown-fields".into(), json!(true));
    }
    Value::Object(map)
}

/// `anyOf: [X, null]` and `allOf: [X]` become X.
fn fold_unions(map: &mut Map<String, Value>) {
    for union in ["anyOf", "allOf"] {
        let Some(Value::Array(branches)) = map.remove(union) else { continue };
        let mut real: Vec<Value> =
            branches.into_iter().filter(|b| b["type"] != json!("null")).collect();
        if map.contains_key("x-kubernetes-int-or-string") {
            map.remove("type");
            continue;
        }
        if real.len() == 1
            && let Some(Value::Object(only)) = real.pop()
        {
            for (key, value) in only {
                map.entry(key).or_insert(value);
            }
            fold_unions(map);
        }
    }
}

/// A `oneOf` of constants becomes one enumeration.
fn fold_enumeration(map: &mut Map<String, Value>) {
    if let Some(constant) = map.remove("const") {
        map.insert("enum".into(), json!([constant]));
    }
    let Some(Value::Array(branches)) = map.remove("oneOf") else { return };
    let mut values = Vec::new();
    for branch in &branches {
        match (&branch["const"], &branch["enum"]) {
            (Value::Null, Value::Array(some)) => values.extend(some.iter().cloned()),
            (constant, _) => values.push(constant.clone()),
        }
    }
    values.retain(|v| !v.is_null());
    map.insert("type".into(), json!("string"));
    map.insert("enum".into(), Value::Array(values));
}

fn fold_scalars(map: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = map.get("type") {
        let first = types.iter().find(|t| **t != json!("null")).cloned();
        map.insert("type".into(), first.unwrap_or(json!("object")));
    }
    if let Some(Value::Array(values)) = map.get_mut("enum") {
        values.retain(|v| !v.is_null());
    }
    if map.get("x-kubernetes-int-or-string").is_some() {
        map.remove("type");
    }
    let known = ["int32", "int64", "float", "double", "date-time", "byte"];
    if map.get("format").and_then(Value::as_str).is_some_and(|f| !known.contains(&f)) {
        map.remove("format");
    }
    let says_nothing = [Value::Null, json!({}), json!([]), json!("")];
    if map.get("default").is_some_and(|d| says_nothing.contains(d)) {
        map.remove("default");
    }
}

fn descend(map: &mut Map<String, Value>) {
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        for property in properties.values_mut() {
            *property = structural(property.take());
        }
    }
    if let Some(items) = map.get_mut("items") {
        *items = structural(items.take());
    }
    match map.remove("additionalProperties") {
        None | Some(Value::Bool(false)) => {}
        Some(Value::Bool(true)) => {
            map.insert("x-kubernetes-preserve-unknown-fields".into(), json!(true));
        }
        Some(of) => {
            map.insert("additionalProperties".into(), structural(of));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set to any value, the golden files are written instead of compared.
    const WRITE: &str = "HANSA_WRITE_GOLDEN";

    #[test]
    fn golden_files_are_current() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/crds");
        for crd in crds() {
            let name = crd.metadata.name.clone().expect("every definition has a name");
            let path = format!("{folder}/{name}.yaml");
            let text = serde_saphyr::to_string(&crd).expect("a definition is plain data");
            if std::env::var_os(WRITE).is_some() {
                std::fs::create_dir_all(folder).expect("the folder can be made");
                std::fs::write(&path, text).expect("the file can be written");
                continue;
            }
            let golden = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(golden == text, "{path} is stale; run this test with {WRITE}=1");
        }
    }

    /// The rules of a structural schema, as the API server checks them.
    fn check(path: &str, schema: &Value) {
        let map = schema.as_object().expect("a schema is an object");
        for forbidden in ["$ref", "oneOf", "anyOf", "allOf", "definitions", "const", "nullable"] {
            assert!(!map.contains_key(forbidden), "{path} has {forbidden}");
        }
        let free = ["x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"];
        let typed = map.get("type").is_some_and(Value::is_string);
        assert!(typed || free.iter().any(|k| map.contains_key(*k)), "{path} has no type");
        for (name, property) in
            map.get("properties").and_then(Value::as_object).into_iter().flatten()
        {
            check(&format!("{path}.{name}"), property);
        }
        for inner in ["items", "additionalProperties"] {
            if let Some(inner) = map.get(inner) {
                check(&format!("{path}[]"), inner);
            }
        }
    }

    #[test]
    fn schemas_are_structural() {
        for crd in crds() {
            let value = serde_json::to_value(&crd).expect("a definition is plain data");
            let schema = &value["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            check(&crd.spec.names.kind, schema);
        }
    }

    #[test]
    fn defaults_and_enumerations_are_those_users_know() {
        let spec = schema::<PropagationSpec>();
        let default = |field: &str| spec["properties"][field]["default"].clone();
        assert_eq!(default("conflictResolution"), json!("Abort"));
        assert_eq!(default("preemption"), json!("Never"));
        assert_eq!(default("priority"), json!(0));
        assert_eq!(default("schedulerName"), json!("default-scheduler"));
        let scheduling = &spec["properties"]["placement"]["properties"]["replicaScheduling"];
        let modes = &scheduling["properties"]["replicaSchedulingType"];
        assert_eq!(modes["default"], json!("Divided"));
        assert_eq!(modes["enum"], json!(["Duplicated", "Divided"]));
        assert_eq!(spec["required"], json!(["resourceSelectors"]));
    }

    #[test]
    fn what_makes_no_sense_together_is_said_in_the_schema() {
        let mut spec = schema::<PropagationSpec>();
        restrict(&mut spec);
        let placement = &spec["properties"]["placement"];
        let exclusive = json!({"required": ["clusterAffinity", "clusterAffinities"]});
        assert_eq!(placement["not"], exclusive);
        let placement = &placement["properties"];
        let spread = &placement["spreadConstraints"]["items"];
        assert_eq!(spread["not"], json!({"required": ["spreadByField", "spreadByLabel"]}));
        assert_eq!(spread["properties"]["minGroups"]["minimum"], json!(0));
        for affinity in [&placement["clusterAffinity"], &placement["clusterAffinities"]["items"]] {
            let requirement = affinity.pointer(FIELD_REQUIREMENT).expect("it is there");
            assert_eq!(requirement["operator"]["enum"], json!(["In", "NotIn"]));
        }
    }
}
