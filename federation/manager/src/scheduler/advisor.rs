//! The active placement policy as an advisor: members become rows, answers become opinions.

use std::sync::Arc;

use hansa_api::quantity::Quantity as Amount;
use hansa_extension::active::ActiveSet;
use hansa_extension::bitmap;
use hansa_extension::federation::{
    ClusterRow, Division, Effect, Gvk, Ix, Mirror, Placement, PlacementPolicy, PolicySet, READY,
    Selected, Taint,
};
use hansa_federation_api::decision::DecidedBy;
use hansa_federation_api::division::Candidate;
use hansa_federation_api::kinds::{Cluster, ResourceBindingSpec, ResourceSummary};

use super::plan::{Advice, Advisor, Ask, Opinion, Split};

/// The placement policies that are active, swapped while everything runs.
pub type Policies = Arc<ActiveSet<dyn PlacementPolicy>>;

/// The active policy with its copy of the members.
pub struct PolicyAdvisor {
    set: PolicySet,
    policies: Policies,
}

impl PolicyAdvisor {
    /// An advisor that follows the active policies.
    pub fn new(policies: Policies) -> Self {
        Self { set: PolicySet::new(policies.clone()), policies }
    }

    /// Who would advise now; nobody has an empty name.
    pub fn identity(&mut self) -> DecidedBy {
        let identity = self.set.identity().unwrap_or_default();
        DecidedBy { name: identity.name, digest: identity.digest, generation: identity.generation }
    }

    /// Takes over how the members are now.
    pub fn observe(&mut self, clusters: &[&Cluster]) {
        let mirror = self.set.mirror();
        let gone: Vec<Ix> = mirror
            .rows()
            .filter(|row| !clusters.iter().any(|c| c.name() == mirror.text(row.name)))
            .map(|row| row.ix)
            .collect();
        gone.into_iter().for_each(|ix| mirror.remove(ix));
        for cluster in clusters {
            let row = row(mirror, cluster);
            mirror.upsert(row);
        }
    }

    fn question(&mut self, ask: &Ask<'_>) -> Placement {
        let mirror = self.set.mirror();
        let current = ask.binding.clusters.iter();
        let current = current
            .filter_map(|t| Some((mirror.ix(&t.name)?, u32::try_from(t.replicas).ok()?)))
            .collect();
        question(ask.uid, ask.binding, current)
    }
}

impl Advisor for PolicyAdvisor {
    fn select(&mut self, ask: &Ask<'_>) -> Option<Advice> {
        if self.policies.current().is_empty() {
            return None;
        }
        let question = self.question(ask);
        let Selected { evaluation, by } = match self.set.select(&question) {
            Ok(selected) => selected,
            Err(error) => {
                tracing::warn!(%error, "no placement policy answers; built-in rules decide alone");
                return None;
            }
        };
        let mirror = self.set.mirror();
        let opinion = |row: &ClusterRow| {
            let objection = || match evaluation.reason(row.ix) {
                Some(reason) => reason.texts.join("; "),
                None => "the policy rejects it".to_owned(),
            };
            Opinion {
                name: mirror.text(row.name).to_owned(),
                objection: (!bitmap::get(&evaluation.feasible, row.ix)).then(objection),
                points: evaluation.score(row.ix),
            }
        };
        let verdicts = mirror.rows().map(opinion).collect();
        let by = DecidedBy { name: by.name, digest: by.digest, generation: by.generation };
        Some(Advice { by, verdicts })
    }

    fn divide(&mut self, ask: &Ask<'_>, candidates: &[Candidate]) -> Split {
        if self.policies.current().is_empty() {
            return Split::ByPlacement;
        }
        let question = self.question(ask);
        let mirror = self.set.mirror();
        let indices: Option<Vec<Ix>> = candidates.iter().map(|c| mirror.ix(&c.name)).collect();
        let Some(indices) = indices else { return Split::ByPlacement };
        let scores: Vec<u8> =
            candidates.iter().map(|c| u8::try_from(c.score.clamp(0, 100)).unwrap_or(100)).collect();
        let capacity: Vec<u32> = candidates.iter().map(room).collect();
        match self.set.divide(&question, &indices, &scores, &capacity) {
            Ok(divided) => split(&divided.division, &indices),
            Err(error) => {
                tracing::warn!(%error, "no placement policy divides; the placement does");
                Split::ByPlacement
            }
        }
    }
}

/// What a candidate can hold in all: what it holds now and what it has room for.
fn room(candidate: &Candidate) -> u32 {
    let room = candidate.available.saturating_add(candidate.current).max(0);
    u32::try_from(room).unwrap_or(u32::MAX)
}

