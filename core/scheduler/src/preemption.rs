//! Preemption: which pods of lower priority would have to go for a pod to fit.
//!
//! The rules are kube-scheduler's: on each node as few and as unimportant victims as possible, PDBs
//! respected where that is possible; of the nodes the one where it hurts least. Whether the pod
//! fits is asked of the policies, with the rows that the node would have.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use hansa_api::k8s_openapi::api::core::v1::Pod;
use hansa_api::k8s_openapi::api::policy::v1::PodDisruptionBudget;
use hansa_api::k8s_openapi::jiff::Timestamp;
use hansa_api::selector::Selector;
use hansa_extension::PluginError;
use hansa_extension::scheduler::{Change, Ix};

use crate::cache::{NodeInfo, Placed};
use crate::diagnosis;
use crate::load::Demand;
use crate::queue::PodUid;

/// A pod that would have to go.
#[derive(Clone, Debug)]
pub struct Victim {
    /// Its UID.
    pub uid: PodUid,
    /// The pod.
    pub pod: Arc<Pod>,
}

/// A node that would take the pod without these victims.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The node.
    pub node: Ix,
    /// Who must go, the most important first.
    pub victims: Vec<Victim>,
    /// How many of them a PDB protects.
    pub violations: usize,
}

/// Asks whether the pod fits on a node after a change.
pub type Fits<'a> = &'a mut dyn FnMut(Ix, &Change) -> Result<bool, PluginError>;

/// A pod on a node.
type Running<'p> = (&'p PodUid, &'p Placed);

/// The pod that wants room, and what counts besides it.
pub struct Preemptor<'a> {
    /// Its priority: only pods below it are victims.
    pub priority: i32,
    /// The cluster's disruption budgets.
    pub budgets: &'a [Arc<PodDisruptionBudget>],
}

impl Preemptor<'_> {
    /// The fewest, least important victims on `node`; none if evicting does not help. `promised` is
    /// what pods of the same or higher priority nominated for the node will take.
    ///
    /// # Errors
    /// Nobody can decide.
    pub fn candidate(
        &self,
        info: &NodeInfo,
        promised: &[&Demand],
        fits: Fits<'_>,
    ) -> Result<Option<Candidate>, PluginError> {
        let node = info.allocatable().ix;
        let mut lower: Vec<Running> =
            info.pods().iter().filter(|(_, p)| priority(&p.pod) < self.priority).collect();
        if lower.is_empty() {
            return Ok(None);
        }
        lower.sort_by_key(|(_, placed)| importance(&placed.pod));
        let mut load = info.load().clone();
        promised.iter().for_each(|demand| load.add(demand));
        lower.iter().for_each(|(_, placed)| load.remove(&placed.demand));
        if !fits(node, &info.load().change_to(&load, info.allocatable()))? {
            return Ok(None);
        }
        let (protected, free) = self.split_by_budget(lower);
        let mut victims = Vec::new();
        let mut violations = 0;
        for (breaks_budget, (uid, placed)) in
            protected.into_iter().map(|v| (true, v)).chain(free.into_iter().map(|v| (false, v)))
        {
            load.add(&placed.demand);
            if fits(node, &info.load().change_to(&load, info.allocatable()))? {
                continue;
            }
            load.remove(&placed.demand);
            violations += usize::from(breaks_budget);
            victims.push(Victim { uid: uid.clone(), pod: placed.pod.clone() });
        }
        victims.sort_by_key(|victim| importance(&victim.pod));
        Ok(Some(Candidate { node, victims, violations }))
    }

    /// The pods whose eviction breaks a budget, and the others.
    fn split_by_budget<'p>(&self, pods: Vec<Running<'p>>) -> (Vec<Running<'p>>, Vec<Running<'p>>) {
        let mut budgets: Vec<Budget> = self.budgets.iter().filter_map(|b| Budget::of(b)).collect();
        pods.into_iter().partition(|(_, placed)| {
            let spent = budgets.iter_mut().map(|budget| budget.spend(&placed.pod));
            spent.fold(false, |broken, one| broken | one)
        })
    }
}

