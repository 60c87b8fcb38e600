//! What strict decoding complains about, in the order of the text: unknown and repeated fields of
//! JSON, read a second time and by its type.
//!
//! Only text that was found wanting is read again, so what is well formed pays nothing for it.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::decode::MAX_COMPLAINTS;
use super::{Bundle, FieldType, TypeId};
use crate::field;

/// `unknown field "spec.foo"` and `duplicate field "spec.replicas"`, as they come in the text; a
/// field that is unknown twice is named once, and nothing is said of what has no type.
pub fn complaints(bundle: &Bundle, id: TypeId, json: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let reader =
        Reader { bundle, kind: &FieldType::Object(id), path: &Path::Root, found: &mut found };
    // Text that is no JSON was refused before.
    let _ = reader.deserialize(&mut serde_json::Deserializer::from_slice(json));
    found
}

/// Where a reader stands; made into text only for a complaint.
pub(super) enum Path<'a> {
    /// The object itself.
    Root,
    /// A field, or a map's entry.
    Field(&'a Path<'a>, &'a str),
    /// A list's item.
    Item(&'a Path<'a>, usize),
}

impl Path<'_> {
    /// `spec.containers[0].name`.
    pub(super) fn render(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Field(above, name) => field::child(&above.render(), name),
            Self::Item(above, index) => field::index(&above.render(), *index),
        }
    }
}

struct Reader<'a> {
    bundle: &'a Bundle,
    kind: &'a FieldType,
    path: &'a Path<'a>,
    found: &'a mut Vec<String>,
}

impl Reader<'_> {
    fn below<'b>(&'b mut self, kind: &'b FieldType, path: &'b Path<'b>) -> Reader<'b> {
        Reader { bundle: self.bundle, kind, path, found: self.found }
    }

    fn complain(&mut self, what: &str, name: &str) {
        let text = format!("{what} field {:?}", Path::Field(self.path, name).render());
        if self.found.len() < MAX_COMPLAINTS && !self.found.contains(&text) {
            self.found.push(text);
        }
    }
}

/// The type of a field or an entry; none if it is unknown.
fn kind_below<'a>(bundle: &'a Bundle, kind: &'a FieldType, name: &str) -> Option<&'a FieldType> {
    match kind {
        FieldType::Object(id) => bundle.get(*id).field(name).map(|field| &field.kind),
        FieldType::Map(item) => Some(item),
        _ => None,
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.kind {
            FieldType::Object(_) | FieldType::Map(_) | FieldType::List(_) => {
                deserializer.deserialize_any(self)
            }
            _ => deserializer.deserialize_ignored_any(IgnoredAny).map(drop),
        }
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let kind = match self.kind {
            FieldType::List(item) => item,
            other => other,
        };
        for index in 0.. {
            let path = Path::Item(self.path, index);
            if items.next_element_seed(self.below(kind, &path))?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = entries.next_key::<String>()? {
            let Some(kind) = kind_below(self.bundle, self.kind, &name) else {
                self.complain("unknown", &name);
                entries.next_value::<IgnoredAny>()?;
                continue;
            };
            if seen.contains(&name) {
                self.complain("duplicate", &name);
            }
            let path = Path::Field(self.path, &name);
            entries.next_value_seed(self.below(kind, &path))?;
            seen.insert(name);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GroupVersionKind;
    use crate::schema::builtin;

    fn complaints_of(group: &str, kind: &str, json: &str) -> Vec<String> {
        let id = builtin().type_of(&GroupVersionKind::new(group, "v1", kind)).unwrap();
        complaints(builtin(), id, json.as_bytes())
    }

    #[test]
    fn complaints_come_in_the_order_of_the_text() {
        let deployment = r#"{"kind": "Deployment", "metadata": {"labels": {"a": "1", "a": "2"}},
            "spec": {"zzz": {"a": 1, "a": 2}, "zzz": 1, "replicas": 1, "replicas": 2,
            "template": {"spec": {"containers": [{}, {"name": "a", "imag": "b"}]}}}}"#;
        assert_eq!(
            complaints_of("apps", "Deployment", deployment),
            [
                r#"duplicate field "metadata.labels.a""#,
                r#"unknown field "spec.zzz""#,
                r#"duplicate field "spec.replicas""#,
                r#"unknown field "spec.template.spec.containers[1].imag""#,
            ]
        );
    }

    #[test]
    fn what_has_no_type_is_as_it_is() {
        let revision = r#"{"kind": "ControllerRevision", "data": {"a": 1, "a": 2}}"#;
        assert!(complaints_of("apps", "ControllerRevision", revision).is_empty());
    }
}
