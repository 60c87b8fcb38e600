//! `metadata.managedFields` of every write: the registry's side of [`hansa_api::apply`].

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;

use hansa_api::apply::{
    self, ApplyError, ObjectType, OneVersion, Path, ScalePath, Set, Tracker, Type, Versions,
    field_path,
};
use hansa_api::gvk::GroupVersionKind;
use hansa_api::meta;
use hansa_api::status::{ApiError, Reason};
use hansa_api::time;
use serde_json::Value;

use super::catalog::Served;
use super::context::Context;
use super::decode::kind_of;
use super::registry::Registry;
use super::update::Part;

const SCALE_VERSION: &str = "autoscaling/v1";

/// The versions of one kind of stored objects.
struct Kind<'a> {
    registry: &'a Registry,
    served: &'a Served,
    api_version: String,
    own: ObjectType,
    reset: Set,
    others: OnceCell<Vec<(Arc<Served>, ObjectType)>>,
}

impl<'a> Kind<'a> {
    fn new(registry: &'a Registry, served: &'a Served, subresource: &str) -> Self {
        Self {
            registry,
            served,
            api_version: served.resource.api_version(),
            own: served.strategy.object_type(&served.resource),
            reset: reset(served, subresource),
            others: OnceCell::new(),
        }
    }

    /// The other versions, looked for only if a manager wrote one.
    fn other(&self, version: &str) -> Option<&(Arc<Served>, ObjectType)> {
        let others = self.others.get_or_init(|| {
            let typed = |served: Arc<Served>| {
                let object_type = served.strategy.object_type(&served.resource);
                (served, object_type)
            };
            stored_alike(self.registry, self.served).map(typed).collect()
        });
        others.iter().find(|(served, _)| served.resource.api_version() == version)
    }

    fn strategy_of(&self, version: &str) -> Option<&Served> {
        match version == self.api_version {
            true => Some(self.served),
            false => self.other(version).map(|(served, _)| &**served),
        }
    }

    fn converted(&self, object: &Value, to: &Served) -> Option<Value> {
        let storage = &*self.served.resource.storage_version;
        let from = meta::api_version(object);
        let mut out = object.clone();
        if !from.is_empty() && from != storage {
            self.strategy_of(from)?.strategy.to_hub(&mut out);
        }
        let api_version = to.resource.api_version();
        if api_version != storage {
            to.strategy.from_hub(&mut out);
        }
        out["apiVersion"] = api_version.into();
        out["kind"] = to.resource.kind.to_string().into();
        Some(out)
    }
}

impl Versions for Kind<'_> {
    fn api_version(&self) -> &str {
        &self.api_version
    }

    fn own(&self) -> Type<'_> {
        self.own.get()
    }

    fn view<'a>(&'a self, object: &'a Value, version: &str) -> Option<(Type<'a>, Cow<'a, Value>)> {
        let (served, object_type) = match version == self.api_version {
            true => (self.served, &self.own),
            false => self.other(version).map(|(served, object_type)| (&**served, object_type))?,
        };
        let current = meta::api_version(object);
        if current == version || (current.is_empty() && version == self.api_version) {
            return Some((object_type.get(), Cow::Borrowed(object)));
        }
        Some((object_type.get(), Cow::Owned(self.converted(object, served)?)))
    }

    fn reset(&self, _version: &str) -> Cow<'_, Set> {
        Cow::Borrowed(&self.reset)
    }
}

/// The other resources whose objects are the same stored ones.
fn stored_alike(registry: &Registry, served: &Served) -> impl Iterator<Item = Arc<Served>> {
    let prefix = served.resource.storage_prefix.clone();
    let own = served.resource.api_version();
    let all: Vec<_> = registry.catalog.snapshot().all().cloned().collect();
    let alike = move |other: &Arc<Served>| {
        other.resource.storage_prefix == prefix && other.resource.api_version() != own
    };
    all.into_iter().filter(alike)
}

