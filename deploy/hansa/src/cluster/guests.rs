//! The components that come with the product: the predicates and priorities, the local cloud, the
//! placement policy.

use std::path::PathBuf;

use anyhow::{Context, Result};
use hansa_extension::runtime::World;
use hansa_plugin_host::{Host, Shipped};
use serde_json::{Value, json};

use super::Cluster;

/// Installs what this kind of cluster decides with.
///
/// # Errors
/// If a component is missing or refused.
pub fn install(cluster: &Cluster, host: &Host) -> Result<()> {
    if cluster.settings.hub {
        return install_federation(host);
    }
    install_scheduler(host)?;
    install_cloud(host, &cluster.settings.provider, local_cloud(cluster))
}

/// Installs the predicates and priorities.
///
/// # Errors
/// If a component is missing or refused.
pub fn install_scheduler(host: &Host) -> Result<()> {
    let directory = directory()?;
    let decide = |shipped: &hansa_scheduler::shipped::Shipped| {
        let guest = Guest { file: shipped.guest.to_owned(), name: shipped.name };
        install_one(host, &directory, World::Scheduler, &guest, json!({}), shipped.weight)
    };
    hansa_scheduler::shipped::SHIPPED.iter().try_for_each(decide)
}

/// Installs a cloud provider with its settings.
///
/// # Errors
/// If the component is missing or refused.
pub fn install_cloud(host: &Host, provider: &str, settings: Value) -> Result<()> {
    let guest = Guest { file: format!("cloud-{provider}"), name: provider };
    install_one(host, &directory()?, World::Cloud, &guest, settings, 1)
}

/// Installs the default placement policy.
///
/// # Errors
/// If the component is missing or refused.
pub fn install_federation(host: &Host) -> Result<()> {
    let guest = Guest { file: "federation-default".into(), name: "default" };
    install_one(host, &directory()?, World::Federation, &guest, json!({}), 1)
}

/// Where the built guests lie: `HANSA_GUESTS`, or `guests` beside this program or one folder above.
///
/// # Errors
/// If there is no such folder.
pub fn directory() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("HANSA_GUESTS") {
        return Ok(PathBuf::from(given));
    }
    let program = std::env::current_exe().context("failed to find this program")?;
    let beside = program.parent().map(PathBuf::from).unwrap_or_default();
    let candidates = [beside.join("guests"), beside.join("../guests"), beside.join("../../guests")];
    candidates
        .into_iter()
        .find(|folder| folder.is_dir())
        .context("failed to find the guests: run `cargo xtask guests`, or set HANSA_GUESTS")
}

/// A guest: its file's name without `.wasm`, and the plugin's name.
struct Guest<'a> {
    file: String,
    name: &'a str,
}

fn install_one(
    host: &Host,
    directory: &std::path::Path,
    world: World,
    guest: &Guest<'_>,
    config: Value,
    weight: u32,
) -> Result<()> {
    let path = directory.join(format!("{}.wasm", guest.file));
    let bytes =
        std::fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let shipped = Shipped { name: guest.name, world, bytes, config, weight };
    host.install(shipped).with_context(|| format!("failed to install {}", path.display()))?;
    Ok(())
}

fn local_cloud(cluster: &Cluster) -> Value {
    json!({
        "provider": cluster.settings.provider,
        "region": cluster.settings.region,
        "zone": cluster.settings.zone,
        "pool": cluster.network.load_balancer_pool(),
    })
}
