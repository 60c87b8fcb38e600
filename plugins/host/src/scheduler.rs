//! The scheduler's world: a guest as a [`SchedulerPolicy`].

use hansa_extension::PluginError;
use hansa_extension::scheduler::{self as host, SchedulerPolicy};

use crate::bindings::scheduler as wit;
use crate::bindings::scheduler::hansa::scheduler::types as guest;
use crate::guest::Guest;
use crate::version::{Version, lifecycle};

lifecycle!(wit::FilterScore, wit::FilterScorePre<crate::guest::GuestState>);

/// A live scheduler plugin.
pub struct SchedulerGuest {
    guest: Guest<wit::FilterScore>,
    interests: host::Interests,
}

/// A configured instance of a version.
///
/// # Errors
/// What the guest did wrong.
pub fn make(version: &Version) -> Result<Box<dyn SchedulerPolicy>, PluginError> {
    let mut guest = version.guest::<wit::FilterScore>()?;
    let needs = guest.call(|b, store| b.hansa_scheduler_evaluate().call_needs(store))?;
    let interests = host::Interests {
        filter: needs.filter,
        score: needs.score,
        usage: needs.usage,
        ext: needs.ext,
        ports: needs.ports,
        groups: needs.groups,
    };
    Ok(Box::new(SchedulerGuest { guest, interests }))
}

macro_rules! feed {
    ($self:ident . $call:ident ( $($argument:expr),* )) => {
        $self.guest.call(|b, store| b.hansa_scheduler_node_store().$call(store, $($argument),*))
    };
}

impl SchedulerPolicy for SchedulerGuest {
    fn interests(&self) -> host::Interests {
        self.interests
    }
    fn reset(&mut self, capacity: u32) -> Result<(), PluginError> {
        feed!(self.call_reset(capacity))
    }
    fn define_symbols(&mut self, first: u32, text: &[String]) -> Result<(), PluginError> {
        feed!(self.call_define_symbols(first, text))
    }
    fn define_label_set(&mut self, id: u32, members: &[host::Label]) -> Result<(), PluginError> {
        let members: Vec<_> = members.iter().map(label).collect();
        feed!(self.call_define_label_set(id, &members))
    }
    fn define_taint_set(&mut self, id: u32, members: &[host::Taint]) -> Result<(), PluginError> {
        let members: Vec<_> = members.iter().map(taint).collect();
        feed!(self.call_define_taint_set(id, &members))
    }
    fn define_group(&mut self, id: u32, ns: u32, labels: u32) -> Result<(), PluginError> {
        feed!(self.call_define_group(id, ns, labels))
    }
    fn upsert(&mut self, rows: &[host::NodeRow]) -> Result<(), PluginError> {
        let rows: Vec<_> = rows.iter().map(node_row).collect();
        feed!(self.call_upsert(&rows))
    }
    fn update_usage(&mut self, rows: &[host::UsageRow]) -> Result<(), PluginError> {
        let rows: Vec<_> = rows.iter().map(usage_row).collect();
        feed!(self.call_update_usage(&rows))
    }
    fn update_ext(&mut self, rows: &[host::ExtRow]) -> Result<(), PluginError> {
        let rows: Vec<_> = rows.iter().map(ext_row).collect();
        feed!(self.call_update_ext(&rows))
    }
    fn update_ports(&mut self, rows: &[host::PortRow]) -> Result<(), PluginError> {
        let rows: Vec<_> = rows.iter().map(port_row).collect();
        feed!(self.call_update_ports(&rows))
    }
    fn update_groups(&mut self, rows: &[host::GroupRow]) -> Result<(), PluginError> {
        let rows: Vec<_> = rows.iter().map(group_row).collect();
        feed!(self.call_update_groups(&rows))
    }
    fn remove(&mut self, rows: &[u32]) -> Result<(), PluginError> {
        feed!(self.call_remove(rows))
    }
    fn commit(&mut self, version: u64) -> Result<(), PluginError> {
        feed!(self.call_commit(version))
    }
    fn run(
        &mut self,
        pod: &host::PodView,
        want: host::Want,
        candidates: &[u8],
    ) -> Result<host::Evaluation, PluginError> {
        let pod = pod_view(pod);
        let want = guest::Want { filter: want.filter, score: want.score, reasons: want.reasons };
        let evaluation = self.guest.call(|b, store| {
            b.hansa_scheduler_evaluate().call_run(store, &pod, want, candidates)
        })?;
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
        let pod = pod_view(pod);
        let change = guest::Change {
            usage: change.usage.as_ref().map(usage_row),
            ext: change.ext.iter().map(ext_row).collect(),
            ports: change.ports.iter().map(port_row).collect(),
            groups: change.groups.iter().map(group_row).collect(),
        };
        self.guest
            .call(|b, store| b.hansa_scheduler_evaluate().call_what_if(store, &pod, node, &change))
    }
    fn explain(&mut self, pod: &host::PodView, node: u32) -> Result<Vec<String>, PluginError> {
        let pod = pod_view(pod);
        self.guest.call(|b, store| b.hansa_scheduler_evaluate().call_explain(store, &pod, node))
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

fn pod_view(pod: &host::PodView) -> guest::PodView {
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
