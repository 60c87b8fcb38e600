//! Which clusters an object may go to, and which of them it goes to.
//!
//! Filters judge each cluster and every verdict is kept; spread constraints then choose among those
//! that passed, the best scored first.

use std::collections::BTreeSet;

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
/// them, so that a decision does not move back by itself.
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
    /// How many replicas it has room for, those that it has among them.
    pub available: i64,
}

/// Which clusters spread constraints take first, among those that are as good for the constraints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preference {
    /// The best scored, then the roomiest.
    Score,
    /// The roomiest, then the best scored.
    Room,
}

/// No choice of clusters meets the constraints.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpreadError {
    /// There are fewer groups than one constraint asks for.
    #[error("spread over {wanted} groups by {by}: only {found} fit")]
    TooFewGroups {
        /// What groups.
        by: String,
        /// How many were wanted.
        wanted: usize,
        /// How many there are.
        found: usize,
    },
    /// Each could be met, but no choice was found that meets all.
    #[error("meet all spread constraints at once")]
    Contradiction,
}

/// How many choices are tried before constraints count as contradictory.
const TRIES: usize = 1_000;

/// Chooses clusters so that every constraint holds: first those that open groups still needed, then
/// whatever the upper bounds allow; in both those that are preferred, last by name.
pub fn spread<'a>(
    ranked: &[Ranked<'a>],
    constraints: &[SpreadConstraint],
    preference: Preference,
) -> Result<Vec<&'a Cluster>, SpreadError> {
    let mut order: Vec<&'a Cluster> = in_order(ranked, preference);
    let tallies: Vec<Tally<'_>> = constraints.iter().map(Tally::new).collect();
    if let Some(short) = tallies.iter().find_map(|t| t.shortage(&order)) {
        return Err(short);
    }
    let (mut chosen, mut tallies) =
        open(&order, tallies, Vec::new(), &mut TRIES.clone()).ok_or(SpreadError::Contradiction)?;
    order.retain(|c| !is_among(&chosen, c));
    for candidate in order {
        if tallies.iter().all(|t| t.admits(candidate)) {
            tallies.iter_mut().for_each(|t| t.count(candidate));
            chosen.push(candidate);
        }
    }
    Ok(chosen)
}

fn in_order<'a>(ranked: &[Ranked<'a>], preference: Preference) -> Vec<&'a Cluster> {
    let mut order = ranked.to_vec();
    order.sort_by(|a, b| {
        let (score, room) = (b.score.cmp(&a.score), b.available.cmp(&a.available));
        let better = match preference {
            Preference::Score => score.then(room),
            Preference::Room => room.then(score),
        };
        better.then(a.cluster.name().cmp(b.cluster.name()))
    });
    order.into_iter().map(|r| r.cluster).collect()
}

fn is_among(chosen: &[&Cluster], cluster: &Cluster) -> bool {
    chosen.iter().any(|c| c.name() == cluster.name())
}

/// A choice, and the groups that it opens.
type Choice<'a, 'c> = (Vec<&'a Cluster>, Vec<Tally<'c>>);

