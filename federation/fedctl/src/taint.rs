//! `fedctl cordon`, `uncordon` and `taint`.

use anyhow::{Context, Result};
use hansa_api::k8s_openapi::api::core::v1::Taint as ClusterTaint;
use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use hansa_client::kube::api::{Api, Patch, PatchParams};
use hansa_federation_api::kinds::Cluster;
use hansa_federation_api::names;
use jiff::Timestamp;
use serde_json::json;

use crate::cli::Host;
use crate::error::Usage;
use crate::output::say;

/// Options of `cordon` and `uncordon`.
#[derive(clap::Args)]
pub struct Cordon {
    /// The member.
    name: String,
    /// Say what would be done and do nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Options of `taint`.
#[derive(clap::Args)]
pub struct Taint {
    /// The member.
    name: String,
    /// `KEY[=VALUE]:EFFECT` adds, `KEY[:EFFECT]-` removes.
    #[arg(required = true)]
    taints: Vec<String>,
    /// Say what would be done and do nothing.
    #[arg(long)]
    dry_run: bool,
}

/// A change of taints.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Add { key: String, value: Option<String>, effect: String },
    Remove { key: String, effect: Option<String> },
}

/// Runs `cordon` or `uncordon`.
pub async fn cordon(host: &Host, options: Cordon, on: bool) -> Result<()> {
    let key = names::TAINT_UNSCHEDULABLE.to_owned();
    let change = if on {
        Change::Add { key, value: None, effect: "NoSchedule".into() }
    } else {
        Change::Remove { key, effect: None }
    };
    let word = if on { "cordoned" } else { "uncordoned" };
    change_taints(host, &options.name, &[change], options.dry_run, word).await
}

/// Runs `taint`.
pub async fn run(host: &Host, options: Taint) -> Result<()> {
    let changes: Result<Vec<Change>> = options.taints.iter().map(|t| parse(t)).collect();
    change_taints(host, &options.name, &changes?, options.dry_run, "tainted").await
}

fn parse(text: &str) -> Result<Change> {
    let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    let bad = || Usage(format!("{text:?} is no taint: KEY[=VALUE]:EFFECT or KEY[:EFFECT]-"));
    let (body, removes) = text.strip_suffix('-').map_or((text, false), |body| (body, true));
    let (pair, effect) =
        body.split_once(':').map_or((body, None), |(pair, effect)| (pair, Some(effect)));
    if pair.is_empty() || effect.is_some_and(|e| !effects.contains(&e)) {
        return Err(bad().into());
    }
    let effect = effect.map(str::to_owned);
    if removes {
        return Ok(Change::Remove { key: pair.into(), effect });
    }
    let (key, value) = pair.split_once('=').map_or((pair, None), |(k, v)| (k, Some(v.to_owned())));
    Ok(Change::Add { key: key.into(), value, effect: effect.ok_or_else(bad)? })
}

async fn change_taints(
    host: &Host,
    name: &str,
    changes: &[Change],
    dry_run: bool,
    word: &str,
) -> Result<()> {
    let clusters: Api<Cluster> = Api::all(host.client().await?);
    let cluster = clusters.get(name).await.with_context(|| format!("failed to read {name}"))?;
    let mut taints = cluster.spec.taints.clone();
    for change in changes {
        apply(&mut taints, change, Timestamp::now());
    }
    if taints == cluster.spec.taints {
        say!("cluster {name} already {word}");
        return Ok(());
    }
    if !dry_run {
        let patch = json!({"metadata": {"resourceVersion": cluster.metadata.resource_version},
            "spec": {"taints": taints}});
        clusters.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    }
    say!("cluster {name} {word}{}", if dry_run { " (dry run)" } else { "" });
    Ok(())
}

fn apply(taints: &mut Vec<ClusterTaint>, change: &Change, now: Timestamp) {
    match change {
        Change::Remove { key, effect } => {
            taints.retain(|t| t.key != *key || effect.as_ref().is_some_and(|e| *e != t.effect));
        }
        Change::Add { key, value, effect } => {
            let same = |t: &ClusterTaint| t.key == *key && t.effect == *effect;
            if taints.iter().any(|t| same(t) && t.value == *value) {
                return;
            }
            taints.retain(|t| !same(t));
            let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
            taints.push(ClusterTaint {
                key: key.clone(),
                value: value.clone(),
                effect: effect.clone(),
                time_added: Some(Time(now)),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_are_written_as_kubectl_writes_them() {
        let mut taints = Vec::new();
        let now = Timestamp::UNIX_EPOCH;
        for text in ["a=1:NoSchedule", "a:NoExecute", "b:NoSchedule", "a=2:NoSchedule", "b-"] {
            apply(&mut taints, &parse(text).unwrap(), now);
        }
        let left: Vec<(&str, Option<&str>, &str)> = taints
            .iter()
            .map(|t| (t.key.as_str(), t.value.as_deref(), t.effect.as_str()))
            .collect();
        assert_eq!(left, [("a", None, "NoExecute"), ("a", Some("2"), "NoSchedule")]);
        for bad in ["a", "a=1", ":NoSchedule", "a:Never", "a:Never-"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
