//! What files ConfigMaps, Secrets and the downward API make of themselves. Pure.

use std::collections::BTreeMap;

use hansa_api::k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret,
};

use super::atomic::{File, Payload};
use crate::fields::{self, FieldError, Place};

/// The permissions of files that name none.
pub const DEFAULT_MODE: u32 = 0o644;

/// A key that an item names is not there.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("references non-existent key: {0}")]
pub struct NoKey(pub String);

/// The mode of a volume or item.
#[must_use]
pub fn mode(mode: Option<i32>, default: u32) -> u32 {
    mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(default)
}

/// A ConfigMap's text and binary data.
#[must_use]
pub fn config_map_data(map: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let texts = map.data.iter().flatten();
    let texts = texts.map(|(key, text)| (key.clone(), text.clone().into_bytes()));
    let bytes = map.binary_data.iter().flatten().map(|(key, data)| (key.clone(), data.0.clone()));
    texts.chain(bytes).collect()
}

/// A Secret's data.
#[must_use]
pub fn secret_data(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    secret.data.iter().flatten().map(|(key, data)| (key.clone(), data.0.clone())).collect()
}

/// Files for keys: all of them, or those that items name under the paths they give.
///
/// # Errors
/// An item names a key that is not there, and the source is not optional.
pub fn from_keys(
    data: &BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    default_mode: u32,
    optional: bool,
) -> Result<Payload, NoKey> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        let file = |data: &Vec<u8>| File { data: data.clone(), mode: default_mode };
        return Ok(data.iter().map(|(key, data)| (key.clone(), file(data))).collect());
    };
    let mut files = Payload::new();
    for item in items {
        match data.get(&item.key) {
            Some(data) => {
                let file = File { data: data.clone(), mode: mode(item.mode, default_mode) };
                files.insert(item.path.clone(), file);
            }
            None if optional => {}
            None => return Err(NoKey(item.key.clone())),
        }
    }
    Ok(files)
}

/// Files of the downward API.
///
/// # Errors
/// A field or resource cannot be shown.
pub fn downward(
    pod: &Pod,
    place: &Place,
    items: &[DownwardAPIVolumeFile],
    default_mode: u32,
) -> Result<Payload, FieldError> {
    let mut files = Payload::new();
    for item in items {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(source), _) => fields::field(pod, place, &source.field_path)?,
            (None, Some(source)) => fields::resource(pod, None, place, source)?,
            (None, None) => continue,
        };
        let file = File { data: text.into_bytes(), mode: mode(item.mode, default_mode) };
        files.insert(item.path.clone(), file);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_choose_rename_and_set_modes() {
        let data: BTreeMap<_, _> =
            [("a".to_string(), b"1".to_vec()), ("b".to_string(), b"2".to_vec())].into();
        let all = from_keys(&data, None, 0o400, false).unwrap();
        assert_eq!(all["a"].mode, 0o400);
        assert_eq!(all.len(), 2);
        let item = |key: &str| KeyToPath {
            key: key.to_string(),
            path: "x/y".to_string(),
            mode: Some(0o600),
        };
        let one = from_keys(&data, Some(&[item("b")]), 0o400, false).unwrap();
        assert_eq!(one["x/y"], File { data: b"2".to_vec(), mode: 0o600 });
        assert_eq!(from_keys(&data, Some(&[item("c")]), 0, false), Err(NoKey("c".to_string())));
        assert!(from_keys(&data, Some(&[item("c")]), 0, true).unwrap().is_empty());
    }
}
