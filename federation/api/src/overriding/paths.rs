//! Changes by JSON pointer, in the object itself and in documents inside its strings.

use serde_json::{Value, json};

use super::OverrideError;
use crate::kinds::{FieldOverrider, FieldPatchOperation, OverriderOperator, PlaintextOverrider};

/// What identifies the object; nothing may touch it, nor what contains it.
const FORBIDDEN: [&str; 6] = [
    "/kind",
    "/apiVersion",
    "/metadata/name",
    "/metadata/namespace",
    "/metadata/generateName",
    "/metadata/uid",
];

pub(super) fn apply_plain(
    object: &mut Value,
    change: &PlaintextOverrider,
) -> Result<(), OverrideError> {
    if touches_identity(&change.path) {
        return Err(OverrideError::Forbidden(change.path.clone()));
    }
    patch(object, &change.path, change.operator, &change.value)
}

pub(super) fn apply_field(
    object: &mut Value,
    change: &FieldOverrider,
) -> Result<(), OverrideError> {
    let path = &change.field_path;
    if touches_identity(path) {
        return Err(OverrideError::Forbidden(path.clone()));
    }
    if !change.json.is_empty() {
        let mut document: Value = serde_json::from_str(text_at(object, path)?)
            .map_err(|e| OverrideError::Document(path.clone(), "JSON", e.to_string()))?;
        patch_all(&mut document, &change.json)?;
        return put_text(object, path, document.to_string());
    }
    if !change.yaml.is_empty() {
        let mut document: Value = serde_saphyr::from_str(text_at(object, path)?)
            .map_err(|e| OverrideError::Document(path.clone(), "YAML", e.to_string()))?;
        patch_all(&mut document, &change.yaml)?;
        let text = serde_saphyr::to_string(&document)
            .map_err(|e| OverrideError::Document(path.clone(), "YAML", e.to_string()))?;
        return put_text(object, path, text);
    }
    Ok(())
}

fn touches_identity(path: &str) -> bool {
    FORBIDDEN.iter().any(|f| {
        let above = f.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        *f == path || above || path.is_empty()
    })
}

fn patch_all(document: &mut Value, changes: &[FieldPatchOperation]) -> Result<(), OverrideError> {
    for change in changes {
        patch(document, &change.sub_path, change.operator, &change.value)?;
    }
    Ok(())
}

fn patch(
    document: &mut Value,
    path: &str,
    operator: OverriderOperator,
    value: &Value,
) -> Result<(), OverrideError> {
    let operation = match operator {
        OverriderOperator::Add => json!([{"op": "add", "path": path, "value": value}]),
        OverriderOperator::Replace => json!([{"op": "replace", "path": path, "value": value}]),
        OverriderOperator::Remove => json!([{"op": "remove", "path": path}]),
    };
    let bad = |e: String| OverrideError::Path(path.into(), e);
    let operation: json_patch::Patch =
        serde_json::from_value(operation).map_err(|e| bad(e.to_string()))?;
    json_patch::patch(document, &operation).map_err(|e| bad(e.to_string()))
}

fn text_at<'a>(object: &'a Value, path: &str) -> Result<&'a str, OverrideError> {
    let text = object.pointer(path).and_then(Value::as_str);
    text.ok_or_else(|| OverrideError::Path(path.into(), "no string is there".into()))
}

fn put_text(object: &mut Value, path: &str, text: String) -> Result<(), OverrideError> {
    let place = object.pointer_mut(path);
    let place =
        place.ok_or_else(|| OverrideError::Path(path.into(), "no string is there".into()))?;
    *place = text.into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_inside_strings_change_and_stay_documents() {
        let mut object = json!({"data": {"a.json": "{\"n\":1}", "b.yaml": "n: 1\nm: x\n"}});
        let json: FieldOverrider = serde_json::from_value(json!({"fieldPath": "/data/a.json",
            "json": [{"subPath": "/n", "operator": "replace", "value": 2}]}))
        .unwrap();
        let yaml: FieldOverrider = serde_json::from_value(json!({"fieldPath": "/data/b.yaml",
            "yaml": [{"subPath": "/n", "operator": "remove"}]}))
        .unwrap();
        apply_field(&mut object, &json).unwrap();
        apply_field(&mut object, &yaml).unwrap();
        assert_eq!(object["data"]["a.json"], "{\"n\":2}");
        assert_eq!(object["data"]["b.yaml"].as_str().unwrap().trim(), "m: x");
        let broken = FieldOverrider { field_path: "/data/none".into(), ..json };
        assert!(apply_field(&mut object, &broken).is_err());
    }
}
