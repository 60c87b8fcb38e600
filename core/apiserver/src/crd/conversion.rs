//! Conversion between versions by a webhook: `ConversionReview`.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use hansa_api::meta;
use hansa_api::names::{label_value, qualified_name};
use hansa_api::status::{ApiError, Reason};
use serde_json::{Map, Value, json};

use crate::generic::convert::Converter;
use crate::generic::registry::Registry;
use crate::generic::resource::split_api_version;
use crate::webhook::Hook;

/// How long a converter may take.
const LIMIT: Duration = Duration::from_secs(30);
const GROUP: &str = "apiextensions.k8s.io";

/// A definition's converter.
pub(super) struct Conversion {
    hook: Result<Hook, String>,
    /// Versions of the review that it understands, the preferred first.
    reviews: Vec<String>,
    registry: Weak<Registry>,
}

impl Conversion {
    /// The converter that a definition names; `None` if versions differ in name only.
    pub(super) fn of(crd: &Value, registry: &Arc<Registry>) -> Option<Arc<Self>> {
        let conversion = meta::at(crd, &["spec", "conversion"])?;
        if conversion["strategy"] != "Webhook" {
            return None;
        }
        let webhook = &conversion["webhook"];
        let reviews = meta::list_at(webhook, &["conversionReviewVersions"]).iter();
        Some(Arc::new(Self {
            hook: Hook::new(&webhook["clientConfig"]).map_err(|error| error.to_string()),
            reviews: reviews.filter_map(Value::as_str).map(str::to_string).collect(),
            registry: Arc::downgrade(registry),
        }))
    }

    async fn ask(&self, objects: &[Value], to: &str) -> Result<Vec<Value>, String> {
        let hook = self.hook.as_ref().map_err(Clone::clone)?;
        let known =
            self.reviews.iter().find(|version| matches!(version.as_str(), "v1" | "v1beta1"));
        let version = known.ok_or("no supported conversion review versions")?;
        let registry = self.registry.upgrade();
        let registry = registry.ok_or("the server is shutting down")?;
        let uid = uuid::Uuid::new_v4().to_string();
        let review = json!({
            "kind": "ConversionReview",
            "apiVersion": format!("{GROUP}/{version}"),
            "request": {"uid": uid, "desiredAPIVersion": to, "objects": objects},
        });
        let answer = hook.post(&registry, &review, LIMIT).await;
        converted(answer.map_err(|error| error.to_string())?, version, &uid)
    }
}

/// The objects that an answer holds.
fn converted(answer: Value, version: &str, uid: &str) -> Result<Vec<Value>, String> {
    let text = |at: &[&str]| meta::str_at(&answer, at).to_string();
    if version == "v1" {
        let (api, kind) = (text(&["apiVersion"]), text(&["kind"]));
        if api != format!("{GROUP}/v1") || kind != "ConversionReview" {
            let (group, version) = split_api_version(&api);
            return Err(format!(
                "expected webhook response of {GROUP}/v1, Kind=ConversionReview, got \
                 {group}/{version}, Kind={kind}"
            ));
        }
    }
    if !answer["response"].is_object() {
        return Err("no response provided".into());
    }
    let found = text(&["response", "uid"]);
    if version == "v1" && found != uid {
        return Err(format!("expected response.uid={uid:?}, got {found:?}"));
    }
    let status = text(&["response", "result", "status"]);
    if status != "Success" {
        let message = text(&["response", "result", "message"]);
        return Err(match message.is_empty() {
            true => format!("response.result.status was '{status}', not 'Success'"),
            false => message,
        });
    }
    Ok(answer["response"]["convertedObjects"].as_array().cloned().unwrap_or_default())
}

#[async_trait]
impl Converter for Conversion {
    async fn convert(&self, objects: Vec<Value>, to: &str) -> Result<Vec<Value>, ApiError> {
        let Some(first) = objects.first() else { return Ok(objects) };
        let name = shown_kind(first);
        let failed = |why: String| failure(format!("conversion webhook for {name} failed: {why}"));
        let answer = self.ask(&objects, to).await.map_err(failed)?;
        if answer.len() != objects.len() {
            return Err(failure(format!(
                "conversion webhook for {name} returned {} objects, expected {}",
                answer.len(),
                objects.len()
            )));
        }
        let checked = objects.iter().zip(answer).enumerate().map(|(at, (original, converted))| {
            accept(original, converted, to).map_err(|why| {
                failure(format!("conversion webhook for {name} returned {}", why.at(at)))
            })
        });
        checked.collect()
    }
}

/// An error that is none of the API's own: 500 without a reason.
fn failure(message: String) -> ApiError {
    ApiError::new(Reason::Unknown, message)
}

fn shown_kind(obj: &Value) -> String {
    let (group, version) = split_api_version(meta::str_at(obj, &["apiVersion"]));
    format!("{group}/{version}, Kind={}", meta::str_at(obj, &["kind"]))
}

