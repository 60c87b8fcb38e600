//! The whole of what a write does to `metadata.managedFields`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

use super::compare::{Changes, compare};
use super::element::field_path;
use super::managers::{self, Manager, Managers, ManagersError, Operation, Owned};
use super::schema::Type;
use super::set::Set;
use super::validate::{Mismatches, validate};
use super::{Conflicts, in_place, last_applied, update};
use crate::gvk::GroupVersionKind;
use crate::meta;
use crate::status::{ApiError, Reason};

/// How many managers of updates are kept apart; the oldest become one.
const MAX_UPDATERS: usize = 10;
/// Who the oldest become.
const ANCIENT: &str = "ancient-changes";
/// Who is taken to manage what was there before anybody applied.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// The versions of a kind: each manager's fields are those of the version it wrote.
pub trait Versions {
    /// The version that is written.
    fn api_version(&self) -> &str;

    /// Its type.
    fn own(&self) -> Type<'_>;

    /// An object as a version shows it, and that version's type; `None` if there is no such
    /// version. The object says in its `apiVersion` which version it is in.
    fn view<'a>(&'a self, object: &'a Value, version: &str) -> Option<(Type<'a>, Cow<'a, Value>)>;

    /// What the server leaves as it was, whatever a write of this sort says.
    fn reset(&self, version: &str) -> Cow<'_, Set>;
}

/// A kind that has one version.
#[derive(Clone, Debug)]
pub struct OneVersion<'a> {
    /// Its name, such as `apps/v1`.
    pub api_version: &'a str,
    /// Its type.
    pub kind: Type<'a>,
    /// What the server leaves as it was.
    pub reset: Set,
}

impl Versions for OneVersion<'_> {
    fn api_version(&self) -> &str {
        self.api_version
    }

    fn own(&self) -> Type<'_> {
        self.kind
    }

    fn view<'a>(&'a self, object: &'a Value, version: &str) -> Option<(Type<'a>, Cow<'a, Value>)> {
        (version == self.api_version).then_some((self.kind, Cow::Borrowed(object)))
    }

    fn reset(&self, _version: &str) -> Cow<'_, Set> {
        Cow::Borrowed(&self.reset)
    }
}

/// Why a part of an object cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The live object's managed fields make no sense.
    #[error("failed to decode managed fields: {0}")]
    Managers(#[source] ManagersError),
    /// The part is of another kind or version.
    #[error("invalid object type: {0}")]
    Kind(String),
    /// The part says who manages it.
    #[error("metadata.managedFields must be nil")]
    ManagedFields,
    /// The part does not fit its type.
    #[error("failed to create typed patch object ({0}): {1}")]
    Part(String, #[source] Mismatches),
    /// The two cannot be merged.
    #[error("failed to merge config: {0}")]
    Merge(#[source] Mismatches),
    /// The objects before and after cannot be compared.
    #[error("failed to compare objects: {0}")]
    Compare(#[source] Mismatches),
    /// Others manage what would change.
    #[error(transparent)]
    Conflicts(#[from] Conflicts),
}

impl From<ApplyError> for ApiError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Conflicts(conflicts) => conflicts.into(),
            ApplyError::Kind(_) | ApplyError::ManagedFields => Self::bad_request(error.to_string()),
            other => Self::new(Reason::Unknown, other.to_string()),
        }
    }
}

/// Follows who manages what in the objects of a kind, or in one of its subresources.
pub struct Tracker<'a> {
    /// The kind written.
    pub kind: &'a GroupVersionKind,
    /// Its versions.
    pub versions: &'a dyn Versions,
    /// The subresource written; empty for the object itself.
    pub subresource: &'a str,
    /// The time of the write.
    pub now: &'a str,
}

