//! `fedctl init`: a hub gets the federation's kinds, namespaces and roles.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use hansa_api::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as ext;
use hansa_client::kube::{Api, Client};
use hansa_federation_api::{crds, names};
use serde_json::{Value, json};

use crate::cli::Host;
use crate::output::say;
use crate::rbac;
use crate::upsert::{title, upsert};

/// How long the hub may take to serve a new kind.
const ESTABLISH: Duration = Duration::from_secs(30);

/// Options of `init`.
#[derive(clap::Args)]
pub struct Options {
    /// Say what would be done and do nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub async fn run(host: &Host, options: Options) -> Result<()> {
    let hub = host.hub().await?;
    hub.id().await?;
    let suffix = if options.dry_run { " (dry run)" } else { "" };
    for (plural, object) in objects()? {
        let done = upsert(&hub.client, &object, plural, options.dry_run).await?;
        say!("{} {done}{suffix}", title(&object, plural));
    }
    if !options.dry_run {
        established(&hub.client).await?;
        say!("{} is ready to be the hub of a federation.", hub.context);
        say!("Next: fedctl join NAME --cluster-context CONTEXT");
    }
    Ok(())
}

/// Everything that a hub needs, in the order in which it is made.
fn objects() -> Result<Vec<(&'static str, Value)>> {
    let mut all = Vec::new();
    for crd in crds::crds() {
        let mut crd = serde_json::to_value(crd)?;
        crd["apiVersion"] = "apiextensions.k8s.io/v1".into();
        crd["kind"] = "CustomResourceDefinition".into();
        all.push(("customresourcedefinitions", crd));
    }
    for name in [names::SYSTEM_NAMESPACE, names::CLUSTER_NAMESPACE] {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        all.push(("namespaces", namespace));
    }
    all.extend(rbac::hub_objects());
    Ok(all)
}

async fn established(client: &Client) -> Result<()> {
    let api: Api<ext::CustomResourceDefinition> = Api::all(client.clone());
    for crd in crds::crds() {
        let name = crd.metadata.name.unwrap_or_default();
        let wait = tokio::time::timeout(ESTABLISH, until_established(&api, &name)).await;
        match wait {
            Ok(outcome) => outcome.with_context(|| format!("failed to wait for {name}"))?,
            Err(_) => bail!("failed to wait for {name}: not established after {ESTABLISH:?}"),
        }
    }
    Ok(())
}

async fn until_established(api: &Api<ext::CustomResourceDefinition>, name: &str) -> Result<()> {
    loop {
        let conditions = api.get(name).await?.status.and_then(|s| s.conditions).unwrap_or_default();
        if conditions.iter().any(|c| c.type_ == "Established" && c.status == "True") {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
