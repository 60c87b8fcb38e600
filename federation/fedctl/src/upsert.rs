//! Objects as they should be: made if absent, changed if different.

use std::fmt;

use anyhow::{Context, Result};
use hansa_client::kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use hansa_client::kube::core::{ApiResource, GroupVersionKind};
use hansa_client::kube::{Client, Error};
use hansa_federation_api::manifest;
use serde_json::Value;

/// What was done, or would be in a dry run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was not there.
    Created,
    /// It was different.
    Configured,
    /// It was as it should be.
    Unchanged,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        })
    }
}

/// An object's API, by its kind and the kind's plural.
pub fn api_of(client: &Client, object: &Value, plural: &str) -> Api<DynamicObject> {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
    let gvk = GroupVersionKind::gvk(group, version, text("kind"));
    let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

/// `plural.group/name`, as kubectl writes it.
pub fn title(object: &Value, plural: &str) -> String {
    let group = object["apiVersion"].as_str().and_then(|v| v.split_once('/')).map(|v| v.0);
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    match group {
        Some(group) => format!("{plural}.{group}/{name}"),
        None => format!("{plural}/{name}"),
    }
}

/// Makes an object what it should be; says what was done.
pub async fn upsert(client: &Client, object: &Value, plural: &str, dry_run: bool) -> Result<Done> {
    let api = api_of(client, object, plural);
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let what = || format!("failed to write {}", title(object, plural));
    let present = match api.get_opt(name).await {
        Err(Error::Api(status)) if status.code == 404 => None,
        other => other.with_context(what)?,
    };
    let Some(present) = present else {
        if !dry_run {
            let fresh: DynamicObject = serde_json::from_value(object.clone())?;
            api.create(&PostParams::default(), &fresh).await.with_context(what)?;
        }
        return Ok(Done::Created);
    };
    if manifest::holds(object, &serde_json::to_value(&present)?) {
        return Ok(Done::Unchanged);
    }
    if !dry_run {
        let patch = Patch::Merge(object);
        api.patch(name, &PatchParams::default(), &patch).await.with_context(what)?;
    }
    Ok(Done::Configured)
}
