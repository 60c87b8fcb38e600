//! `fedctl get`: clusters, workloads, policies, bindings, works.

use std::fmt::Debug;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use hansa_client::kube::api::{Api, ListParams};
use hansa_client::kube::{Client, Error, Resource, ResourceExt};
use hansa_federation_api::division::Strategy;
use hansa_federation_api::kinds::{
    Cluster, ClusterOverridePolicy, ClusterPropagationPolicy, ClusterResourceBinding,
    OverridePolicy, Placement, PropagationPolicy, ResourceBinding, ResourceBindingSpec,
    ResourceBindingStatus, Work,
};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cli::Host;
use crate::output::{self, Format, Table, age};

/// Options of `get`.
#[derive(clap::Args)]
pub struct Options {
    /// What to list.
    #[arg(value_enum)]
    what: What,
    /// Only this one.
    name: Option<String>,
    /// Only those of this namespace [default: all].
    #[arg(short, long)]
    namespace: Option<String>,
    /// Those of all namespaces, which is the default.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    #[value(alias = "cluster")]
    Clusters,
    #[value(alias = "workload")]
    Workloads,
    #[value(alias = "policy")]
    Policies,
    #[value(aliases = ["binding", "rb"])]
    Bindings,
    #[value(aliases = ["work", "wk"])]
    Works,
}

/// Runs the command.
pub async fn run(host: &Host, options: Options) -> Result<()> {
    let client = host.client().await?;
    match options.what {
        What::Clusters => clusters(&client, &options).await,
        What::Workloads => workloads(&client, &options).await,
        What::Policies => policies(&client, &options).await,
        What::Bindings => bindings(&client, &options).await,
        What::Works => works(&client, &options).await,
    }
}

impl Options {
    fn wants(&self, metadata: &ObjectMeta) -> bool {
        let name = metadata.name.as_deref().unwrap_or_default();
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let here = self.namespace.as_deref().filter(|_| !self.all_namespaces);
        here.is_none_or(|wanted| wanted == namespace)
            && self.name.as_deref().is_none_or(|wanted| wanted == name)
    }

    /// Prints what was found; one that was asked for by name has to be there.
    fn print(&self, kind: &str, table: &Table, documents: &[Value]) -> Result<()> {
        if let Some(name) = self.name.as_deref().filter(|_| documents.is_empty()) {
            bail!("{kind} {name:?} not found");
        }
        output::list(self.output, kind, table, documents)
    }
}

/// All objects of a kind, whatever their namespace.
pub async fn all<K>(client: &Client) -> Result<Vec<K>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::all(client.clone());
    match api.list(&ListParams::default()).await {
        Err(Error::Api(status)) if status.code == 404 => {
            bail!("the hub has no {}: run `fedctl init` first", K::plural(&()))
        }
        list => Ok(list.with_context(|| format!("failed to list {}", K::plural(&())))?.items),
    }
}

fn created(metadata: &ObjectMeta, now: Timestamp) -> String {
    age(metadata.creation_timestamp.as_ref().map(|t| t.0), now)
}

fn text(value: &str) -> String {
    if value.is_empty() { "<none>".into() } else { value.into() }
}

fn verdict(conditions: &[Condition], type_: &str) -> String {
    let condition = conditions.iter().find(|c| c.type_ == type_);
    condition.map_or("Unknown".into(), |c| c.status.clone())
}

fn documents<K: Serialize>(objects: &[K]) -> Result<Vec<Value>> {
    Ok(objects.iter().map(serde_json::to_value).collect::<Result<_, _>>()?)
}

async fn clusters(client: &Client, options: &Options) -> Result<()> {
    let mut clusters: Vec<Cluster> = all(client).await?;
    clusters.retain(|c| options.wants(&c.metadata));
    let headers =
        ["NAME", "READY", "VERSION", "REGION", "ZONE", "PROVIDER", "NODES", "AGE", "MODE"];
    let mut table = Table::new(&headers, &["ENDPOINT", "TAINTS", "REASON"]);
    let now = Timestamp::now();
    for cluster in &clusters {
        table.row(cluster_row(cluster, now));
    }
    options.print("cluster", &table, &documents(&clusters)?)
}

fn cluster_row(cluster: &Cluster, now: Timestamp) -> [String; 12] {
    let (spec, status) = (&cluster.spec, &cluster.status);
    let nodes = status.node_summary.as_ref();
    let taints: Vec<String> =
        spec.taints.iter().map(|t| format!("{}:{}", t.key, t.effect)).collect();
    let reason = cluster.condition("Ready").map(|c| c.reason.clone()).unwrap_or_default();
    [
        cluster.name().into(),
        verdict(&status.conditions, "Ready"),
        text(&status.kubernetes_version),
        text(&spec.region),
        text(&spec.all_zones().join(",")),
        text(&spec.provider),
        nodes.map_or("<unknown>".into(), |n| format!("{}/{}", n.ready_num, n.total_num)),
        created(&cluster.metadata, now),
        format!("{:?}", spec.sync_mode),
        text(&spec.api_endpoint),
        text(&taints.join(",")),
        text(&reason),
    ]
}

