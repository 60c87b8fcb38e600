//! The kinds of our own that every cluster has: `Plugin`.

use anyhow::{Context, Result};
use hansa_api::k8s_openapi::Resource;
use hansa_api::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use hansa_api::plugin::Plugin;
use hansa_client::kube::api::PostParams;
use hansa_client::kube::{Api, Client, Error};

/// Creates the definition of `Plugin`, or brings it up to date.
///
/// # Errors
/// If the server refuses it.
pub async fn ensure(client: Client) -> Result<()> {
    let wanted = hansa_federation_api::crds::crds();
    let ours = wanted.into_iter().find(|crd| crd.spec.group == Plugin::GROUP);
    let mut crd = ours.context("failed to find the definition of Plugin")?;
    let name = crd.metadata.name.clone().unwrap_or_default();
    let api: Api<CustomResourceDefinition> = Api::all(client);
    let outcome = match api.get_opt(&name).await? {
        None => api.create(&PostParams::default(), &crd).await,
        Some(current) if current.spec.versions == crd.spec.versions => return Ok(()),
        Some(current) => {
            crd.metadata.resource_version = current.metadata.resource_version;
            api.replace(&name, &PostParams::default(), &crd).await
        }
    };
    match outcome {
        Err(Error::Api(status)) if status.is_already_exists() => Ok(()),
        outcome => outcome.map(drop).with_context(|| format!("failed to define {name}")),
    }
}
