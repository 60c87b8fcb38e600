//! Writes that say only what changes, and nothing if nothing does.

use std::fmt::Debug;

use hansa_client::kube::api::{Api, Patch, PatchParams};
use hansa_client::kube::{self, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// The JSON merge patch (RFC 7396) that turns `old` into `new`; nothing if they are equal.
pub fn merge_diff(old: &Value, new: &Value) -> Option<Value> {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let mut patch = Map::new();
            for (key, value) in new {
                match old.get(key) {
                    Some(before) => {
                        patch.extend(merge_diff(before, value).map(|p| (key.clone(), p)));
                    }
                    None if value.is_null() => {}
                    None => drop(patch.insert(key.clone(), value.clone())),
                }
            }
            let gone = old.iter().filter(|(k, v)| !new.contains_key(*k) && !v.is_null());
            patch.extend(gone.map(|(key, _)| (key.clone(), Value::Null)));
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        _ => (old != new).then(|| new.clone()),
    }
}

/// Which part of an object is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Metadata and spec.
    Main,
    /// The status subresource.
    Status,
}

/// Writes the difference between two versions of an object, if there is one, and fails if the
/// object
/// has changed since `old` was read. Returns what the server now holds.
pub async fn write<K>(api: &Api<K>, old: &K, new: &K, part: Part) -> Result<Option<K>, kube::Error>
where
    K: Resource + Clone + DeserializeOwned + Serialize + Debug,
{
    let serialize = |k: &K| serde_json::to_value(k).map_err(kube::Error::SerdeError);
    let (before, after) = (serialize(old)?, serialize(new)?);
    let Some(patch) = part_diff(&before, &after, part) else { return Ok(None) };
    let patch = locked(patch, old.meta().resource_version.as_deref());
    let name = old.meta().name.clone().unwrap_or_default();
    let params = PatchParams::default();
    let written = match part {
        Part::Main => api.patch(&name, &params, &Patch::Merge(&patch)).await?,
        Part::Status => api.patch_status(&name, &params, &Patch::Merge(&patch)).await?,
    };
    Ok(Some(written))
}

fn part_diff(before: &Value, after: &Value, part: Part) -> Option<Value> {
    let fields: &[&str] = match part {
        Part::Main => &["metadata", "spec"],
        Part::Status => &["status"],
    };
    let pick = |v: &Value| -> Value {
        let some = fields.iter().filter_map(|f| Some(((*f).to_owned(), v.get(f)?.clone())));
        Value::Object(some.collect())
    };
    merge_diff(&pick(before), &pick(after))
}

fn locked(mut patch: Value, resource_version: Option<&str>) -> Value {
    if let Some(version) = resource_version {
        if patch.get("metadata").is_none() {
            patch["metadata"] = json!({});
        }
        patch["metadata"]["resourceVersion"] = json!(version);
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_says_what_changes_and_takes_away_what_goes() {
        let old = json!({"a": 1, "b": {"c": 1, "d": 2}, "e": [1, 2]});
        let new = json!({"a": 1, "b": {"c": 3}, "e": [1], "f": "x"});
        let patch = merge_diff(&old, &new).unwrap();
        assert_eq!(patch, json!({"b": {"c": 3, "d": null}, "e": [1], "f": "x"}));
        assert_eq!(merge_diff(&new, &new), None);
        assert_eq!(merge_diff(&json!({}), &json!({"a": null})), None);
    }

    #[test]
    fn a_part_is_written_alone_and_locked() {
        let old = json!({"metadata": {"name": "x"}, "spec": {"n": 1}, "status": {"s": 1}});
        let new = json!({"metadata": {"name": "x"}, "spec": {"n": 2}, "status": {"s": 2}});
        let status = part_diff(&old, &new, Part::Status).unwrap();
        assert_eq!(status, json!({"status": {"s": 2}}));
        let locked = locked(status, Some("7"));
        assert_eq!(locked["metadata"]["resourceVersion"], "7");
        let main = part_diff(&old, &new, Part::Main).unwrap();
        assert_eq!(main, json!({"spec": {"n": 2}}));
    }
}
