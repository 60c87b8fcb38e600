//! What is special about a kind: everything that the generic registry asks instead of knowing.
//!
//! The registry does the common part for all kinds (metadata, generation, status separation,
//! conflicts, finalizers, selectors, tables). A [`Strategy`] adds defaults, validation, printing
//! and the few odd steps. Every method has a default that suits a plain kind such as `ConfigMap`.

use std::sync::Arc;

use async_trait::async_trait;
use hansa_api::apply::ObjectType;
use hansa_api::field::FieldError;
use hansa_api::status::ApiError;
use jiff::Timestamp;
use serde_json::Value;

use super::context::Context;
use super::convert::Converter;
use super::registry::Registry;
use super::resource::{Resource, Str};

/// A column of a `Table` (meta.k8s.io/v1 `TableColumnDefinition`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Heading.
    pub name: Str,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: Str,
    /// `name` for the identity column, else usually empty.
    pub format: Str,
    /// Explanation.
    pub description: Str,
    /// 0 is shown always, above that only by `-o wide`.
    pub priority: i32,
}

impl Column {
    /// A string column that is always shown.
    pub const fn new(name: &'static str, description: &'static str) -> Self {
        Self::of(name, "string", description, 0)
    }

    /// A string column that only `-o wide` shows.
    pub const fn wide(name: &'static str, description: &'static str) -> Self {
        Self::of(name, "string", description, 1)
    }

    /// A column of any type and priority.
    pub const fn of(
        name: &'static str,
        kind: &'static str,
        description: &'static str,
        priority: i32,
    ) -> Self {
        Self {
            name: Str::Borrowed(name),
            kind: Str::Borrowed(kind),
            format: Str::Borrowed(""),
            description: Str::Borrowed(description),
            priority,
        }
    }

    /// A column whose cells are names.
    pub fn name_format(name: &'static str, description: &'static str) -> Self {
        Self { format: Str::Borrowed("name"), ..Self::new(name, description) }
    }

    /// The `Name` column that every table starts with.
    pub const fn name() -> Self {
        Self {
            name: Str::Borrowed("Name"),
            kind: Str::Borrowed("string"),
            format: Str::Borrowed("name"),
            description: Str::Borrowed("Name must be unique within a namespace."),
            priority: 0,
        }
    }

    /// The `Age` column.
    pub const fn age() -> Self {
        Self::new("Age", "Time since the object was created.")
    }
}

/// Where a kind keeps what `scale` shows; dotted paths from the object's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// `spec.replicas`.
    pub spec_replicas: Str,
    /// `status.replicas`.
    pub status_replicas: Str,
    /// `spec.selector` (a LabelSelector or a map) or, in custom resources, a string's path.
    pub selector: Option<Str>,
}

impl ScalePaths {
    /// `spec.replicas`, `status.replicas`, `spec.selector`.
    pub const fn usual() -> Self {
        Self {
            spec_replicas: Str::Borrowed("spec.replicas"),
            status_replicas: Str::Borrowed("status.replicas"),
            selector: Some(Str::Borrowed("spec.selector")),
        }
    }
}

/// Something taken before a write and given back if the write does not happen: a ClusterIP, a port.
/// Dropping it gives it back; [`commit`](Reservation::commit) keeps it.
pub trait Reservation: Send {
    /// The write is durable: keep what was taken.
    fn commit(self: Box<Self>);
}

