//! `fedctl explain`: why an object is where it is, from the decision that is stored with its
//! binding.

use anyhow::{Context, Result, bail};
use hansa_client::kube::Client;
use hansa_client::kube::discovery::Discovery;
use hansa_federation_api::decision::{ClusterVerdict, Decision};
use hansa_federation_api::names;
use jiff::Timestamp;
use serde_json::Value;

use crate::cli::Host;
use crate::error::Usage;
use crate::get::{Binding, all_bindings};
use crate::output::put;
use crate::output::{self, Format, Table, age};

/// Options of `explain`.
#[derive(clap::Args)]
pub struct Options {
    /// KIND/NAME, such as deployment/web.
    #[arg(required = true, num_args = 1..=2)]
    object: Vec<String>,
    /// The object's namespace [default: wherever one of that name is].
    #[arg(short, long)]
    namespace: Option<String>,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Short names as kubectl knows them, which discovery does not pass on here.
const SHORT: [(&str, &str); 14] = [
    ("cj", "CronJob"),
    ("cm", "ConfigMap"),
    ("deploy", "Deployment"),
    ("ds", "DaemonSet"),
    ("hpa", "HorizontalPodAutoscaler"),
    ("ing", "Ingress"),
    ("ns", "Namespace"),
    ("pdb", "PodDisruptionBudget"),
    ("po", "Pod"),
    ("pvc", "PersistentVolumeClaim"),
    ("rs", "ReplicaSet"),
    ("sa", "ServiceAccount"),
    ("sts", "StatefulSet"),
    ("svc", "Service"),
];

/// Runs the command.
pub async fn run(host: &Host, options: Options) -> Result<()> {
    let (kind, name) = split(&options.object)?;
    let client = host.client().await?;
    let kind = resolve(&client, kind).await?;
    let binding = find(&client, &kind, name, options.namespace.as_deref()).await?;
    let annotations = binding.metadata.annotations.clone().unwrap_or_default();
    let Some(decision) = annotations.get(names::DECISION) else {
        bail!("nothing is decided about {kind} {name} yet");
    };
    if matches!(options.output, Format::Json | Format::Yaml) {
        let decision: Value = serde_json::from_str(decision)?;
        return output::document(options.output, &decision);
    }
    let decision: Decision =
        serde_json::from_str(decision).context("failed to read the decision")?;
    put!("{}", render(&binding, &decision, Timestamp::now()));
    Ok(())
}

fn split(object: &[String]) -> Result<(&str, &str)> {
    match object {
        [one] => one.split_once('/').filter(|(kind, name)| !kind.is_empty() && !name.is_empty()),
        [kind, name] => Some((kind.as_str(), name.as_str())),
        _ => None,
    }
    .ok_or_else(|| Usage("name the object as KIND/NAME".into()).into())
}

/// The kind that a word means: the kind itself, its plural, or a short name.
async fn resolve(client: &Client, word: &str) -> Result<String> {
    let word = word.split('.').next().unwrap_or_default().to_lowercase();
    if let Some((_, kind)) = SHORT.iter().find(|(short, _)| *short == word) {
        return Ok((*kind).to_owned());
    }
    let discovery = match Discovery::new(client.clone()).run_aggregated().await {
        Ok(discovery) => discovery,
        Err(_) => Discovery::new(client.clone()).run().await?,
    };
    let resources = discovery.groups().flat_map(|g| g.recommended_resources());
    let mut kinds = resources
        .filter(|(r, _)| r.plural == word || r.kind.to_lowercase() == word)
        .map(|(r, _)| r.kind);
    kinds.next().with_context(|| format!("the hub has no resource {word:?}"))
}

/// The one binding of an object.
async fn find(client: &Client, kind: &str, name: &str, namespace: Option<&str>) -> Result<Binding> {
    let mut found = all_bindings(client).await?;
    found.retain(|b| {
        let resource = &b.spec.resource;
        resource.kind == kind
            && resource.name == name
            && namespace.is_none_or(|wanted| wanted == resource.namespace)
    });
    match found.len() {
        0 => bail!("{kind} {name} has no binding: no policy selects it"),
        1 => Ok(found.remove(0)),
        _ => Err(Usage(format!("{kind} {name} is in several namespaces: name one with -n")).into()),
    }
}

/// The decision as a person reads it.
fn render(binding: &Binding, decision: &Decision, now: Timestamp) -> String {
    let mut text = headline(binding, decision, now);
    text.push('\n');
    text.push_str(&summary(decision).render(false));
    text.push('\n');
    text.push_str(&filters(decision).render(false));
    let scores = scores(decision);
    if !scores.is_empty() {
        text.push('\n');
        text.push_str(&scores.render(false));
    }
    text
}

fn headline(binding: &Binding, decision: &Decision, now: Timestamp) -> String {
    let resource = &binding.spec.resource;
    let annotation = |name: &str| {
        let annotations = binding.metadata.annotations.as_ref();
        annotations.and_then(|a| a.get(name)).cloned()
    };
    let claimed = match annotation(names::CLUSTER_POLICY_NAME) {
        Some(name) => format!("ClusterPropagationPolicy {name}"),
        None => match annotation(names::POLICY_NAME) {
            Some(name) => {
                let namespace = annotation(names::POLICY_NAMESPACE).unwrap_or_default();
                format!("PropagationPolicy {namespace}/{name}")
            }
            None => "nobody any more: no policy selects it".into(),
        },
    };
    let mut lines = vec![
        format!("{} {}/{}", resource.kind, resource.namespace, resource.name),
        format!("  claimed by   {claimed}"),
        format!("  outcome      {} {}", decision.outcome, decision.message),
        format!("  division     {} of {} replicas", decision.strategy, decision.replicas),
        format!("  decided      {} ago", age(decision.at, now)),
    ];
    if !decision.affinity.is_empty() {
        lines.push(format!("  affinity     {}", decision.affinity));
    }
    lines.push(match &decision.policy {
        Some(by) => format!("  decided by   {} {}", by.name, by.digest),
        None => "  decided by   the built-in rules alone".into(),
    });
    for task in &binding.spec.graceful_eviction_tasks {
        lines.push(format!("  leaving      {} ({})", task.from_cluster, task.reason));
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn summary(decision: &Decision) -> Table {
    let mut table =
        Table::new(&["CLUSTER", "CHOSEN", "REPLICAS", "WEIGHT", "SCORE", "ROOM FOR"], &[]);
    for cluster in &decision.clusters {
        let or_dash = |n: Option<i64>| n.map_or("-".into(), |n| n.to_string());
        table.row([
            cluster.name.clone(),
            if cluster.chosen { "yes".into() } else { "no".into() },
            cluster.replicas.to_string(),
            or_dash(cluster.weight),
            if cluster.fits() { cluster.score().to_string() } else { "-".into() },
            or_dash(cluster.available),
        ]);
    }
    table
}

fn filters(decision: &Decision) -> Table {
    let mut table = Table::new(&["CLUSTER", "FILTER", "VERDICT", "REASON"], &[]);
    for cluster in &decision.clusters {
        for filter in &cluster.filters {
            let verdict = if filter.passed { "pass" } else { "reject" };
            let reason = filter.reason.clone();
            table.row([cluster.name.clone(), filter.filter.clone(), verdict.into(), reason]);
        }
    }
    table
}

fn scores(decision: &Decision) -> Table {
    let mut table = Table::new(&["CLUSTER", "SCORER", "POINTS"], &[]);
    let of = |cluster: &ClusterVerdict| {
        let scores = cluster.scores.iter();
        let row = |s: &hansa_federation_api::decision::Score| {
            [cluster.name.clone(), s.scorer.clone(), s.points.to_string()]
        };
        scores.map(row).collect::<Vec<_>>()
    };
    decision.clusters.iter().flat_map(of).for_each(|row| table.row(row));
    table
}

#[cfg(test)]
mod tests {
    use hansa_federation_api::kinds::ResourceBinding;
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_named_with_or_without_a_slash() {
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        assert_eq!(split(&words(&["deploy/web"])).unwrap(), ("deploy", "web"));
        assert_eq!(split(&words(&["deploy", "web"])).unwrap(), ("deploy", "web"));
        assert!(split(&words(&["web"])).is_err());
        assert!(split(&words(&["deploy/"])).is_err());
    }

    #[test]
    fn every_verdict_score_weight_and_digest_is_there() {
        let binding: ResourceBinding = serde_json::from_value(json!({
            "apiVersion": "work.karmada.io/v1alpha2", "kind": "ResourceBinding",
            "metadata": {"name": "web-deployment", "namespace": "shop"},
            "spec": {"resource": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web",
                "namespace": "shop"}}}))
        .unwrap();
        let binding = Binding {
            metadata: binding.metadata,
            spec: binding.spec,
            status: binding.status,
            document: Value::Null,
        };
        let decision: Decision = serde_json::from_value(json!({
            "outcome": "Success", "strategy": "StaticWeight", "replicas": 6,
            "policy": {"name": "spread", "digest": "sha256:abc", "generation": 2},
            "clusters": [{"name": "eu", "chosen": true, "replicas": 4, "weight": 2,
                "filters": [{"filter": "ClusterAffinity", "passed": true},
                    {"filter": "TaintToleration", "passed": false, "reason": "taint x"}],
                "scores": [{"scorer": "Policy/spread", "points": 70}]}]}))
        .unwrap();
        let text = render(&binding, &decision, Timestamp::UNIX_EPOCH);
        for part in ["sha256:abc", "StaticWeight", "taint x", "Policy/spread", "70", "reject"] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
    }
}