/// What a write to the object or to its status leaves as it was.
fn reset(served: &Served, subresource: &str) -> Set {
    let mut paths: Vec<Path> = Vec::new();
    match subresource {
        "status" => {
            paths.push(field_path(&["spec"]));
            if !served.strategy.status_may_change_metadata() {
                paths.push(field_path(&["metadata"]));
            }
        }
        "" | "finalize" if served.resource.has_status() => paths.push(field_path(&["status"])),
        _ => {}
    }
    let own = served.strategy.reset_fields(subresource).iter();
    paths.extend(own.map(|path| field_path(&path.split('.').collect::<Vec<_>>())));
    Set::of(&paths)
}

/// Follows a write: `new` gets its managed fields. `live` is an empty object on creation.
pub(super) fn track(
    registry: &Registry,
    served: &Served,
    ctx: &Context,
    part: Part,
    live: &Value,
    new: &mut Value,
) {
    if ctx.untracked || *live == *new {
        return;
    }
    let subresource = if part == Part::Status { "status" } else { ctx.subresource.as_str() };
    let versions = Kind::new(registry, served, subresource);
    let (kind, now) = (kind_of(&served.resource), time::now());
    let tracker = Tracker { kind: &kind, versions: &versions, subresource, now: &now };
    if let Err(error) = tracker.update(live, new, &ctx.field_manager) {
        tracing::error!(%error, %kind, "cannot follow who manages what; nobody does from now on");
    }
}

/// Who applies what, and how.
pub(crate) struct Application<'a> {
    /// The part that is applied.
    pub(crate) part: &'a Value,
    /// Who applies it.
    pub(crate) manager: &'a str,
    /// Whether it takes over what others manage.
    pub(crate) force: bool,
}

/// Applies a part to the live object (empty on creation): the whole object with its managed fields,
/// decoded and with its defaults.
///
/// # Errors
/// 409 with the conflicts; 400 and 500 in upstream's way for parts that make no sense.
pub(crate) fn apply(
    registry: &Registry,
    served: &Served,
    subresource: &str,
    live: &Value,
    application: &Application<'_>,
) -> Result<Value, ApiError> {
    let versions = Kind::new(registry, served, subresource);
    let (kind, now) = (kind_of(&served.resource), time::now());
    let tracker = Tracker { kind: &kind, versions: &versions, subresource, now: &now };
    let Application { part, manager, force } = application;
    let mut object = tracker.apply(live, part, manager, *force)?;
    served.strategy.prune(&served.resource, &mut object).map_err(|error| {
        let (namespace, name) = (meta::namespace(part), meta::name(part));
        let message = format!(
            "failed to convert new object ({namespace}/{name}; {}/{}, Kind={}) to proper \
             version: {}",
            kind.group, kind.version, kind.kind, error.message
        );
        ApiError::new(Reason::Unknown, message)
    })?;
    served.default(&mut object);
    Ok(object)
}

/// Puts the managed fields back if admission left them in no sensible state, and warns of that.
pub(super) fn keep_valid(ctx: &Context, before: Option<Value>, obj: &mut Value) {
    if meta::at(obj, &["metadata", "managedFields"]) == before.as_ref() {
        return;
    }
    let Err(error) = apply::check_managed_fields(obj) else { return };
    let metadata = meta::metadata_mut(obj);
    match before {
        Some(before) => metadata.insert("managedFields".into(), before),
        None => metadata.remove("managedFields"),
    };
    ctx.warnings.add(format!(
        ".metadata.managedFields was in an invalid state after admission; this could be caused by \
         an outdated mutating admission controller; please fix your requests: {error}"
    ));
}

/// A copy of an object's managed fields.
pub(super) fn of(obj: &Value) -> Option<Value> {
    meta::at(obj, &["metadata", "managedFields"]).cloned()
}