impl Tracker<'_> {
    /// Follows a write that is not a server-side apply: `new` gets its managed fields. `live` is an
    /// empty object on creation.
    ///
    /// # Errors
    /// If the two cannot be compared; `new` has no managed fields then.
    pub fn update(&self, live: &Value, new: &mut Value, manager: &str) -> Result<(), Mismatches> {
        if let Ok(Some(entries)) = self.settled(live, new, manager) {
            managers::put_entries(new, entries);
            return Ok(());
        }
        let managers = self.starting_with(live, new);
        managers::strip(new);
        if managers.is_empty() && !meta::uid(live).is_empty() {
            return Ok(());
        }
        let managers = self.written(live, new, managers, manager)?;
        managers::put(new, &managers);
        Ok(())
    }

    /// The quick way, for writes whose client says nothing of managers: their entries after the
    /// write, if they can be treated as they are written.
    fn settled(
        &self,
        live: &Value,
        new: &Value,
        name: &str,
    ) -> Result<Option<Vec<Value>>, Mismatches> {
        let Some(stored) = managers::of(live) else { return Ok(None) };
        let sent = meta::at(new, &["metadata", "managedFields"]).filter(|sent| !sent.is_null());
        let silent = sent.is_none_or(|sent| sent.as_array() == Some(stored));
        let version = self.versions.api_version();
        if !in_place::is_plain(stored, version, MAX_UPDATERS)
            || (!silent && self.subresource.is_empty())
        {
            return Ok(None);
        }
        let changes = compare(self.versions.own(), live, new)?;
        let changes = changes.without(&self.versions.reset(version));
        let changes = Changes {
            removed: changes.removed.difference(&NEVER_MANAGED),
            modified: changes.modified.difference(&NEVER_MANAGED),
            added: changes.added.difference(&NEVER_MANAGED),
        };
        let writer = Manager::new(name, Operation::Update, version, self.subresource);
        let write = in_place::Write { kind: self.versions.own(), writer, now: self.now };
        Ok(write.settle(stored.clone(), &changes))
    }

    /// The managers that a write starts from: those that the client sent, if it sent any that make
    /// sense, else those that are there.
    fn starting_with(&self, live: &Value, new: &Value) -> Managers {
        let read = |object| managers::of(object).map(|entries| managers::decode(entries));
        let stored = || read(live).and_then(Result::ok).unwrap_or_default();
        if !self.subresource.is_empty() {
            return stored();
        }
        if is_reset(new) {
            return Managers::new();
        }
        match read(new) {
            Some(Ok(managers)) if !managers.is_empty() => managers,
            _ => stored(),
        }
    }

    fn written(
        &self,
        live: &Value,
        new: &Value,
        managers: Managers,
        name: &str,
    ) -> Result<Managers, Mismatches> {
        let (mut managers, taken) = update::update(self.versions, live, new, managers)?;
        let taken = taken.difference(&NEVER_MANAGED);
        if !taken.is_empty() {
            let version = self.versions.api_version();
            let manager = Manager::new(name, Operation::Update, version, self.subresource);
            let set = match managers.get(&manager) {
                Some(owned) => taken.union(&owned.set),
                None => taken,
            };
            let time = Some(self.now.to_owned());
            managers.insert(manager, Owned { set, api_version: version.into(), time });
        }
        cap(&mut managers);
        Ok(managers)
    }

    /// Applies a part of an object; the answer is the whole object with its managed fields.
    ///
    /// # Errors
    /// Conflicts unless `force`, and whatever is wrong with the part.
    pub fn apply(
        &self,
        live: &Value,
        part: &Value,
        manager: &str,
        force: bool,
    ) -> Result<Value, ApplyError> {
        let entries = managers::of(live).map_or(&[][..], Vec::as_slice);
        let managers = managers::decode(entries).map_err(ApplyError::Managers)?;
        self.check(part)?;
        let mut bare = live.clone();
        managers::strip(&mut bare);
        let managers = match managers.is_empty() {
            true => self.before_first_apply(&bare)?,
            false => managers,
        };
        let (applied, managers) = self.applied(&bare, part, managers, manager, force)?;
        let mut object = applied.unwrap_or(bare);
        if manager == last_applied::MANAGER {
            last_applied::refresh(&mut object, part);
        }
        managers::put(&mut object, &managers);
        Ok(object)
    }

    fn check(&self, part: &Value) -> Result<(), ApplyError> {
        let kind = GroupVersionKind::parse(meta::api_version(part), meta::kind(part));
        let kind = kind.unwrap_or_default();
        if kind != *self.kind {
            return Err(ApplyError::Kind(described(&kind)));
        }
        if managers::of(part).is_some() {
            return Err(ApplyError::ManagedFields);
        }
        validate(self.versions.own(), part).map_err(|wrong| {
            let who =
                format!("{}/{}; {}", meta::namespace(part), meta::name(part), described(&kind));
            ApplyError::Part(who, wrong)
        })
    }

    fn before_first_apply(&self, live: &Value) -> Result<Managers, ApplyError> {
        let nothing = Value::Object(meta::Fields::new());
        let nobody = Managers::new();
        self.written(&nothing, live, nobody, BEFORE_FIRST_APPLY).map_err(ApplyError::Compare)
    }

    /// Applies, and where only client-side apply of the same configuration is in the way, takes its
    /// fields over.
    fn applied(
        &self,
        live: &Value,
        part: &Value,
        managers: Managers,
        manager: &str,
        force: bool,
    ) -> Result<(Option<Value>, Managers), ApplyError> {
        let first = self.merged(live, part, managers.clone(), manager, force);
        match first {
            Err(ApplyError::Conflicts(conflicts)) if manager == last_applied::MANAGER => {
                let allowed = last_applied::unchanged_since(self.versions, live);
                let Some(allowed) = allowed else { return Err(conflicts.into()) };
                let left = conflicts.outside(&allowed);
                if left.0.is_empty() {
                    return self.merged(live, part, managers, manager, true);
                }
                Err(left.into())
            }
            done => done,
        }
    }

    fn merged(
        &self,
        live: &Value,
        part: &Value,
        managers: Managers,
        name: &str,
        force: bool,
    ) -> Result<(Option<Value>, Managers), ApplyError> {
        let version = self.versions.api_version();
        let manager = Manager::new(name, Operation::Apply, version, self.subresource);
        let (object, mut managers) =
            update::apply(self.versions, live, part, managers, &manager, force)?;
        if let Some(owned) = managers.get_mut(&manager) {
            owned.set = owned.set.difference(&NEVER_MANAGED);
            if owned.set.is_empty() {
                managers.remove(&manager);
            } else if object.is_some() {
                owned.time = Some(self.now.to_owned());
            }
        }
        Ok((object, managers))
    }
}

