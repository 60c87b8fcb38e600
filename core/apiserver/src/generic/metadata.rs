//! `metadata` of every kind: what the server sets, what clients may not touch, what must be valid.

use hansa_api::field::FieldError;
use hansa_api::meta;
use hansa_api::names;
use hansa_api::status::ApiError;
use serde_json::{Map, Value};

use super::catalog::Served;
use super::context::Context;

const ANNOTATIONS_MAX: usize = 256 << 10;

/// Metadata that only the server writes; a client's values are replaced by what is stored.
const SERVERS: [&str; 5] =
    ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"];

/// The mark of an object that is being deleted.
const MARKS: [&str; 2] = ["deletionTimestamp", "deletionGracePeriodSeconds"];

/// What an owner reference must have, and the complaint where it has not.
const OWNER_FIELDS: [(&str, &str); 4] = [
    ("apiVersion", "version must not be empty"),
    ("kind", "must not be empty"),
    ("name", "must not be empty"),
    ("uid", "must not be empty"),
];

/// Puts an object into the request's namespace and takes the namespace away from cluster-scoped
/// kinds; an object that names another namespace or name than the path, or none, is a 400.
pub fn place(served: &Served, ctx: &Context, obj: &mut Value) -> Result<(), ApiError> {
    if !served.resource.namespaced {
        meta::set_text(obj, "namespace", "");
    } else if meta::namespace(obj).is_empty() {
        meta::set_text(obj, "namespace", &ctx.namespace);
    } else if meta::namespace(obj) != ctx.namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    check_name(obj, &ctx.name)
}

/// An object must say in itself which one it is, and that must be the one in the path, if there is
/// one.
///
/// # Errors
/// 400 if it does not.
pub fn check_name(obj: &Value, path: &str) -> Result<(), ApiError> {
    let own = meta::name(obj);
    if path.is_empty() || own == path {
        return Ok(());
    }
    Err(ApiError::bad_request(match own.is_empty() {
        true => format!(
            "the name of the object ({path} based on URL) was undeterminable: name must be provided"
        ),
        false => {
            format!("the name of the object ({own}) does not match the name on the URL ({path})")
        }
    }))
}

/// Gives a new object its identity: uid, creation time, first generation.
pub fn create(served: &Served, obj: &mut Value) -> Result<(), ApiError> {
    if !matches!(meta::resource_version(obj), "" | "0") {
        return Err(ApiError::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    let counts = served.strategy.has_generation(obj);
    let metadata = meta::metadata_mut(obj);
    for field in SERVERS.iter().chain(&["resourceVersion", "selfLink"]) {
        metadata.remove(*field);
    }
    metadata.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
    metadata.insert("creationTimestamp".into(), hansa_api::time::now().into());
    if counts {
        metadata.insert("generation".into(), 1.into());
    }
    drop_empty(metadata);
    Ok(())
}

/// Restores what only the server writes. A mark for deletion that a client made up stays, for
/// validation to refuse.
pub fn restore(obj: &mut Value, old: &Value) {
    let metadata = meta::metadata_mut(obj);
    let before = meta::metadata(old);
    for field in SERVERS.iter().chain(&["resourceVersion", "name", "namespace"]) {
        match before.and_then(|old| old.get(*field)) {
            Some(value) => {
                metadata.insert((*field).into(), value.clone());
            }
            None if MARKS.contains(field) => {}
            None => {
                metadata.remove(*field);
            }
        }
    }
    drop_empty(metadata);
}

/// Absent and empty are the same; absent is what is stored.
fn drop_empty(metadata: &mut Map<String, Value>) {
    metadata.retain(|_, value| match value {
        Value::Null => false,
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    });
}

/// Counts a change outside `metadata` and `status`.
pub fn count_generation(served: &Served, obj: &mut Value, old: &Value) {
    let parts = served.strategy.metadata_is_desired();
    let same = desired(served, obj) == desired(served, old)
        && parts.iter().all(|part| obj["metadata"].get(part) == old["metadata"].get(part));
    if same || !served.strategy.has_generation(obj) {
        return;
    }
    let next = meta::generation(old) + 1;
    meta::set_generation(obj, next);
}

fn desired<'a>(served: &Served, obj: &'a Value) -> Vec<(&'a String, &'a Value)> {
    let fields = obj.as_object().into_iter().flatten();
    let own = |key: &str| key == "metadata" || (key == "status" && served.resource.has_status());
    fields.filter(|(key, _)| !own(key.as_str())).collect()
}

/// Everything that is wrong with an object's metadata.
pub fn validate(served: &Served, obj: &Value) -> Vec<FieldError> {
    let mut errors = validate_name(served, obj);
    if served.resource.namespaced {
        let namespace = meta::namespace(obj);
        if namespace.is_empty() {
            errors.push(FieldError::required("metadata.namespace", ""));
        }
        let why = names::dns1123_label(namespace).into_iter().filter(|_| !namespace.is_empty());
        errors.extend(why.map(|why| FieldError::invalid("metadata.namespace", namespace, why)));
    }
    errors.extend(validate_labels(obj));
    errors.extend(validate_annotations(obj));
    errors.extend(validate_finalizers(served, obj));
    errors.extend(validate_owners(obj));
    errors
}

fn validate_name(served: &Served, obj: &Value) -> Vec<FieldError> {
    let mut errors = validate_name_base(served, meta::generate_name_base(obj));
    let name = meta::name(obj);
    if name.is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
        return errors;
    }
    let why = served.strategy.validate_name(name).into_iter();
    errors.extend(why.map(|why| FieldError::invalid("metadata.name", name, why)));
    errors
}