/// A binding of either scope.
pub struct Binding {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// What is bound.
    pub spec: ResourceBindingSpec,
    /// What came of it.
    pub status: ResourceBindingStatus,
    /// The whole object.
    pub document: Value,
}

/// All bindings of both scopes.
pub async fn all_bindings(client: &Client) -> Result<Vec<Binding>> {
    let mut bindings = Vec::new();
    for b in all::<ResourceBinding>(client).await? {
        let document = serde_json::to_value(&b)?;
        bindings.push(Binding { metadata: b.metadata, spec: b.spec, status: b.status, document });
    }
    for b in all::<ClusterResourceBinding>(client).await? {
        let document = serde_json::to_value(&b)?;
        bindings.push(Binding { metadata: b.metadata, spec: b.spec, status: b.status, document });
    }
    Ok(bindings)
}

/// One line of `get workloads`: an object in one member.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Placed {
    metadata: Value,
    kind: String,
    cluster: String,
    region: String,
    replicas: i32,
    ready: Option<i64>,
    health: String,
    /// Whether the member is in touch; else the figures are as old as `observedAt`.
    live: bool,
    observed_at: Option<Timestamp>,
}

async fn workloads(client: &Client, options: &Options) -> Result<()> {
    let clusters: Vec<Cluster> = all(client).await?;
    let mut placed = Vec::new();
    for binding in all_bindings(client).await? {
        let resource = &binding.spec.resource;
        let metadata = ObjectMeta {
            name: Some(resource.name.clone()),
            namespace: Some(resource.namespace.clone()),
            ..Default::default()
        };
        if options.wants(&metadata) {
            placed.extend(placements(&binding, &clusters));
        }
    }
    let headers =
        ["NAMESPACE", "WORKLOAD", "CLUSTER", "REGION", "REPLICAS", "READY", "HEALTH", "OBSERVED"];
    let mut table = Table::new(&headers, &[]);
    let now = Timestamp::now();
    placed.iter().for_each(|p| table.row(placed_row(p, now)));
    options.print("workload", &table, &documents(&placed)?)
}

fn placements(binding: &Binding, clusters: &[Cluster]) -> Vec<Placed> {
    let resource = &binding.spec.resource;
    let of = |target: &hansa_federation_api::kinds::TargetCluster| {
        let cluster = clusters.iter().find(|c| c.name() == target.name);
        let items = &binding.status.aggregated_status;
        let item = items.iter().find(|i| i.cluster_name == target.name);
        Placed {
            metadata: json!({"name": resource.name, "namespace": resource.namespace}),
            kind: resource.kind.clone(),
            cluster: target.name.clone(),
            region: cluster.map(|c| c.spec.region.clone()).unwrap_or_default(),
            replicas: target.replicas,
            ready: item.filter(|_| target.replicas > 0).map(|i| {
                let ready = i.status["readyReplicas"].as_i64();
                ready.or(i.status["active"].as_i64()).unwrap_or(0)
            }),
            health: item.map_or("Unknown".into(), |i| format!("{:?}", i.health)),
            live: cluster.is_some_and(Cluster::is_ready),
            observed_at: item.and_then(|i| i.observed_at.as_ref()).map(|t| t.0),
        }
    };
    binding.spec.clusters.iter().map(of).collect()
}

fn placed_row(placed: &Placed, now: Timestamp) -> [String; 8] {
    let name = placed.metadata["name"].as_str().unwrap_or_default();
    let namespace = placed.metadata["namespace"].as_str().unwrap_or_default();
    let observed = match (placed.live, placed.observed_at) {
        (_, None) => "never".into(),
        (true, _) => "now".into(),
        (false, at) => format!("{} ago, member lost", age(at, now)),
    };
    let divides = placed.replicas > 0;
    [
        text(namespace),
        format!("{}/{name}", placed.kind.to_lowercase()),
        placed.cluster.clone(),
        text(&placed.region),
        if divides { placed.replicas.to_string() } else { "-".into() },
        placed.ready.map_or("-".into(), |n| n.to_string()),
        placed.health.clone(),
        observed,
    ]
}