struct Budget<'a> {
    object: &'a PodDisruptionBudget,
    selector: Selector,
    allowed: i32,
}

impl<'a> Budget<'a> {
    fn of(object: &'a PodDisruptionBudget) -> Option<Budget<'a>> {
        let selector = serde_json::to_value(&object.spec.as_ref()?.selector).ok()?;
        let selector = Selector::from_object(Some(&selector)).ok()?;
        let allowed = object.status.as_ref().and_then(|status| status.disruptions_allowed);
        (!selector.is_everything()).then_some(Budget {
            object,
            selector,
            allowed: allowed.unwrap_or(0),
        })
    }

    /// Counts the pod's eviction; true if the budget does not allow it.
    fn spend(&mut self, pod: &Pod) -> bool {
        let labels = pod.metadata.labels.as_ref();
        let covers = self.object.metadata.namespace == pod.metadata.namespace
            && self.selector.matches_with(|key| labels?.get(key).map(String::as_str));
        let disrupted = self.object.status.as_ref().and_then(|s| s.disrupted_pods.as_ref());
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        if !covers || disrupted.is_some_and(|pods| pods.contains_key(name)) {
            return false;
        }
        self.allowed -= 1;
        self.allowed < 0
    }
}

/// The candidate where it hurts least: fewest broken budgets, then the lowest highest priority, the
/// lowest sum of priorities, the fewest victims, and the most important victim started last.
pub fn best(candidates: Vec<Candidate>) -> Option<Candidate> {
    candidates.into_iter().min_by_key(|candidate| {
        let priorities = candidate.victims.iter().map(|v| i64::from(priority(&v.pod)));
        let highest = priorities.clone().max().unwrap_or(i64::MIN);
        let sum: i64 = priorities.map(|p| p + i64::from(i32::MAX) + 1).sum();
        let of_highest =
            candidate.victims.iter().filter(|v| i64::from(priority(&v.pod)) == highest);
        let earliest = of_highest.map(|v| started(&v.pod)).min();
        (candidate.violations, highest, sum, candidate.victims.len(), Reverse(earliest))
    })
}

/// Why the pod may not preempt at all, if so. `terminating_on_nominated`: pods of lower priority
/// are already on their way out on the node that it was nominated for.
pub fn ineligible(pod: &Pod, terminating_on_nominated: bool) -> Option<&'static str> {
    let policy = pod.spec.as_ref().and_then(|spec| spec.preemption_policy.as_deref());
    if policy == Some("Never") {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let waiting = "not eligible due to a terminating pod on the nominated node.";
    terminating_on_nominated.then_some(waiting)
}

/// What to tell when no node could be freed: of `nodes` nodes, `tried` had no victims that help.
pub fn no_victims(nodes: usize, tried: usize) -> String {
    let helpless = nodes.saturating_sub(tried);
    let mut reasons = BTreeMap::new();
    if tried > 0 {
        reasons.insert("No preemption victims found for incoming pod".to_owned(), tried);
    }
    if helpless > 0 {
        reasons.insert("Preemption is not helpful for scheduling".to_owned(), helpless);
    }
    diagnosis::unavailable(nodes, &reasons)
}

/// The pod's priority; 0 if it has none.
pub fn priority(pod: &Pod) -> i32 {
    pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0)
}

/// Sorts the more important first: higher priority, then started earlier.
fn importance(pod: &Pod) -> (Reverse<i32>, Timestamp) {
    (Reverse(priority(pod)), started(pod))
}

