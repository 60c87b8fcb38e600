//! The strategy of one version of a custom resource: everything comes from its definition.

use std::sync::Arc;

use hansa_api::apply::ObjectType;
use hansa_api::field::{FieldError, FieldErrorType};
use hansa_api::meta;
use hansa_api::names::qualified_name;
use hansa_api::schema::{builtin, decode::conform};
use hansa_api::status::ApiError;
use hansa_api::structural::Structural;
use jiff::Timestamp;
use serde_json::Value;

use super::columns::Columns;
use super::conversion::Conversion;
use super::jsonpath::JsonPath;
use super::rules::RuleTree;
use super::scale;
use crate::generic::convert::Converter;
use crate::generic::decode::kind_of;
use crate::generic::resource::{Resource, Str};
use crate::generic::strategy::{Column, ScalePaths, Strategy};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
/// Finalizers that need no domain.
const STANDARD_FINALIZERS: [&str; 3] = ["orphan", "foregroundDeletion", "kubernetes"];

/// A custom resource's kind.
pub(super) struct Custom {
    schema: Structural,
    object_type: ObjectType,
    rules: Option<RuleTree>,
    columns: Columns,
    scale: Option<ScalePaths>,
    fields: Vec<(Str, JsonPath)>,
    conversion: Option<Arc<Conversion>>,
    /// Whether its definition is being deleted.
    dying: bool,
}

impl Custom {
    /// The kind that one version of a definition describes.
    pub(super) fn new(
        version: &Value,
        schema: &Value,
        conversion: Option<Arc<Conversion>>,
        dying: bool,
    ) -> Self {
        Self {
            schema: Structural::compile(schema),
            object_type: ObjectType::custom(schema),
            rules: RuleTree::of_resource(schema),
            columns: Columns::read(version),
            scale: scale::paths(version),
            fields: selectable(version),
            conversion,
            dying,
        }
    }

    /// What rules are broken; they do not run over what is of the wrong shape.
    fn rule_errors(
        &self,
        obj: &Value,
        old: Option<&Value>,
        errors: &[FieldError],
    ) -> Vec<FieldError> {
        let Some(rules) = &self.rules else { return Vec::new() };
        if errors.iter().any(|error| is_blocking(error.kind)) {
            let why = "some validation rules were not checked because the object was invalid; \
                       correct the existing errors to complete validation";
            return vec![FieldError::invalid("<nil>", Value::Null, why)];
        }
        rules.validate(obj, old)
    }

    /// What is twice in lists, unless that was so before.
    fn duplicates(&self, obj: &Value, old: Option<&Value>) -> Vec<FieldError> {
        match old {
            Some(old) if !self.schema.duplicates(old, "").is_empty() => Vec::new(),
            _ => self.schema.duplicates(obj, ""),
        }
    }

    fn validate_whole(&self, obj: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = self.schema.validate_update(obj, old, "");
        if let Some(scale) = &self.scale {
            errors.extend(scale::validate_spec(obj, scale));
            errors.extend(scale::validate_status(obj, scale));
        }
        errors.extend(self.schema.embedded_errors(obj, ""));
        errors.extend(self.duplicates(obj, old));
        errors.extend(self.rule_errors(obj, old, &errors));
        errors
    }
}

fn is_blocking(kind: FieldErrorType) -> bool {
    matches!(
        kind,
        FieldErrorType::NotSupported
            | FieldErrorType::Required
            | FieldErrorType::TooLong
            | FieldErrorType::TooMany
            | FieldErrorType::TypeInvalid
    )
}

/// `selectableFields`, named as selectors name them: without the leading dot.
fn selectable(version: &Value) -> Vec<(Str, JsonPath)> {
    let fields = meta::list_at(version, &["selectableFields"]).iter();
    let read = |field: &Value| {
        let path = meta::str_at(field, &["jsonPath"]);
        let name = path.trim_start_matches('.').to_string();
        Some((name.into(), JsonPath::parse(path).ok()?))
    };
    fields.filter_map(read).collect()
}

impl Strategy for Custom {
    fn default(&self, obj: &mut Value) {
        self.schema.default(obj);
    }

    fn prune(&self, resource: &Resource, obj: &mut Value) -> Result<Vec<String>, ApiError> {
        let mut unknown = self.schema.prune(obj);
        let id = builtin().type_named(OBJECT_META);
        if let (Some(id), Some(metadata)) = (id, obj.get_mut("metadata")) {
            let more = conform(builtin(), id, metadata)
                .map_err(|error| error.for_kind(&kind_of(resource)))?;
            let at_metadata =
                |text: String| text.replacen("unknown field \"", "unknown field \"metadata.", 1);
            unknown.extend(more.into_iter().map(at_metadata));
        }
        self.schema.prune_nulls(obj);
        Ok(unknown)
    }

    fn revive(&self, obj: &mut Value) {
        self.schema.prune(obj);
        self.schema.default(obj);
    }

    fn converter(&self) -> Option<Arc<dyn Converter>> {
        let conversion = self.conversion.clone()?;
        Some(conversion)
    }

    fn refuses_creation(&self) -> Option<&'static str> {
        let why = "create not allowed while custom resource definition is terminating";
        self.dying.then_some(why)
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        self.validate_whole(obj, None)
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        self.validate_whole(obj, Some(old))
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let (Some(schema), Some(status)) = (self.schema.property("status"), obj.get("status")) {
            errors.extend(schema.validate_update(status, old.get("status"), "status"));
        }
        if let Some(scale) = &self.scale {
            errors.extend(scale::validate_status(obj, scale));
        }
        errors.extend(self.schema.embedded_errors(obj, ""));
        errors.extend(self.duplicates(obj, Some(old)));
        errors.extend(self.rule_errors(obj, Some(old), &errors));
        errors
    }

    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        let known: Vec<_> = old.into_iter().flat_map(meta::finalizers).collect();
        let mut fresh: Vec<_> =
            meta::finalizers(obj).filter(|name| !known.contains(name)).collect();
        fresh.sort_unstable();
        fresh.into_iter().flat_map(finalizer_warnings).collect()
    }

    fn columns(&self) -> Vec<Column> {
        self.columns.headings()
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        self.columns.cells(obj, now)
    }

    fn selectable_fields(&self) -> Vec<Str> {
        self.fields.iter().map(|(name, _)| name.clone()).collect()
    }

    fn field_value(&self, obj: &Value, path: &str) -> String {
        let Some((_, query)) = self.fields.iter().find(|(name, _)| name == path) else {
            return String::new();
        };
        match query.find(obj).first() {
            Some(Value::String(text)) => text.clone(),
            Some(value) if !value.is_null() => value.to_string(),
            _ => String::new(),
        }
    }

    fn has_generation(&self, _obj: &Value) -> bool {
        true
    }

    fn status_may_change_metadata(&self) -> bool {
        false
    }

    fn object_type(&self, _resource: &Resource) -> ObjectType {
        self.object_type.clone()
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn scale_paths(&self) -> Option<ScalePaths> {
        self.scale.clone()
    }
}

/// A finalizer's name had better say whose it is.
fn finalizer_warnings(name: &str) -> Vec<String> {
    let at = format!("metadata.finalizers: {name:?}");
    let mut warnings: Vec<_> =
        qualified_name(name).into_iter().map(|why| format!("{at}: {why}")).collect();
    if !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) {
        let path = if name.contains('.') { " including a path (/)" } else { "" };
        warnings.push(format!(
            "{at}: prefer a domain-qualified finalizer name{path} to avoid accidental conflicts \
             with other finalizer writers"
        ));
    }
    warnings
}
