//! What classes of volumes share: a driver and its parameters.

use hansa_api::field::FieldError;
use hansa_api::meta::str_at;
use hansa_api::names;
use serde_json::Value;

use super::check::{Check, entries};

const MAX_COUNT: usize = 512;
const MAX_BYTES: usize = 256 << 10;

/// A driver's name, which must be there.
pub(super) fn driver(check: &mut Check, field: &str, obj: &Value) {
    let name = str_at(obj, &[field]);
    if name.is_empty() {
        return check.required(field, "");
    }
    let lower = name.to_lowercase();
    check.text(field, &lower, names::qualified_name(&lower));
}

/// The driver's parameters.
pub(super) fn parameters(check: &mut Check, obj: &Value, required: bool) {
    let path = "parameters";
    let count = entries(obj, &[path]).count();
    if count > MAX_COUNT {
        return check.add(FieldError::too_long(path, MAX_COUNT));
    }
    let mut size = 0;
    for (key, value) in entries(obj, &[path]) {
        if key.is_empty() {
            check.invalid(path, "", "field can not be empty.");
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > MAX_BYTES {
        check.add(FieldError::too_long(path, MAX_BYTES));
    }
    if required && count == 0 {
        check.required(path, "must contain at least one key/value pair");
    }
}

/// A CSI driver's name at any path.
pub(super) fn csi_driver(check: &mut Check, path: &str, name: &str) {
    if name.is_empty() {
        return check.required(path, "");
    }
    if name.len() > names::LABEL_MAX {
        check.add(FieldError::too_long(path, names::LABEL_MAX));
    }
    check.text(path, name, names::dns1123_subdomain(&name.to_lowercase()));
}
