//! From the stored version of an object to the served one and back, where a webhook has to be asked.

use async_trait::async_trait;
use bytes::Bytes;
use hansa_api::status::ApiError;
use hansa_storage::KeyValue;
use serde_json::Value;

use super::catalog::Served;
use super::{encode, entry};

/// How many objects are converted with one question.
const AT_ONCE: usize = 500;

/// Converts objects of one kind between its versions.
#[async_trait]
pub trait Converter: Send + Sync {
    /// The objects as `to` (an `apiVersion`), in the same order. None of them is of it already.
    ///
    /// # Errors
    /// If one of them cannot be converted.
    async fn convert(&self, objects: Vec<Value>, to: &str) -> Result<Vec<Value>, ApiError>;
}

/// Whether what is stored has to be converted before it can be served.
pub(super) fn is_needed(served: &Served, kv: &KeyValue) -> bool {
    served.strategy.converter().is_some() && !entry::is_stored_as(served, &kv.value)
}

/// What is stored, as the served version: only where a converter has to be asked for that.
pub(super) async fn served_values(
    served: &Served,
    mut kvs: Vec<KeyValue>,
) -> Result<Vec<KeyValue>, ApiError> {
    let Some(converter) = served.strategy.converter() else { return Ok(kvs) };
    let others: Vec<usize> =
        (0..kvs.len()).filter(|at| !entry::is_stored_as(served, &kvs[*at].value)).collect();
    let to = served.resource.api_version();
    for chunk in others.chunks(AT_ONCE) {
        let read = |at: &usize| serde_json::from_slice(&kvs[*at].value);
        let objects: Result<Vec<Value>, _> = chunk.iter().map(read).collect();
        let converted = converter.convert(objects.map_err(ApiError::internal)?, &to).await?;
        for (at, obj) in chunk.iter().zip(converted) {
            kvs[*at].value = encode::stored(&obj);
        }
    }
    Ok(kvs)
}

/// One object of the store, as the served version.
pub(super) async fn served_value(served: &Served, kv: KeyValue) -> Result<KeyValue, ApiError> {
    if !is_needed(served, &kv) {
        return Ok(kv);
    }
    let mut converted = served_values(served, vec![kv]).await?;
    Ok(converted.remove(0))
}

/// An object of the served version, as it is stored.
pub(super) async fn stored_bytes(served: &Served, obj: &Value) -> Result<Bytes, ApiError> {
    let to = served.resource.storage_version.as_ref();
    match served.strategy.converter() {
        Some(converter) if obj["apiVersion"] != to => {
            let converted = converter.convert(vec![obj.clone()], to).await?;
            Ok(converted.first().map(encode::stored).unwrap_or_default())
        }
        _ => Ok(entry::to_stored(served, obj)),
    }
}