/// What a name is generated from must be valid in front of the rest, so it may end in a dash.
fn validate_name_base(served: &Served, base: &str) -> Vec<FieldError> {
    let masked = match base.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => format!("{rest}a"),
        _ if base.is_empty() => return Vec::new(),
        _ => base.to_string(),
    };
    let why = served.strategy.validate_name(&masked).into_iter();
    why.map(|why| FieldError::invalid("metadata.generateName", base, why)).collect()
}

fn validate_labels(obj: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in meta::labels(obj).into_iter().flatten() {
        let text = value.as_str().unwrap_or_default();
        let keys = names::qualified_name(key).into_iter();
        errors.extend(keys.map(|why| FieldError::invalid("metadata.labels", key.as_str(), why)));
        let values = names::label_value(text).into_iter();
        errors.extend(values.map(|why| FieldError::invalid("metadata.labels", text, why)));
    }
    errors
}

fn validate_annotations(obj: &Value) -> Vec<FieldError> {
    let path = "metadata.annotations";
    let (mut errors, mut size) = (Vec::new(), 0);
    for (key, value) in meta::annotations(obj).into_iter().flatten() {
        let why = names::qualified_name(&key.to_lowercase()).into_iter();
        errors.extend(why.map(|why| FieldError::invalid(path, key.as_str(), why)));
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_MAX {
        errors.push(FieldError::too_long(path, ANNOTATIONS_MAX));
    }
    errors
}

fn validate_finalizers(served: &Served, obj: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (at, name) in meta::finalizers(obj).enumerate() {
        let why = names::qualified_name(name).into_iter();
        errors.extend(why.map(|why| FieldError::invalid("metadata.finalizers", name, why)));
        let standard = ["kubernetes", "orphan", "foregroundDeletion"].contains(&name);
        if !served.is_custom() && !standard && !name.contains('/') {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(format!("metadata.finalizers[{at}]"), name, why));
        }
    }
    let both = ["orphan", "foregroundDeletion"];
    if both.iter().all(|name| meta::finalizers(obj).any(|own| own == *name)) {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid("metadata.finalizers", list(obj), why));
    }
    errors
}

fn list(obj: &Value) -> Value {
    meta::at(obj, &["metadata", "finalizers"]).cloned().unwrap_or_default()
}

fn validate_owners(obj: &Value) -> Vec<FieldError> {
    let path = "metadata.ownerReferences";
    let owners = meta::owner_references(obj);
    let mut errors: Vec<_> = owners.iter().flat_map(validate_owner).collect();
    let mut controllers = owners.iter().filter(|owner| meta::bool_at(owner, &["controller"]));
    if let (Some(first), Some(second)) = (controllers.next(), controllers.next()) {
        let name = |owner| {
            format!("{}/{}", meta::str_at(owner, &["kind"]), meta::str_at(owner, &["name"]))
        };
        let why = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references \
             for {} and {}",
            name(first),
            name(second)
        );
        errors.push(FieldError::invalid(path, owners.to_vec(), why));
    }
    errors
}

fn validate_owner(owner: &Value) -> Vec<FieldError> {
    let path = "metadata.ownerReferences";
    let mut errors = Vec::new();
    for (field, why) in OWNER_FIELDS {
        if meta::str_at(owner, &[field]).is_empty() {
            errors.push(FieldError::invalid(format!("{path}.{field}"), "", why));
        }
    }
    if owner["apiVersion"] == "v1" && owner["kind"] == "Event" {
        let why = "/v1, Kind=Event is disallowed from being an owner";
        errors.push(FieldError::invalid(path, owner.clone(), why));
    }
    errors
}

/// Only a DELETE marks an object.
fn made_up_marks(obj: &Value) -> Vec<FieldError> {
    let marks = MARKS.iter().filter_map(|field| {
        let value = meta::at(obj, &["metadata", field])?.clone();
        Some(FieldError::invalid(format!("metadata.{field}"), value, "field is immutable"))
    });
    marks.collect()
}