/// Adds clusters until no group is missing. A cluster that leads nowhere is taken back, `tries`
/// times in all.
fn open<'a, 'c>(
    order: &[&'a Cluster],
    tallies: Vec<Tally<'c>>,
    chosen: Vec<&'a Cluster>,
    tries: &mut usize,
) -> Option<Choice<'a, 'c>> {
    if tallies.iter().all(|t| t.missing() == 0) {
        return Some((chosen, tallies));
    }
    for opening in openings(order, &tallies, &chosen) {
        *tries = tries.checked_sub(1)?;
        let mut tallies = tallies.clone();
        tallies.iter_mut().for_each(|t| t.count(opening));
        let chosen = [&chosen[..], &[opening]].concat();
        if let Some(choice) = open(order, tallies, chosen, tries) {
            return Some(choice);
        }
    }
    None
}

/// The clusters that open a group that is still needed: those that open the most first.
fn openings<'a>(
    order: &[&'a Cluster],
    tallies: &[Tally<'_>],
    chosen: &[&Cluster],
) -> Vec<&'a Cluster> {
    let opened = |c: &Cluster| tallies.iter().filter(|t| t.missing() > 0 && t.opens(c)).count();
    let fits = |c: &&&Cluster| !is_among(chosen, c) && tallies.iter().all(|t| t.admits(c));
    let fitting = order.iter().filter(fits).map(|c| (opened(c), *c));
    let mut opening: Vec<(usize, &Cluster)> = fitting.filter(|(opens, _)| *opens > 0).collect();
    opening.sort_by_key(|(opens, _)| std::cmp::Reverse(*opens));
    opening.into_iter().map(|(_, cluster)| cluster).collect()
}

/// The groups that are in use under one constraint.
#[derive(Clone)]
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

    /// Why the constraint can never hold, if all clusters together have too few groups.
    fn shortage(&self, clusters: &[&Cluster]) -> Option<SpreadError> {
        let all: BTreeSet<&str> =
            clusters.iter().flat_map(|c| groups_of(c, self.constraint)).collect();
        (all.len() < self.wanted()).then(|| SpreadError::TooFewGroups {
            by: constraint_name(self.constraint),
            wanted: self.wanted(),
            found: all.len(),
        })
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
    ) -> Result<Vec<String>, SpreadError> {
        let ranked: Vec<Ranked<'_>> = clusters
            .iter()
            .map(|(cluster, score)| Ranked { cluster, score: *score, available: 0 })
            .collect();
        let chosen = spread(&ranked, constraints, Preference::Score)?;
        let mut names: Vec<String> = chosen.into_iter().map(|c| c.name().to_owned()).collect();
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
        let by = "region".to_owned();
        assert_eq!(error, SpreadError::TooFewGroups { by, wanted: 4, found: 3 });
        assert_eq!(error.to_string(), "spread over 4 groups by region: only 3 fit");
    }

    #[test]
    fn what_looks_best_is_given_up_where_it_leads_nowhere() {
        let clusters = [
            (cluster("eu-1", "aws", "eu", &[]), 90),
            (cluster("us-1", "gcp", "us", &[]), 80),
            (cluster("eu-2", "gcp", "eu", &[]), 10),
        ];
        let two_regions_of_one_provider =
            [constraint("region", 2, 0), constraint("provider", 1, 1)];
        let names = chosen(&clusters, &two_regions_of_one_provider).unwrap();
        assert_eq!(names, ["eu-2", "us-1"]);
        let impossible = [constraint("region", 2, 0), constraint("cluster", 1, 1)];
        assert_eq!(chosen(&clusters, &impossible).unwrap_err(), SpreadError::Contradiction);
        let upside_down = [constraint("region", 2, 1)];
        assert_eq!(chosen(&clusters, &upside_down).unwrap_err(), SpreadError::Contradiction);
    }

    proptest::proptest! {
        /// Whatever is chosen keeps to every bound, whatever fields and labels group by.
        #[test]
        fn every_choice_keeps_every_bound(
            places in proptest::collection::vec((0..3u8, 0..3u8, 0..3u8, 0..3u8, 0..100i64), 0..8),
            bounds in proptest::collection::vec((0..5usize, 0..4i32, 0..4i32), 0..4),
        ) {
            let clusters: Vec<(Cluster, i64)> = places.iter().enumerate().map(place).collect();
            let fields = ["cluster", "region", "zone", "provider", "label:tier"];
            let constraints: Vec<SpreadConstraint> =
                bounds.iter().map(|(by, min, max)| constraint(fields[*by], *min, *max)).collect();
            let Ok(names) = chosen(&clusters, &constraints) else { return Ok(()) };
            for bound in &constraints {
                let taken = clusters.iter().filter(|c| names.iter().any(|n| n == c.0.name()));
                let groups: BTreeSet<&str> =
                    taken.flat_map(|c| groups_of(&c.0, bound)).collect();
                let most = if bound.max_groups == 0 { i32::MAX } else { bound.max_groups };
                let count = i32::try_from(groups.len()).unwrap();
                proptest::prop_assert!(count >= bound.min_groups.max(1) && count <= most);
            }
        }
    }

    /// A cluster from small numbers; 0 means that it has no such thing.
    fn place((at, numbers): (usize, &(u8, u8, u8, u8, i64))) -> (Cluster, i64) {
        let (provider, region, zone, tier, score) = *numbers;
        let word = |n: u8| if n == 0 { String::new() } else { n.to_string() };
        let zones = [word(zone)];
        let zones: Vec<&str> = zones.iter().map(String::as_str).filter(|z| !z.is_empty()).collect();
        let mut made = cluster(&format!("c{at}"), &word(provider), &word(region), &zones);
        made.metadata.labels = (tier > 0).then(|| [("tier".to_owned(), word(tier))].into());
        (made, score)
    }

    #[test]
    fn nothing_to_choose_from_is_no_choice() {
        assert_eq!(chosen(&[], &[]).unwrap(), Vec::<String>::new());
        assert!(chosen(&[], &[constraint("cluster", 1, 0)]).is_err());
    }
}
