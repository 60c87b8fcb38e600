//! NodeResourcesFit: what a pod requests must be free; emptier nodes are better (LeastAllocated).

use hansa_plugin_sdk::scheduler::{
    Ext, Interests, NOTHING, Nodes, PodView, Policy, Reason, lacks, reject,
};
use hansa_plugin_sdk::{Settings, bitmap};

/// The predicate and the priority.
pub struct NodeResourcesFit;

impl Policy for NodeResourcesFit {
    const NAME: &'static str = "NodeResourcesFit";
    const INTERESTS: Interests =
        Interests { filter: true, score: true, usage: true, ext: true, ..NOTHING };

    fn configure(settings: &Settings) -> Result<Self, String> {
        settings.none().map(|()| Self)
    }

    fn filter<'a>(&'a self, nodes: &'a Nodes, pod: &'a PodView) -> impl Fn(usize) -> bool + 'a {
        let c = nodes.columns();
        let extended = extended(nodes, pod);
        move |ix| {
            (c.used_pods[ix] < c.pods[ix])
                & fits(pod.cpu, c.used_cpu[ix], c.cpu[ix])
                & fits(pod.memory, c.used_memory[ix], c.memory[ix])
                & fits(pod.ephemeral, c.used_ephemeral[ix], c.ephemeral[ix])
                && extended.iter().all(|(_, want, ext)| ext_fits(*ext, *want, ix))
        }
    }

    /// Every resource that is short. Evicting helps unless the node is too small even when empty.
    fn reason(&self, nodes: &Nodes, pod: &PodView, ix: usize) -> Reason {
        let shortages = shortages(nodes, pod, ix);
        let hopeless = shortages.iter().any(|short| short.too_small);
        let texts: Vec<String> = shortages.into_iter().map(|short| short.text).collect();
        match hopeless {
            true => Reason { texts, ..reject("") },
            false => lacks(texts),
        }
    }

    /// The mean of the free shares of CPU and memory after the pod, in percent.
    fn score(&self, nodes: &Nodes, pod: &PodView, candidates: &[u8], scores: &mut [u8]) {
        let c = nodes.columns();
        for ix in bitmap::ones(candidates) {
            let cpu = free_share(c.nz_cpu[ix] + pod.nz_cpu, c.cpu[ix]);
            let memory = free_share(c.nz_memory[ix] + pod.nz_memory, c.memory[ix]);
            scores[ix] = mean([cpu, memory]);
        }
    }

    fn explain(&self, nodes: &Nodes, pod: &PodView, ix: usize) -> Vec<String> {
        let c = nodes.columns();
        let line = |name: &str, want: i64, used: i64, all: i64| {
            format!("{name}: requests {want}, {used} of {all} in use")
        };
        vec![
            line("cpu (milli)", pod.cpu, c.used_cpu[ix], c.cpu[ix]),
            line("memory (bytes)", pod.memory, c.used_memory[ix], c.memory[ix]),
            line("pods", 1, c.used_pods[ix], c.pods[ix]),
        ]
    }
}

struct Shortage {
    text: String,
    too_small: bool,
}

/// Nothing requested always fits, even on a node that is over-full.
#[inline]
fn fits(want: i64, used: i64, allocatable: i64) -> bool {
    (want <= 0) | (want <= allocatable - used)
}

/// The extended resources that the pod wants, with their columns.
fn extended<'a>(nodes: &'a Nodes, pod: &PodView) -> Vec<(u32, i64, Option<&'a Ext>)> {
    let wanted = pod.ext.iter().filter(|(_, want)| *want > 0);
    wanted.map(|(name, want)| (*name, *want, nodes.ext(*name))).collect()
}

fn ext_fits(ext: Option<&Ext>, want: i64, ix: usize) -> bool {
    ext.is_some_and(|ext| fits(want, at(&ext.used, ix), at(&ext.allocatable, ix)))
}

fn at(column: &[i64], ix: usize) -> i64 {
    column.get(ix).copied().unwrap_or(0)
}

