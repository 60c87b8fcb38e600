//! `scale`: a kind's replicas as an autoscaling/v1 `Scale`.

use std::sync::LazyLock;

use bytes::Bytes;
use hansa_api::field::FieldError;
use hansa_api::gvk::GroupVersionKind;
use hansa_api::meta;
use hansa_api::schema::{builtin, decode::conform};
use hansa_api::selector::Selector;
use hansa_api::status::ApiError;
use http::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::apply::{self, Apply};
use super::patch::Patch;
use super::{Call, read_body};
use crate::body::Body;
use crate::generic::catalog::Served;
use crate::generic::context::Context;
use crate::generic::decode;
use crate::generic::managed_fields::ScaleFields;
use crate::generic::options::WriteOptions;
use crate::generic::render;
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, ScalePaths, Strategy};
use crate::generic::table::age;
use crate::generic::update::Part;
use crate::negotiate::{body_format, media_type};

/// How a `Scale` is shown.
static SCALES: LazyLock<Served> = LazyLock::new(|| {
    Served::builtin(Resource::new("autoscaling", "v1", "Scale", "scales"), Scales)
});

struct Scales;

impl Strategy for Scales {
    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::of("Desired", "integer", "How many are wanted.", 0),
            Column::of("Available", "integer", "How many there are.", 0),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let number = |part: &str| meta::int_at(obj, &[part, "replicas"]).unwrap_or_default();
        let age = age(obj, now);
        vec![meta::name(obj).into(), number("spec").into(), number("status").into(), age.into()]
    }
}

/// What turns the current `Scale` into the wanted one.
enum Wish {
    Put(Value),
    Patch(Patch),
    Apply(Box<Apply>),
}

pub(super) async fn handle(call: &Call, body: Body) -> Result<Response<Body>, ApiError> {
    let paths = call.served.strategy.scale_paths().ok_or_else(ApiError::no_such_resource)?;
    if call.verb == "get" {
        let obj = call.registry.get(&call.served, &call.namespace, &call.name).await?;
        check_has_replicas(call, &obj, &paths)?;
        let scale = scale_of(&obj, &paths);
        let rendered = render::tree(&SCALES, &scale, call.rendering()?, true);
        return Ok(call.document(StatusCode::OK, &rendered));
    }
    let (wish, ctx) = read_wish(call, body).await?;
    let fields = ScaleFields::new(&call.registry, &call.served);
    let make = |old: &Value| scaled(old, &paths, &wish, &fields, &ctx.field_manager);
    let written = call.registry.update(&call.served, &ctx, Part::Whole, make).await?;
    if let Wish::Apply(apply) = &wish {
        apply.warn(call);
    }
    Ok(call.document(StatusCode::OK, &scale_of(&written.obj, &paths)))
}

/// A custom resource whose replicas are not said anywhere has no scale.
fn check_has_replicas(call: &Call, obj: &Value, paths: &ScalePaths) -> Result<(), ApiError> {
    let path: Vec<&str> = paths.spec_replicas.split('.').collect();
    if !call.served.is_custom() || meta::int_at(obj, &path).is_some() {
        return Ok(());
    }
    let why = format!("the spec replicas field \".{}\" does not exist", paths.spec_replicas);
    Err(ApiError::internal(why))
}

async fn read_wish(call: &Call, body: Body) -> Result<(Wish, Context), ApiError> {
    if call.verb == "patch" && media_type(&call.headers) == apply::MEDIA {
        let apply = Apply::read(call, body).await?;
        let ctx = apply.context(call);
        return Ok((Wish::Apply(Box::new(apply)), ctx));
    }
    let options = match call.verb.as_str() {
        "patch" => WriteOptions::parse_patch(&call.query, call.user_agent(), false)?,
        _ => WriteOptions::parse(&call.query, "UpdateOptions", call.user_agent())?,
    };
    let ctx = call.context(options.dry_run, &options.field_manager);
    let wish = read_scale(call, body).await?;
    Ok((wish, Context { untracked: true, ..ctx }))
}

async fn read_scale(call: &Call, body: Body) -> Result<Wish, ApiError> {
    if call.verb == "patch" {
        let patch = Patch::read_as(call, &scale_kind(), true, body).await?;
        return Ok(Wish::Patch(patch));
    }
    let format = body_format(&call.headers)?;
    let bytes: Bytes = read_body::read(body).await?;
    Ok(Wish::Put(checked(decode::parse(&bytes, format, "Scale")?.obj)?))
}

fn scale_kind() -> GroupVersionKind {
    GroupVersionKind::new("autoscaling", "v1", "Scale")
}

