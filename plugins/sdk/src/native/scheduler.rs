//! [`Policy`] as a [`SchedulerPolicy`], and the host's structs in the guest's words.

use std::sync::Arc;

use hansa_extension::scheduler::{self as host, SchedulerPolicy};
use hansa_extension::{NativeSource, PluginError};

use crate::Settings;
use crate::scheduler::{self as guest, Policy, Runner};

/// A scheduler plugin that is compiled in.
pub struct NativeScheduler<P>(Runner<P>);

impl<P: Policy> NativeScheduler<P> {
    /// A plugin without nodes.
    ///
    /// # Errors
    /// [`PluginError::Settings`] with what the policy says.
    pub fn new(settings: &Settings) -> Result<Self, PluginError> {
        Runner::new(settings).map(Self).map_err(PluginError::Settings)
    }
}

/// A source of native instances of `P` under its name.
///
/// # Errors
/// [`PluginError::Settings`] if the policy refuses the settings.
pub fn scheduler_source<P: Policy + Send>(
    settings: Settings,
    weight: u32,
) -> Result<Arc<NativeSource<dyn SchedulerPolicy>>, PluginError> {
    NativeScheduler::<P>::new(&settings)?;
    Ok(NativeSource::<dyn SchedulerPolicy>::new(P::NAME, weight, move || {
        let made = NativeScheduler::<P>::new(&settings);
        Box::new(made.expect("the same settings were accepted above"))
    }))
}

impl<P: Policy + Send> SchedulerPolicy for NativeScheduler<P> {
    fn interests(&self) -> host::Interests {
        let of = P::INTERESTS;
        host::Interests {
            filter: of.filter,
            score: of.score,
            usage: of.usage,
            ext: of.ext,
            ports: of.ports,
            groups: of.groups,
        }
    }
    fn reset(&mut self, capacity: u32) -> Result<(), PluginError> {
        self.0.nodes.reset(capacity);
        Ok(())
    }
    fn define_symbols(&mut self, first: u32, text: &[String]) -> Result<(), PluginError> {
        self.0.nodes.define_symbols(first, text.to_vec());
        Ok(())
    }
    fn define_label_set(&mut self, id: u32, members: &[host::Label]) -> Result<(), PluginError> {
        self.0.nodes.define_label_set(id, members.iter().map(label).collect());
        Ok(())
    }
    fn define_taint_set(&mut self, id: u32, members: &[host::Taint]) -> Result<(), PluginError> {
        self.0.nodes.define_taint_set(id, members.iter().map(taint).collect());
        Ok(())
    }
    fn define_group(&mut self, id: u32, ns: u32, labels: u32) -> Result<(), PluginError> {
        self.0.nodes.define_group(id, ns, labels);
        Ok(())
    }
    fn upsert(&mut self, rows: &[host::NodeRow]) -> Result<(), PluginError> {
        let rows: Vec<_> = rows.iter().map(node_row).collect();
        self.0.nodes.upsert(&rows);
        Ok(())
    }
    fn update_usage(&mut self, rows: &[host::UsageRow]) -> Result<(), PluginError> {
        let rows: Vec<_> = rows.iter().map(usage_row).collect();
        self.0.nodes.update_usage(&rows);
        Ok(())
    }
    fn update_ext(&mut self, rows: &[host::ExtRow]) -> Result<(), PluginError> {
        rows.iter().for_each(|row| self.0.nodes.update_ext(&ext_row(row)));
        Ok(())
    }
    fn update_ports(&mut self, rows: &[host::PortRow]) -> Result<(), PluginError> {
        rows.iter().for_each(|row| self.0.nodes.update_port(&port_row(row)));
        Ok(())
    }
    fn update_groups(&mut self, rows: &[host::GroupRow]) -> Result<(), PluginError> {
        rows.iter().for_each(|row| self.0.nodes.update_group(&group_row(row)));
        Ok(())
    }
    fn remove(&mut self, rows: &[u32]) -> Result<(), PluginError> {
        rows.iter().for_each(|ix| self.0.nodes.remove(*ix));
        Ok(())
    }
    fn commit(&mut self, version: u64) -> Result<(), PluginError> {
        self.0.nodes.commit(version);
        Ok(())
    }
    fn run(
        &mut self,
        pod: &host::PodView,
        want: host::Want,
        candidates: &[u8],
    ) -> Result<host::Evaluation, PluginError> {
        let want = guest::Want { filter: want.filter, score: want.score, reasons: want.reasons };
        let evaluation = self.0.run(&pod_view(pod), want, candidates);
        Ok(host::Evaluation {
            version: evaluation.version,
            feasible: evaluation.feasible,
            reasons: evaluation.reasons,
            legend: evaluation.legend.into_iter().map(reason).collect(),
            scores: evaluation.scores,
        })
    }
    fn what_if(
        &mut self,
        pod: &host::PodView,
        node: u32,
        change: &host::Change,
    ) -> Result<bool, PluginError> {
        let change = guest::Change {
            usage: change.usage.as_ref().map(usage_row),
            ext: change.ext.iter().map(ext_row).collect(),
            ports: change.ports.iter().map(port_row).collect(),
            groups: change.groups.iter().map(group_row).collect(),
        };
        Ok(self.0.what_if(&pod_view(pod), node, &change))
    }
    fn explain(&mut self, pod: &host::PodView, node: u32) -> Result<Vec<String>, PluginError> {
        Ok(self.0.explain(&pod_view(pod), node))
    }
}