fn split(division: &Division, candidates: &[Ix]) -> Split {
    match division {
        Division::ByPolicy => Split::ByPlacement,
        Division::Weights(weights) => {
            Split::Weights(weights.iter().map(|w| i64::from(*w)).collect())
        }
        Division::Replicas(shares) => {
            let of = |ix: &Ix| shares.iter().find(|s| s.cluster == *ix).map_or(0, |s| s.replicas);
            Split::Exactly(candidates.iter().map(|ix| i64::from(of(ix))).collect())
        }
    }
}

fn question(uid: &str, binding: &ResourceBindingSpec, current: Vec<(Ix, u32)>) -> Placement {
    let (group, version) = match binding.resource.api_version.split_once('/') {
        Some((group, version)) => (group, version),
        None => ("", binding.resource.api_version.as_str()),
    };
    let requests = binding.replica_requirements.as_ref().map(|r| &r.resource_request);
    let request = |name: &str| {
        let text = requests.and_then(|r| r.get(name)).map(|q| q.0.as_str());
        text.and_then(|t| t.parse::<Amount>().ok())
    };
    Placement {
        uid: uid.into(),
        gvk: Gvk {
            group: group.into(),
            version: version.into(),
            kind: binding.resource.kind.clone(),
        },
        namespace: binding.resource.namespace.clone(),
        name: binding.resource.name.clone(),
        replicas: u32::try_from(binding.replicas).unwrap_or(0),
        cpu: request("cpu").map_or(0, |a| a.milli_value()),
        memory: request("memory").map_or(0, |a| a.value()),
        policy: serde_json::to_vec(&binding.placement).unwrap_or_default(),
        current,
    }
}

fn row(mirror: &mut Mirror, cluster: &Cluster) -> ClusterRow {
    let ix = mirror.ix(cluster.name()).unwrap_or_else(|| mirror.free_ix());
    let labels = cluster.metadata.labels.iter().flatten();
    let label_set = mirror.label_set(labels.map(|(k, v)| (k.as_str(), v.as_str())));
    let taints: Vec<Taint> = cluster.spec.taints.iter().map(|t| taint(mirror, t)).collect();
    let summary = cluster.status.resource_summary.clone().unwrap_or_default();
    let zone = cluster.spec.all_zones().first().copied().unwrap_or_default().to_owned();
    let (have, used) = (amounts(&summary, true), amounts(&summary, false));
    ClusterRow {
        ix,
        name: mirror.sym(cluster.name()),
        provider: mirror.sym(&cluster.spec.provider),
        region: mirror.sym(&cluster.spec.region),
        zone: mirror.sym(&zone),
        label_set,
        taint_set: mirror.taint_set(&taints),
        bits: if cluster.is_ready() { READY } else { 0 },
        cpu_milli: have[0],
        memory: have[1],
        pods: have[2],
        used_cpu: used[0],
        used_memory: used[1],
        used_pods: used[2],
        latency_us: annotated(cluster, "federation.hansa.dev/latency-us"),
        cost_milli: annotated(cluster, "federation.hansa.dev/cost-milli"),
    }
}

/// A number from an annotation of the Cluster; 0 if there is none.
fn annotated(cluster: &Cluster, key: &str) -> u32 {
    let annotations = cluster.metadata.annotations.as_ref();
    annotations.and_then(|a| a.get(key)?.parse().ok()).unwrap_or(0)
}

/// CPU in thousandths, memory in bytes, pods.
fn amounts(summary: &ResourceSummary, allocatable: bool) -> [i64; 3] {
    let of = if allocatable { &summary.allocatable } else { &summary.allocated };
    let amount = |name: &str| of.get(name).and_then(|q| q.0.parse::<Amount>().ok());
    [
        amount("cpu").map_or(0, |a| a.milli_value()),
        amount("memory").map_or(0, |a| a.value()),
        amount("pods").map_or(0, |a| a.value()),
    ]
}

fn taint(mirror: &mut Mirror, taint: &hansa_api::k8s_openapi::api::core::v1::Taint) -> Taint {
    Taint {
        key: mirror.sym(&taint.key),
        value: mirror.sym(taint.value.as_deref().unwrap_or_default()),
        effect: match taint.effect.as_str() {
            "NoExecute" => Effect::NoExecute,
            "PreferNoSchedule" => Effect::PreferNoSchedule,
            _ => Effect::NoSchedule,
        },
    }
}
