//! Variations of an object: every field once left out, of another type, empty, too long, out of
//! range, twice, misspelt; and every absent field once there. Pure, and in a stable order.

use hansa_api::gvk::GroupVersionKind;
use hansa_api::schema::{self, FieldType};
use serde_json::{Map, Value, json};

/// A change of one place.
#[derive(Clone, Debug)]
struct Edit {
    /// JSON pointer to the place.
    pointer: String,
    /// What is put there; `None` takes away what is there.
    value: Option<Value>,
}

/// The object with one change each, and what was changed.
pub fn variations(object: &Value) -> Vec<(String, Value)> {
    let mut edits = metadata(object);
    let kind = schema_of(object).unwrap_or(FieldType::Any);
    for (name, value) in object.as_object().into_iter().flatten() {
        if !["apiVersion", "kind", "metadata"].contains(&name.as_str()) {
            let kind = field(&kind, name).unwrap_or(FieldType::Any);
            visit(&format!("/{}", escape(name)), value, &kind, &mut edits);
        }
    }
    absent("", object, &kind, &mut edits);
    edits.into_iter().map(|edit| (edit.to_string(), apply(object, &edit))).collect()
}

impl std::fmt::Display for Edit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.value {
            None => write!(f, "{} removed", self.pointer),
            Some(value) => {
                let text = value.to_string();
                let short: String = text.chars().take(60).collect();
                write!(f, "{} = {short}", self.pointer)
            }
        }
    }
}

fn schema_of(object: &Value) -> Option<FieldType> {
    let version = object["apiVersion"].as_str()?;
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let kind = GroupVersionKind::new(group, version, object["kind"].as_str()?);
    schema::builtin().type_of(&kind).map(FieldType::Object)
}

fn field(kind: &FieldType, name: &str) -> Option<FieldType> {
    let FieldType::Object(id) = kind else { return None };
    Some(schema::builtin().get(*id).field(name)?.kind.clone())
}

fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn visit(pointer: &str, value: &Value, kind: &FieldType, edits: &mut Vec<Edit>) {
    edits.push(Edit { pointer: pointer.into(), value: None });
    for other in others(value, kind) {
        edits.push(Edit { pointer: pointer.into(), value: Some(other) });
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let kind = match kind {
                    FieldType::Map(of) => (**of).clone(),
                    kind => field(kind, name).unwrap_or(FieldType::Any),
                };
                visit(&format!("{pointer}/{}", escape(name)), value, &kind, edits);
            }
            absent(pointer, value, kind, edits);
        }
        Value::Array(items) => {
            let kind = if let FieldType::List(of) = kind { &**of } else { &FieldType::Any };
            for (at, item) in items.iter().enumerate() {
                visit(&format!("{pointer}/{at}"), item, kind, edits);
            }
        }
        _ => {}
    }
}

/// Other values for a place: of a wrong type first, then odd ones of the right type.
fn others(value: &Value, kind: &FieldType) -> Vec<Value> {
    let long = "a".repeat(300);
    match (kind, value) {
        (FieldType::Quantity, _) => vec![json!("-1"), json!("one"), json!({}), json!("1.5")],
        (FieldType::IntOrString, _) => {
            vec![json!(-1), json!(0), json!(70_000), json!("Not Valid"), json!("150%"), json!([])]
        }
        (FieldType::Time | FieldType::MicroTime, _) => vec![json!("yesterday"), json!(1)],
        (_, Value::String(_)) => {
            vec![
                json!(123),
                json!(""),
                json!("Not_Valid!"),
                json!("other"),
                json!(long),
                json!(null),
            ]
        }
        (_, Value::Number(_)) => {
            let huge = 99_999_999_999_i64;
            vec![json!("text"), json!(-1), json!(0), json!(1.5), json!(huge), json!(null)]
        }
        (_, Value::Bool(is)) => vec![json!("text"), json!(!is), json!(null)],
        (_, Value::Array(items)) => {
            let twice: Vec<_> = items.iter().chain(items.first()).cloned().collect();
            vec![json!("text"), json!([]), json!([null]), json!(twice), json!({})]
        }
        (FieldType::Map(_), Value::Object(fields)) => {
            let mut odd = fields.clone();
            odd.insert("-not valid-".into(), fields.values().next().cloned().unwrap_or_default());
            vec![json!("text"), json!({}), Value::Object(odd), json!([])]
        }
        (_, Value::Object(fields)) => {
            let mut odd = fields.clone();
            odd.insert("unheardOf".into(), json!(1));
            vec![json!("text"), json!({}), Value::Object(odd), json!([])]
        }
        (_, Value::Null) => vec![],
    }
}

