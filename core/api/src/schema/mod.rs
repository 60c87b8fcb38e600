//! The schema bundle: every built-in type's fields, types, list and merge keys, as data.
//!
//! `data/bundle.json` is made by `examples/make_bundle.rs` from the release's published schemas;
//! `data/always.txt` names, type by type, the fields that upstream writes even when they are empty;
//! a question mark stands behind those that are null then. `data/omitted.txt` names the scalars that it
//! does not write when they are zero.

mod bundle;
pub mod decode;
mod fill;
pub mod strict;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::gvk::GroupVersionKind;

pub use fill::fill;

/// Points at a type of the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub(crate) u32);

/// All built-in types of the Kubernetes version that we present.
#[derive(Debug)]
pub struct Bundle {
    types: Vec<TypeDef>,
    by_name: HashMap<String, TypeId>,
    by_kind: HashMap<GroupVersionKind, TypeId>,
}

/// One object type.
#[derive(Debug)]
pub struct TypeDef {
    /// Its full name, such as `io.k8s.api.core.v1.Pod`.
    pub name: String,
    /// The kinds it is the type of.
    pub kinds: Vec<GroupVersionKind>,
    /// Its fields, sorted by name.
    pub fields: Vec<FieldDef>,
    /// Whether it is replaced as a whole (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
}

/// One field of an object type.
#[derive(Debug)]
pub struct FieldDef {
    /// Its JSON name.
    pub name: String,
    /// Its type.
    pub kind: FieldType,
    /// Whether it must be there.
    pub required: bool,
    /// How a list is merged by server-side apply.
    pub list_type: Option<ListType>,
    /// The keys that identify an element where the list type is `map`.
    pub map_keys: Vec<String>,
    /// The key that identifies an element in a strategic merge patch.
    pub merge_key: Option<String>,
    /// How a strategic merge patch treats the field.
    pub strategy: PatchStrategy,
    /// Whether a map is replaced as a whole or merged, where that is not the type's own way
    /// (`x-kubernetes-map-type`).
    pub map_type: Option<MapType>,
    /// Whether upstream writes the field even when it is empty.
    pub always: bool,
    /// Whether its empty value is null, and not its type's own.
    pub pointer: bool,
    /// Whether a zero is not written.
    pub omits_zero: bool,
}

/// How server-side apply merges a map or an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapType {
    /// As one value.
    Atomic,
    /// By its entries.
    Granular,
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// A string.
    String,
    /// Base64 text.
    Bytes,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// A floating-point number.
    Double,
    /// A boolean.
    Bool,
    /// An amount with a unit.
    Quantity,
    /// An integer or a string, such as a port or a percentage.
    IntOrString,
    /// RFC 3339, whole seconds.
    Time,
    /// RFC 3339, microseconds.
    MicroTime,
    /// Any JSON.
    Any,
    /// An object of whatever fields.
    FreeObject,
    /// A JSON schema or a list of them.
    SchemaOrArray,
    /// A JSON schema or a boolean.
    SchemaOrBool,
    /// A JSON schema or a list of strings.
    SchemaOrStrings,
    /// A list.
    List(Box<FieldType>),
    /// A map from strings.
    Map(Box<FieldType>),
    /// Another object type.
    Object(TypeId),
}

/// How server-side apply merges a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListType {
    /// As one value.
    Atomic,
    /// As a set of scalars.
    Set,
    /// By the elements' keys.
    Map,
}

/// How a strategic merge patch treats a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    /// Lists are merged by key (or as sets) instead of replaced.
    pub merge: bool,
    /// A map is replaced instead of merged.
    pub replace: bool,
    /// `$retainKeys` applies.
    pub retain_keys: bool,
}

static BUILTIN: LazyLock<Bundle> = LazyLock::new(|| {
    let [always, omitted] =
        [include_str!("../../data/always.txt"), include_str!("../../data/omitted.txt")];
    bundle::parse(include_str!("../../data/bundle.json"), always, omitted)
        .expect("the committed bundle is well formed")
});

/// The bundle of the Kubernetes version that we present.
pub fn builtin() -> &'static Bundle {
    &BUILTIN
}

impl Bundle {
    /// The type of a kind.
    pub fn type_of(&self, kind: &GroupVersionKind) -> Option<TypeId> {
        self.by_kind.get(kind).copied()
    }

    /// The type of a full name such as `io.k8s.api.core.v1.Pod`.
    pub fn type_named(&self, name: &str) -> Option<TypeId> {
        self.by_name.get(name).copied()
    }

    /// What a type id stands for.
    pub fn get(&self, id: TypeId) -> &TypeDef {
        &self.types[id.0 as usize]
    }

    /// All types.
    pub fn types(&self) -> impl Iterator<Item = (TypeId, &TypeDef)> {
        (0..).map(TypeId).zip(&self.types)
    }
}

impl TypeDef {
    /// The field of this JSON name.
    pub fn field(&self, name: &str) -> Option<&FieldDef> {
        let at = self.fields.binary_search_by(|field| field.name.as_str().cmp(name)).ok()?;
        Some(&self.fields[at])
    }

    /// The last part of the name, such as `PodSpec`.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }

    /// The last two parts, such as `v1.PodSpec`.
    pub fn versioned_name(&self) -> &str {
        let mut dots = self.name.rmatch_indices('.');
        let second = dots.nth(1).map_or(0, |(at, _)| at + 1);
        &self.name[second..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field<'a>(kind: &str, name: &str) -> &'a FieldDef {
        let id = builtin().type_named(kind).unwrap_or_else(|| panic!("no type {kind}"));
        builtin().get(id).field(name).unwrap_or_else(|| panic!("no field {kind}.{name}"))
    }

    #[test]
    fn kinds_are_found_and_refer_to_each_other() {
        let kind = GroupVersionKind::new("apps", "v1", "Deployment");
        let deployment = builtin().get(builtin().type_of(&kind).unwrap());
        assert_eq!(deployment.short_name(), "Deployment");
        assert_eq!(deployment.versioned_name(), "v1.Deployment");
        let FieldType::Object(spec) = deployment.field("spec").unwrap().kind else {
            panic!("spec is an object")
        };
        assert_eq!(builtin().get(spec).name, "io.k8s.api.apps.v1.DeploymentSpec");
        assert!(builtin().get(spec).field("selector").unwrap().required);
    }

    #[test]
    fn keys_and_strategies_are_there() {
        let containers = field("io.k8s.api.core.v1.PodSpec", "containers");
        assert_eq!(containers.merge_key.as_deref(), Some("name"));
        assert!(containers.strategy.merge);
        assert_eq!(containers.list_type, Some(ListType::Map));
        let volumes = field("io.k8s.api.core.v1.PodSpec", "volumes");
        assert!(volumes.strategy.merge && volumes.strategy.retain_keys);
        assert_eq!(
            field("io.k8s.api.core.v1.Secret", "data").kind,
            FieldType::Map(Box::new(FieldType::Bytes))
        );
        let limits = field("io.k8s.api.core.v1.ResourceRequirements", "limits");
        assert_eq!(limits.kind, FieldType::Map(Box::new(FieldType::Quantity)));
        assert_eq!(field("io.k8s.api.apps.v1.DeploymentSpec", "replicas").kind, FieldType::Int32);
    }
}
