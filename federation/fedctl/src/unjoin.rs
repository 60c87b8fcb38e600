//! `fedctl unjoin`: a member leaves, with or without what it holds.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use hansa_api::k8s_openapi::api::core::v1::Secret;
use hansa_client::kube::api::{Api, DeleteParams, Patch, PatchParams};
use hansa_client::kube::{Client, Error};
use hansa_federation_api::kinds::{Cluster, Work};
use hansa_federation_api::names;
use serde_json::json;

use crate::cli::Host;
use crate::error::chain;
use crate::output::say;
use crate::rbac::{self, Subject};
use crate::upsert::{api_of, title};

/// Options of `unjoin`.
#[derive(clap::Args)]
pub struct Options {
    /// The member.
    name: String,
    /// The member's context, to take the hub's rights away there [default: NAME, if it exists].
    #[arg(long)]
    cluster_context: Option<String>,
    /// The hub's name, as given to `join` [default: the hub's context].
    #[arg(long)]
    host_cluster_name: Option<String>,
    /// Go on although the member does not answer; what it holds stays there.
    #[arg(long)]
    force: bool,
    /// Leave everything that was propagated in the member.
    #[arg(long)]
    orphan: bool,
    /// How long to wait for the member to be emptied, seconds.
    #[arg(long, default_value_t = 60)]
    wait_seconds: u64,
    /// Say what would be done and do nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub async fn run(host: &Host, options: Options) -> Result<()> {
    let hub = host.hub().await?;
    let clusters: Api<Cluster> = Api::all(hub.client.clone());
    let cluster =
        match clusters.get_opt(&options.name).await.context("failed to read the member")? {
            Some(cluster) => cluster,
            None => bail!("{} is no member", options.name),
        };
    if options.dry_run {
        say!("hub: clusters.cluster.karmada.io/{} deleted (dry run)", options.name);
        return Ok(());
    }
    release(&hub.client, &clusters, &options).await?;
    remove_secret(&hub.client, &cluster).await?;
    clean_member(host, &options, &cluster, &hub.context).await?;
    say!("cluster {} has left", options.name);
    Ok(())
}

async fn release(hub: &Client, clusters: &Api<Cluster>, options: &Options) -> Result<()> {
    let name = &options.name;
    if options.orphan {
        let orphan = json!({"metadata": {"annotations": {names::ORPHAN: "true"}}});
        clusters.patch(name, &PatchParams::default(), &Patch::Merge(orphan)).await?;
    }
    absent(clusters.delete(name, &DeleteParams::default()).await)?;
    if gone_within(clusters, name, options.wait_seconds).await {
        say!("hub: clusters.cluster.karmada.io/{name} deleted");
        return Ok(());
    }
    if !options.force {
        bail!(
            "{name} is not emptied after {} s; it may not answer: try --force",
            options.wait_seconds
        );
    }
    drop_finalizers(hub, clusters, name).await?;
    say!("hub: clusters.cluster.karmada.io/{name} deleted by force");
    Ok(())
}

async fn gone_within(clusters: &Api<Cluster>, name: &str, seconds: u64) -> bool {
    let gone = async {
        while !matches!(clusters.get_opt(name).await, Ok(None)) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(seconds), gone).await.is_ok()
}

/// Lets the member's Works and the member go without asking the member.
async fn drop_finalizers(hub: &Client, clusters: &Api<Cluster>, name: &str) -> Result<()> {
    let nobody = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let works: Api<Work> = Api::namespaced(hub.clone(), &names::execution_namespace(name));
    for work in works.list(&Default::default()).await?.items {
        absent(works.delete(work.name(), &DeleteParams::default()).await)?;
        absent(works.patch(work.name(), &PatchParams::default(), &nobody).await)?;
    }
    if !gone_within(clusters, name, 5).await {
        absent(clusters.patch(name, &PatchParams::default(), &nobody).await)?;
    }
    Ok(())
}

fn absent<T>(result: Result<T, Error>) -> Result<()> {
    match result {
        Err(Error::Api(status)) if status.code == 404 => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

async fn remove_secret(hub: &Client, cluster: &Cluster) -> Result<()> {
    let Some(reference) = &cluster.spec.secret_ref else { return Ok(()) };
    let secrets: Api<Secret> = Api::namespaced(hub.clone(), &reference.namespace);
    absent(secrets.delete(&reference.name, &DeleteParams::default()).await)?;
    say!("hub: secrets/{} deleted", reference.name);
    Ok(())
}

/// Takes the hub's rights in the member away.
async fn clean_member(
    host: &Host,
    options: &Options,
    cluster: &Cluster,
    hub_context: &str,
) -> Result<()> {
    let context = options.cluster_context.clone().unwrap_or_else(|| options.name.clone());
    let connected = match host.connect(Some(&context)).await {
        Ok(member) => member.id().await.map(|id| (id, member)),
        Err(error) => Err(error),
    };
    let member = match connected {
        Ok((id, member)) if id == cluster.spec.id || cluster.spec.id.is_empty() => member,
        Ok(_) => bail!("context {context:?} is another cluster; its rights stay as they are"),
        Err(error) if options.force || options.cluster_context.is_none() => {
            eprintln!("member: the hub's rights are left behind: {}", chain(&error));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let namespace = cluster.spec.secret_ref.as_ref().map(|s| s.namespace.clone());
    let hub = options.host_cluster_name.as_deref().unwrap_or(hub_context);
    let namespace = namespace.unwrap_or_else(|| names::CLUSTER_NAMESPACE.into());
    let subject = Subject::new(&namespace, &options.name, hub);
    for (plural, object) in rbac::objects(&subject, &[]).into_iter().rev() {
        let object_name = object["metadata"]["name"].as_str().unwrap_or_default();
        let api = api_of(&member.client, &object, plural);
        absent(api.delete(object_name, &DeleteParams::default()).await)?;
        say!("member: {} deleted", title(&object, plural));
    }
    Ok(())
}
