//! The other forms of objects: rows of a `Table`, and `PartialObjectMetadata`.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::catalog::Served;
use super::entry::Form;
use super::strategy::Column;

const META: &str = "meta.k8s.io/v1";

/// What each row of a table carries besides its cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    Nothing,
    /// The object's metadata; the default.
    #[default]
    Metadata,
    /// The whole object.
    Object,
}

/// The form that a client asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rendering {
    /// Whole, table or partial.
    pub form: Form,
    /// For tables.
    pub include: Include,
}

impl Rendering {
    /// Whether the rendered bytes are the same for all who ask for this form.
    pub fn is_shared(self) -> bool {
        self.form != Form::Table || self.include == Include::Metadata
    }
}

/// `Age` cell: time since creation, for people.
pub fn age(obj: &Value, now: Timestamp) -> String {
    since(hansa_api::meta::creation_timestamp(obj), now)
}

/// Time since an RFC 3339 instant, for people.
pub fn since(then: Option<&str>, now: Timestamp) -> String {
    then.and_then(|then| hansa_api::time::seconds_since(then, now))
        .map_or_else(|| "<unknown>".into(), hansa_api::time::human_duration)
}

/// A `Table` of these objects.
pub fn table<'a>(
    served: &Served,
    objects: impl Iterator<Item = &'a Value>,
    include: Include,
    list_metadata: Value,
) -> Value {
    let now = Timestamp::now();
    let rows: Vec<_> = objects.map(|obj| row(served, obj, include, now)).collect();
    json!({
        "kind": "Table",
        "apiVersion": META,
        "metadata": list_metadata,
        "columnDefinitions": served.strategy.columns().iter().map(definition).collect::<Vec<_>>(),
        "rows": rows,
    })
}

fn definition(column: &Column) -> Value {
    json!({
        "name": column.name,
        "type": column.kind,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    })
}

fn row(served: &Served, obj: &Value, include: Include, now: Timestamp) -> Value {
    let mut row = Map::new();
    row.insert("cells".into(), served.strategy.row(obj, now).into());
    match include {
        Include::Nothing => {}
        Include::Metadata => {
            row.insert("object".into(), partial(obj));
        }
        Include::Object => {
            row.insert("object".into(), obj.clone());
        }
    }
    Value::Object(row)
}

/// The object's metadata as a `PartialObjectMetadata`.
pub fn partial(obj: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": META,
        "metadata": obj.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}

/// One object in a form.
pub fn render(served: &Served, obj: &Value, rendering: Rendering) -> Value {
    match rendering.form {
        Form::Whole => obj.clone(),
        Form::Partial => partial(obj),
        Form::Table => {
            let version = hansa_api::meta::resource_version(obj);
            let metadata = json!({"resourceVersion": version});
            table(served, std::iter::once(obj), rendering.include, metadata)
        }
    }
}

/// One object's bytes in a form; whole objects are passed through.
pub fn render_bytes(served: &Served, object: Bytes, rendering: Rendering) -> Bytes {
    if rendering.form == Form::Whole {
        return object;
    }
    let obj: Value = serde_json::from_slice(&object).unwrap_or(Value::Null);
    encode(&render(served, &obj, rendering))
}

/// A bookmark's object: nothing but a resourceVersion and annotations, in a form.
pub fn bookmark(served: &Served, revision: u64, initial_end: bool, form: Form) -> Bytes {
    let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
    if initial_end {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    let resource = &served.resource;
    let object = match form {
        Form::Whole => json!({
            "kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata,
        }),
        Form::Partial => partial(&json!({"metadata": metadata})),
        Form::Table => {
            let row = json!({"cells": [], "object": partial(&json!({"metadata": metadata}))});
            json!({
                "kind": "Table", "apiVersion": META,
                "metadata": {"resourceVersion": revision.to_string()},
                "columnDefinitions": [], "rows": [row],
            })
        }
    };
    encode(&object)
}

/// A tree as bytes.
pub fn encode(value: &Value) -> Bytes {
    Bytes::from(serde_json::to_vec(value).expect("a JSON tree encodes into memory"))
}

#[cfg(test)]
mod tests {
    use super::super::resource::Resource;
    use super::super::strategy::Plain;
    use super::*;

    #[test]
    fn tables_have_a_cell_per_column_and_what_was_asked_for() {
        let served = Served::builtin(Resource::new("", "v1", "ConfigMap", "configmaps"), Plain);
        let obj = json!({"metadata": {"name": "a", "resourceVersion": "3"}, "data": {"k": "v"}});
        for (include, object) in [
            (Include::Nothing, Value::Null),
            (Include::Metadata, partial(&obj)),
            (Include::Object, obj.clone()),
        ] {
            let table = render(&served, &obj, Rendering { form: Form::Table, include });
            let columns = table["columnDefinitions"].as_array().unwrap().len();
            assert_eq!(table["rows"][0]["cells"].as_array().unwrap().len(), columns);
            assert_eq!(table["rows"][0]["cells"], json!(["a", "<unknown>"]));
            assert_eq!(table["rows"][0]["object"], object);
            assert_eq!(table["metadata"]["resourceVersion"], "3");
        }
    }

    #[test]
    fn the_last_initial_event_is_marked() {
        let served = Served::builtin(Resource::new("", "v1", "Pod", "pods"), Plain);
        let mark: Value = serde_json::from_slice(&bookmark(&served, 9, true, Form::Whole)).unwrap();
        assert_eq!(mark["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
        assert_eq!(mark["kind"], "Pod");
    }
}