/// What is special about a kind.
///
/// Order on creation: `to_hub` (non-storage versions), `default`, `prepare_create`, mutating
/// admission, `default` again, `validate_create`, validating admission, `reserve`, write.
/// On update the same with `prepare_update` or `prepare_status_update`.
#[async_trait]
pub trait Strategy: Send + Sync + 'static {
    /// Fills in absent fields, as upstream's defaulting does; also runs on objects from storage
    /// when a stored object may lack them. Must be idempotent.
    fn default(&self, _obj: &mut Value) {}

    /// Whether a creation may carry a status; only nodes register with theirs.
    fn keeps_status_on_create(&self) -> bool {
        false
    }

    /// Clears or sets what a client may not choose on creation. `status` was already removed if the
    /// resource has that subresource and does not keep it; name, uid, timestamps and generation are the registry's.
    fn prepare_create(&self, _ctx: &Context, _obj: &mut Value) {}

    /// Restores what a client may not change. `status` was already restored from `old` if the
    /// resource has that subresource; immutable metadata and the generation are the registry's.
    fn prepare_update(&self, _ctx: &Context, _obj: &mut Value, _old: &Value) {}

    /// The same for a write to `status`: everything outside `status`, `metadata.labels` and
    /// `metadata.annotations` was already restored from `old`.
    fn prepare_status_update(&self, _ctx: &Context, _obj: &mut Value, _old: &Value) {}

    /// The same for a write to another subresource that is the object itself (`approval`), named by
    /// `ctx`: restores all that it may not change.
    fn prepare_sub_update(&self, _ctx: &Context, _obj: &mut Value, _old: &Value) {}

    /// Checks a new object, metadata apart (the registry checks that).
    fn validate_create(&self, _obj: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// Checks a changed object against what it was; include the checks of creation that apply.
    fn validate_update(&self, obj: &Value, _old: &Value) -> Vec<FieldError> {
        self.validate_create(obj)
    }

    /// Checks a changed `status`.
    fn validate_status_update(&self, _obj: &Value, _old: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// Checks what a write to another subresource changed.
    fn validate_sub_update(
        &self,
        _subresource: &str,
        _obj: &Value,
        _old: &Value,
    ) -> Vec<FieldError> {
        Vec::new()
    }

    /// Why `name` cannot be an object's name; RFC 1123 subdomain unless a kind says otherwise.
    fn validate_name(&self, name: &str) -> Vec<String> {
        hansa_api::names::dns1123_subdomain(name)
    }

    /// Warnings for the client (`Warning: 299` headers), `old` is `None` on creation.
    fn warnings(&self, _obj: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// Drops the fields that the kind does not have and reports each as upstream's strict decoder
    /// would (`unknown field "spec.foo"`); a wrong type is an error (400). The default reads the
    /// schema bundle under the resource's group, version and kind.
    fn prune(&self, resource: &Resource, obj: &mut Value) -> Result<Vec<String>, ApiError> {
        super::decode::prune_builtin(resource, obj)
    }

    /// The columns of its tables; must agree with [`row`](Strategy::row).
    fn columns(&self) -> Vec<Column> {
        vec![Column::name(), Column::age()]
    }

    /// The cells of one object, as many as there are columns.
    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![hansa_api::meta::name(obj).into(), super::table::age(obj, now).into()]
    }

    /// Field selectors besides `metadata.name` and `metadata.namespace`: their paths.
    fn selectable_fields(&self) -> Vec<Str> {
        Vec::new()
    }

    /// The value of one selectable field, empty if unset. The default walks the dotted path.
    fn field_value(&self, obj: &Value, path: &str) -> String {
        hansa_api::selector::field::field_text(obj, path)
    }

    /// Whether `metadata.generation` counts the changes outside `metadata` and `status`.
    fn has_generation(&self, obj: &Value) -> bool {
        obj.get("spec").is_some()
    }

    /// The parts of `metadata` whose changes `metadata.generation` counts, too.
    fn metadata_is_desired(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether a write to `status` may also change labels and annotations (custom resources: no).
    fn status_may_change_metadata(&self) -> bool {
        true
    }

    /// Dotted paths of what a write to the object (`""`) or to a subresource leaves as it was,
    /// besides the usual: the status, or all but the status.
    fn reset_fields(&self, _subresource: &str) -> &'static [&'static str] {
        &[]
    }

    /// How the fields of its objects merge and who may manage them apart.
    fn object_type(&self, resource: &Resource) -> ObjectType {
        ObjectType::builtin(&super::decode::kind_of(resource))
    }

    /// Whether a PUT to a name that does not exist creates the object.
    fn allow_create_on_update(&self) -> bool {
        false
    }

    /// Whether a PUT without a resourceVersion overwrites whatever is there.
    fn allow_unconditional_update(&self) -> bool {
        true
    }

    /// The seconds that a deletion waits for the node to confirm: `None` deletes at once. Pods that
    /// are bound and still running answer `requested` or their `terminationGracePeriodSeconds`;
    /// 0 is deletion now.
    fn grace_period(&self, _obj: &Value, _requested: Option<i64>) -> Option<i64> {
        None
    }

    /// Called on the object that is marked for deletion (namespaces: phase Terminating).
    fn prepare_deletion(&self, _obj: &mut Value) {}

    /// Whether something besides `metadata.finalizers` holds the object back (namespaces:
    /// `spec.finalizers`).
    fn held_back(&self, _obj: &Value) -> bool {
        false
    }

    /// The finalizer that deletion without a propagationPolicy implies; `None` is Background.
    fn default_orphans(&self) -> bool {
        false
    }

    /// Where `scale` finds its numbers; `None` if the kind cannot be scaled.
    fn scale_paths(&self) -> Option<ScalePaths> {
        None
    }

    /// Drops and fills in what the schema of a custom resource has changed since the object was
    /// stored; runs on every object that is read. Built-in kinds need nothing of that.
    fn revive(&self, _obj: &mut Value) {}

    /// Who converts between the versions of a custom resource that differ in more than their name.
    fn converter(&self) -> Option<Arc<dyn Converter>> {
        None
    }

    /// Why nothing may be created now, such as while the kind itself is being deleted.
    fn refuses_creation(&self) -> Option<&'static str> {
        None
    }

    /// From the served version to the stored one, if the resource is stored as another.
    fn to_hub(&self, _obj: &mut Value) {}

    /// From the stored version to the served one; `apiVersion` and `kind` are set by the registry.
    #[allow(clippy::wrong_self_convention)]
    fn from_hub(&self, _obj: &mut Value) {}

    /// Takes what must be unique across objects (ClusterIPs, node ports) before a write and may
    /// write it into `obj`. `old` is `None` on creation. Not called on dry runs that fail before.
    async fn reserve(
        &self,
        _registry: &Arc<Registry>,
        _ctx: &Context,
        _obj: &mut Value,
        _old: Option<&Value>,
    ) -> Result<Option<Box<dyn Reservation>>, ApiError> {
        Ok(None)
    }

    /// The object is gone: give back what [`reserve`](Strategy::reserve) took for it.
    async fn released(&self, _registry: &Arc<Registry>, _obj: &Value) {}
}

/// A kind with no peculiarities.
pub struct Plain;

#[async_trait]
impl Strategy for Plain {}
