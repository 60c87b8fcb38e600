//! Which clusters an object may go to, and which of them it goes to.
//!
//! Filters judge each cluster and every verdict is kept; spread constraints then choose among those
//! that passed, the best scored first.

use k8s_openapi::api::core::v1::{Taint, Toleration};

use crate::affinity::mismatch;
use crate::decision::{ClusterVerdict, Score};
use crate::kinds::{
    Cluster, ClusterAffinity, Placement, ResourceBindingSpec, SpreadConstraint, SpreadField,
};

/// Filter: the member serves the object's kind.
pub const API_ENABLEMENT: &str = "APIEnablement";
/// Filter: the affinity chooses the member.
pub const CLUSTER_AFFINITY: &str = "ClusterAffinity";
/// Filter: the object is not being evicted from the member.
pub const CLUSTER_EVICTION: &str = "ClusterEviction";
/// Filter: the member's taints are tolerated.
pub const TAINT_TOLERATION: &str = "TaintToleration";
/// Filter: the member has what spread constraints group by, and fits into the chosen groups.
pub const SPREAD_CONSTRAINT: &str = "SpreadConstraint";
/// Scorer: where the object is already, it would best stay.
pub const CLUSTER_LOCALITY: &str = "ClusterLocality";

/// One round of filtering: a binding and one of its affinity groups.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The binding.
    pub binding: &'a ResourceBindingSpec,
    /// Its placement.
    pub placement: &'a Placement,
    /// The affinity to use, if any.
    pub affinity: Option<&'a ClusterAffinity>,
}

/// The affinity groups to try, in order, each with its name: `observed` first, if it is one of
/// them,
/// so that a decision does not move back by itself.
pub fn affinity_groups<'a>(
    placement: &'a Placement,
    observed: &str,
) -> Vec<(&'a str, Option<&'a ClusterAffinity>)> {
    if placement.cluster_affinities.is_empty() {
        return vec![("", placement.cluster_affinity.as_ref())];
    }
    let groups = &placement.cluster_affinities;
    let start = groups.iter().position(|g| g.affinity_name == observed).unwrap_or(0);
    let (before, after) = groups.split_at(start);
    let order = after.iter().chain(before);
    order.map(|g| (g.affinity_name.as_str(), Some(&g.affinity))).collect()
}

/// Asks every filter about every cluster, and scores those that pass all.
pub fn judge(request: Request<'_>, clusters: &[&Cluster]) -> Vec<ClusterVerdict> {
    clusters.iter().map(|c| judge_one(request, c)).collect()
}

fn judge_one(request: Request<'_>, cluster: &Cluster) -> ClusterVerdict {
    let Request { binding, placement, affinity } = request;
    let placed = binding.clusters.iter().any(|t| t.name == cluster.name());
    let mut verdict = ClusterVerdict { name: cluster.name().into(), ..Default::default() };
    verdict.judge(API_ENABLEMENT, lacks_api(cluster, binding, placed));
    verdict.judge(CLUSTER_AFFINITY, affinity.and_then(|a| mismatch(a, cluster)));
    verdict.judge(CLUSTER_EVICTION, evicts(cluster, binding));
    verdict.judge(TAINT_TOLERATION, untolerated(cluster, &placement.cluster_tolerations, placed));
    verdict.judge(SPREAD_CONSTRAINT, ungroupable(cluster, &placement.spread_constraints));
    if verdict.fits() {
        let points = if placed { 100 } else { 0 };
        verdict.scores.push(Score { scorer: CLUSTER_LOCALITY.into(), points });
    }
    verdict
}

fn lacks_api(cluster: &Cluster, binding: &ResourceBindingSpec, placed: bool) -> Option<String> {
    let wanted = &binding.resource;
    let mut served = cluster.status.api_enablements.iter();
    let serves = served.any(|group| {
        group.group_version == wanted.api_version
            && group.resources.iter().any(|r| r.kind == wanted.kind)
    });
    let incomplete =
        cluster.condition("CompleteAPIEnablements").is_some_and(|c| c.status != "True");
    if serves || (placed && incomplete) {
        return None;
    }
    Some(format!("it does not serve {} {}", wanted.api_version, wanted.kind))
}

fn evicts(cluster: &Cluster, binding: &ResourceBindingSpec) -> Option<String> {
    if cluster.is_leaving() {
        return Some("it is leaving the federation".into());
    }
    let mut tasks = binding.graceful_eviction_tasks.iter();
    let task = tasks.find(|t| t.from_cluster == cluster.name())?;
    Some(format!("the object is being evicted from it ({})", task.reason))
}

