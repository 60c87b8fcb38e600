//! Server-side apply: who manages which field, and what becomes of an object when one of several
//! managers changes its mind. Pure: objects and schemas in, objects and `managedFields` out.
//!
//! [`Set`] is a set of fields, [`Schema`] says how values merge, [`Tracker`] is the whole of what
//! a write does to `metadata.managedFields`.

mod compare;
mod compile;
mod conflict;
mod element;
mod extract;
mod fields;
mod go;
mod in_place;
mod last_applied;
mod list;
mod managers;
mod merge;
mod reconcile;
mod remove;
mod scale;
mod schema;
mod set;
mod tracker;
mod update;
mod validate;

#[cfg(test)]
mod tests;

pub use compare::{Changes, compare};
pub use conflict::{Conflict, Conflicts};
pub use element::{Path, PathElement, field_path};
pub use extract::field_set;
pub use fields::{FieldsError, from_fields_v1, to_fields_v1};
pub use managers::{Manager, Managers, ManagersError, Operation, Owned, check_managed_fields};
pub use merge::merge;
pub use scale::{ScalePath, to_parent, to_scale};
pub use schema::{ObjectType, Schema, Type};
pub use set::Set;
pub use tracker::{ApplyError, OneVersion, Tracker, Versions, is_reset};
pub use update::{apply, update};
pub use validate::{Mismatch, Mismatches, validate};