/// A `Scale` with the right types.
fn checked(mut scale: Value) -> Result<Value, ApiError> {
    if !matches!(meta::kind(&scale), "" | "Scale") {
        let kind = meta::kind(&scale);
        return Err(ApiError::bad_request(format!("{kind} cannot be handled as a Scale")));
    }
    if let Some(id) = builtin().type_of(&scale_kind()) {
        conform(builtin(), id, &mut scale).map_err(|error| error.for_kind(&scale_kind()))?;
    }
    Ok(scale)
}

/// The wanted `Scale` with its managed fields.
fn wanted(
    scale: &Value,
    wish: &Wish,
    fields: &ScaleFields,
    manager: &str,
) -> Result<Value, ApiError> {
    let mut wanted = match wish {
        Wish::Put(scale) => scale.clone(),
        Wish::Patch(patch) => checked(patch.apply(scale)?)?,
        Wish::Apply(apply) => {
            let applied = fields.apply(scale, &apply.application())?;
            apply.check()?;
            return checked(applied);
        }
    };
    fields.track(scale, &mut wanted, manager);
    Ok(wanted)
}

/// The object with the replicas that the wish asks for.
fn scaled(
    old: &Value,
    paths: &ScalePaths,
    wish: &Wish,
    fields: &ScaleFields,
    manager: &str,
) -> Result<Value, ApiError> {
    let mut scale = scale_of(old, paths);
    fields.fill(old, &mut scale)?;
    let wanted = wanted(&scale, wish, fields, manager)?;
    let replicas = meta::int_at(&wanted, &["spec", "replicas"]).unwrap_or(0);
    if replicas < 0 {
        let why = "must be greater than or equal to 0";
        let error = FieldError::invalid("spec.replicas", replicas, why);
        return Err(ApiError::invalid(&scale_kind(), meta::name(old), &[error]));
    }
    let mut obj = old.clone();
    let path: Vec<&str> = paths.spec_replicas.split('.').filter(|part| !part.is_empty()).collect();
    if let Some((last, parents)) = path.split_last() {
        meta::fields_mut(&mut obj, parents).insert((*last).to_string(), replicas.into());
    }
    for field in ["resourceVersion", "uid"] {
        meta::set_text(&mut obj, field, meta::str_at(&wanted, &["metadata", field]));
    }
    fields.give_back(&wanted, &mut obj)?;
    Ok(obj)
}

/// An object as the `Scale` that clients see.
pub(crate) fn scale_of(obj: &Value, paths: &ScalePaths) -> Value {
    let number = |path: &str| {
        let path: Vec<&str> = path.split('.').filter(|part| !part.is_empty()).collect();
        meta::int_at(obj, &path).unwrap_or(0)
    };
    let mut metadata = serde_json::Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = meta::at(obj, &["metadata", field]) {
            metadata.insert(field.into(), value.clone());
        }
    }
    let mut status = json!({"replicas": number(&paths.status_replicas)});
    let selector = selector_of(obj, paths);
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": number(&paths.spec_replicas)},
        "status": status,
    })
}

/// The selector as text, whichever way the kind writes it.
fn selector_of(obj: &Value, paths: &ScalePaths) -> String {
    let Some(path) = &paths.selector else { return String::new() };
    let path: Vec<&str> = path.split('.').filter(|part| !part.is_empty()).collect();
    match meta::at(obj, &path) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Object(map))
            if !map.contains_key("matchLabels") && !map.contains_key("matchExpressions") =>
        {
            Selector::from_map(map).to_string()
        }
        Some(selector) => {
            Selector::from_object(Some(selector)).map_or_else(|_| String::new(), |s| s.to_string())
        }
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_shows_the_numbers_and_the_selector() {
        let labels = json!({"app": "web"});
        for selector in [labels.clone(), json!({"matchLabels": labels}), json!("app=web")] {
            let obj = json!({"metadata": {"name": "a", "labels": {"x": "y"}},
                "spec": {"replicas": 3, "selector": selector}, "status": {"replicas": 2}});
            let scale = scale_of(&obj, &ScalePaths::usual());
            assert_eq!(scale["spec"]["replicas"], 3);
            assert_eq!(scale["status"], json!({"replicas": 2, "selector": "app=web"}));
            assert_eq!(scale["metadata"], json!({"name": "a"}));
        }
    }

    #[test]
    fn scaling_changes_the_replicas_and_nothing_else() {
        let old = json!({"metadata": {"name": "a", "uid": "u"}, "spec": {"replicas": 3, "x": 1}});
        let fields = ScaleFields::alone("apps/v1");
        let scaled = |replicas: i64| {
            let wish = Wish::Put(json!({"spec": {"replicas": replicas}}));
            scaled(&old, &ScalePaths::usual(), &wish, &fields, "me")
        };
        assert_eq!(scaled(5).unwrap()["spec"], json!({"replicas": 5, "x": 1}));
        assert_eq!(scaled(-1).unwrap_err().code, 422);
        assert_eq!(checked(json!({"spec": {"replicas": "many"}})).unwrap_err().code, 400);
    }
}
