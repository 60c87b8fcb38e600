//! The two things that happen to managers: one of them writes an object as it likes, or applies its
//! part of it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use super::compare::compare;
use super::conflict::Conflicts;
use super::element::same;
use super::extract::field_set;
use super::managers::{Manager, Managers, Owned};
use super::merge::merge;
use super::reconcile::reconcile;
use super::remove::{remove, with_named_parents};
use super::schema::Type;
use super::set::Set;
use super::tracker::{ApplyError, Versions};
use super::validate::Mismatches;

/// An object that is written, before and after.
struct Write<'a> {
    versions: &'a dyn Versions,
    old: &'a Value,
    new: &'a Value,
}

/// What a write does to managers: others lose what was changed; what was changed is the second
/// answer. `reset` is what the server leaves as it was.
///
/// # Errors
/// If the two objects cannot be compared.
pub fn update(
    versions: &dyn Versions,
    old: &Value,
    new: &Value,
    managers: Managers,
) -> Result<(Managers, Set), Mismatches> {
    let managers = reconciled(versions, old, managers);
    let write = Write { versions, old, new };
    let outcome = write.effects(&managers, None)?;
    Ok((outcome.settled(managers), outcome.written))
}

/// Applies a part of an object: the answer is the merged object (`None` if it is as it was) and its
/// managers.
///
/// # Errors
/// Conflicts unless `force`, and what cannot be merged.
pub fn apply(
    versions: &dyn Versions,
    live: &Value,
    part: &Value,
    managers: Managers,
    applier: &Manager,
    force: bool,
) -> Result<(Option<Value>, Managers), ApplyError> {
    let kind = versions.own();
    let mut managers = reconciled(versions, live, managers);
    let merged = merge(kind, live, part).map_err(ApplyError::Merge)?;
    let last = managers.get(applier).cloned();
    let set = field_set(kind, part).recursive_difference(&versions.reset(versions.api_version()));
    let time = last.as_ref().and_then(|last| last.time.clone());
    let owned = Owned { set, api_version: versions.api_version().into(), time };
    managers.insert(applier.clone(), owned);
    let new = match last {
        Some(last) if !last.set.is_empty() => prune(versions, merged, &managers, &last),
        _ => merged,
    };
    let write = Write { versions, old: live, new: &new };
    let outcome = write.effects(&managers, Some(applier)).map_err(ApplyError::Compare)?;
    if !force && !outcome.conflicts.is_empty() {
        return Err(ApplyError::Conflicts(Conflicts::of(&outcome.conflicts)));
    }
    let managers = outcome.settled(managers);
    Ok((Some(new).filter(|new| !same(new, live)), managers))
}

/// Managers under the schemas as they are now; who wrote a version that is no more is forgotten.
fn reconciled(versions: &dyn Versions, live: &Value, managers: Managers) -> Managers {
    let mut out = Managers::new();
    for (manager, mut owned) in managers {
        let Some((kind, _)) = versions.view(live, &owned.api_version) else { continue };
        if let Some(set) = reconcile(kind, &owned.set) {
            owned.set = set;
        }
        out.insert(manager, owned);
    }
    out
}

/// What changed as a version shows it.
struct Seen {
    /// Fields that are new or have another value.
    written: Set,
    removed: Set,
}

/// What a write means to managers.
struct Outcome {
    /// What is new or has another value in the version that is written.
    written: Set,
    /// What others manage and the write changes.
    conflicts: BTreeMap<Manager, Set>,
    /// What the write removes, by the version of the managers.
    removed: BTreeMap<String, Set>,
    /// The manager who writes; it loses nothing.
    writer: Option<Manager>,
    /// Managers of versions that are no more.
    lost: Vec<Manager>,
}

