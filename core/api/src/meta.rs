//! Cheap accessors over JSON objects' metadata, and generated names.

use rand::Rng;
use serde_json::{Map, Value};

/// A JSON object's fields.
pub type Fields = Map<String, Value>;

/// The metadata's fields, if the object has any.
pub fn metadata(object: &Value) -> Option<&Fields> {
    object.get("metadata")?.as_object()
}

/// The metadata's fields, made if missing.
pub fn metadata_mut(object: &mut Value) -> &mut Fields {
    fields_mut(object, &["metadata"])
}

/// The fields at a path, each step made an object if it is none.
pub fn fields_mut<'a>(object: &'a mut Value, path: &[&str]) -> &'a mut Fields {
    let mut at = object;
    for step in path {
        at = as_fields_mut(at).entry(*step).or_insert_with(|| Value::Object(Map::new()));
    }
    as_fields_mut(at)
}

/// The value's fields; a value that is no object becomes an empty one.
pub fn as_fields_mut(value: &mut Value) -> &mut Fields {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("made an object above")
}

/// The value at a path of field names.
pub fn at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, step| value.get(step)).filter(|value| !value.is_null())
}

/// The string at a path; empty if there is none.
pub fn str_at<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    at(object, path).and_then(Value::as_str).unwrap_or_default()
}

/// The integer at a path.
pub fn int_at(object: &Value, path: &[&str]) -> Option<i64> {
    at(object, path)?.as_i64()
}

/// The boolean at a path; false if there is none.
pub fn bool_at(object: &Value, path: &[&str]) -> bool {
    at(object, path).and_then(Value::as_bool).unwrap_or_default()
}

/// The list at a path; empty if there is none.
pub fn list_at<'a>(object: &'a Value, path: &[&str]) -> &'a [Value] {
    at(object, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The map at a path.
pub fn map_at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Fields> {
    at(object, path)?.as_object()
}

/// `apiVersion`, empty if missing.
pub fn api_version(object: &Value) -> &str {
    str_at(object, &["apiVersion"])
}

/// `kind`, empty if missing.
pub fn kind(object: &Value) -> &str {
    str_at(object, &["kind"])
}

/// `metadata.name`, empty if missing.
pub fn name(object: &Value) -> &str {
    text(object, "name")
}

/// `metadata.generateName`, empty if missing.
pub fn generate_name_base(object: &Value) -> &str {
    text(object, "generateName")
}

/// `metadata.namespace`, empty if missing.
pub fn namespace(object: &Value) -> &str {
    text(object, "namespace")
}

/// `metadata.uid`, empty if missing.
pub fn uid(object: &Value) -> &str {
    text(object, "uid")
}

/// `metadata.resourceVersion`, empty if missing.
pub fn resource_version(object: &Value) -> &str {
    text(object, "resourceVersion")
}

/// `metadata.generation`, 0 if missing.
pub fn generation(object: &Value) -> i64 {
    int_at(object, &["metadata", "generation"]).unwrap_or_default()
}

/// `metadata.creationTimestamp`.
pub fn creation_timestamp(object: &Value) -> Option<&str> {
    Some(text(object, "creationTimestamp")).filter(|text| !text.is_empty())
}

/// `metadata.deletionTimestamp`.
pub fn deletion_timestamp(object: &Value) -> Option<&str> {
    Some(text(object, "deletionTimestamp")).filter(|text| !text.is_empty())
}

/// `metadata.deletionGracePeriodSeconds`.
pub fn deletion_grace_period_seconds(object: &Value) -> Option<i64> {
    int_at(object, &["metadata", "deletionGracePeriodSeconds"])
}

/// `metadata.labels`.
pub fn labels(object: &Value) -> Option<&Fields> {
    map_at(object, &["metadata", "labels"])
}

/// One label's value.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    labels(object)?.get(key)?.as_str()
}

/// `metadata.annotations`.
pub fn annotations(object: &Value) -> Option<&Fields> {
    map_at(object, &["metadata", "annotations"])
}

