//! NodeResourcesBalancedAllocation: nodes whose CPU and memory fill up evenly are better.
//!
//! Since Kubernetes 1.36 what counts is how the pod changes the balance
//! (kubernetes/kubernetes#135573).

use hansa_plugin_sdk::scheduler::{Interests, MAX_SCORE, NOTHING, Nodes, PodView, Policy};
use hansa_plugin_sdk::{Settings, bitmap};

/// Half of the highest score.
const HALF: i64 = MAX_SCORE as i64 / 2;

/// The priority.
pub struct BalancedAllocation;

impl Policy for BalancedAllocation {
    const NAME: &'static str = "NodeResourcesBalancedAllocation";
    const INTERESTS: Interests = Interests { score: true, usage: true, ..NOTHING };

    fn configure(settings: &Settings) -> Result<Self, String> {
        settings.none().map(|()| Self)
    }

    /// 75 where the pod does not change the balance, up to 100 where it restores it and down to 50
    /// where it ruins it. Pods that request neither CPU nor memory change nothing and score 0
    /// everywhere.
    fn score(&self, nodes: &Nodes, pod: &PodView, candidates: &[u8], scores: &mut [u8]) {
        if pod.cpu == 0 && pod.memory == 0 {
            return;
        }
        let c = nodes.columns();
        for ix in bitmap::ones(candidates) {
            let balance = |cpu: i64, memory: i64| {
                balance(
                    used_share(c.used_cpu[ix] + cpu, c.cpu[ix]),
                    used_share(c.used_memory[ix] + memory, c.memory[ix]),
                )
            };
            let (with, without) = (balance(pod.cpu, pod.memory), balance(0, 0));
            scores[ix] = (HALF + (HALF + with - without) / 2) as u8;
        }
    }
}

/// From 0 to 1; none if the node has nothing of it.
fn used_share(used: i64, allocatable: i64) -> Option<f64> {
    (allocatable != 0).then(|| (used as f64 / allocatable as f64).clamp(0.0, 1.0))
}

/// 100 × (1 − the standard deviation of the used shares): from 50 to 100.
fn balance(cpu: Option<f64>, memory: Option<f64>) -> i64 {
    let deviation = match (cpu, memory) {
        (Some(cpu), Some(memory)) => (cpu - memory).abs() / 2.0,
        _ => 0.0,
    };
    ((1.0 - deviation) * f64::from(MAX_SCORE)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_scheduler_lab::{Lab, Node};

    fn node(name: &'static str, used: (i64, i64, i64)) -> Node<'static> {
        Node { name, allocatable: (4000, 1000, 10), used, ..Node::default() }
    }

    #[test]
    fn nodes_whose_balance_the_pod_restores_score_higher() {
        let mut lab = Lab::new(&[
            node("even", (1000, 250, 1)),
            node("wants cpu", (0, 250, 1)),
            node("wants memory", (3000, 0, 1)),
        ]);
        let mut pod = lab.pod(&[]);
        pod.cpu = 1000;
        // Balance without and with the pod: 100 and 87; 87 and 100; 62 and 50.
        assert_eq!(lab.scores::<BalancedAllocation>(&pod), [68, 81, 69]);
    }

    #[test]
    fn a_pod_without_requests_is_indifferent() {
        let mut lab = Lab::new(&[node("a", (0, 0, 0)), node("b", (3000, 0, 1))]);
        let pod = lab.pod(&[]);
        assert_eq!(lab.scores::<BalancedAllocation>(&pod), [0, 0]);
    }
}