/// The taint that keeps an object away. One that only forbids scheduling does not drive out what is
/// already there.
fn untolerated(cluster: &Cluster, tolerations: &[Toleration], placed: bool) -> Option<String> {
    let taint = cluster.spec.taints.iter().find(|taint| {
        let counts = match taint.effect.as_str() {
            "NoSchedule" => !placed,
            "NoExecute" => true,
            _ => false,
        };
        counts && !tolerations.iter().any(|t| tolerates(t, taint))
    })?;
    Some(format!("taint {}:{} is not tolerated", taint.key, taint.effect))
}

/// Whether a toleration covers a taint, as Kubernetes defines it for nodes.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let key = toleration.key.as_deref().unwrap_or_default();
    let effect = toleration.effect.as_deref().unwrap_or_default();
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or("Equal") {
        "Exists" => true,
        "" | "Equal" => {
            !key.is_empty()
                && toleration.value.as_deref().unwrap_or_default()
                    == taint.value.as_deref().unwrap_or_default()
        }
        _ => false,
    }
}

fn ungroupable(cluster: &Cluster, constraints: &[SpreadConstraint]) -> Option<String> {
    let missing = constraints.iter().find(|c| groups_of(cluster, c).is_empty())?;
    Some(format!("it has no {} to spread by", constraint_name(missing)))
}

/// The groups that a cluster belongs to under a constraint: several only for zones.
fn groups_of<'a>(cluster: &'a Cluster, constraint: &'a SpreadConstraint) -> Vec<&'a str> {
    let one = |text: &'a str| if text.is_empty() { vec![] } else { vec![text] };
    match constraint.spread_by_field {
        Some(SpreadField::Cluster) => vec![cluster.name()],
        Some(SpreadField::Region) => one(&cluster.spec.region),
        Some(SpreadField::Provider) => one(&cluster.spec.provider),
        Some(SpreadField::Zone) => cluster.spec.all_zones(),
        None if constraint.spread_by_label.is_empty() => vec![cluster.name()],
        None => {
            let labels = cluster.metadata.labels.as_ref();
            one(labels.and_then(|l| l.get(&constraint.spread_by_label)).map_or("", |v| v))
        }
    }
}

fn constraint_name(constraint: &SpreadConstraint) -> String {
    match constraint.spread_by_field {
        Some(field) => format!("{field:?}").to_lowercase(),
        None if constraint.spread_by_label.is_empty() => "cluster".into(),
        None => format!("label {:?}", constraint.spread_by_label),
    }
}

/// A cluster that passed the filters, as spread constraints see it.
#[derive(Clone, Copy, Debug)]
pub struct Ranked<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The sum of its scores.
    pub score: i64,
    /// How many more replicas it has room for.
    pub available: i64,
}

/// Fewer groups fit than a constraint asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("spread over {wanted} groups by {by}: only {found} fit")]
pub struct TooFewGroups {
    /// What groups.
    pub by: String,
    /// How many were wanted.
    pub wanted: usize,
    /// How many there are.
    pub found: usize,
}

/// Chooses clusters so that every constraint holds: first those that open groups still needed, then
/// whatever the upper bounds allow; in both the best scored, then the roomiest, then by name.
pub fn spread<'a>(
    ranked: &[Ranked<'a>],
    constraints: &[SpreadConstraint],
) -> Result<Vec<&'a Cluster>, TooFewGroups> {
    let mut order = ranked.to_vec();
    order.sort_by(|a, b| {
        let better = b.score.cmp(&a.score).then(b.available.cmp(&a.available));
        better.then(a.cluster.name().cmp(b.cluster.name()))
    });
    let mut tallies: Vec<Tally<'_>> = constraints.iter().map(Tally::new).collect();
    let mut chosen = Vec::new();
    while tallies.iter().any(|t| t.missing() > 0) {
        let Some(at) = best_opening(&order, &tallies) else { break };
        take(order.remove(at).cluster, &mut tallies, &mut chosen);
    }
    for candidate in order {
        if tallies.iter().all(|t| t.admits(candidate.cluster)) {
            take(candidate.cluster, &mut tallies, &mut chosen);
        }
    }
    match tallies.iter().find(|t| t.missing() > 0) {
        Some(short) => Err(short.error()),
        None => Ok(chosen),
    }
}

