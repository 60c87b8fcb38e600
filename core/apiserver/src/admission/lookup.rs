//! Reads of other objects: the caches first, the store where a cache may lag behind.

use std::sync::Arc;

use hansa_api::ApiError;
use serde_json::Value;

use crate::generic::admit::Attributes;

/// One object; `None` if there is none. What the cache lacks is asked of the store.
pub(super) async fn find(
    attrs: &Attributes<'_>,
    group: &str,
    plural: &str,
    namespace: &str,
    name: &str,
) -> Result<Option<Arc<Value>>, ApiError> {
    let served = attrs.registry.served(group, plural)?;
    let cache = attrs.registry.cache(&served).await?;
    let key = match namespace {
        "" => name.to_owned(),
        namespace => format!("{namespace}/{name}"),
    };
    if let Some(entry) = cache.get(&key) {
        return Ok(Some(entry.value()));
    }
    match attrs.registry.get(&served, namespace, name).await {
        Ok(object) => Ok(Some(Arc::new(object))),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the cache holds of a namespace's objects (of all objects if the namespace is empty).
pub(super) async fn list(
    attrs: &Attributes<'_>,
    group: &str,
    plural: &str,
    namespace: &str,
) -> Result<Vec<Arc<Value>>, ApiError> {
    let served = attrs.registry.served(group, plural)?;
    let cache = attrs.registry.cache(&served).await?;
    Ok(cache.view(namespace).entries.iter().map(|entry| entry.value()).collect())
}