/// Whether a client asks to forget who manages what: an empty list, or one empty entry.
pub fn is_reset(object: &Value) -> bool {
    let nothing = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    match managers::of(object).map(Vec::as_slice) {
        Some([]) => true,
        Some([Value::Object(entry)]) => entry.values().all(nothing),
        _ => false,
    }
}

/// A kind as upstream's messages have it: `apps/v1, Kind=Deployment`.
fn described(kind: &GroupVersionKind) -> String {
    format!("{}/{}, Kind={}", kind.group, kind.version, kind.kind)
}

/// What is nobody's to manage: an object's identity, and what the server writes.
static NEVER_MANAGED: LazyLock<Set> = LazyLock::new(|| {
    let metadata = [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ];
    let top = ["apiVersion", "kind", "metadata"].map(|name| field_path(&[name]));
    let below = metadata.map(|name| field_path(&["metadata", name]));
    Set::of(top.iter().chain(&below))
});

/// Makes one of the oldest managers of updates while there are too many, version by version.
fn cap(managers: &mut Managers) {
    let updaters = managers.iter().filter(|(manager, _)| !manager.applies());
    let mut updaters: Vec<_> =
        updaters.map(|(manager, owned)| (managers::seconds(owned), manager.clone())).collect();
    let mut count = updaters.len();
    updaters.sort();
    let mut first: BTreeMap<String, Manager> = BTreeMap::new();
    for (_, manager) in updaters {
        if count <= MAX_UPDATERS {
            return;
        }
        let Some(owned) = managers.get(&manager).cloned() else { continue };
        let Some(eldest) = first.get(&owned.api_version) else {
            first.insert(owned.api_version, manager);
            continue;
        };
        let bucket = Manager::new(ANCIENT, Operation::Update, &owned.api_version, "");
        if !managers.contains_key(&bucket)
            && let Some(eldest) = managers.remove(eldest)
        {
            managers.insert(bucket.clone(), eldest);
        }
        managers.remove(&manager);
        if let Some(ancient) = managers.get_mut(&bucket) {
            ancient.set = ancient.set.union(&owned.set);
            ancient.time = owned.time;
            count -= 1;
        }
    }
}
