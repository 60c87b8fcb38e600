//! What an expression may name: variables and the types that it may construct.

use std::collections::BTreeMap;

use crate::types::{Decl, Type};

/// The names that expressions are checked against.
#[derive(Clone, Debug, Default)]
pub struct Env {
    variables: BTreeMap<String, Decl>,
    structs: Vec<&'static str>,
    /// Whether the calls that the library of JSON patches brings are known.
    pub(crate) json_patch: bool,
}

impl Env {
    /// Nothing but the functions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a variable; its sizes are used for cost estimates.
    pub fn variable(mut self, name: &str, decl: Decl) -> Self {
        self.variables.insert(name.to_string(), decl);
        self
    }

    /// Adds a variable of a type without known sizes.
    pub fn typed(self, name: &str, ty: Type) -> Self {
        self.variable(name, Decl::of(ty))
    }

    /// Adds struct literals: of these names, and of names that start with one and a dot
    /// (`Object.spec`). Their fields are not checked.
    pub fn structs(mut self, names: &[&'static str]) -> Self {
        self.structs.extend_from_slice(names);
        self
    }

    /// Adds what mutations are written with: `Object{…}`, `JSONPatch{…}`, `jsonpatch.escapeKey`.
    pub fn mutations(mut self) -> Self {
        self.json_patch = true;
        self.structs(&["Object", "JSONPatch"])
    }

    pub(crate) fn decl(&self, name: &str) -> Option<&Decl> {
        self.variables.get(name)
    }

    /// The known struct that a literal's name belongs to.
    pub(crate) fn struct_named(&self, name: &str) -> Option<&'static str> {
        let belongs = |known: &&&'static str| {
            name.strip_prefix(**known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.structs.iter().find(belongs).copied()
    }
}
