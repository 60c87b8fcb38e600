//! StorageObjectInUseProtection: what stores data does not go while somebody uses it; its finalizer
//! is taken off by a controller.

use async_trait::async_trait;
use hansa_api::ApiError;
use hansa_api::meta;
use serde_json::{Value, json};

use crate::generic::admit::{Admission, Attributes, Operation};

pub(super) struct StorageObjectInUseProtection;

#[async_trait]
impl Admission for StorageObjectInUseProtection {
    fn concerns(&self, attrs: &Attributes<'_>) -> bool {
        attrs.operation == Operation::Create && attrs.is_whole() && finalizer(attrs).is_some()
    }

    async fn mutate(&self, attrs: &Attributes<'_>, obj: &mut Value) -> Result<(), ApiError> {
        if let Some(finalizer) = finalizer(attrs) {
            add(obj, finalizer);
        }
        Ok(())
    }
}

fn finalizer(attrs: &Attributes<'_>) -> Option<&'static str> {
    match (&*attrs.resource.group, &*attrs.resource.plural) {
        ("", "persistentvolumes") => Some("kubernetes.io/pv-protection"),
        ("", "persistentvolumeclaims") => Some("kubernetes.io/pvc-protection"),
        _ => None,
    }
}

fn add(obj: &mut Value, finalizer: &str) {
    if meta::finalizers(obj).any(|own| own == finalizer) {
        return;
    }
    let all = meta::metadata_mut(obj).entry("finalizers").or_insert_with(|| json!([]));
    if let Some(all) = all.as_array_mut() {
        all.push(finalizer.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_finalizer_is_added_once() {
        let mut claim = json!({"metadata": {"finalizers": ["a/b"]}});
        add(&mut claim, "kubernetes.io/pvc-protection");
        add(&mut claim, "kubernetes.io/pvc-protection");
        assert_eq!(claim["metadata"]["finalizers"], json!(["a/b", "kubernetes.io/pvc-protection"]));
    }
}
