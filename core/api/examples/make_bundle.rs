//! Makes `data/bundle.json` from a release's JSON Schema definitions.
//!
//! `cargo run -p hansa-api --example make_bundle -- DIR OUT`: DIR holds `_definitions.json` as
//! PyPI's
//! `kubernetes-validate` ships it (v1.36.0-local). Only facts go out: names, types, keys, enums.
//! What that
//! package changed against upstream's document is undone: `$defs`, nullable types, spelled-out
//! unions, and
//! the constants it wrote into `apiVersion` and `kind`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(input), Some(output)) = (arguments.next(), arguments.next()) else {
        return Err("usage: make_bundle DIR OUT".into());
    };
    let text = std::fs::read_to_string(Path::new(&input).join("_definitions.json"))?;
    let document: Value = serde_json::from_str(&text)?;
    let definitions = document["$defs"].as_object().ok_or("no $defs")?;
    let bundle = bundle(definitions);
    std::fs::write(output, lines(&bundle))?;
    Ok(())
}

/// One type per line, so that a new release shows as a readable difference.
fn lines(types: &[Value]) -> String {
    let rows: Vec<_> = types.iter().map(Value::to_string).collect();
    format!("{{\"types\":[\n{}\n]}}\n", rows.join(",\n"))
}

fn bundle(definitions: &Map<String, Value>) -> Vec<Value> {
    let objects = definitions.iter().filter(|(name, body)| special(name, body).is_none());
    let objects: Vec<_> = objects.collect();
    let ids = objects.iter().enumerate().map(|(id, (name, _))| (name.as_str(), id));
    let context = Context { definitions, ids: ids.collect() };
    objects.iter().map(|(name, body)| context.object(name, body)).collect()
}

/// The code of a definition that is no plain object.
fn special(name: &str, body: &Value) -> Option<&'static str> {
    let last = name.rsplit('.').next().unwrap_or(name);
    match last {
        "JSON" | "RawExtension" => Some("any"),
        "JSONSchemaPropsOrArray" => Some("schemaOrArray"),
        "JSONSchemaPropsOrBool" => Some("schemaOrBool"),
        "JSONSchemaPropsOrStringArray" => Some("schemaOrStrings"),
        "Quantity" => Some("quantity"),
        "IntOrString" => Some("intOrString"),
        "Time" => Some("time"),
        "MicroTime" => Some("microTime"),
        _ if body.get("properties").is_none() => Some("object"),
        _ => None,
    }
}

struct Context<'a> {
    definitions: &'a Map<String, Value>,
    ids: BTreeMap<&'a str, usize>,
}

impl Context<'_> {
    fn object(&self, name: &str, body: &Value) -> Value {
        let mut out = json!({ "n": name });
        if let Some(kinds) = body["x-kubernetes-group-version-kind"].as_array() {
            out["g"] = kinds.iter().map(group_version_kind).collect();
        }
        if body["x-kubernetes-map-type"] == "atomic" {
            out["a"] = true.into();
        }
        let required: Vec<_> = strings(&body["required"]);
        let fields = body["properties"].as_object().into_iter().flatten();
        let fields: Map<_, _> = fields
            .map(|(field, schema)| {
                (field.clone(), self.field(schema, required.contains(&&**field)))
            })
            .collect();
        out["f"] = fields.into();
        out
    }

    fn field(&self, schema: &Value, required: bool) -> Value {
        let mut out = json!({ "t": self.type_code(schema) });
        if required {
            out["r"] = true.into();
        }
        for (from, to) in [
            ("x-kubernetes-list-type", "l"),
            ("x-kubernetes-list-map-keys", "k"),
            ("x-kubernetes-patch-merge-key", "m"),
            ("x-kubernetes-patch-strategy", "s"),
            ("x-kubernetes-map-type", "a"),
        ] {
            if let Some(value) = schema.get(from) {
                out[to] = value.clone();
            }
        }
        // A plain type is just its code.
        match out.as_object().expect("made above").len() {
            1 => out["t"].take(),
            _ => out,
        }
    }

    fn type_code(&self, schema: &Value) -> String {
        if let Some(reference) = schema["$ref"].as_str() {
            return self.reference(reference.trim_start_matches("#/$defs/"));
        }
        let format = schema["format"].as_str().unwrap_or_default();
        match type_name(&schema["type"]) {
            "array" => format!("[]{}", self.type_code(&schema["items"])),
            "object" => match schema.get("additionalProperties") {
                Some(values) => format!("{{}}{}", self.type_code(values)),
                None => "object".into(),
            },
            "string" if format == "byte" => "bytes".into(),
            "integer" if format == "int32" => "int32".into(),
            "integer" => "int64".into(),
            "number" => "double".into(),
            "boolean" => "bool".into(),
            "string" => "string".into(),
            _ => "any".into(),
        }
    }

    fn reference(&self, name: &str) -> String {
        match self.ids.get(name) {
            Some(id) => format!("#{id}"),
            None => special(name, &self.definitions[name]).unwrap_or("any").into(),
        }
    }
}

fn group_version_kind(kind: &Value) -> Value {
    json!([kind["group"], kind["version"], kind["kind"]])
}

/// `"string"` of both `"string"` and `["string", "null"]`.
fn type_name(kind: &Value) -> &str {
    let first = kind.as_array().and_then(|kinds| kinds.first());
    first.unwrap_or(kind).as_str().unwrap_or_default()
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
