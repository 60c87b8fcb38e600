//! PersistentVolumeClaimResize: a claim grows only where its class can make volumes grow.

use async_trait::async_trait;
use hansa_api::ApiError;
use hansa_api::meta::{bool_at, str_at};
use hansa_api::quota::{amounts, claims::class_of};
use serde_json::Value;

use super::{forbidden, lookup};
use crate::generic::admit::{Admission, Attributes, Operation};

const UNBOUND: &str = "Only bound persistent volume claims can be expanded";
const FIXED: &str = "only dynamically provisioned pvc can be resized and the storageclass that \
                     provisions the pvc must support resize";

pub(super) struct PersistentVolumeClaimResize;

#[async_trait]
impl Admission for PersistentVolumeClaimResize {
    fn concerns(&self, attrs: &Attributes<'_>) -> bool {
        let claims = attrs.is("", "persistentvolumeclaims");
        claims && attrs.operation == Operation::Update && attrs.is_whole()
    }

    async fn validate(
        &self,
        attrs: &Attributes<'_>,
        claim: Option<&Value>,
    ) -> Result<(), ApiError> {
        let (Some(new), Some(old)) = (claim, attrs.old) else { return Ok(()) };
        if !grows(new, old) {
            return Ok(());
        }
        if str_at(old, &["status", "phase"]) != "Bound" {
            return Err(forbidden(attrs, new, UNBOUND));
        }
        match can_grow(attrs, new, old).await? {
            true => Ok(()),
            false => Err(forbidden(attrs, new, FIXED)),
        }
    }
}

fn grows(new: &Value, old: &Value) -> bool {
    let size = |claim: &Value| {
        let asked = amounts(claim, &["spec", "resources", "requests"]);
        asked.get("storage").copied().unwrap_or_default()
    };
    size(new) > size(old)
}

async fn can_grow(attrs: &Attributes<'_>, new: &Value, old: &Value) -> Result<bool, ApiError> {
    let class = class_of(new);
    if class.is_empty() || class != class_of(old) {
        return Ok(false);
    }
    let class = lookup::find(attrs, "storage.k8s.io", "storageclasses", "", class).await?;
    Ok(class.is_some_and(|class| bool_at(&class, &["allowVolumeExpansion"])))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_growth_is_asked_about() {
        let claim = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
        assert!(grows(&claim("2Gi"), &claim("1Gi")));
        assert!(!grows(&claim("1024Mi"), &claim("1Gi")));
        assert!(!grows(&claim("1Mi"), &claim("1Gi")));
    }
}
