//! DefaultStorageClass: a claim that names no class gets the cluster's default one.

use async_trait::async_trait;
use hansa_api::ApiError;
use hansa_api::meta::{self, fields_mut};
use serde_json::Value;

use super::default_ingress_class::newest;
use super::{creates, lookup};
use crate::generic::admit::{Admission, Attributes};

const IS_DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

pub(super) struct DefaultStorageClass;

#[async_trait]
impl Admission for DefaultStorageClass {
    fn concerns(&self, attrs: &Attributes<'_>) -> bool {
        creates(attrs, "persistentvolumeclaims")
    }

    async fn mutate(&self, attrs: &Attributes<'_>, claim: &mut Value) -> Result<(), ApiError> {
        let named = meta::at(claim, &["spec", "storageClassName"]).is_some();
        if named || meta::annotation(claim, CLASS_ANNOTATION).is_some() {
            return Ok(());
        }
        let classes = lookup::list(attrs, "storage.k8s.io", "storageclasses", "").await?;
        if let Some(class) = newest(&classes, IS_DEFAULT) {
            fields_mut(claim, &["spec"]).insert("storageClassName".into(), class.into());
        }
        Ok(())
    }
}
