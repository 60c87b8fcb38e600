//! The default placement policy: members that are ready may run anything, those that run it already
//! score highest, the others by how free they are. It divides as the PropagationPolicy says.

use hansa_plugin_sdk::Settings;
use hansa_plugin_sdk::federation::{
    ClusterRow, Clusters, MAX_SCORE, Placement, Policy, READY, Verdict,
};

/// The policy.
pub struct Balanced;

impl Policy for Balanced {
    const NAME: &'static str = "default";

    fn configure(settings: &Settings) -> Result<Self, String> {
        settings.none().map(|()| Self)
    }

    fn judge(&self, _members: &Clusters, placement: &Placement, member: &ClusterRow) -> Verdict {
        let runs_here = placement.current.iter().any(|(ix, _)| *ix == member.ix);
        if runs_here {
            return Verdict::Score(MAX_SCORE);
        }
        if member.bits & READY == 0 {
            return Verdict::Reject("cluster(s) were not ready".into());
        }
        Verdict::Score(free_share(member))
    }
}

/// How much of the scarcer of CPU and memory is free, 0 to one below the top: a member that runs
/// the workload already always wins. A member that does not say what it has counts as half free.
fn free_share(member: &ClusterRow) -> u8 {
    let cpu = share(member.cpu_milli, member.used_cpu);
    let memory = share(member.memory, member.used_memory);
    cpu.min(memory)
}

fn share(total: i64, used: i64) -> u8 {
    let top = i64::from(MAX_SCORE) - 1;
    if total <= 0 {
        return MAX_SCORE / 2;
    }
    let free = (total - used).clamp(0, total);
    u8::try_from(i128::from(free) * i128::from(top) / i128::from(total)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use hansa_extension::federation as host;
    use hansa_plugin_sdk::native::federation_source;

    use super::*;

    fn set() -> host::PolicySet {
        let source = federation_source::<Balanced>(Settings::default()).unwrap();
        host::PolicySet::new(std::sync::Arc::new(hansa_extension::ActiveSet::new(vec![source])))
    }

    fn member(ix: u32, cpu: i64, used: i64) -> host::ClusterRow {
        let (cpu_milli, used_cpu) = (cpu, used);
        let bits = host::READY;
        host::ClusterRow { ix, cpu_milli, used_cpu, memory: 100, bits, ..Default::default() }
    }

    #[test]
    fn the_freer_member_scores_higher_and_the_one_it_runs_in_highest() {
        let mut set = set();
        for row in [member(0, 1000, 900), member(1, 1000, 100), member(2, 1000, 1000)] {
            set.mirror().upsert(row);
        }
        let placement = host::Placement { current: vec![(2, 1)], ..Default::default() };
        let selected = set.select(&placement).unwrap();
        assert_eq!(selected.evaluation.scores, [9, 89, 100]);
        assert_eq!(selected.evaluation.feasible, [0b111]);
    }

    #[test]
    fn a_member_that_is_not_ready_gets_nothing_new_and_keeps_what_it_has() {
        let mut set = set();
        set.mirror().upsert(host::ClusterRow { bits: 0, ..member(0, 10, 0) });
        let fresh = set.select(&host::Placement::default()).unwrap().evaluation;
        assert_eq!(fresh.feasible, [0]);
        assert_eq!(fresh.reason(0).unwrap().texts, ["cluster(s) were not ready"]);
        let runs = host::Placement { current: vec![(0, 2)], ..Default::default() };
        assert_eq!(set.select(&runs).unwrap().evaluation.feasible, [1]);
    }
}