/// The first cluster that opens the most groups that are still needed.
fn best_opening(order: &[Ranked<'_>], tallies: &[Tally<'_>]) -> Option<usize> {
    let opened = |cluster| tallies.iter().filter(|t| t.missing() > 0 && t.opens(cluster)).count();
    let admitted = |r: &Ranked<'_>| tallies.iter().all(|t| t.admits(r.cluster));
    let mut best: Option<(usize, usize)> = None;
    for (at, candidate) in order.iter().enumerate() {
        let opens = opened(candidate.cluster);
        if opens > best.map_or(0, |b| b.1) && admitted(candidate) {
            best = Some((at, opens));
        }
    }
    best.map(|b| b.0)
}

fn take<'a>(cluster: &'a Cluster, tallies: &mut [Tally<'_>], chosen: &mut Vec<&'a Cluster>) {
    for tally in tallies {
        tally.count(cluster);
    }
    chosen.push(cluster);
}

/// The groups that are in use under one constraint.
struct Tally<'c> {
    constraint: &'c SpreadConstraint,
    groups: Vec<String>,
}

impl<'c> Tally<'c> {
    fn new(constraint: &'c SpreadConstraint) -> Self {
        Self { constraint, groups: Vec::new() }
    }

    fn wanted(&self) -> usize {
        usize::try_from(self.constraint.min_groups).unwrap_or(0).max(1)
    }

    fn missing(&self) -> usize {
        self.wanted().saturating_sub(self.groups.len())
    }

    fn new_groups(&self, cluster: &Cluster) -> Vec<String> {
        let groups = groups_of(cluster, self.constraint).into_iter();
        groups.filter(|g| !self.groups.iter().any(|have| have == g)).map(str::to_owned).collect()
    }

    fn opens(&self, cluster: &Cluster) -> bool {
        !self.new_groups(cluster).is_empty()
    }

    fn admits(&self, cluster: &Cluster) -> bool {
        let most = usize::try_from(self.constraint.max_groups).unwrap_or(0);
        most == 0 || self.groups.len() + self.new_groups(cluster).len() <= most
    }

    fn count(&mut self, cluster: &Cluster) {
        let new = self.new_groups(cluster);
        self.groups.extend(new);
    }