impl Write<'_> {
    fn effects(
        &self,
        managers: &Managers,
        writer: Option<&Manager>,
    ) -> Result<Outcome, Mismatches> {
        let own = self.versions.api_version();
        let mut by_version: BTreeMap<String, Option<Seen>> = BTreeMap::new();
        by_version.insert(own.into(), self.seen(own)?);
        let mut outcome = Outcome {
            written: Set::default(),
            conflicts: BTreeMap::new(),
            removed: BTreeMap::new(),
            writer: writer.cloned(),
            lost: Vec::new(),
        };
        for (manager, owned) in managers.iter().filter(|(manager, _)| Some(*manager) != writer) {
            if !by_version.contains_key(&owned.api_version) {
                let seen = self.seen(&owned.api_version)?;
                by_version.insert(owned.api_version.clone(), seen);
            }
            let Some(Some(seen)) = by_version.get(&owned.api_version) else {
                outcome.lost.push(manager.clone());
                continue;
            };
            let conflict = owned.set.intersection(&seen.written);
            if !conflict.is_empty() {
                outcome.conflicts.insert(manager.clone(), conflict);
            }
        }
        for (version, seen) in by_version {
            let Some(seen) = seen else { continue };
            if version == own {
                outcome.written = seen.written;
            }
            outcome.removed.insert(version, seen.removed);
        }
        Ok(outcome)
    }

    /// What changed as a version shows it, `None` if there is no such version.
    fn seen(&self, version: &str) -> Result<Option<Seen>, Mismatches> {
        let views = (self.versions.view(self.old, version), self.versions.view(self.new, version));
        let (Some((kind, old)), Some((_, new))) = views else { return Ok(None) };
        let changes = compare(kind, &old, &new)?.without(&self.versions.reset(version));
        let written = changes.modified.union(&changes.added);
        Ok(Some(Seen { written, removed: changes.removed }))
    }
}

impl Outcome {
    /// The managers after the write: without what they lost, and without those who lost all.
    fn settled(&self, mut managers: Managers) -> Managers {
        managers.retain(|manager, owned| {
            if Some(manager) == self.writer.as_ref() {
                return !owned.set.is_empty();
            }
            if let Some(conflict) = self.conflicts.get(manager) {
                owned.set = owned.set.difference(conflict);
            }
            if let Some(removed) = self.removed.get(&owned.api_version)
                && !owned.set.intersection(removed).is_empty()
            {
                owned.set = owned.set.difference(removed);
            }
            !owned.set.is_empty() && !self.lost.contains(manager)
        });
        managers
    }
}

/// Takes out of the merged object what the applier applied last time and no longer does, unless
/// somebody else manages it too.
fn prune(versions: &dyn Versions, merged: Value, managers: &Managers, last: &Owned) -> Value {
    let Some((kind, at_last)) = versions.view(&merged, &last.api_version) else { return merged };
    let last_set = with_named_parents(Some(kind), &last.set);
    let mut pruned = at_last.clone().into_owned();
    remove(kind, &mut pruned, &last_set);
    if pruned == *at_last {
        return merged;
    }
    let Some(kept) = keep_managed(versions, &at_last, pruned, managers, last) else {
        return merged;
    };
    let Some((kind, kept)) = versions.view(&kept, &last.api_version) else { return merged };
    let gone = named_set(kind, &at_last).difference(&named_set(kind, &kept));
    let mut pruned = at_last.into_owned();
    remove(kind, &mut pruned, &gone.intersection(&last_set));
    let back = versions.view(&pruned, versions.api_version());
    back.map(|(_, object)| object.into_owned()).unwrap_or(pruned)
}

fn named_set(kind: Type<'_>, object: &Value) -> Set {
    with_named_parents(Some(kind), &field_set(kind, object))
}

/// The pruned object with everything that is managed by anybody now; the version of the last apply
/// comes first, because other versions may need its fields.
fn keep_managed(
    versions: &dyn Versions,
    merged: &Value,
    pruned: Value,
    managers: &Managers,
    last: &Owned,
) -> Option<Value> {
    let mut managed: BTreeMap<&str, Set> = BTreeMap::new();
    for owned in managers.values() {
        let set = managed.entry(&owned.api_version).or_default();
        *set = set.union(&owned.set);
    }
    let first = managed.remove_entry(last.api_version.as_str());
    let (mut merged, mut pruned) = (Cow::Borrowed(merged), pruned);
    for (version, set) in first.into_iter().chain(managed) {
        let Some((kind, at_version)) = versions.view(&merged, version) else { continue };
        let at_version = at_version.into_owned();
        let (_, pruned_there) = versions.view(&pruned, version)?;
        let keep = named_set(kind, &pruned_there).union(&with_named_parents(Some(kind), &set));
        let mut kept = at_version.clone();
        remove(kind, &mut kept, &named_set(kind, &at_version).difference(&keep));
        (merged, pruned) = (Cow::Owned(at_version), kept);
    }
    Some(pruned)
}
