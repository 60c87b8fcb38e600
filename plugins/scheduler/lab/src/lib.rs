//! A bench for testing one scheduler plugin natively: nodes in, verdicts, reasons and scores out.
//!
//! Only the tests of the logic crates use it.

use std::collections::BTreeMap;

use hansa_extension::bitmap;
use hansa_extension::scheduler::{
    Effect, ExtRow, GroupRow, HostPort, Ix, Label, Mirror, NodeRow, Op, PodView, PortRow, Protocol,
    Requirement, SchedulerPolicy, Taint, UNSCHEDULABLE, Want,
};
use hansa_plugin_sdk::Settings;
use hansa_plugin_sdk::native::NativeScheduler;
use hansa_plugin_sdk::scheduler::Policy;

pub use hansa_extension::scheduler::{
    Effect as TaintEffect, Op as Operator, PodView as Pod, PreferredTerm, Reason, Spread, Term,
    Toleration,
};

/// A node to put on the bench.
#[derive(Clone, Debug, Default)]
pub struct Node<'a> {
    /// `metadata.name`.
    pub name: &'a str,
    /// Labels.
    pub labels: &'a [(&'a str, &'a str)],
    /// Taints: key, value, effect.
    pub taints: &'a [(&'a str, &'a str, Effect)],
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// Allocatable CPU (thousandths), memory (bytes) and pods.
    pub allocatable: (i64, i64, i64),
    /// CPU, memory and pods in use; counted with and without defaults alike.
    pub used: (i64, i64, i64),
    /// Extended resources: name, allocatable, used.
    pub ext: &'a [(&'a str, i64, i64)],
    /// Host ports in use: address, protocol, port.
    pub ports: &'a [(&'a str, Protocol, u16)],
    /// Pods on the node in namespace `ns`: their labels and how many.
    pub pods: &'a [(&'a [(&'a str, &'a str)], u32)],
}

/// The bench.
#[derive(Default)]
pub struct Lab {
    mirror: Mirror,
    names: Vec<String>,
}

impl Lab {
    /// A bench with these nodes.
    pub fn new(nodes: &[Node]) -> Lab {
        let mut lab = Lab::default();
        nodes.iter().for_each(|node| lab.add(node));
        lab
    }

    /// The symbol of a text.
    pub fn sym(&mut self, text: &str) -> u32 {
        self.mirror.sym(text)
    }

    /// A label.
    pub fn label(&mut self, key: &str, value: &str) -> Label {
        Label { key: self.sym(key), value: self.sym(value) }
    }

    /// A requirement.
    pub fn requirement(&mut self, key: &str, op: Op, values: &[&str]) -> Requirement {
        let values = values.iter().map(|value| self.sym(value)).collect();
        Requirement { key: self.sym(key), op, values }
    }

    /// A pod in namespace `ns` with these labels.
    pub fn pod(&mut self, labels: &[(&str, &str)]) -> PodView {
        let namespace = self.sym("ns");
        let labels = labels.iter().map(|(key, value)| self.label(key, value)).collect();
        PodView { namespace, labels, ..PodView::default() }
    }

    /// A host port on any address.
    pub fn port(protocol: Protocol, port: u16) -> HostPort {
        HostPort { ip: 0, protocol, port }
    }

    /// Per node its reason, or none if it passes.
    pub fn reasons<P: Policy + Send>(&mut self, pod: &PodView) -> BTreeMap<String, Option<Reason>> {
        let mut policy = self.policy::<P>();
        let answer = policy.run(pod, Want::REASONS, &[]).expect("native policies answer");
        let reason = |ix: usize| {
            let code = usize::from(answer.reasons[ix]);
            let passes = bitmap::get(&answer.feasible, ix as Ix);
            assert_eq!(passes, code == 0, "a node passes if and only if it has no reason");
            code.checked_sub(1).map(|at| answer.legend[at].clone())
        };
        self.names.iter().enumerate().map(|(ix, name)| (name.clone(), reason(ix))).collect()
    }

    /// The names of the nodes that pass, ascending.
    pub fn passing<P: Policy + Send>(&mut self, pod: &PodView) -> Vec<String> {
        let reasons = self.reasons::<P>(pod);
        reasons.into_iter().filter(|(_, r)| r.is_none()).map(|(name, _)| name).collect()
    }

    /// The reason texts of one node; empty if it passes.
    pub fn texts<P: Policy + Send>(&mut self, pod: &PodView, node: &str) -> Vec<String> {
        let reason = self.reasons::<P>(pod).remove(node).expect("the node is on the bench");
        reason.map(|reason| reason.texts).unwrap_or_default()
    }

    /// The scores in the order of the nodes, all of them candidates.
    pub fn scores<P: Policy + Send>(&mut self, pod: &PodView) -> Vec<u8> {
        let answer = self.policy::<P>().run(pod, Want::SCORE, &[]);
        answer.expect("native policies answer").scores
    }

    fn policy<P: Policy + Send>(&mut self) -> NativeScheduler<P> {
        let mut policy = NativeScheduler::<P>::new(&Settings::default()).expect("no settings");
        self.mirror.flush();
        self.mirror.replay().send(&mut policy).expect("native policies take every feed");
        policy
    }

    fn add(&mut self, node: &Node) {
        let ix = self.names.len() as Ix;
        self.names.push(node.name.into());
        let row = self.row(ix, node);
        self.mirror.upsert(row);
        for (name, allocatable, used) in node.ext {
            let name = self.sym(name);
            self.mirror.update_ext(ExtRow { ix, name, allocatable: *allocatable, used: *used });
        }
        for (ip, protocol, port) in node.ports {
            let port = HostPort { ip: self.sym(ip), protocol: *protocol, port: *port };
            self.mirror.update_port(PortRow { ix, port, used: 1 });
        }
        for (labels, pods) in node.pods {
            let group = self.mirror.group("ns", labels.iter().copied());
            self.mirror.update_group(&GroupRow { ix, group, pods: *pods });
        }
    }

    fn row(&mut self, ix: Ix, node: &Node) -> NodeRow {
        let taints: Vec<Taint> = node
            .taints
            .iter()
            .map(|(key, value, effect)| Taint {
                key: self.sym(key),
                value: self.sym(value),
                effect: *effect,
            })
            .collect();
        NodeRow {
            ix,
            name: self.sym(node.name),
            label_set: self.mirror.label_set(node.labels.iter().copied()),
            taint_set: self.mirror.taint_set(&taints),
            bits: if node.unschedulable { UNSCHEDULABLE } else { 0 },
            cpu_milli: node.allocatable.0,
            memory: node.allocatable.1,
            pods: node.allocatable.2,
            used_cpu: node.used.0,
            nz_cpu: node.used.0,
            used_memory: node.used.1,
            nz_memory: node.used.1,
            used_pods: node.used.2,
            ..NodeRow::default()
        }
    }
}