fn started(pod: &Pod) -> Timestamp {
    let start = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    start.map_or(Timestamp::MAX, |time| time.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use hansa_extension::scheduler::Mirror;
    use serde_json::json;

    fn pod(name: &str, priority: i32, cpu: u32) -> Arc<Pod> {
        let pod = json!({
            "metadata": { "name": name, "namespace": "ns", "labels": { "app": name } },
            "spec": { "priority": priority, "containers": [
                { "name": "c", "resources": { "requests": { "cpu": cpu.to_string() } } },
            ]},
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn cache(pods: &[(&str, i32, u32)]) -> Cache {
        let (mut cache, mut mirror) = (Cache::default(), Mirror::default());
        let node = json!({ "metadata": { "name": "n" }, "status": { "allocatable": {} } });
        cache.upsert_node(&mut mirror, &Arc::new(serde_json::from_value(node).unwrap()));
        for (name, priority, cpu) in pods {
            cache.put_pod(&mut mirror, &(*name).into(), &pod(name, *priority, *cpu), "n");
        }
        cache
    }

    /// Victims on a node of 4 CPUs for a pod of 2 CPUs and priority 100.
    fn victims(
        cache: &Cache,
        budgets: &[Arc<PodDisruptionBudget>],
    ) -> Option<(Vec<String>, usize)> {
        let preemptor = Preemptor { priority: 100, budgets };
        let mut fits = |_, change: &Change| {
            let used = change.usage.as_ref().map_or(0, |usage| usage.cpu);
            Ok(used + 2000 <= 4000)
        };
        let info = cache.node(0).expect("the node is there");
        let found = preemptor.candidate(info, &[], &mut fits).expect("somebody decides")?;
        let names = found.victims.iter().map(|v| v.uid.to_string()).collect();
        Some((names, found.violations))
    }

    fn budget(app: &str) -> Arc<PodDisruptionBudget> {
        let pdb = json!({
            "metadata": { "name": app, "namespace": "ns" },
            "spec": { "selector": { "matchLabels": { "app": app } } },
            "status": { "disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1,
                        "expectedPods": 1 },
        });
        Arc::new(serde_json::from_value(pdb).unwrap())
    }

    #[test]
    fn the_least_important_pods_go_and_no_more_than_needed() {
        let cache = cache(&[("low", 1, 2), ("mid", 5, 1), ("peer", 100, 1)]);
        assert_eq!(victims(&cache, &[]), Some((vec!["low".into()], 0)));
    }

    #[test]
    fn nobody_of_the_same_or_higher_priority_goes() {
        let cache = cache(&[("peer", 100, 2), ("above", 200, 2)]);
        assert_eq!(victims(&cache, &[]), None);
    }

    #[test]
    fn a_protected_pod_stays_if_another_can_go() {
        let cache = cache(&[("low", 1, 2), ("mid", 5, 2)]);
        assert_eq!(victims(&cache, &[budget("low")]), Some((vec!["mid".into()], 0)));
        let both = [budget("low"), budget("mid")];
        assert_eq!(victims(&cache, &both), Some((vec!["low".into()], 1)));
    }

    #[test]
    fn the_node_with_the_least_important_victims_is_chosen() {
        let candidate = |node, violations, victims: &[(&str, i32)]| Candidate {
            node,
            violations,
            victims: victims
                .iter()
                .map(|(name, p)| Victim { uid: (*name).into(), pod: pod(name, *p, 1) })
                .collect(),
        };
        let found = best(vec![
            candidate(0, 1, &[("a", 1)]),
            candidate(1, 0, &[("b", 9)]),
            candidate(2, 0, &[("c", 5), ("d", 5)]),
            candidate(3, 0, &[("e", 5), ("f", 1)]),
        ]);
        assert_eq!(found.map(|c| c.node), Some(3));
    }

    #[test]
    fn says_why_preemption_did_not_help() {
        assert_eq!(
            no_victims(3, 1),
            "0/3 nodes are available: 1 No preemption victims found for incoming pod, \
             2 Preemption is not helpful for scheduling."
        );
    }
}
