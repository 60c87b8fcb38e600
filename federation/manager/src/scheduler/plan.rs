//! A decision: from a binding and the members to targets and their reasons. Pure.

use hansa_federation_api::capacity::{self, UNKNOWN};
use hansa_federation_api::decision::{ClusterVerdict, DecidedBy, Decision, Score};
use hansa_federation_api::division::{self, Candidate, Strategy};
use hansa_federation_api::kinds::{Cluster, Placement, ResourceBindingSpec, TargetCluster};
use hansa_federation_api::names;
use hansa_federation_api::placement::{
    Preference, Ranked, Request, SPREAD_CONSTRAINT, affinity_groups, judge, spread,
};
use serde_json::json;

/// What decides besides the built-in rules.
pub trait Advisor {
    /// Judges and ranks every member; nothing if nobody advises.
    fn select(&mut self, ask: &Ask<'_>) -> Option<Advice>;
    /// Divides over the candidates, which come with their scores and their room.
    fn divide(&mut self, ask: &Ask<'_>, candidates: &[Candidate]) -> Split;
}

/// What an advisor is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The binding's uid.
    pub uid: &'a str,
    /// The binding.
    pub binding: &'a ResourceBindingSpec,
}

/// An advisor's verdict on all members.
#[derive(Clone, Debug, Default)]
pub struct Advice {
    /// Who advises.
    pub by: DecidedBy,
    /// Per member, in the order of `Decision::clusters`: by name.
    pub verdicts: Vec<Opinion>,
}

/// An advisor's verdict on one member.
#[derive(Clone, Debug, Default)]
pub struct Opinion {
    /// The member.
    pub name: String,
    /// Why it should not be used.
    pub objection: Option<String>,
    /// 0 to 100.
    pub points: u8,
}

/// An advisor's division.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Split {
    /// As the placement says.
    #[default]
    ByPlacement,
    /// By these weights, one per candidate.
    Weights(Vec<i64>),
    /// Exactly so, one per candidate.
    Exactly(Vec<i64>),
}

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The targets; nothing if nothing fits, and then what was decided before stays.
    pub targets: Option<Vec<TargetCluster>>,
    /// The reasons.
    pub decision: Decision,
}

/// Decides.
pub fn plan(
    uid: &str,
    binding: &ResourceBindingSpec,
    observed_affinity: &str,
    clusters: &[&Cluster],
    fresh: bool,
    advisor: &mut dyn Advisor,
) -> Plan {
    let placement = binding.placement.clone().unwrap_or_default();
    let mut first_failure = None;
    for (name, affinity) in affinity_groups(&placement, observed_affinity) {
        let request = Request { binding, placement: &placement, affinity };
        let mut attempt = Attempt::new(uid, request, clusters, advisor);
        attempt.decision.affinity = name.into();
        match attempt.decide(fresh, advisor) {
            Ok(targets) => return Plan { targets: Some(targets), decision: attempt.decision },
            Err((outcome, message)) => {
                attempt.decision.outcome = outcome.into();
                attempt.decision.message = message;
                first_failure.get_or_insert(attempt.decision);
            }
        }
    }
    Plan { targets: None, decision: first_failure.unwrap_or_default() }
}

/// One affinity group's try.
struct Attempt<'a> {
    ask: Ask<'a>,
    placement: &'a Placement,
    clusters: &'a [&'a Cluster],
    strategy: Strategy,
    decision: Decision,
}

