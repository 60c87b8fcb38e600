//! The federation's world: a guest as a [`PlacementPolicy`].

use hansa_extension::PluginError;
use hansa_extension::federation::{self as host, PlacementPolicy};

use crate::bindings::federation as wit;
use crate::bindings::federation::hansa::federation::types as guest;
use crate::bindings::scheduler::hansa::core::types::Gvk;
use crate::guest::Guest;
use crate::version::{Version, lifecycle};

lifecycle!(wit::Policy, wit::PolicyPre<crate::guest::GuestState>);

/// A live placement policy.
pub struct PlacementGuest(Guest<wit::Policy>);

/// A configured instance of a version.
///
/// # Errors
/// What the guest did wrong.
pub fn make(version: &Version) -> Result<Box<dyn PlacementPolicy>, PluginError> {
    Ok(Box::new(PlacementGuest(version.guest()?)))
}

macro_rules! feed {
    ($self:ident . $call:ident ( $($argument:expr),* )) => {
        $self.0.call(|b, store| b.hansa_federation_cluster_store().$call(store, $($argument),*))
    };
}

impl PlacementPolicy for PlacementGuest {
    fn reset(&mut self, capacity: u32) -> Result<(), PluginError> {
        feed!(self.call_reset(capacity))
    }
    fn define_symbols(&mut self, first: u32, text: &[String]) -> Result<(), PluginError> {
        feed!(self.call_define_symbols(first, text))
    }
    fn define_label_set(&mut self, id: u32, members: &[host::Label]) -> Result<(), PluginError> {
        let label = |l: &host::Label| guest::Label { key: l.key, value: l.value };
        let members: Vec<_> = members.iter().map(label).collect();
        feed!(self.call_define_label_set(id, &members))
    }
    fn define_taint_set(&mut self, id: u32, members: &[host::Taint]) -> Result<(), PluginError> {
        let members: Vec<_> = members.iter().map(taint).collect();
        feed!(self.call_define_taint_set(id, &members))
    }
    fn upsert(&mut self, rows: &[host::ClusterRow]) -> Result<(), PluginError> {
        let rows: Vec<_> = rows.iter().map(cluster_row).collect();
        feed!(self.call_upsert(&rows))
    }
    fn remove(&mut self, rows: &[u32]) -> Result<(), PluginError> {
        feed!(self.call_remove(rows))
    }
    fn commit(&mut self, version: u64) -> Result<(), PluginError> {
        feed!(self.call_commit(version))
    }
    fn select(&mut self, p: &host::Placement) -> Result<host::Evaluation, PluginError> {
        let placement = placement(p);
        let evaluation =
            self.0.call(|b, store| b.hansa_federation_select().call_run(store, &placement))?;
        let reason = |r: guest::Reason| host::Reason { texts: r.texts, preemptible: r.preemptible };
        Ok(host::Evaluation {
            version: evaluation.version,
            feasible: evaluation.feasible,
            scores: evaluation.scores,
            reasons: evaluation.reasons,
            legend: evaluation.legend.into_iter().map(reason).collect(),
        })
    }
    fn divide(
        &mut self,
        p: &host::Placement,
        candidates: &[u32],
        scores: &[u8],
        capacity: &[u32],
    ) -> Result<host::Division, PluginError> {
        let placement = placement(p);
        let division = self.0.call(|b, store| {
            b.hansa_federation_divide().call_run(store, &placement, candidates, scores, capacity)
        })?;
        let share = |s: guest::Share| host::Share { cluster: s.cluster, replicas: s.replicas };
        Ok(match division {
            guest::Division::ByPolicy => host::Division::ByPolicy,
            guest::Division::Weights(weights) => host::Division::Weights(weights),
            guest::Division::Replicas(shares) => {
                host::Division::Replicas(shares.into_iter().map(share).collect())
            }
        })
    }
}
fn taint(taint: &host::Taint) -> guest::Taint {
    let effect = match taint.effect {
        host::Effect::NoSchedule => guest::Effect::NoSchedule,
        host::Effect::PreferNoSchedule => guest::Effect::PreferNoSchedule,
        host::Effect::NoExecute => guest::Effect::NoExecute,
    };
    guest::Taint { key: taint.key, value: taint.value, effect }
}

fn cluster_row(row: &host::ClusterRow) -> guest::ClusterRow {
    guest::ClusterRow {
        ix: row.ix,
        name: row.name,
        provider: row.provider,
        region: row.region,
        zone: row.zone,
        label_set: row.label_set,
        taint_set: row.taint_set,
        bits: row.bits,
        cpu_milli: row.cpu_milli,
        memory: row.memory,
        pods: row.pods,
        used_cpu: row.used_cpu,
        used_memory: row.used_memory,
        used_pods: row.used_pods,
        latency_us: row.latency_us,
        cost_milli: row.cost_milli,
    }
}

fn placement(p: &host::Placement) -> guest::Placement {
    guest::Placement {
        uid: p.uid.clone(),
        gvk: Gvk {
            group: p.gvk.group.clone(),
            version: p.gvk.version.clone(),
            kind: p.gvk.kind.clone(),
        },
        namespace: p.namespace.clone(),
        name: p.name.clone(),
        replicas: p.replicas,
        cpu: p.cpu,
        memory: p.memory,
        policy: p.policy.clone(),
        current: p.current.clone(),
    }
}