fn shortages(nodes: &Nodes, pod: &PodView, ix: usize) -> Vec<Shortage> {
    let c = nodes.columns();
    let mut found = Vec::new();
    if c.used_pods[ix] >= c.pods[ix] {
        found.push(Shortage { text: "Too many pods".into(), too_small: false });
    }
    let mut check = |name: &str, want: i64, used: i64, all: i64| {
        if !fits(want, used, all) {
            let text = format!("Insufficient {name}");
            found.push(Shortage { text, too_small: want > all });
        }
    };
    check("cpu", pod.cpu, c.used_cpu[ix], c.cpu[ix]);
    check("memory", pod.memory, c.used_memory[ix], c.memory[ix]);
    check("ephemeral-storage", pod.ephemeral, c.used_ephemeral[ix], c.ephemeral[ix]);
    for (name, want, ext) in extended(nodes, pod) {
        let column = |read: fn(&Ext) -> &Vec<i64>| ext.map_or(0, |ext| at(read(ext), ix));
        check(nodes.text(name), want, column(|e| &e.used), column(|e| &e.allocatable));
    }
    found
}

/// Percent free; none if the node has nothing of it, 0 if more than all is wanted.
fn free_share(used: i64, allocatable: i64) -> Option<i64> {
    match allocatable {
        0 => None,
        all if used > all => Some(0),
        all => Some((i128::from(all - used) * 100 / i128::from(all)) as i64),
    }
}

fn mean(shares: [Option<i64>; 2]) -> u8 {
    let known = shares.iter().flatten();
    let count = known.clone().count() as i64;
    if count == 0 { 0 } else { (known.sum::<i64>() / count) as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_scheduler_lab::{Lab, Node};

    fn node(name: &'static str, used: (i64, i64, i64)) -> Node<'static> {
        Node { name, allocatable: (4000, 1000, 10), used, ..Node::default() }
    }

    fn reason(lab: &mut Lab, pod: &hansa_scheduler_lab::Pod, node: &str) -> (Vec<String>, bool) {
        let reason = lab.reasons::<NodeResourcesFit>(pod).remove(node).flatten();
        let reason = reason.expect("it is rejected");
        (reason.texts, reason.preemptible)
    }

    #[test]
    fn names_every_resource_that_is_short() {
        let mut lab = Lab::new(&[node("full", (3500, 900, 10)), node("free", (0, 0, 0))]);
        let mut pod = lab.pod(&[]);
        (pod.cpu, pod.memory) = (1000, 200);
        assert_eq!(lab.passing::<NodeResourcesFit>(&pod), ["free"]);
        let texts = ["Too many pods", "Insufficient cpu", "Insufficient memory"];
        assert_eq!(reason(&mut lab, &pod, "full"), (texts.map(String::from).to_vec(), true));
    }

    #[test]
    fn evicting_does_not_help_on_a_node_that_is_too_small() {
        let mut lab = Lab::new(&[node("small", (0, 0, 0))]);
        let mut pod = lab.pod(&[]);
        pod.cpu = 8000;
        assert_eq!(reason(&mut lab, &pod, "small"), (vec!["Insufficient cpu".into()], false));
    }

    #[test]
    fn a_pod_without_requests_fits_wherever_a_pod_slot_is_free() {
        let mut lab = Lab::new(&[node("over", (5000, 2000, 9))]);
        let pod = lab.pod(&[]);
        assert_eq!(lab.passing::<NodeResourcesFit>(&pod), ["over"]);
    }

    #[test]
    fn extended_resources_are_counted_by_name() {
        let gpu = |name, used| Node {
            ext: match used {
                0 => &[("example.com/gpu", 2, 0)],
                _ => &[("example.com/gpu", 2, 1)],
            },
            ..node(name, (0, 0, 0))
        };
        let mut lab = Lab::new(&[gpu("a", 0), gpu("b", 1), node("none", (0, 0, 0))]);
        let mut pod = lab.pod(&[]);
        pod.ext = vec![(lab.sym("example.com/gpu"), 2)];
        assert_eq!(lab.passing::<NodeResourcesFit>(&pod), ["a"]);
        let text = vec!["Insufficient example.com/gpu".to_owned()];
        assert_eq!(reason(&mut lab, &pod, "b"), (text.clone(), true));
        assert_eq!(reason(&mut lab, &pod, "none"), (text, false));
    }

    #[test]
    fn least_allocated_is_the_mean_free_share() {
        let mut lab = Lab::new(&[
            node("a", (0, 0, 0)),
            node("b", (1000, 500, 1)),
            node("over", (4000, 0, 1)),
            Node { name: "empty", ..Node::default() },
        ]);
        let mut pod = lab.pod(&[]);
        (pod.nz_cpu, pod.nz_memory) = (1000, 250);
        // a: (75 + 75) / 2; b: (50 + 25) / 2 rounded down; over: (0 + 75) / 2.
        assert_eq!(lab.scores::<NodeResourcesFit>(&pod), [75, 37, 37, 0]);
    }
}