/// What an update may not do to metadata.
pub fn validate_update(obj: &Value, old: &Value) -> Vec<FieldError> {
    if meta::deletion_timestamp(old).is_none() {
        return made_up_marks(obj);
    }
    let before: Vec<_> = meta::finalizers(old).collect();
    let fresh: Vec<_> = meta::finalizers(obj).filter(|name| !before.contains(name)).collect();
    if fresh.is_empty() {
        return Vec::new();
    }
    let quoted: Vec<_> = fresh.iter().map(|name| format!("{name:?}")).collect();
    let why = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers \
         []string{{{}}}",
        quoted.join(", ")
    );
    vec![FieldError::forbidden("metadata.finalizers", why)]
}

#[cfg(test)]
mod tests {
    use super::super::resource::Resource;
    use super::super::strategy::Plain;
    use super::*;
    use serde_json::json;

    fn pods() -> Served {
        Served::builtin(Resource::new("", "v1", "Pod", "pods").namespaced().status(), Plain)
    }

    #[test]
    fn clients_cannot_choose_what_is_the_servers() {
        let mut obj = json!({"metadata": {"name": "a", "uid": "mine", "generation": 7,
            "deletionTimestamp": "2020-01-01T00:00:00Z", "labels": {}}, "spec": {}});
        create(&pods(), &mut obj).unwrap();
        assert_ne!(obj["metadata"]["uid"], "mine");
        assert_eq!(obj["metadata"]["generation"], 1);
        assert!(meta::deletion_timestamp(&obj).is_none());
        assert!(obj["metadata"].get("labels").is_none());

        let mut changed = obj.clone();
        changed["metadata"]["uid"] = "other".into();
        restore(&mut changed, &obj);
        assert_eq!(changed, obj);
        changed["metadata"]["deletionTimestamp"] = "2020-01-01T00:00:00Z".into();
        restore(&mut changed, &obj);
        let why = "metadata.deletionTimestamp: Invalid value: \"2020-01-01T00:00:00Z\": field is \
                   immutable";
        assert_eq!(validate_update(&changed, &obj)[0].to_string(), why);
    }

    #[test]
    fn the_path_decides_on_name_and_namespace() {
        let ctx = Context::internal("update", "n", "a");
        let mut obj = json!({"metadata": {"name": "a"}});
        place(&pods(), &ctx, &mut obj).unwrap();
        assert_eq!(obj["metadata"], json!({"name": "a", "namespace": "n"}));
        for other in [json!({}), json!({"name": "b"}), json!({"name": "a", "namespace": "m"})] {
            let error = place(&pods(), &ctx, &mut json!({"metadata": other})).unwrap_err();
            assert_eq!(error.code, 400);
        }
    }

    #[test]
    fn generation_counts_what_is_desired_only() {
        let old = json!({"metadata": {"generation": 3}, "spec": {"a": 1}, "status": {}});
        let cases = [
            (json!({"metadata": {"generation": 3, "labels": {"a": "b"}}, "spec": {"a": 1}}), 3),
            (json!({"metadata": {"generation": 3}, "spec": {"a": 2}}), 4),
        ];
        for (mut obj, generation) in cases {
            count_generation(&pods(), &mut obj, &old);
            assert_eq!(meta::generation(&obj), generation);
        }
    }

    #[test]
    fn bad_metadata_is_told_field_by_field() {
        let obj = json!({"metadata": {"name": "Not_Good", "namespace": "n", "generateName": "Q-",
            "labels": {"a b": "c", "ok": "-"}, "finalizers": ["no slash/x/y", "bare"],
            "ownerReferences": [{"kind": "A", "name": "a", "controller": true},
                {"kind": "B", "name": "b", "controller": true}]}});
        let errors = validate(&pods(), &obj);
        let has = |path: &str, why: &str| {
            errors.iter().any(|error| error.path == path && error.to_string().contains(why))
        };
        for (path, why) in [
            ("metadata.name", "RFC 1123"),
            ("metadata.generateName", "Invalid value: \"Q-\""),
            ("metadata.labels", "Invalid value: \"a b\""),
            ("metadata.finalizers", "no slash"),
            ("metadata.finalizers[1]", "neither a standard finalizer name"),
            ("metadata.ownerReferences.uid", "must not be empty"),
            ("metadata.ownerReferences", "in references for A/a and B/b"),
        ] {
            assert!(has(path, why), "{path}: {why} in {errors:?}");
        }
        let fine = json!({"metadata": {"name": "a", "namespace": "n", "generateName": "a-"}});
        assert_eq!(validate(&pods(), &fine), []);
    }

    #[test]
    fn a_dying_object_takes_no_new_finalizer() {
        let old = json!({"metadata": {"deletionTimestamp": "x", "finalizers": ["a/b"]}});
        let more = json!({"metadata": {"finalizers": ["a/b", "c/d"]}});
        assert!(validate_update(&old, &old).is_empty());
        let text = validate_update(&more, &old)[0].to_string();
        assert!(text.contains(r#"found new finalizers []string{"c/d"}"#), "{text}");
    }
}