type Failure = (&'static str, String);

impl<'a> Attempt<'a> {
    fn new(
        uid: &'a str,
        request: Request<'a>,
        clusters: &'a [&'a Cluster],
        advisor: &mut dyn Advisor,
    ) -> Self {
        let ask = Ask { uid, binding: request.binding };
        let strategy = Strategy::of(request.placement.replica_scheduling.as_ref());
        let mut decision = Decision {
            clusters: judge(request, clusters),
            strategy: strategy.name().into(),
            replicas: request.binding.replicas,
            ..Decision::default()
        };
        if let Some(advice) = advisor.select(&ask) {
            decision.clusters.iter_mut().for_each(|verdict| heed(verdict, &advice));
            decision.policy = Some(advice.by);
        }
        Self { ask, placement: request.placement, clusters, strategy, decision }
    }

    fn decide(
        &mut self,
        fresh: bool,
        advisor: &mut dyn Advisor,
    ) -> Result<Vec<TargetCluster>, Failure> {
        let mut targets = match self.place(Preference::Score, fresh, advisor) {
            // Bounds may have taken the best who have no room; the roomiest may have it.
            Err(first @ ("Unschedulable", _)) if !self.placement.spread_constraints.is_empty() => {
                self.place(Preference::Room, fresh, advisor).map_err(|_| first)?
            }
            other => other?,
        };
        targets.sort_by(|a, b| a.name.cmp(&b.name));
        for verdict in &mut self.decision.clusters {
            let target = targets.iter().find(|t| t.name == verdict.name);
            verdict.chosen = target.is_some();
            verdict.replicas = target.map_or(0, |t| t.replicas);
        }
        self.decision.outcome = "Success".into();
        Ok(targets)
    }

    /// Chooses and divides.
    fn place(
        &mut self,
        preference: Preference,
        fresh: bool,
        advisor: &mut dyn Advisor,
    ) -> Result<Vec<TargetCluster>, Failure> {
        let chosen = self.choose(preference)?;
        let mut candidates = self.candidates(&chosen);
        let targets = self.divide(&mut candidates, fresh, advisor)?;
        self.note_spared(&chosen);
        Ok(targets)
    }

    /// Those that fit and that the spread constraints take.
    fn choose(&mut self, preference: Preference) -> Result<Vec<&'a Cluster>, Failure> {
        let needs = self.ask.binding.replica_requirements.as_ref();
        let mut ranked = Vec::new();
        for (verdict, cluster) in self.decision.clusters.iter_mut().zip(self.clusters) {
            let available = capacity::available(cluster, needs);
            verdict.available = (available < UNKNOWN).then_some(available);
            if verdict.fits() {
                let placed = self.ask.binding.clusters.iter().find(|t| t.name == verdict.name);
                let has = placed.map_or(0, |t| i64::from(t.replicas));
                let available = available.saturating_add(has);
                ranked.push(Ranked { cluster, score: verdict.score(), available });
            }
        }
        if ranked.is_empty() {
            let all = self.clusters.len();
            return Err(("NoClusterFit", format!("0/{all} clusters are available")));
        }
        spread(&ranked, &self.placement.spread_constraints, preference)
            .map_err(|e| ("NoClusterFit", format!("failed to {e}")))
    }

    /// Notes who would fit and was not taken.
    fn note_spared(&mut self, chosen: &[&Cluster]) {
        let spared =
            |v: &&mut ClusterVerdict| v.fits() && !chosen.iter().any(|c| c.name() == v.name);
        let why = "the groups that were chosen leave it out";
        let verdicts = self.decision.clusters.iter_mut().filter(spared);
        verdicts.for_each(|v| v.judge(SPREAD_CONSTRAINT, Some(why.to_owned())));
    }

    fn candidates(&mut self, chosen: &[&Cluster]) -> Vec<Candidate> {
        let binding = self.ask.binding;
        let preferences =
            self.placement.replica_scheduling.as_ref().and_then(|s| s.weight_preference.as_ref());
        let weights = division::static_weights(preferences, chosen);
        let needs = binding.replica_requirements.as_ref();
        let candidate = |(cluster, weight): (&&Cluster, i64)| {
            let placed = binding.clusters.iter().find(|t| t.name == cluster.name());
            let verdict = self.decision.clusters.iter().find(|v| v.name == cluster.name());
            Candidate {
                name: cluster.name().into(),
                weight,
                available: capacity::available(cluster, needs),
                current: placed.map_or(0, |t| i64::from(t.replicas)),
                score: verdict.map_or(0, ClusterVerdict::score),
            }
        };
        chosen.iter().zip(weights).map(candidate).collect()
    }

    fn divide(
        &mut self,
        candidates: &mut [Candidate],
        fresh: bool,
        advisor: &mut dyn Advisor,
    ) -> Result<Vec<TargetCluster>, Failure> {
        let replicas = i64::from(self.ask.binding.replicas);
        if replicas == 0 {
            let target = |c: &Candidate| TargetCluster { name: c.name.clone(), replicas: 0 };
            return Ok(candidates.iter().map(target).collect());
        }
        let mut strategy = self.strategy;
        if strategy != Strategy::Duplicated {
            match advisor.divide(&self.ask, candidates) {
                Split::ByPlacement => {}
                Split::Weights(weights) => {
                    candidates.iter_mut().zip(weights).for_each(|(c, w)| c.weight = w);
                    strategy = Strategy::StaticWeight;
                    self.decision.strategy = "PolicyWeights".into();
                }
                Split::Exactly(shares) => return Ok(self.exactly(candidates, &shares)),
            }
        }
        self.note_weights(strategy, candidates);
        division::divide(strategy, replicas, candidates, self.ask.uid, fresh)
            .map_err(|e| ("Unschedulable", format!("failed to {e}")))
    }

    fn exactly(&mut self, candidates: &[Candidate], shares: &[i64]) -> Vec<TargetCluster> {
        self.decision.strategy = "PolicyReplicas".into();
        let shares = candidates.iter().zip(shares).filter(|(_, share)| **share > 0);
        let target = |(c, share): (&Candidate, &i64)| TargetCluster {
            name: c.name.clone(),
            replicas: i32::try_from(*share).unwrap_or(i32::MAX),
        };
        shares.map(target).collect()
    }

    fn note_weights(&mut self, strategy: Strategy, candidates: &[Candidate]) {
        for candidate in candidates {
            let weight = match strategy {
                Strategy::StaticWeight => candidate.weight,
                Strategy::DynamicWeight | Strategy::Aggregated => candidate.available,
                Strategy::Duplicated => continue,
            };
            let verdict = self.decision.clusters.iter_mut().find(|v| v.name == candidate.name);
            verdict.into_iter().for_each(|v| v.weight = Some(weight));
        }
    }
}