/// Takes the times of the old managed fields over if nothing else changed: such a write is none.
pub(super) fn ignore_times(obj: &mut Value, old: &Value) {
    let entries = |object| meta::list_at(object, &["metadata", "managedFields"]);
    let (before, after) = (entries(old), entries(obj));
    if before.is_empty() || before.len() != after.len() || before == after {
        return;
    }
    if !before.iter().zip(after).all(|(before, after)| same_but_for_time(before, after)) {
        return;
    }
    let kept = before.to_vec();
    let moved = meta::metadata_mut(obj).insert("managedFields".into(), kept.into());
    if let (true, Some(moved)) = (obj != old, moved) {
        meta::metadata_mut(obj).insert("managedFields".into(), moved);
    }
}

fn same_but_for_time(a: &Value, b: &Value) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return a == b };
    let without = |fields: &'_ meta::Fields| {
        let rest = fields.iter().filter(|(name, _)| *name != "time");
        rest.map(|(name, value)| (name.clone(), value.clone())).collect::<meta::Fields>()
    };
    without(a) == without(b)
}

/// Managed fields of a `scale`, which has its own but keeps them in its object.
pub(crate) struct ScaleFields {
    paths: Vec<ScalePath>,
    api_version: String,
    kind: GroupVersionKind,
    object_type: ObjectType,
}

impl ScaleFields {
    /// For the `scale` of a resource.
    pub(crate) fn new(registry: &Registry, served: &Served) -> Self {
        let path = |served: &Served| ScalePath {
            api_version: served.resource.api_version(),
            replicas: served.strategy.scale_paths().map(|paths| {
                let names = paths.spec_replicas.split('.').filter(|name| !name.is_empty());
                field_path(&names.collect::<Vec<_>>())
            }),
        };
        let mut paths = vec![path(served)];
        paths.extend(stored_alike(registry, served).map(|other| path(&other)));
        Self { paths, ..Self::alone(&served.resource.api_version()) }
    }

    /// For objects of one version, of whose managers nothing is known.
    pub(crate) fn alone(api_version: &str) -> Self {
        let kind = GroupVersionKind::new("autoscaling", "v1", "Scale");
        let object_type = ObjectType::builtin(&kind);
        Self { paths: Vec::new(), api_version: api_version.into(), kind, object_type }
    }

    /// Gives a `scale` the managed fields that its object has for it.
    pub(crate) fn fill(&self, object: &Value, scale: &mut Value) -> Result<(), ApiError> {
        let entries = apply::to_scale(object, &self.paths).map_err(unreadable)?;
        if !entries.is_empty() {
            meta::metadata_mut(scale).insert("managedFields".into(), entries.into());
        }
        Ok(())
    }

    /// Gives an object the managed fields that a write to its `scale` left there.
    pub(crate) fn give_back(&self, scale: &Value, object: &mut Value) -> Result<(), ApiError> {
        let entries = apply::to_parent(object, scale, &self.api_version, &self.paths);
        let entries = entries.map_err(unreadable)?;
        meta::metadata_mut(object).insert("managedFields".into(), entries.into());
        Ok(())
    }

    /// Follows an update of a `scale`.
    pub(crate) fn track(&self, live: &Value, new: &mut Value, manager: &str) {
        let follow = |tracker: &Tracker<'_>| tracker.update(live, new, manager);
        if let Err(error) = self.with_tracker(follow) {
            tracing::error!(%error, "cannot follow who manages a scale");
        }
    }

    /// Applies a part of a `scale`.
    pub(crate) fn apply(
        &self,
        live: &Value,
        application: &Application<'_>,
    ) -> Result<Value, ApplyError> {
        let Application { part, manager, force } = application;
        self.with_tracker(|tracker| tracker.apply(live, part, manager, *force))
    }

    fn with_tracker<T>(&self, what: impl FnOnce(&Tracker<'_>) -> T) -> T {
        let kind = self.object_type.get();
        let versions = OneVersion { api_version: SCALE_VERSION, kind, reset: Set::default() };
        let now = time::now();
        let tracker =
            Tracker { kind: &self.kind, versions: &versions, subresource: "scale", now: &now };
        what(&tracker)
    }
}

fn unreadable(error: apply::ManagersError) -> ApiError {
    ApiError::new(Reason::Unknown, error.to_string())
}