async fn policies(client: &Client, options: &Options) -> Result<()> {
    let mut table =
        Table::new(&["NAMESPACE", "NAME", "KIND", "SELECTS", "PLACEMENT", "PRIORITY", "AGE"], &[]);
    let mut all_documents = Vec::new();
    let now = Timestamp::now();
    let mut add = |meta: &ObjectMeta, kind: &str, cells: [String; 3], document: Value| {
        if options.wants(meta) {
            let [selects, placement, priority] = cells;
            let namespace = text(meta.namespace.as_deref().unwrap_or_default());
            let name = meta.name.clone().unwrap_or_default();
            let age = created(meta, now);
            table.row([namespace, name, kind.into(), selects, placement, priority, age]);
            all_documents.push(document);
        }
    };
    for p in all::<PropagationPolicy>(client).await? {
        let cells = propagation_cells(&p.spec);
        add(&p.metadata, "PropagationPolicy", cells, serde_json::to_value(&p)?);
    }
    for p in all::<ClusterPropagationPolicy>(client).await? {
        let cells = propagation_cells(&p.spec);
        add(&p.metadata, "ClusterPropagationPolicy", cells, serde_json::to_value(&p)?);
    }
    for p in all::<OverridePolicy>(client).await? {
        let cells = [selects(&p.spec.resource_selectors), "-".into(), "-".into()];
        add(&p.metadata, "OverridePolicy", cells, serde_json::to_value(&p)?);
    }
    for p in all::<ClusterOverridePolicy>(client).await? {
        let cells = [selects(&p.spec.resource_selectors), "-".into(), "-".into()];
        add(&p.metadata, "ClusterOverridePolicy", cells, serde_json::to_value(&p)?);
    }
    options.print("policy", &table, &all_documents)
}

fn propagation_cells(spec: &hansa_federation_api::kinds::PropagationSpec) -> [String; 3] {
    [selects(&spec.resource_selectors), placement(&spec.placement), spec.priority.to_string()]
}

fn selects(selectors: &[hansa_federation_api::kinds::ResourceSelector]) -> String {
    let one = |s: &hansa_federation_api::kinds::ResourceSelector| {
        let name = match (s.name.as_str(), &s.label_selector) {
            ("", Some(_)) => "by label",
            ("", None) => "*",
            (name, _) => name,
        };
        format!("{}/{name}", s.kind.to_lowercase())
    };
    text(&selectors.iter().map(one).collect::<Vec<_>>().join(","))
}

fn placement(placement: &Placement) -> String {
    Strategy::of(placement.replica_scheduling.as_ref()).name().into()
}

async fn bindings(client: &Client, options: &Options) -> Result<()> {
    let mut bindings = all_bindings(client).await?;
    bindings.retain(|b| options.wants(&b.metadata));
    let headers = ["NAMESPACE", "NAME", "CLUSTERS", "SCHEDULED", "APPLIED", "AGE"];
    let mut table = Table::new(&headers, &["LEAVING"]);
    let now = Timestamp::now();
    for binding in &bindings {
        let leaving = &binding.spec.graceful_eviction_tasks;
        let leaving: Vec<&str> = leaving.iter().map(|t| t.from_cluster.as_str()).collect();
        table.row([
            text(binding.metadata.namespace.as_deref().unwrap_or_default()),
            binding.metadata.name.clone().unwrap_or_default(),
            text(&targets(&binding.spec)),
            verdict(&binding.status.conditions, "Scheduled"),
            verdict(&binding.status.conditions, "FullyApplied"),
            created(&binding.metadata, now),
            text(&leaving.join(",")),
        ]);
    }
    let documents: Vec<Value> = bindings.into_iter().map(|b| b.document).collect();
    options.print("binding", &table, &documents)
}

/// `eu-west=4,us-east=2`, or the names alone for what has no replicas.
pub fn targets(spec: &ResourceBindingSpec) -> String {
    let one = |t: &hansa_federation_api::kinds::TargetCluster| match t.replicas {
        0 => t.name.clone(),
        n => format!("{}={n}", t.name),
    };
    spec.clusters.iter().map(one).collect::<Vec<_>>().join(",")
}

async fn works(client: &Client, options: &Options) -> Result<()> {
    let mut works: Vec<Work> = all(client).await?;
    works.retain(|w| options.wants(&w.metadata));
    let headers = ["NAMESPACE", "NAME", "KIND", "APPLIED", "HEALTH", "AGE"];
    let mut table = Table::new(&headers, &["MESSAGE"]);
    let now = Timestamp::now();
    for work in &works {
        let kind = work.spec.workload.manifests.first().and_then(|m| m["kind"].as_str());
        let health = work.status.manifest_statuses.first().map(|s| format!("{:?}", s.health));
        let message = work.condition("Applied").map(|c| c.message.clone());
        table.row([
            work.namespace().into(),
            work.name_any(),
            text(kind.unwrap_or_default()),
            verdict(&work.status.conditions, "Applied"),
            health.unwrap_or_else(|| "Unknown".into()),
            created(&work.metadata, now),
            text(&message.unwrap_or_default()),
        ]);
    }
    options.print("work", &table, &documents(&works)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_members_figures_carry_their_age() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let placed = |live: bool| Placed {
            metadata: json!({"name": "web", "namespace": "shop"}),
            kind: "Deployment".into(),
            cluster: "eu".into(),
            region: "eu-west".into(),
            replicas: 4,
            ready: Some(4),
            health: "Healthy".into(),
            live,
            observed_at: Some(at(100)),
        };
        assert_eq!(placed_row(&placed(true), at(150))[7], "now");
        assert_eq!(placed_row(&placed(false), at(150))[7], "50s ago, member lost");
        assert_eq!(placed_row(&placed(true), at(150))[1], "deployment/web");
    }
}
