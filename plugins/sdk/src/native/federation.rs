//! [`Policy`] as a [`PlacementPolicy`], and the host's structs in the guest's words.

use std::sync::Arc;

use hansa_extension::federation::{self as host, PlacementPolicy};
use hansa_extension::{NativeSource, PluginError};

use crate::Settings;
use crate::bindings::federation::hansa::core::types::Gvk;
use crate::federation::{self as guest, Policy, Runner};

/// A placement policy that is compiled in.
pub struct NativePlacement<P>(Runner<P>);

/// A source of native instances of `P` under its name.
///
/// # Errors
/// [`PluginError::Settings`] if the policy refuses the settings.
pub fn federation_source<P: Policy + Send>(
    settings: Settings,
) -> Result<Arc<NativeSource<dyn PlacementPolicy>>, PluginError> {
    Runner::<P>::new(&settings).map_err(PluginError::Settings)?;
    Ok(NativeSource::<dyn PlacementPolicy>::new(P::NAME, 1, move || {
        let made = Runner::<P>::new(&settings);
        Box::new(NativePlacement(made.expect("the same settings were accepted above")))
    }))
}

impl<P: Policy + Send> PlacementPolicy for NativePlacement<P> {
    fn reset(&mut self, capacity: u32) -> Result<(), PluginError> {
        self.0.members.reset(capacity);
        Ok(())
    }
    fn define_symbols(&mut self, first: u32, text: &[String]) -> Result<(), PluginError> {
        self.0.members.define_symbols(first, text.to_vec());
        Ok(())
    }
    fn define_label_set(&mut self, id: u32, members: &[host::Label]) -> Result<(), PluginError> {
        let label = |l: &host::Label| guest::Label { key: l.key, value: l.value };
        self.0.members.define_label_set(id, members.iter().map(label).collect());
        Ok(())
    }
    fn define_taint_set(&mut self, id: u32, members: &[host::Taint]) -> Result<(), PluginError> {
        self.0.members.define_taint_set(id, members.iter().map(taint).collect());
        Ok(())
    }
    fn upsert(&mut self, rows: &[host::ClusterRow]) -> Result<(), PluginError> {
        self.0.members.upsert(rows.iter().map(cluster_row).collect());
        Ok(())
    }
    fn remove(&mut self, rows: &[u32]) -> Result<(), PluginError> {
        rows.iter().for_each(|ix| self.0.members.remove(*ix));
        Ok(())
    }
    fn commit(&mut self, version: u64) -> Result<(), PluginError> {
        self.0.members.commit(version);
        Ok(())
    }
    fn select(&mut self, p: &host::Placement) -> Result<host::Evaluation, PluginError> {
        let evaluation = self.0.select(&placement(p));
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
        let share = |s: guest::Share| host::Share { cluster: s.cluster, replicas: s.replicas };
        Ok(match self.0.divide(&placement(p), candidates, scores, capacity) {
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
