//! `additionalPrinterColumns`: how custom resources look in a table.

use hansa_api::meta;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::jsonpath::JsonPath;
use crate::generic::resource::Str;
use crate::generic::strategy::Column;
use crate::generic::table::since;

const CREATED: &str = ".metadata.creationTimestamp";

/// The columns of one version, the name first.
pub(super) struct Columns(Vec<(Column, Option<JsonPath>)>);

impl Columns {
    /// Reads a version's columns; without any there is an age.
    pub(super) fn read(version: &Value) -> Self {
        let mut columns = vec![(Column::name(), None)];
        let defined = meta::list_at(version, &["additionalPrinterColumns"]);
        columns.extend(defined.iter().map(read_column));
        if defined.is_empty() {
            let age = json!({"name": "Age", "type": "date", "jsonPath": CREATED});
            columns.push(read_column(&age));
        }
        Self(columns)
    }

    pub(super) fn headings(&self) -> Vec<Column> {
        self.0.iter().map(|(column, _)| column.clone()).collect()
    }

    pub(super) fn cells(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let cell = |(column, path): &(Column, Option<JsonPath>)| match path {
            None if column.format == "name" => meta::name(obj).into(),
            None => Value::Null,
            Some(path) => cell(&column.kind, &path.find(obj), now),
        };
        self.0.iter().map(cell).collect()
    }
}

fn read_column(column: &Value) -> (Column, Option<JsonPath>) {
    let text = |field: &str| -> Str { meta::str_at(column, &[field]).to_string().into() };
    let described = match text("description") {
        empty if empty.is_empty() => {
            let path = meta::str_at(column, &["jsonPath"]);
            format!("Custom resource definition column (in JSONPath format): {path}").into()
        }
        description => description,
    };
    let heading = Column {
        name: text("name"),
        kind: text("type"),
        format: text("format"),
        description: described,
        priority: meta::int_at(column, &["priority"])
            .and_then(|priority| i32::try_from(priority).ok())
            .unwrap_or(0),
    };
    (heading, JsonPath::parse(meta::str_at(column, &["jsonPath"])).ok())
}

fn cell(kind: &str, found: &[&Value], now: Timestamp) -> Value {
    let Some(first) = found.first() else { return Value::Null };
    match kind {
        _ if first.is_null() => Value::Null,
        "string" => text(first).into(),
        "date" => match first.as_str() {
            Some(then) => since(Some(then), now).into(),
            None => Value::Null,
        },
        "integer" => first.as_i64().or_else(|| first.as_f64().map(|f| f as i64)).into(),
        "number" if first.is_number() => (*first).clone(),
        "boolean" if first.is_boolean() => (*first).clone(),
        _ => Value::Null,
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_follow_their_columns_types() {
        let version = json!({"additionalPrinterColumns": [
            {"name": "S", "type": "string", "jsonPath": ".spec.list"},
            {"name": "I", "type": "integer", "jsonPath": ".spec.n", "priority": 1},
            {"name": "B", "type": "boolean", "jsonPath": ".spec.n"},
            {"name": "N", "type": "string", "jsonPath": ".spec.none"},
            {"name": "D", "type": "date", "jsonPath": ".spec.when"},
        ]});
        let columns = Columns::read(&version);
        let obj = json!({"metadata": {"name": "a"}, "spec": {"list": [1, "b"], "n": 3,
            "when": "2026-01-01T00:00:00Z"}});
        let now = "2026-01-01T00:05:00Z".parse().unwrap();
        let cells = columns.cells(&obj, now);
        assert_eq!(
            cells,
            [json!("a"), json!(r#"[1,"b"]"#), json!(3), Value::Null, Value::Null, json!("5m")]
        );
        assert_eq!(columns.headings()[2].priority, 1);
    }

    #[test]
    fn without_columns_there_is_an_age() {
        let columns = Columns::read(&json!({}));
        let names: Vec<_> = columns.headings().into_iter().map(|column| column.name).collect();
        assert_eq!(names, ["Name", "Age"]);
    }
}
