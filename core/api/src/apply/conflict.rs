//! Conflicts: fields that an applier wants to change and others manage.

use std::collections::BTreeMap;
use std::fmt;

use super::element::Path;
use super::managers::{Manager, Operation};
use super::set::{Set, text};
use crate::status::{ApiError, Reason};

/// A field that somebody else manages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Who does.
    pub manager: Manager,
    /// Which field.
    pub path: Path,
}

/// All fields that somebody else manages; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("conflicts over {} fields", .0.len())]
pub struct Conflicts(pub Vec<Conflict>);

impl Conflicts {
    pub(super) fn of(sets: &BTreeMap<Manager, Set>) -> Self {
        let conflicts = sets.iter().flat_map(|(manager, set)| {
            let one = |path| Conflict { manager: manager.clone(), path };
            set.paths().into_iter().map(one)
        });
        Self(conflicts.collect())
    }

    /// The conflicts over fields that are not in a set.
    pub(super) fn outside(self, set: &Set) -> Self {
        let left = self.0.into_iter().filter(|conflict| !set.contains(&conflict.path));
        Self(left.collect())
    }

    fn message(&self) -> String {
        if let [one] = self.0.as_slice() {
            let path = text(&one.path);
            return format!("Apply failed with 1 conflict: conflict with {}: {path}", one.manager);
        }
        let mut by_manager: BTreeMap<&Manager, Vec<&Path>> = BTreeMap::new();
        for conflict in &self.0 {
            by_manager.entry(&conflict.manager).or_default().push(&conflict.path);
        }
        let mut lines = Vec::new();
        for (manager, paths) in by_manager {
            lines.push(format!("conflicts with {manager}:"));
            lines.extend(paths.iter().map(|path| format!("- {}", text(path))));
        }
        format!("Apply failed with {} conflicts: {}", self.0.len(), lines.join("\n"))
    }
}

impl From<Conflicts> for ApiError {
    fn from(conflicts: Conflicts) -> Self {
        let error = ApiError::new(Reason::Conflict, conflicts.message());
        conflicts.0.iter().fold(error, |error, conflict| {
            let message = format!("conflict with {}", conflict.manager);
            error.with_cause("FieldManagerConflict", message, &text(&conflict.path))
        })
    }
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name)?;
        if !self.subresource.is_empty() {
            write!(f, " with subresource {:?}", self.subresource)?;
        }
        match self.operation {
            Operation::Update => write!(f, " using {}", self.api_version),
            Operation::Apply => Ok(()),
        }
    }
}
