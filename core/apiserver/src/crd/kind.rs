//! The strategy of one version of a custom resource: everything comes from its definition.

use hansa_api::apply::ObjectType;
use hansa_api::field::FieldError;
use hansa_api::meta;
use hansa_api::schema::{builtin, decode::conform};
use hansa_api::status::ApiError;
use hansa_api::structural::Structural;
use jiff::Timestamp;
use serde_json::Value;

use super::columns::Columns;
use super::jsonpath::JsonPath;
use crate::generic::decode::kind_of;
use crate::generic::resource::{Resource, Str};
use crate::generic::strategy::{Column, ScalePaths, Strategy};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// A custom resource's kind.
pub(super) struct Custom {
    schema: Structural,
    object_type: ObjectType,
    columns: Columns,
    scale: Option<ScalePaths>,
    fields: Vec<(Str, JsonPath)>,
}

impl Custom {
    /// The kind that one version of a definition describes.
    pub(super) fn new(version: &Value, schema: &Value) -> Self {
        Self {
            schema: Structural::compile(schema),
            object_type: ObjectType::custom(schema),
            columns: Columns::read(version),
            scale: scale(version),
            fields: selectable(version),
        }
    }
}

fn scale(version: &Value) -> Option<ScalePaths> {
    let scale = meta::at(version, &["subresources", "scale"])?;
    let path = |field: &str| -> Str {
        meta::str_at(scale, &[field]).trim_start_matches('.').to_string().into()
    };
    Some(ScalePaths {
        spec_replicas: path("specReplicasPath"),
        status_replicas: path("statusReplicasPath"),
        selector: Some(path("labelSelectorPath")).filter(|path| !path.is_empty()),
    })
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
        Ok(unknown)
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        self.schema.validate(obj, "")
    }

    fn validate_status_update(&self, obj: &Value, _old: &Value) -> Vec<FieldError> {
        self.schema.validate(obj, "")
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