fn heed(verdict: &mut ClusterVerdict, advice: &Advice) {
    let Some(opinion) = advice.verdicts.iter().find(|o| o.name == verdict.name) else { return };
    let advisor = format!("Policy/{}", advice.by.name);
    verdict.judge(&advisor, opinion.objection.clone());
    if verdict.fits() {
        verdict.scores.push(Score { scorer: advisor, points: opinion.points });
    }
}

/// The digest of all that a decision depends on. Room is left out on purpose: it changes all the
/// time and what is placed stays.
pub fn inputs(binding: &ResourceBindingSpec, clusters: &[&Cluster], by: &DecidedBy) -> String {
    let facts: Vec<serde_json::Value> = clusters.iter().map(|c| facts(c, binding)).collect();
    let evicting: Vec<&str> =
        binding.graceful_eviction_tasks.iter().map(|t| t.from_cluster.as_str()).collect();
    let document = json!({
        "placement": binding.placement,
        "replicas": binding.replicas,
        "requirements": binding.replica_requirements,
        "rescheduleTriggeredAt": binding.reschedule_triggered_at,
        "evicting": evicting,
        "clusters": facts,
        "policy": [by.name, by.digest],
    });
    format!("{:016x}", names::fnv64a(&document.to_string()))
}

fn facts(cluster: &Cluster, binding: &ResourceBindingSpec) -> serde_json::Value {
    let taints: Vec<String> = cluster
        .spec
        .taints
        .iter()
        .map(|t| format!("{}={}:{}", t.key, t.value.as_deref().unwrap_or(""), t.effect))
        .collect();
    let wanted = &binding.resource;
    let serves = cluster.status.api_enablements.iter().any(|g| {
        g.group_version == wanted.api_version && g.resources.iter().any(|r| r.kind == wanted.kind)
    });
    json!([
        cluster.name(),
        cluster.metadata.labels,
        cluster.spec.provider,
        cluster.spec.region,
        cluster.spec.all_zones(),
        taints,
        serves,
        cluster.is_leaving(),
    ])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// An advisor that likes one member and divides by fixed weights.
    #[derive(Default)]
    struct Likes {
        name: &'static str,
        objects_to: &'static str,
        split: Split,
    }

    impl Advisor for Likes {
        fn select(&mut self, _ask: &Ask<'_>) -> Option<Advice> {
            let opinion = |name: &str| Opinion {
                name: name.into(),
                objection: (name == self.objects_to).then(|| "too dear".to_owned()),
                points: if name == self.name { 100 } else { 10 },
            };
            let by = DecidedBy { name: "likes".into(), digest: "sha256:1".into(), generation: 1 };
            Some(Advice { by, verdicts: vec![opinion("eu"), opinion("us")] })
        }
        fn divide(&mut self, _ask: &Ask<'_>, _candidates: &[Candidate]) -> Split {
            self.split.clone()
        }
    }

    struct Nobody;

    impl Advisor for Nobody {
        fn select(&mut self, _ask: &Ask<'_>) -> Option<Advice> {
            None
        }
        fn divide(&mut self, _ask: &Ask<'_>, _candidates: &[Candidate]) -> Split {
            Split::ByPlacement
        }
    }

    fn cluster(name: &str) -> Cluster {
        let mut cluster = Cluster::new(name, Default::default());
        cluster.status.api_enablements = serde_json::from_value(json!([
            {"groupVersion": "apps/v1",
             "resources": [{"name": "deployments", "kind": "Deployment"}]}]))
        .unwrap();
        cluster
    }

    fn binding(placement: serde_json::Value) -> ResourceBindingSpec {
        serde_json::from_value(json!({
            "resource": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "replicas": 6, "placement": placement}))
        .unwrap()
    }

    fn two_to_one() -> ResourceBindingSpec {
        binding(json!({"replicaScheduling": {"weightPreference": {"staticWeightList": [
            {"targetCluster": {"clusterNames": ["eu"]}, "weight": 2},
            {"targetCluster": {"clusterNames": ["us"]}, "weight": 1}]}}}))
    }

    fn decide(binding: &ResourceBindingSpec, advisor: &mut dyn Advisor) -> Plan {
        let (eu, us) = (cluster("eu"), cluster("us"));
        plan("uid", binding, "", &[&eu, &us], false, advisor)
    }

    fn shares(plan: &Plan) -> Vec<(&str, i32)> {
        let targets = plan.targets.as_deref().unwrap_or_default();
        targets.iter().map(|t| (t.name.as_str(), t.replicas)).collect()
    }

    #[test]
    fn six_replicas_by_two_to_one_with_every_reason() {
        let plan = decide(&two_to_one(), &mut Nobody);
        assert_eq!(shares(&plan), [("eu", 4), ("us", 2)]);
        let eu = &plan.decision.clusters[0];
        assert_eq!((eu.weight, eu.replicas, eu.chosen), (Some(2), 4, true));
        assert_eq!(eu.filters.len(), 5);
        assert_eq!(plan.decision.outcome, "Success");
        assert_eq!(plan.decision.policy, None);
    }

    #[test]
    fn a_policy_can_weigh_narrow_and_decide_exactly() {
        let weighs = &mut Likes { split: Split::Weights(vec![1, 2]), ..Default::default() };
        let plan = decide(&two_to_one(), weighs);
        assert_eq!(shares(&plan), [("eu", 2), ("us", 4)]);
        assert_eq!(plan.decision.policy.as_ref().unwrap().digest, "sha256:1");
        let narrows = &mut Likes { objects_to: "eu", ..Default::default() };
        let plan = decide(&two_to_one(), narrows);
        assert_eq!(shares(&plan), [("us", 6)]);
        let last = plan.decision.clusters[0].filters.last().unwrap().clone();
        assert_eq!((last.filter.as_str(), last.reason.as_str()), ("Policy/likes", "too dear"));
        let exact = &mut Likes { split: Split::Exactly(vec![6, 0]), ..Default::default() };
        assert_eq!(shares(&decide(&two_to_one(), exact)), [("eu", 6)]);
    }

    #[test]
    fn a_policys_ranking_decides_who_is_taken() {
        let one = binding(json!({"spreadConstraints": [
            {"spreadByField": "cluster", "minGroups": 1, "maxGroups": 1}]}));
        let plan = decide(&one, &mut Likes { name: "us", ..Default::default() });
        assert_eq!(shares(&plan), [("us", 6)]);
        let plan = decide(&one, &mut Likes { name: "eu", ..Default::default() });
        assert_eq!(shares(&plan), [("eu", 6)]);
    }

    #[test]
    fn who_has_no_room_gives_way_to_who_has() {
        let aggregated = json!({"replicaScheduling": {"replicaDivisionPreference": "Aggregated"},
            "spreadConstraints": [{"spreadByField": "cluster", "maxGroups": 1}]});
        let with_room = |name: &str, pods: &str| {
            let mut cluster = cluster(name);
            let summary = json!({"allocatable": {"pods": pods}});
            cluster.status.resource_summary = serde_json::from_value(summary).unwrap();
            cluster
        };
        let mut binding = binding(aggregated);
        binding.clusters = vec![TargetCluster { name: "eu".into(), replicas: 1 }];
        let ask = |rooms: [&str; 2]| {
            let (eu, us) = (with_room("eu", rooms[0]), with_room("us", rooms[1]));
            plan("uid", &binding, "", &[&eu, &us], false, &mut Nobody)
        };
        assert_eq!(shares(&ask(["5", "9"])), [("eu", 6)], "it stays where it is");
        let moved = ask(["4", "6"]);
        assert_eq!(shares(&moved), [("us", 6)]);
        let spared = moved.decision.clusters[0].filters.last().unwrap();
        assert_eq!((spared.filter.as_str(), spared.passed), (SPREAD_CONSTRAINT, false));
        assert_eq!(ask(["4", "5"]).decision.outcome, "Unschedulable");
    }

    #[test]
    fn the_next_group_is_tried_and_a_failure_says_why() {
        let groups = binding(json!({"clusterAffinities": [
            {"affinityName": "near", "clusterNames": ["mars"]},
            {"affinityName": "far", "clusterNames": ["us"]}]}));
        let plan = decide(&groups, &mut Nobody);
        assert_eq!(shares(&plan), [("us", 6)]);
        assert_eq!(plan.decision.affinity, "far");
        let nowhere = binding(json!({"clusterAffinity": {"clusterNames": ["mars"]}}));
        let plan = decide(&nowhere, &mut Nobody);
        assert_eq!(plan.targets, None);
        assert_eq!(plan.decision.outcome, "NoClusterFit");
        assert!(plan.decision.clusters.iter().all(|c| !c.fits()));
    }

    #[test]
    fn only_what_matters_changes_the_inputs() {
        let by = DecidedBy::default();
        let mut eu = cluster("eu");
        let before = inputs(&two_to_one(), &[&eu], &by);
        eu.status.resource_summary = Some(Default::default());
        assert_eq!(inputs(&two_to_one(), &[&eu], &by), before);
        eu.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
        assert_ne!(inputs(&two_to_one(), &[&eu], &by), before);
        let other = DecidedBy { digest: "sha256:2".into(), ..by };
        eu.metadata.labels = None;
        assert_ne!(inputs(&two_to_one(), &[&eu], &other), before);
    }
}
