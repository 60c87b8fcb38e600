//! `fedctl describe`: all about one cluster or binding.

use anyhow::{Context, Result};
use clap::ValueEnum;
use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use hansa_client::kube::api::Api;
use hansa_federation_api::kinds::Cluster;
use jiff::Timestamp;

use crate::cli::Host;
use crate::get::{Binding, all_bindings, targets};
use crate::output::put;
use crate::output::{Table, age};

/// Options of `describe`.
#[derive(clap::Args)]
pub struct Options {
    /// What it is.
    #[arg(value_enum)]
    what: What,
    /// Its name.
    name: String,
    /// Its namespace [default: wherever one of that name is].
    #[arg(short, long)]
    namespace: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    #[value(alias = "clusters")]
    Cluster,
    #[value(aliases = ["bindings", "rb"])]
    Binding,
}

/// Runs the command.
pub async fn run(host: &Host, options: Options) -> Result<()> {
    let client = host.client().await?;
    let bindings = all_bindings(&client).await?;
    let now = Timestamp::now();
    match options.what {
        What::Cluster => {
            let clusters: Api<Cluster> = Api::all(client);
            let what = || format!("failed to read cluster {}", options.name);
            let cluster = clusters.get(&options.name).await.with_context(what)?;
            put!("{}", describe_cluster(&cluster, &bindings, now));
        }
        What::Binding => {
            let here = |b: &&Binding| {
                let namespace = b.metadata.namespace.as_deref();
                b.metadata.name.as_deref() == Some(&options.name)
                    && options.namespace.as_deref().is_none_or(|wanted| namespace == Some(wanted))
            };
            let found = bindings.iter().find(here);
            let binding = found.with_context(|| format!("there is no binding {}", options.name))?;
            put!("{}", describe_binding(binding, now));
        }
    }
    Ok(())
}

fn describe_cluster(cluster: &Cluster, bindings: &[Binding], now: Timestamp) -> String {
    let (spec, status) = (&cluster.spec, &cluster.status);
    let mut lines = vec![
        format!("Name:       {}", cluster.name()),
        format!("Id:         {}", spec.id),
        format!("Endpoint:   {} ({:?})", spec.api_endpoint, spec.sync_mode),
        format!("Version:    {}", status.kubernetes_version),
        format!("Provider:   {}", spec.provider),
        format!("Region:     {}", spec.region),
        format!("Zones:      {}", spec.all_zones().join(", ")),
    ];
    for taint in &spec.taints {
        lines.push(format!("Taint:      {}:{}", taint.key, taint.effect));
    }
    if let Some(nodes) = &status.node_summary {
        lines.push(format!("Nodes:      {} of {} ready", nodes.ready_num, nodes.total_num));
    }
    let mut text = joined(lines);
    text.push_str(&conditions(&status.conditions, now));
    if let Some(summary) = &status.resource_summary {
        let mut table = Table::new(&["RESOURCE", "ALLOCATABLE", "ALLOCATED", "WAITING"], &[]);
        for (name, allocatable) in &summary.allocatable {
            let amount = |of: &std::collections::BTreeMap<String, _>| {
                of.get(name).map_or("0".to_owned(), quantity)
            };
            table.row([
                name.clone(),
                allocatable.0.clone(),
                amount(&summary.allocated),
                amount(&summary.allocating),
            ]);
        }
        text.push_str(&format!("\n{}", table.render(false)));
    }
    text.push_str(&format!("\n{}", held_by(cluster, bindings).render(false)));
    text
}

fn quantity(
    quantity: &hansa_api::k8s_openapi::apimachinery::pkg::api::resource::Quantity,
) -> String {
    quantity.0.clone()
}

fn held_by(cluster: &Cluster, bindings: &[Binding]) -> Table {
    let mut table = Table::new(&["NAMESPACE", "OBJECT", "REPLICAS"], &[]);
    for binding in bindings {
        let resource = &binding.spec.resource;
        let target = binding.spec.clusters.iter().find(|t| t.name == cluster.name());
        if let Some(target) = target {
            table.row([
                resource.namespace.clone(),
                format!("{}/{}", resource.kind.to_lowercase(), resource.name),
                target.replicas.to_string(),
            ]);
        }
    }
    table
}

fn describe_binding(binding: &Binding, now: Timestamp) -> String {
    let resource = &binding.spec.resource;
    let mut lines = vec![
        format!("Name:       {}", binding.metadata.name.as_deref().unwrap_or_default()),
        format!("Object:     {} {}/{}", resource.kind, resource.namespace, resource.name),
        format!("Replicas:   {}", binding.spec.replicas),
        format!("Clusters:   {}", targets(&binding.spec)),
    ];
    for task in &binding.spec.graceful_eviction_tasks {
        lines.push(format!("Leaving:    {} ({})", task.from_cluster, task.reason));
    }
    let mut text = joined(lines);
    text.push_str(&conditions(&binding.status.conditions, now));
    let mut table = Table::new(&["CLUSTER", "APPLIED", "HEALTH", "OBSERVED", "MESSAGE"], &[]);
    for item in &binding.status.aggregated_status {
        table.row([
            item.cluster_name.clone(),
            item.applied.to_string(),
            format!("{:?}", item.health),
            age(item.observed_at.as_ref().map(|t| t.0), now),
            item.applied_message.clone(),
        ]);
    }
    text.push_str(&format!("\n{}", table.render(false)));
    text
}

fn conditions(conditions: &[Condition], now: Timestamp) -> String {
    let mut table = Table::new(&["CONDITION", "STATUS", "SINCE", "REASON", "MESSAGE"], &[]);
    for condition in conditions {
        table.row([
            condition.type_.clone(),
            condition.status.clone(),
            age(Some(condition.last_transition_time.0), now),
            condition.reason.clone(),
            condition.message.clone(),
        ]);
    }
    format!("\n{}", table.render(false))
}

fn joined(lines: Vec<String>) -> String {
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}
