//! `fedctl policy`: the placement policy components of the hub.

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use hansa_api::plugin::{Plugin, PluginSource, PluginSpec, PluginVersion};
use hansa_client::kube::Client;
use hansa_client::kube::api::{Api, PostParams};
use jiff::Timestamp;
use serde_json::json;

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

fn history(plugin: &Plugin, format: Format) -> Result<()> {
    let status = plugin.status.clone().unwrap_or_default();
    let name = plugin.metadata.name.clone().unwrap_or_default();
    if matches!(format, Format::Json | Format::Yaml) {
        return output::document(format, &json!({"name": name, "versions": status.history}));
    }
    let mut table = Table::new(&["VERSION", "DIGEST", "SETTINGS"], &[]);
    for (back, version) in status.history.iter().enumerate() {
        let decides = status.active_digest.as_ref() == Some(&version.digest);
        let word = if decides { "decides".into() } else { format!("-{back}") };
        let settings = version.config.as_ref().map(ToString::to_string).unwrap_or_default();
        table.row([word, version.digest.clone(), settings]);
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
    let Some(mut version) = earlier(plugin, to.as_deref()) else {
        let which = to.unwrap_or_else(|| "earlier version".into());
        return Err(Refused(format!("{name} has no {which} to go back to")).into());
    };
    if let Some(file) = file {
        version.source = PluginSource { file: Some(file), config_map: None };
    }
    let mut wanted = plugin.clone();
    let PluginVersion { digest, source, config, match_constraints } = version;
    wanted.spec = PluginSpec { digest, source, config, match_constraints, ..wanted.spec };
    if !dry_run {
        let plugins: Api<Plugin> = Api::all(client.clone());
        plugins.replace(&name, &PostParams::default(), &wanted).await?;
    }
    let digest = wanted.spec.digest;
    say!("plugin {name} rolled back to {digest}{}", if dry_run { " (dry run)" } else { "" });
    Ok(())
}

/// The version `to`, or else the newest that is not the one asked for now.
fn earlier(plugin: &Plugin, to: Option<&str>) -> Option<PluginVersion> {
    let present = plugin.spec.version();
    let history = plugin.status.iter().flat_map(|status| &status.history);
    let fits = |version: &&PluginVersion| match to {
        Some(digest) => version.digest == digest,
        None => **version != present,
    };
    history.into_iter().find(fits).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_before_comes_with_its_settings() {
        let plugin: Plugin = serde_json::from_value(json!({
            "apiVersion": "plugins.hansa.dev/v1alpha1", "kind": "Plugin",
            "metadata": {"name": "p"},
            "spec": {"world": "federation", "source": {}, "digest": "sha256:b"},
            "status": {"activeDigest": "sha256:b", "history": [
                {"digest": "sha256:b", "source": {}},
                {"digest": "sha256:a", "source": {"file": "a.wasm"}, "config": {"prefer": "eu"}}]}}))
        .unwrap();
        let before = earlier(&plugin, None).expect("there is an earlier version");
        assert_eq!(before.digest, "sha256:a");
        assert_eq!(before.config, Some(json!({"prefer": "eu"})));
        assert_eq!(earlier(&plugin, Some("sha256:b")).unwrap().digest, "sha256:b");
        assert!(earlier(&plugin, Some("sha256:c")).is_none());
    }

    #[test]
    fn digests_are_shown_as_people_compare_them() {
        assert_eq!(short("sha256:e3b0c44298fc1c149afb"), "sha256:e3b0c44298fc");
    }
}
