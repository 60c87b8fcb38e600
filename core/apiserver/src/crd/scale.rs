//! The scale of custom resources: where its numbers are, and what they may be.

use hansa_api::field::FieldError;
use hansa_api::meta;
use serde_json::Value;

use crate::generic::resource::Str;
use crate::generic::strategy::ScalePaths;

/// Where a version keeps what `scale` shows.
pub(super) fn paths(version: &Value) -> Option<ScalePaths> {
    let scale = meta::at(version, &["subresources", "scale"]).filter(|scale| scale.is_object())?;
    let path = |field: &str| -> Str {
        meta::str_at(scale, &[field]).trim_start_matches('.').to_string().into()
    };
    Some(ScalePaths {
        spec_replicas: path("specReplicasPath"),
        status_replicas: path("statusReplicasPath"),
        selector: Some(path("labelSelectorPath")).filter(|path| !path.is_empty()),
    })
}

/// The wanted number.
pub(super) fn validate_spec(obj: &Value, scale: &ScalePaths) -> Option<FieldError> {
    count(obj, &scale.spec_replicas)
}

/// The counted number, and the selector.
pub(super) fn validate_status(obj: &Value, scale: &ScalePaths) -> Vec<FieldError> {
    let mut errors: Vec<_> = count(obj, &scale.status_replicas).into_iter().collect();
    if let Some(path) = &scale.selector
        && let Some(found) = find(obj, path).filter(|found| !found.is_string())
    {
        let why = wrong_type(path, found, "string");
        errors.push(FieldError::invalid(format!(".{path}"), "", why));
    }
    errors
}

fn find<'a>(obj: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(obj, |obj, name| obj.get(name)).filter(|found| !found.is_null())
}

fn count(obj: &Value, path: &str) -> Option<FieldError> {
    let found = find(obj, path)?;
    let at = format!(".{path}");
    let Some(number) = found.as_i64() else {
        return Some(FieldError::invalid(at, 0, wrong_type(path, found, "int64")));
    };
    if number < 0 {
        return Some(FieldError::invalid(at, number, "should be a non-negative integer"));
    }
    let why = format!("should be less than or equal to {}", i32::MAX);
    (number > i32::MAX.into()).then(|| FieldError::invalid(at, number, why))
}

fn wrong_type(path: &str, found: &Value, wanted: &str) -> String {
    let kind = match found {
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::Array(_) => "[]interface {}",
        _ => "map[string]interface {}",
    };
    let shown = found.as_str().map_or_else(|| found.to_string(), str::to_string);
    format!(".{path} accessor error: {shown} is of the type {kind}, expected {wanted}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_and_selectors_are_checked() {
        let scale = ScalePaths {
            spec_replicas: "spec.n".into(),
            status_replicas: "status.n".into(),
            selector: Some("status.s".into()),
        };
        assert!(validate_spec(&json!({"spec": {}}), &scale).is_none());
        let text = |error: Option<FieldError>| error.unwrap().to_string();
        assert_eq!(
            text(validate_spec(&json!({"spec": {"n": -1}}), &scale)),
            ".spec.n: Invalid value: -1: should be a non-negative integer"
        );
        assert!(
            text(validate_spec(&json!({"spec": {"n": "x"}}), &scale))
                .contains(".spec.n accessor error: x is of the type string, expected int64")
        );
        let status = json!({"status": {"n": 3_000_000_000_i64, "s": 1}});
        assert_eq!(validate_status(&status, &scale).len(), 2);
    }
}