/// What is wrong with one converted object.
enum Refusal {
    Object(String),
    Metadata(String),
}

impl Refusal {
    fn at(self, index: usize) -> String {
        match self {
            Self::Object(why) => format!("invalid converted object at index {index}: {why}"),
            Self::Metadata(why) => format!("invalid metadata in object at index {index}: {why}"),
        }
    }
}

/// A converted object with the metadata of the original: only labels and annotations may differ.
fn accept(original: &Value, mut converted: Value, to: &str) -> Result<Value, Refusal> {
    let text = |obj: &Value, at: &[&str]| meta::str_at(obj, at).to_string();
    let found = text(&converted, &["apiVersion"]);
    if found != to {
        let why = format!("invalid groupVersion (expected {to}, received {found})");
        return Err(Refusal::Object(why));
    }
    let same: [(&str, &[&str]); 4] = [
        ("kind", &["kind"]),
        ("name", &["metadata", "name"]),
        ("namespace", &["metadata", "namespace"]),
        ("UID", &["metadata", "uid"]),
    ];
    for (what, at) in same {
        let (before, after) = (text(original, at), text(&converted, at));
        if before != after {
            let why = format!("must have the same {what}: {before} != {after}");
            return Err(Refusal::Object(why));
        }
    }
    let Some(answered) = converted.get("metadata").and_then(Value::as_object).cloned() else {
        return Err(Refusal::Metadata("missing metadata in converted object".into()));
    };
    let mut metadata = original["metadata"].as_object().cloned().unwrap_or_default();
    for field in ["labels", "annotations"] {
        keep(&mut metadata, &answered, field).map_err(Refusal::Metadata)?;
    }
    converted["metadata"] = metadata.into();
    Ok(converted)
}

/// Takes one of the two fields that a converter may change.
fn keep(
    metadata: &mut Map<String, Value>,
    answered: &Map<String, Value>,
    field: &str,
) -> Result<(), String> {
    let Some(value) = answered.get(field).filter(|value| !value.is_null()) else {
        metadata.remove(field);
        return Ok(());
    };
    let Some(entries) = value.as_object() else {
        return Err(format!("invalid metadata.{field} in converted object"));
    };
    for (key, value) in entries {
        let Some(text) = value.as_str() else {
            return Err(format!("metadata.{field}[{key}] must be a string in converted object"));
        };
        let mut why = qualified_name(key);
        if field == "labels" {
            why.extend(label_value(text));
        }
        if let Some(why) = why.first() {
            return Err(format!("metadata.{field}: Invalid value: {key:?}: {why}"));
        }
    }
    metadata.insert(field.to_string(), value.clone());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(version: &str, uid: &str) -> Value {
        json!({"apiVersion": format!("a.io/{version}"), "kind": "A",
            "metadata": {"name": "x", "uid": uid, "generation": 3, "labels": {"a": "b"}}})
    }

    #[test]
    fn converters_may_change_labels_and_nothing_else_of_the_metadata() {
        let mut answer = object("v2", "u");
        answer["metadata"]["generation"] = 9.into();
        answer["metadata"]["labels"] = json!({"c": "d"});
        let accepted = accept(&object("v1", "u"), answer, "a.io/v2").ok().unwrap();
        assert_eq!(accepted["metadata"]["generation"], 3);
        assert_eq!(accepted["metadata"]["labels"], json!({"c": "d"}));
    }

    #[test]
    fn wrong_answers_are_told_in_upstreams_words() {
        let cases = [
            (
                object("v1", "u"),
                "invalid converted object at index 0: invalid groupVersion \
                (expected a.io/v2, received a.io/v1)",
            ),
            (
                object("v2", "w"),
                "invalid converted object at index 0: must have the same UID: u != w",
            ),
            (
                json!({"apiVersion": "a.io/v2", "kind": "B"}),
                "invalid converted object at index 0: must have the same kind: A != B",
            ),
        ];
        for (answer, expected) in cases {
            let refusal = accept(&object("v1", "u"), answer, "a.io/v2").err().unwrap();
            assert_eq!(refusal.at(0), expected);
        }
        let review = |response: Value| {
            json!({"apiVersion": "apiextensions.k8s.io/v1",
            "kind": "ConversionReview", "response": response})
        };
        let cases = [
            (json!({"response": {}}), "expected webhook response of apiextensions.k8s.io/v1"),
            (review(Value::Null), "no response provided"),
            (review(json!({"uid": "x"})), "expected response.uid=\"u\", got \"x\""),
            (
                review(json!({"uid": "u", "result": {"status": "Failure"}})),
                "response.result.status was 'Failure', not 'Success'",
            ),
            (review(json!({"uid": "u", "result": {"status": "Failure", "message": "no"}})), "no"),
        ];
        for (answer, expected) in cases {
            let error = converted(answer, "v1", "u").unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
