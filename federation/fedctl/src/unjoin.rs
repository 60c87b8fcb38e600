//! `fedctl unjoin`: a member leaves, with or without what it holds.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use hansa_api::k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use hansa_client::kube::api::{Api, DeleteParams, Patch, PatchParams};
use hansa_client::kube::{Client, Error};
use hansa_federation_api::kinds::{Cluster, Work};
use hansa_federation_api::names;
use serde_json::{Value, json};

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
    let known = remove_secret(&hub.client, &cluster).await?;
    let subject = known.unwrap_or_else(|| guess(&options, &cluster, &hub.context));
    clean_member(host, &options, &cluster, &subject).await?;
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

/// Whether there was anything; what is absent is no trouble.
fn absent<T>(result: Result<T, Error>) -> Result<bool> {
    match result {
        Err(Error::Api(status)) if status.code == 404 => Ok(false),
        other => Ok(other.map(|_| true)?),
    }
}

/// Deletes the member's credential; answers whose it was.
async fn remove_secret(hub: &Client, cluster: &Cluster) -> Result<Option<Subject>> {
    let Some(reference) = &cluster.spec.secret_ref else { return Ok(None) };
    let secrets: Api<Secret> = Api::namespaced(hub.clone(), &reference.namespace);
    let secret = secrets.get_opt(&reference.name).await.context("failed to read the credential")?;
    if absent(secrets.delete(&reference.name, &DeleteParams::default()).await)? {
        say!("hub: secrets/{} deleted", reference.name);
    }
    let token = secret.and_then(|s| s.data?.remove("token"));
    Ok(token.and_then(|token| holder(std::str::from_utf8(&token.0).ok()?)))
}

/// The service account that a token is for, unchecked: the member knows best what it made.
fn holder(token: &str) -> Option<Subject> {
    let payload = token.trim().split('.').nth(1)?;
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Value = serde_json::from_slice(&json).ok()?;
    let account = claims["sub"].as_str()?.strip_prefix("system:serviceaccount:")?;
    let (namespace, account) = account.split_once(':')?;
    Some(Subject { namespace: namespace.into(), account: account.into() })
}

/// The service account that `join` would have made with the same options.
fn guess(options: &Options, cluster: &Cluster, hub_context: &str) -> Subject {
    let namespace = cluster.spec.secret_ref.as_ref().map(|s| s.namespace.clone());
    let namespace = namespace.unwrap_or_else(|| names::CLUSTER_NAMESPACE.into());
    let hub = options.host_cluster_name.as_deref().unwrap_or(hub_context);
    Subject::new(&namespace, &options.name, hub)
}

/// Takes the hub's rights in the member away.
async fn clean_member(
    host: &Host,
    options: &Options,
    cluster: &Cluster,
    subject: &Subject,
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
    for (plural, object) in rbac::objects(subject, &[]).into_iter().rev() {
        if plural == "namespaces" && is_shared(&member.client, subject).await? {
            say!("member: {} stays: others use it", title(&object, plural));
            continue;
        }
        let object_name = object["metadata"]["name"].as_str().unwrap_or_default();
        let api = api_of(&member.client, &object, plural);
        if absent(api.delete(object_name, &DeleteParams::default()).await)? {
            say!("member: {} deleted", title(&object, plural));
        }
    }
    Ok(())
}

/// Whether somebody else keeps something in the namespace of the hub's account: another hub its
/// account, or the member itself, if it is a hub, the credentials of its own members.
async fn is_shared(member: &Client, subject: &Subject) -> Result<bool> {
    let accounts: Api<ServiceAccount> = Api::namespaced(member.clone(), &subject.namespace);
    let secrets: Api<Secret> = Api::namespaced(member.clone(), &subject.namespace);
    let accounts = accounts.list(&Default::default()).await?.items;
    let foreign = |account: &ServiceAccount| {
        let name = account.metadata.name.as_deref().unwrap_or_default();
        name != "default" && name != subject.account
    };
    let tokens =
        |secret: &Secret| secret.type_.as_deref() == Some("kubernetes.io/service-account-token");
    let secrets = secrets.list(&Default::default()).await?.items;
    Ok(accounts.iter().any(foreign) || !secrets.iter().all(tokens))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_whose_it_is() {
        let payload = r#"{"sub":"system:serviceaccount:karmada-cluster:eu-league"}"#;
        let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(payload);
        let subject = holder(&format!("e30.{payload}.sig\n")).expect("it is a token");
        assert_eq!(subject.namespace, "karmada-cluster");
        assert_eq!(subject.account, "eu-league");
        assert!(holder("opaque").is_none() && holder("a.b.c").is_none());
    }
}
