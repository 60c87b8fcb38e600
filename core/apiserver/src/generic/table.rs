//! Objects as rows of a `Table`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::catalog::Served;
use super::render::{Rendering, partial};
use super::strategy::Column;

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
    rendering: Rendering,
    list_metadata: Value,
) -> Value {
    let now = Timestamp::now();
    let rows: Vec<_> = objects.map(|obj| row(served, obj, rendering, now)).collect();
    json!({
        "kind": "Table",
        "apiVersion": rendering.meta_version(),
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

fn row(served: &Served, obj: &Value, rendering: Rendering, now: Timestamp) -> Value {
    let object = match rendering.include {
        Include::Nothing => Value::Null,
        Include::Metadata => partial(obj, rendering),
        Include::Object => obj.clone(),
    };
    json!({"cells": served.strategy.row(obj, now), "object": object})
}

#[cfg(test)]
mod tests {
    use super::super::entry::Form;
    use super::super::render::tree;
    use super::super::resource::Resource;
    use super::super::strategy::Plain;
    use super::*;

    #[test]
    fn tables_have_a_cell_per_column_and_what_was_asked_for() {
        let served = Served::builtin(Resource::new("", "v1", "ConfigMap", "configmaps"), Plain);
        let obj = json!({"metadata": {"name": "a", "resourceVersion": "3"}, "data": {"k": "v"}});
        for (include, object) in [
            (Include::Nothing, Value::Null),
            (Include::Metadata, partial(&obj, Rendering::default())),
            (Include::Object, obj.clone()),
        ] {
            let rendering = Rendering { form: Form::Table, include, ..Rendering::default() };
            let table = tree(&served, &obj, rendering, true);
            let columns = table["columnDefinitions"].as_array().unwrap().len();
            assert_eq!(table["rows"][0]["cells"].as_array().unwrap().len(), columns);
            assert_eq!(table["rows"][0]["cells"], json!(["a", "<unknown>"]));
            assert_eq!(table["rows"][0]["object"], object);
            assert_eq!(table["metadata"]["resourceVersion"], "3");
        }
    }
}
