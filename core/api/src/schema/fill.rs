//! The fields that upstream writes even when they are empty, put into a tree.

use serde_json::{Map, Value};

use super::{Bundle, FieldDef, FieldType, TypeId};

/// Puts the empty fields that are always written into an object of a built-in kind. What is there
/// stays, and `metadata` as a whole.
///
/// A number that must be given is not made up outside of the status: that it is missing is for
/// validation to tell.
pub fn fill(bundle: &Bundle, id: TypeId, object: &mut Value) {
    Filling { bundle, in_status: false }.object(id, object);
}

#[derive(Clone, Copy)]
struct Filling<'a> {
    bundle: &'a Bundle,
    in_status: bool,
}

impl Filling<'_> {
    fn object(self, id: TypeId, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        let def = self.bundle.get(id);
        for field in def.fields.iter().filter(|field| field.name != "metadata") {
            let in_status = self.in_status || field.name == "status";
            Self { in_status, ..self }.field(field, fields);
        }
    }

    fn field(self, field: &FieldDef, fields: &mut Map<String, Value>) {
        match fields.get_mut(&field.name) {
            Some(value) if !value.is_null() => self.below(&field.kind, value),
            Some(_) => {}
            None if self.is_written(field) => {
                let mut value = if field.pointer { Value::Null } else { empty(&field.kind) };
                self.below(&field.kind, &mut value);
                fields.insert(field.name.clone(), value);
            }
            None => {}
        }
    }

    fn is_written(self, field: &FieldDef) -> bool {
        let number = matches!(
            field.kind,
            FieldType::Int32 | FieldType::Int64 | FieldType::Double | FieldType::IntOrString
        );
        field.always && (self.in_status || !(number && field.required))
    }

    fn below(self, kind: &FieldType, value: &mut Value) {
        match (kind, value) {
            (FieldType::Object(id), value) => self.nested(*id, value),
            (FieldType::List(kind), Value::Array(items)) => {
                items.iter_mut().for_each(|item| self.below(kind, item));
            }
            (FieldType::Map(kind), Value::Object(entries)) => {
                entries.values_mut().for_each(|value| self.below(kind, value));
            }
            _ => {}
        }
    }

    /// Of a nested object's metadata it matters only that it is there.
    fn nested(self, id: TypeId, value: &mut Value) {
        let metadata = self.bundle.get(id).field("metadata").filter(|field| field.always);
        if let (Some(fields), Some(_)) = (value.as_object_mut(), metadata) {
            fields.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        }
        self.object(id, value);
    }
}

/// A type's zero as Go writes it; lists, maps and times are null then.
fn empty(kind: &FieldType) -> Value {
    match kind {
        FieldType::String => "".into(),
        FieldType::Int32 | FieldType::Int64 | FieldType::Double | FieldType::IntOrString => {
            0.into()
        }
        FieldType::Bool => false.into(),
        FieldType::Quantity => "0".into(),
        FieldType::Object(_) => Value::Object(Map::new()),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gvk::GroupVersionKind;
    use crate::schema::builtin;

    fn filled(group: &str, kind: &str, mut object: Value) -> Value {
        let id = builtin().type_of(&GroupVersionKind::new(group, "v1", kind)).unwrap();
        fill(builtin(), id, &mut object);
        object
    }

    #[test]
    fn what_is_always_written_is_there_at_every_depth() {
        let containers = json!([{"name": "a"}]);
        let template = json!({"spec": {"containers": containers}});
        let job = json!({"metadata": {}, "spec": {"template": template}});
        let spec = json!({"containers": [{"name": "a", "resources": {}}]});
        let expected = json!({"metadata": {}, "status": {},
            "spec": {"template": {"metadata": {}, "spec": spec}}});
        assert_eq!(filled("batch", "Job", job), expected);
        let role = filled("rbac.authorization.k8s.io", "ClusterRole", json!({"metadata": {}}));
        assert_eq!(role, json!({"metadata": {}, "rules": null}));
        let set = filled("apps", "ReplicaSet", json!({"spec": {}}));
        assert_eq!(set["status"], json!({"replicas": 0}));
        let stays = json!({"metadata": {}, "rules": [{"verbs": ["get"]}]});
        assert_eq!(filled("rbac.authorization.k8s.io", "Role", stays.clone()), stays);
    }

    #[test]
    fn a_missing_number_of_a_spec_is_not_made_up() {
        let ports = json!([{"targetPort": 1}]);
        let service = filled("", "Service", json!({"spec": {"ports": ports}}));
        assert_eq!(service["spec"]["ports"], ports);
    }
}
