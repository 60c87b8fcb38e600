//! JSON Patch (RFC 6902).

use json_patch::{Patch, PatchOperation};
use serde_json::Value;

use super::{MAX_OPERATIONS, PatchError};
use crate::schema::decode::json_type;

/// Most bytes that the `copy` operations of one patch may add.
const MAX_COPIED: usize = 3 * 1024 * 1024;

/// Applies a JSON Patch; on an error `target` is as it was.
///
/// # Errors
///
/// `Malformed` for what is no list of objects, `TooManyOperations`, `Rejected` for an operation
/// that there is not or that does not fit `target`.
pub fn apply(target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let count = check(patch)?.len();
    if count > MAX_OPERATIONS {
        return Err(PatchError::TooManyOperations(count));
    }
    let Patch(operations) = serde_json::from_value(patch.clone())
        .map_err(|error| PatchError::Rejected(error.to_string()))?;
    let mut result = target.clone();
    let mut copied = 0;
    for operation in operations {
        copied += copy_size(&result, &operation);
        if copied > MAX_COPIED {
            let cause = format!("copy operations add more than {MAX_COPIED} bytes");
            return Err(PatchError::Rejected(cause));
        }
        json_patch::patch(&mut result, &[operation])
            .map_err(|error| PatchError::Rejected(error.to_string()))?;
    }
    *target = result;
    Ok(())
}

/// The operations of what has the shape of a JSON Patch.
///
/// # Errors
///
/// `Malformed` if it has not.
pub fn check(patch: &Value) -> Result<&[Value], PatchError> {
    let wrong = |found: &Value, expected: &str| {
        let found = json_type(found);
        let why = format!("json: cannot unmarshal {found} into Go value of type {expected}");
        PatchError::Malformed(why)
    };
    let operations = patch.as_array().ok_or_else(|| wrong(patch, "[]handlers.jsonPatchOp"))?;
    match operations.iter().find(|operation| !operation.is_object()) {
        Some(odd) => Err(wrong(odd, "handlers.jsonPatchOp")),
        None => Ok(operations),
    }
}

fn copy_size(document: &Value, operation: &PatchOperation) -> usize {
    let PatchOperation::Copy(copy) = operation else {
        return 0;
    };
    document.pointer(copy.from.as_str()).map_or(0, |value| value.to_string().len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_failing_operation_changes_nothing() {
        let mut object = json!({"a": 1});
        let patch = json!([
            {"op": "replace", "path": "/a", "value": 2},
            {"op": "test", "path": "/a", "value": 3},
        ]);
        assert!(matches!(apply(&mut object, &patch), Err(PatchError::Rejected(_))));
        assert_eq!(object, json!({"a": 1}));
        apply(
            &mut object,
            &json!([{"op": "add", "path": "/l", "value": [1]},
            {"op": "add", "path": "/l/-", "value": 2}]),
        )
        .unwrap();
        assert_eq!(object, json!({"a": 1, "l": [1, 2]}));
    }

    #[test]
    fn limits_hold() {
        let many: Vec<_> =
            (0..=MAX_OPERATIONS).map(|_| json!({"op": "test", "path": "", "value": {}})).collect();
        let error = apply(&mut json!({}), &many.into()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "The allowed maximum operations in a JSON patch is 10000, got 10001"
        );
        let doubling: Vec<_> = (0..40)
            .map(|at| json!({"op": "copy", "from": "", "path": format!("/x{at}")}))
            .collect();
        let error = apply(&mut json!({"a": "b".repeat(100)}), &doubling.into()).unwrap_err();
        assert!(matches!(error, PatchError::Rejected(_)));
        assert!(matches!(apply(&mut json!({}), &json!({})), Err(PatchError::Malformed(_))));
        assert!(matches!(apply(&mut json!({}), &json!([1])), Err(PatchError::Malformed(_))));
        for odd in [json!({"op": "brew", "path": "/a"}), json!({"op": "add", "value": 1})] {
            let error = apply(&mut json!({}), &json!([odd])).unwrap_err();
            assert!(matches!(error, PatchError::Rejected(_)), "{odd}");
        }
    }
}
