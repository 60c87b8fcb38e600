//! Keeps the authorizer's index and aggregated ClusterRoles in step with the live RBAC objects.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hansa_api::{ApiError, meta};
use serde_json::Value;
use tokio::sync::mpsc;

use super::aggregate::aggregated_rules;
use super::escalation::RBAC;
use super::index::Index;
use crate::generic::context::Context;
use crate::generic::entry::Change;
use crate::generic::update::Part;
use crate::server::ApiServer;

const RETRY: Duration = Duration::from_millis(200);
const RESOURCES: [&str; 4] = ["roles", "clusterroles", "rolebindings", "clusterrolebindings"];

/// Starts following the four RBAC resources; ends with the server.
pub fn spawn(server: &Arc<ApiServer>) {
    let (changed, roles_changed) = mpsc::channel(1);
    let synced = Arc::new(tokio::sync::Barrier::new(RESOURCES.len() + 1));
    for plural in RESOURCES {
        let (server, changed) = (server.clone(), changed.clone());
        let synced = synced.clone();
        tokio::spawn(async move {
            let stop = server.stop.clone();
            stop.run_until_cancelled(follow(&server, plural, &changed, &synced)).await;
        });
    }
    let server = server.clone();
    tokio::spawn(async move {
        synced.wait().await;
        server.health.rbac_synced.done();
        let stop = server.stop.clone();
        stop.run_until_cancelled(aggregate(&server, roles_changed)).await;
    });
}

async fn follow(
    server: &Arc<ApiServer>,
    plural: &'static str,
    changed: &mpsc::Sender<()>,
    synced: &tokio::sync::Barrier,
) {
    let mut known: HashMap<String, Arc<Value>> = HashMap::new();
    let mut first = true;
    loop {
        match server.registry.watch_cached(RBAC, plural).await {
            Ok((view, mut subscription)) => {
                let now: HashMap<String, Arc<Value>> = view
                    .entries
                    .iter()
                    .map(|entry| (entry.key.to_string(), entry.value()))
                    .collect();
                server.authorizer.update(|index| replace(index, plural, &known, &now));
                known = now;
                let _ = changed.try_send(());
                if std::mem::take(&mut first) {
                    synced.wait().await;
                }
                while let Ok(change) = subscription.live.recv().await {
                    take(server, plural, &change, &mut known);
                    let _ = changed.try_send(());
                }
            }
            Err(error) => tracing::warn!(plural, %error, "failed to follow RBAC objects"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Replaces everything after a gap: what is gone is removed, the rest set.
fn replace(
    index: &mut Index,
    plural: &str,
    known: &HashMap<String, Arc<Value>>,
    now: &HashMap<String, Arc<Value>>,
) {
    for (_, gone) in known.iter().filter(|(key, _)| !now.contains_key(*key)) {
        remove(index, plural, gone);
    }
    for object in now.values() {
        set(index, plural, object);
    }
}

fn take(
    server: &Arc<ApiServer>,
    plural: &str,
    change: &Change,
    known: &mut HashMap<String, Arc<Value>>,
) {
    let entry = change.entry();
    let object = entry.value();
    if change.new.is_some() {
        server.authorizer.update(|index| set(index, plural, &object));
        known.insert(entry.key.to_string(), object);
    } else {
        server.authorizer.update(|index| remove(index, plural, &object));
        known.remove(&*entry.key);
    }
}

fn set(index: &mut Index, plural: &str, object: &Value) {
    if plural.ends_with("bindings") { index.set_binding(object) } else { index.set_role(object) }
}

fn remove(index: &mut Index, plural: &str, object: &Value) {
    if plural.ends_with("bindings") {
        index.remove_binding(object);
    } else {
        index.remove_role(object);
    }
}

/// Writes the rules of aggregated ClusterRoles whenever a role changed.
async fn aggregate(server: &Arc<ApiServer>, mut roles_changed: mpsc::Receiver<()>) {
    while roles_changed.recv().await.is_some() {
        // Changes come in bursts at the start; one pass serves them all.
        tokio::time::sleep(Duration::from_millis(20)).await;
        if let Err(error) = aggregate_once(server).await {
            tracing::warn!(%error, "failed to aggregate ClusterRoles");
            tokio::time::sleep(RETRY).await;
        }
    }
}

async fn aggregate_once(server: &Arc<ApiServer>) -> Result<(), ApiError> {
    let served = server.registry.served(RBAC, "clusterroles")?;
    let all = server.registry.list_cached(RBAC, "clusterroles", "").await?;
    for role in all.iter().filter(|role| !role["aggregationRule"].is_null()) {
        let others = all.iter().map(|role| &**role);
        let Some(rules) = aggregated_rules(role, others) else { continue };
        if role["rules"] == rules {
            continue;
        }
        let ctx = Context::internal("update", "", meta::name(role));
        let make = |live: &Value| {
            let mut next = live.clone();
            next["rules"] = rules.clone();
            Ok(next)
        };
        server.registry.update(&served, &ctx, Part::Whole, make).await?;
    }
    Ok(())
}