    fn error(&self) -> TooFewGroups {
        TooFewGroups {
            by: constraint_name(self.constraint),
            wanted: self.wanted(),
            found: self.groups.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::cluster;

    fn binding(json: serde_json::Value) -> ResourceBindingSpec {
        let mut json = json;
        json["resource"] = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        serde_json::from_value(json).unwrap()
    }

    /// The filter that refuses the cluster.
    fn refusal(binding: &ResourceBindingSpec, cluster: &Cluster) -> Option<String> {
        let placement = binding.placement.clone().unwrap_or_default();
        let affinity = placement.cluster_affinity.as_ref();
        let request = Request { binding, placement: &placement, affinity };
        let verdict = judge(request, &[cluster]).remove(0);
        assert_eq!(verdict.filters.len(), 5, "every filter's word is kept");
        verdict.filters.into_iter().find(|f| !f.passed).map(|f| f.filter)
    }

    #[test]
    fn each_filter_says_no_for_its_own_reason() {
        let mut eu = cluster("eu", "aws", "eu-west", &[]);
        let plain = binding(json!({}));
        assert_eq!(refusal(&plain, &eu), None);
        let by_name = binding(json!({"placement": {"clusterAffinity": {"clusterNames": ["us"]}}}));
        assert_eq!(refusal(&by_name, &eu).unwrap(), CLUSTER_AFFINITY);
        let by_zone =
            binding(json!({"placement": {"spreadConstraints": [{"spreadByField": "zone"}]}}));
        assert_eq!(refusal(&by_zone, &eu).unwrap(), SPREAD_CONSTRAINT);
        let evicted = binding(json!({"gracefulEvictionTasks": [
            {"fromCluster": "eu", "reason": "TaintUntolerated", "producer": "TaintManager"}]}));
        assert_eq!(refusal(&evicted, &eu).unwrap(), CLUSTER_EVICTION);
        eu.status.api_enablements.clear();
        assert_eq!(refusal(&plain, &eu).unwrap(), API_ENABLEMENT);
    }

    #[test]
    fn taints_keep_away_and_only_no_execute_drives_out() {
        let mut eu = cluster("eu", "", "", &[]);
        let new = binding(json!({}));
        let placed = binding(json!({"clusters": [{"name": "eu"}]}));
        let tolerant = binding(json!({"placement": {"clusterTolerations": [
            {"key": "maintenance", "operator": "Exists"}]}}));
        let taint = |effect: &str| Taint {
            key: "maintenance".into(),
            effect: effect.into(),
            ..Default::default()
        };
        eu.spec.taints = vec![taint("NoSchedule")];
        assert_eq!(refusal(&new, &eu).unwrap(), TAINT_TOLERATION);
        assert_eq!(refusal(&placed, &eu), None);
        assert_eq!(refusal(&tolerant, &eu), None);
        eu.spec.taints = vec![taint("NoExecute")];
        assert_eq!(refusal(&placed, &eu).unwrap(), TAINT_TOLERATION);
    }

    #[test]
    fn groups_are_tried_from_the_observed_one_on() {
        let placement: Placement = serde_json::from_value(json!({"clusterAffinities": [
            {"affinityName": "near", "clusterNames": ["eu"]},
            {"affinityName": "far", "clusterNames": ["us"]},
            {"affinityName": "last"}]}))
        .unwrap();
        let names = |observed| {
            let groups = affinity_groups(&placement, observed);
            groups.into_iter().map(|g| g.0).collect::<Vec<_>>()
        };
        assert_eq!(names(""), ["near", "far", "last"]);
        assert_eq!(names("far"), ["far", "last", "near"]);
        assert_eq!(affinity_groups(&Placement::default(), "x"), [("", None)]);
    }

    fn constraint(field: &str, min: i32, max: i32) -> SpreadConstraint {
        let json = match field.strip_prefix("label:") {
            Some(label) => json!({"spreadByLabel": label, "minGroups": min, "maxGroups": max}),
            None => json!({"spreadByField": field, "minGroups": min, "maxGroups": max}),
        };
        serde_json::from_value(json).unwrap()
    }

    fn chosen(
        clusters: &[(Cluster, i64)],
        constraints: &[SpreadConstraint],
    ) -> Result<Vec<String>, TooFewGroups> {
        let ranked: Vec<Ranked<'_>> = clusters
            .iter()
            .map(|(cluster, score)| Ranked { cluster, score: *score, available: 0 })
            .collect();
        let mut names: Vec<String> =
            spread(&ranked, constraints)?.into_iter().map(|c| c.name().to_owned()).collect();
        names.sort();
        Ok(names)
    }

    fn world() -> Vec<(Cluster, i64)> {
        vec![
            (cluster("eu-1", "aws", "eu", &["a", "b"]), 90),
            (cluster("eu-2", "gcp", "eu", &["c"]), 80),
            (cluster("us-1", "aws", "us", &["d"]), 70),
            (cluster("ap-1", "aws", "ap", &["e"]), 10),
        ]
    }

    #[test]
    fn spread_opens_groups_first_and_respects_bounds() {
        let cases: [(&[SpreadConstraint], &[&str]); 6] = [
            (&[], &["ap-1", "eu-1", "eu-2", "us-1"]),
            (&[constraint("cluster", 1, 2)], &["eu-1", "eu-2"]),
            (&[constraint("region", 2, 2)], &["eu-1", "eu-2", "us-1"]),
            (&[constraint("region", 2, 2), constraint("cluster", 2, 2)], &["eu-1", "us-1"]),
            (&[constraint("provider", 2, 0), constraint("cluster", 1, 2)], &["eu-1", "eu-2"]),
            (&[constraint("zone", 1, 3)], &["eu-1", "eu-2"]),
        ];
        for (constraints, expected) in cases {
            assert_eq!(chosen(&world(), constraints).unwrap(), expected, "{constraints:?}");
        }
    }

    #[test]
    fn any_label_can_group_and_a_lack_of_groups_is_said() {
        let by_name = constraint("label:name", 1, 1);
        assert_eq!(chosen(&world(), &[by_name]).unwrap(), ["eu-1"]);
        let error = chosen(&world(), &[constraint("region", 4, 0)]).unwrap_err();
        assert_eq!(error, TooFewGroups { by: "region".into(), wanted: 4, found: 3 });
        assert_eq!(error.to_string(), "spread over 4 groups by region: only 3 fit");
    }

    #[test]
    fn nothing_to_choose_from_is_no_choice() {
        assert_eq!(chosen(&[], &[]).unwrap(), Vec::<String>::new());
        assert!(chosen(&[], &[constraint("cluster", 1, 0)]).is_err());
    }
}