/// Fields that the object's type has and the object has not.
fn absent(pointer: &str, value: &Value, kind: &FieldType, edits: &mut Vec<Edit>) {
    let FieldType::Object(id) = kind else { return };
    for field in &schema::builtin().get(*id).fields {
        if value.get(&field.name).is_some() || field.name == "status" || field.name == "metadata" {
            continue;
        }
        let pointer = format!("{pointer}/{}", escape(&field.name));
        for value in plausible(&field.kind) {
            edits.push(Edit { pointer: pointer.clone(), value: Some(value) });
        }
    }
}

fn plausible(kind: &FieldType) -> Vec<Value> {
    match kind {
        FieldType::String => vec![json!("some"), json!("Not_Valid!")],
        FieldType::Bytes => vec![json!("AAEC"), json!("?")],
        FieldType::Int32 | FieldType::Int64 | FieldType::Double => vec![json!(1), json!(-1)],
        FieldType::Bool => vec![json!(true)],
        FieldType::Quantity => vec![json!("1"), json!("-1")],
        FieldType::IntOrString => vec![json!(1), json!("10%")],
        FieldType::Time => vec![json!("2026-01-01T00:00:00Z")],
        FieldType::MicroTime => vec![json!("2026-01-01T00:00:00.000000Z")],
        FieldType::List(_) => vec![json!([])],
        _ => vec![json!({})],
    }
}

/// The same few changes of every kind's metadata.
fn metadata(object: &Value) -> Vec<Edit> {
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "u"}]);
    let two: Value = json!([
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "u", "controller": true},
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "b", "uid": "v", "controller": true}
    ]);
    let edit =
        |name: &str, value| Edit { pointer: format!("/metadata/{name}"), value: Some(value) };
    let mut edits = vec![
        edit("name", json!("")),
        edit("name", json!("Not_Valid!")),
        edit("name", json!("a".repeat(254))),
        edit("name", json!("a.b")),
        edit("generateName", json!("Not_Valid!")),
        edit("namespace", json!("elsewhere")),
        edit("labels", json!({"-bad-": "x", "fine": "not valid"})),
        edit("labels", json!("text")),
        edit("annotations", json!({"Bad Key": "x"})),
        edit("annotations", json!({"a": 1})),
        edit("finalizers", json!(["plain"])),
        edit("finalizers", json!(["example.com/fine", "not valid"])),
        edit("ownerReferences", owner),
        edit("ownerReferences", two),
        edit("ownerReferences", json!([{"kind": "ConfigMap"}])),
        edit("uid", json!("other")),
        edit("resourceVersion", json!("1")),
        edit("resourceVersion", json!("text")),
        edit("creationTimestamp", json!("2020-01-01T00:00:00Z")),
        edit("deletionTimestamp", json!("2020-01-01T00:00:00Z")),
        edit("generation", json!(-1)),
        edit("selfLink", json!("/x")),
        edit("managedFields", json!([{"manager": "a", "operation": "Never"}])),
        edit("unheardOf", json!(1)),
    ];
    if object.get("metadata").is_some() {
        edits.push(Edit { pointer: "/metadata".into(), value: None });
    }
    edits
}

fn apply(object: &Value, edit: &Edit) -> Value {
    let mut object = object.clone();
    let (parent, name) = edit.pointer.rsplit_once('/').expect("a pointer begins with a slash");
    let name = name.replace("~1", "/").replace("~0", "~");
    match (object.pointer_mut(parent), &edit.value) {
        (Some(Value::Object(fields)), value) => set(fields, name, value.clone()),
        (Some(Value::Array(items)), value) => {
            let at: usize = name.parse().expect("an item is reached by its number");
            match value {
                Some(value) => items[at] = value.clone(),
                None => drop(items.remove(at)),
            }
        }
        _ => {}
    }
    object
}

fn set(fields: &mut Map<String, Value>, name: String, value: Option<Value>) {
    match value {
        Some(value) => drop(fields.insert(name, value)),
        None => drop(fields.remove(&name)),
    }
}