/// One annotation's value.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    annotations(object)?.get(key)?.as_str()
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    list_at(object, &["metadata", "finalizers"]).iter().filter_map(Value::as_str)
}

/// `metadata.ownerReferences`.
pub fn owner_references(object: &Value) -> &[Value] {
    list_at(object, &["metadata", "ownerReferences"])
}

/// The owner reference that has `controller: true`.
pub fn controller_of(object: &Value) -> Option<&Value> {
    owner_references(object).iter().find(|owner| bool_at(owner, &["controller"]))
}

/// Sets a string of the metadata; an empty one is removed.
pub fn set_text(object: &mut Value, field: &str, value: &str) {
    let metadata = metadata_mut(object);
    if value.is_empty() {
        metadata.remove(field);
    } else {
        metadata.insert(field.into(), value.into());
    }
}

/// Sets one label.
pub fn set_label(object: &mut Value, key: &str, value: &str) {
    fields_mut(object, &["metadata", "labels"]).insert(key.into(), value.into());
}

/// Sets one annotation.
pub fn set_annotation(object: &mut Value, key: &str, value: &str) {
    fields_mut(object, &["metadata", "annotations"]).insert(key.into(), value.into());
}

/// Sets `metadata.generation`.
pub fn set_generation(object: &mut Value, generation: i64) {
    metadata_mut(object).insert("generation".into(), generation.into());
}

/// Makes sure that a field has a value: `value` goes in where there is none.
pub fn default_field(fields: &mut Fields, field: &str, value: impl Into<Value>) {
    let missing = fields.get(field).is_none_or(Value::is_null);
    if missing {
        fields.insert(field.into(), value.into());
    }
}

/// As [`default_field`], and an empty string counts as missing too.
pub fn default_text(fields: &mut Fields, field: &str, value: &str) {
    if fields.get(field).and_then(Value::as_str).is_some_and(str::is_empty) {
        fields.remove(field);
    }
    default_field(fields, field, value);
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    str_at(object, &["metadata", field])
}

/// Letters and digits that generated names end in: no vowels, nothing that looks like another.
const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const MAX_NAME: usize = 63;
const SUFFIX: usize = 5;

/// `count` random characters that are safe in a name.
pub fn random_suffix(count: usize) -> String {
    let mut rng = rand::rng();
    (0..count)
        .map(|_| char::from(NAME_ALPHABET[rng.random_range(0..NAME_ALPHABET.len())]))
        .collect()
}

/// A name from `generateName`: the base, cut so that the whole has at most 63 bytes, and five
/// characters.
pub fn generate_name(base: &str) -> String {
    let mut end = base.len().min(MAX_NAME - SUFFIX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{}", &base[..end], random_suffix(SUFFIX))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn accessors_answer_for_missing_and_present_fields() {
        let pod = json!({"metadata": {"name": "a", "labels": {"app": "x"}, "finalizers": ["f"],
            "ownerReferences": [{"uid": "1"}, {"uid": "2", "controller": true}]}});
        assert_eq!(name(&pod), "a");
        assert_eq!(namespace(&pod), "");
        assert_eq!(label(&pod, "app"), Some("x"));
        assert_eq!(finalizers(&pod).collect::<Vec<_>>(), ["f"]);
        assert_eq!(controller_of(&pod).unwrap()["uid"], "2");
        assert_eq!(deletion_timestamp(&pod), None);
        assert_eq!(generation(&json!(null)), 0);
    }

    #[test]
    fn setters_make_what_is_missing_and_drop_what_is_empty() {
        let mut object = json!({});
        set_text(&mut object, "name", "a");
        set_label(&mut object, "k", "v");
        set_text(&mut object, "name", "");
        assert_eq!(object, json!({"metadata": {"labels": {"k": "v"}}}));
    }

    #[test]
    fn generated_names_fit_in_a_label() {
        let name = generate_name(&"a".repeat(80));
        assert_eq!(name.len(), 63);
        assert!(generate_name("web-").starts_with("web-"));
        assert_ne!(generate_name("web-"), generate_name("web-"));
    }
}