fn reason(reason: guest::Reason) -> host::Reason {
    host::Reason { texts: reason.texts, preemptible: reason.preemptible }
}

fn label(label: &host::Label) -> guest::Label {
    guest::Label { key: label.key, value: label.value }
}

fn effect(effect: host::Effect) -> guest::Effect {
    match effect {
        host::Effect::NoSchedule => guest::Effect::NoSchedule,
        host::Effect::PreferNoSchedule => guest::Effect::PreferNoSchedule,
        host::Effect::NoExecute => guest::Effect::NoExecute,
    }
}

fn taint(taint: &host::Taint) -> guest::Taint {
    guest::Taint { key: taint.key, value: taint.value, effect: effect(taint.effect) }
}

fn node_row(row: &host::NodeRow) -> guest::NodeRow {
    guest::NodeRow {
        ix: row.ix,
        name: row.name,
        label_set: row.label_set,
        taint_set: row.taint_set,
        image_set: row.image_set,
        topo_zone: row.topo_zone,
        topo_region: row.topo_region,
        bits: row.bits,
        cpu_milli: row.cpu_milli,
        memory: row.memory,
        ephemeral: row.ephemeral,
        pods: row.pods,
        used_cpu: row.used_cpu,
        used_memory: row.used_memory,
        used_ephemeral: row.used_ephemeral,
        used_pods: row.used_pods,
        nz_cpu: row.nz_cpu,
        nz_memory: row.nz_memory,
    }
}

fn usage_row(row: &host::UsageRow) -> guest::UsageRow {
    guest::UsageRow {
        ix: row.ix,
        cpu: row.cpu,
        memory: row.memory,
        ephemeral: row.ephemeral,
        pods: row.pods,
        nz_cpu: row.nz_cpu,
        nz_memory: row.nz_memory,
    }
}

fn ext_row(row: &host::ExtRow) -> guest::ExtRow {
    guest::ExtRow { ix: row.ix, name: row.name, allocatable: row.allocatable, used: row.used }
}

fn host_port(port: &host::HostPort) -> guest::HostPort {
    let protocol = match port.protocol {
        host::Protocol::Tcp => guest::Protocol::Tcp,
        host::Protocol::Udp => guest::Protocol::Udp,
        host::Protocol::Sctp => guest::Protocol::Sctp,
    };
    guest::HostPort { ip: port.ip, protocol, port: port.port }
}

fn port_row(row: &host::PortRow) -> guest::PortRow {
    guest::PortRow { ix: row.ix, port: host_port(&row.port), used: row.used }
}

fn group_row(row: &host::GroupRow) -> guest::GroupRow {
    guest::GroupRow { ix: row.ix, group: row.group, pods: row.pods }
}

fn requirement(requirement: &host::Requirement) -> guest::Requirement {
    let op = match requirement.op {
        host::Op::In => guest::Op::In,
        host::Op::NotIn => guest::Op::NotIn,
        host::Op::Exists => guest::Op::Exists,
        host::Op::DoesNotExist => guest::Op::DoesNotExist,
        host::Op::Gt => guest::Op::Gt,
        host::Op::Lt => guest::Op::Lt,
    };
    guest::Requirement { key: requirement.key, op, values: requirement.values.clone() }
}

fn requirements(all: &[host::Requirement]) -> Vec<guest::Requirement> {
    all.iter().map(requirement).collect()
}

fn term(term: &host::Term) -> guest::Term {
    guest::Term { expressions: requirements(&term.expressions), fields: requirements(&term.fields) }
}

fn preferred(term_: &host::PreferredTerm) -> guest::PreferredTerm {
    guest::PreferredTerm { weight: term_.weight, term: term(&term_.term) }
}

fn toleration(toleration: &host::Toleration) -> guest::Toleration {
    guest::Toleration {
        key: toleration.key,
        any_value: toleration.any_value,
        value: toleration.value,
        effect: toleration.effect.map(effect),
    }
}

fn spread(spread: &host::Spread) -> guest::Spread {
    guest::Spread {
        topology_key: spread.topology_key,
        max_skew: spread.max_skew,
        hard: spread.hard,
        selector: spread.selector.as_deref().map(requirements),
        min_domains: spread.min_domains,
        honor_affinity: spread.honor_affinity,
        honor_taints: spread.honor_taints,
    }
}

/// A pod in the guest's words, for tests that call a policy without a set.
pub fn pod_view(pod: &host::PodView) -> guest::PodView {
    guest::PodView {
        uid: pod.uid.clone(),
        name: pod.name.clone(),
        namespace: pod.namespace,
        owner: pod.owner,
        labels: pod.labels.iter().map(label).collect(),
        priority: pod.priority,
        attempt: pod.attempt,
        cpu: pod.cpu,
        memory: pod.memory,
        ephemeral: pod.ephemeral,
        nz_cpu: pod.nz_cpu,
        nz_memory: pod.nz_memory,
        ext: pod.ext.clone(),
        node_name: pod.node_name,
        node_selector: pod.node_selector.iter().map(label).collect(),
        required: pod.required.iter().map(term).collect(),
        preferred: pod.preferred.iter().map(preferred).collect(),
        tolerations: pod.tolerations.iter().map(toleration).collect(),
        spreads: pod.spreads.iter().map(spread).collect(),
        owner_selector: requirements(&pod.owner_selector),
        host_ports: pod.host_ports.iter().map(host_port).collect(),
        images: pod.images.clone(),
        raw: pod.raw.clone(),
    }
}
