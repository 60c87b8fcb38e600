//! `fedctl policy`: the placement policy components of the hub.

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use hansa_api::k8s_openapi::api::core::v1::ConfigMap;
use hansa_api::plugin::{ConfigMapSource, Plugin, PluginSource};
use hansa_client::kube::Client;
use hansa_client::kube::api::{Api, ListParams, Patch, PatchParams};
use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::cli::Host;
use crate::error::Refused;
use crate::get::all;
use crate::output::{self, Format, Table, age};
use crate::output::{put, say};

/// The world of placement policies.
const WORLD: &str = "federation";

/// Verbs of `policy`.
#[derive(Subcommand)]
pub enum Command {
    /// List the components and what decides now.
    List {
        /// How to print.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Show which versions of a component decided, newest first.
    History {
        /// The Plugin.
        name: String,
        /// How to print.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Let an earlier version decide again.
    Rollback {
        /// The Plugin.
        name: String,
        /// The digest of the version [default: what decides if that is not what is wanted, else the
        /// one before].
        #[arg(long)]
        to: Option<String>,
        /// The file in the hub's plugin directory that holds the version; ConfigMaps are searched.
        #[arg(long)]
        file: Option<String>,
        /// Say what would be done and do nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Runs the command.
pub async fn run(host: &Host, command: Command) -> Result<()> {
    let client = host.client().await?;
    match command {
        Command::List { output } => list(&client, output).await,
        Command::History { name, output } => history(&get(&client, &name).await?, output),
        Command::Rollback { name, to, file, dry_run } => {
            let plugin = get(&client, &name).await?;
            rollback(&client, &plugin, to, file, dry_run).await
        }
    }
}

async fn get(client: &Client, name: &str) -> Result<Plugin> {
    let plugins: Api<Plugin> = Api::all(client.clone());
    let plugin =
        plugins.get(name).await.with_context(|| format!("failed to read Plugin {name}"))?;
    if plugin.spec.world != WORLD {
        bail!("Plugin {name} is of world {}, not {WORLD}", plugin.spec.world);
    }
    Ok(plugin)
}

async fn list(client: &Client, format: Format) -> Result<()> {
    let mut plugins: Vec<Plugin> = all(client).await?;
    plugins.retain(|p| p.spec.world == WORLD);
    let mut table = Table::new(&["NAME", "READY", "DECIDES", "WANTED", "AGE"], &["REASON"]);
    let now = Timestamp::now();
    for plugin in &plugins {
        let status = plugin.status.clone().unwrap_or_default();
        let ready = status.conditions.iter().find(|c| c.type_ == "Ready");
        let created = plugin.metadata.creation_timestamp.as_ref().map(|t| t.0);
        table.row([
            plugin.metadata.name.clone().unwrap_or_default(),
            ready.map_or("Unknown".into(), |c| c.status.clone()),
            short(status.active_digest.as_deref().unwrap_or("<none>")),
            short(&plugin.spec.digest),
            age(created, now),
            ready.map(|c| format!("{}: {}", c.reason, c.message)).unwrap_or_default(),
        ]);
    }
    let documents: Result<Vec<_>, _> = plugins.iter().map(serde_json::to_value).collect();
    output::list(format, "plugin", &table, &documents?)
}

/// A digest as short as people compare it.
fn short(digest: &str) -> String {
    digest.chars().take("sha256:".len() + 12).collect()
}

fn versions(plugin: &Plugin) -> Vec<String> {
    let status = plugin.status.clone().unwrap_or_default();
    let mut all: Vec<String> = status.active_digest.into_iter().collect();
    for digest in status.history {
        if !all.contains(&digest) {
            all.push(digest);
        }
    }
    all
}

fn history(plugin: &Plugin, format: Format) -> Result<()> {
    let versions = versions(plugin);
    let name = plugin.metadata.name.clone().unwrap_or_default();
    if matches!(format, Format::Json | Format::Yaml) {
        return output::document(format, &json!({"name": name, "versions": versions}));
    }
    let mut table = Table::new(&["VERSION", "DIGEST"], &[]);
    for (back, digest) in versions.iter().enumerate() {
        let word = if back == 0 { "now".into() } else { format!("-{back}") };
        table.row([word, digest.clone()]);
    }
    put!("{}", table.render(false));
    Ok(())
}

async fn rollback(
    client: &Client,
    plugin: &Plugin,
    to: Option<String>,
    file: Option<String>,
    dry_run: bool,
) -> Result<()> {
    let name = plugin.metadata.name.clone().unwrap_or_default();
    let earlier = || versions(plugin).into_iter().find(|digest| *digest != plugin.spec.digest);
    let digest = match to.or_else(earlier) {
        Some(digest) => digest,
        None => return Err(Refused(format!("{name} has no earlier version")).into()),
    };
    let source = match file {
        Some(file) => PluginSource { file: Some(file), config_map: None },
        None => find_source(client, plugin, &digest).await?,
    };
    if !dry_run {
        let source = json!({"file": source.file, "configMap": source.config_map});
        let patch = Patch::Merge(json!({"spec": {"digest": digest, "source": source}}));
        let plugins: Api<Plugin> = Api::all(client.clone());
        plugins.patch(&name, &PatchParams::default(), &patch).await?;
    }
    say!("plugin {name} rolled back to {digest}{}", if dry_run { " (dry run)" } else { "" });
    Ok(())
}

/// The ConfigMap key that holds the bytes of a digest, near where the present version came from.
async fn find_source(client: &Client, plugin: &Plugin, digest: &str) -> Result<PluginSource> {
    let Some(present) = &plugin.spec.source.config_map else {
        let why = format!("the component comes from a file; name the one of {digest} with --file");
        return Err(Refused(why).into());
    };
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &present.namespace);
    for map in maps.list(&ListParams::default()).await?.items {
        for (key, bytes) in map.binary_data.iter().flatten() {
            if digest_of(&bytes.0) == digest {
                let source = ConfigMapSource {
                    namespace: present.namespace.clone(),
                    name: map.metadata.name.clone().unwrap_or_default(),
                    key: key.clone(),
                };
                return Ok(PluginSource { config_map: Some(source), file: None });
            }
        }
    }
    let namespace = &present.namespace;
    Err(Refused(format!("no ConfigMap of namespace {namespace} holds {digest} any more")).into())
}

fn digest_of(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_before_is_the_first_that_is_not_active() {
        let plugin: Plugin = serde_json::from_value(json!({
            "apiVersion": "plugins.hansa.dev/v1alpha1", "kind": "Plugin",
            "metadata": {"name": "p"},
            "spec": {"world": "federation", "source": {}, "digest": "sha256:b"},
            "status": {"activeDigest": "sha256:b", "history": ["sha256:b", "sha256:a"]}}))
        .unwrap();
        assert_eq!(versions(&plugin), ["sha256:b", "sha256:a"]);
    }

    #[test]
    fn digests_are_sha256() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest_of(b""), empty);
        assert_eq!(short(empty), "sha256:e3b0c44298fc");
    }
}
