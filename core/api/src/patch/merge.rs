//! JSON merge patch (RFC 7396).

use serde_json::Value;

use super::PatchError;

/// Applies a merge patch to an object.
///
/// # Errors
///
/// `Malformed` if the patch is no object.
pub fn apply(target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    if !patch.is_object() {
        return Err(PatchError::Malformed("a merge patch must be a JSON object".into()));
    }
    json_patch::merge(target, patch);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nulls_remove_and_lists_are_replaced() {
        let mut object = json!({"a": {"b": 1, "c": 2}, "l": [1, 2]});
        apply(&mut object, &json!({"a": {"b": null, "d": 3}, "l": [9]})).unwrap();
        assert_eq!(object, json!({"a": {"c": 2, "d": 3}, "l": [9]}));
        assert!(apply(&mut object, &json!([1])).is_err());
    }
}
