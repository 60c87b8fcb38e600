//! The placement policy that prefers a region: its members score highest, and of every `weight` + 1
//! replicas `weight` run there. The others may still run the rest, so that a lost region has
//! somewhere to go.
//!
//! Settings: `{"prefer": "us-east", "weight": 5}`.

use hansa_plugin_sdk::Settings;
use hansa_plugin_sdk::federation::{
    Candidate, ClusterRow, Clusters, Division, MAX_SCORE, Placement, Policy, READY, Verdict,
};
use serde::Deserialize;

/// The score of members in other regions.
const ELSEWHERE: u8 = 10;

/// The policy with its settings.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreferRegion {
    /// The region.
    prefer: String,
    /// How many times as many replicas a member there gets as one elsewhere.
    #[serde(default = "five")]
    weight: u32,
}

fn five() -> u32 {
    5
}

impl Policy for PreferRegion {
    const NAME: &'static str = "prefer-region";

    fn configure(settings: &Settings) -> Result<Self, String> {
        let policy: Self = settings.read()?;
        if policy.prefer.is_empty() {
            return Err("prefer: name a region".into());
        }
        if policy.weight == 0 {
            return Err("weight: at least 1".into());
        }
        Ok(policy)
    }

    fn judge(&self, members: &Clusters, placement: &Placement, member: &ClusterRow) -> Verdict {
        let runs_here = placement.current.iter().any(|(ix, _)| *ix == member.ix);
        if member.bits & READY == 0 && !runs_here {
            return Verdict::Reject("cluster(s) were not ready".into());
        }
        let preferred = self.prefers(members, member);
        Verdict::Score(if preferred { MAX_SCORE } else { ELSEWHERE })
    }

    fn divide(
        &self,
        members: &Clusters,
        _placement: &Placement,
        candidates: &[Candidate<'_>],
    ) -> Division {
        let weight = |candidate: &Candidate<'_>| {
            if self.prefers(members, candidate.cluster) { self.weight } else { 1 }
        };
        Division::Weights(candidates.iter().map(weight).collect())
    }
}

impl PreferRegion {
    fn prefers(&self, members: &Clusters, member: &ClusterRow) -> bool {
        members.text(member.region) == self.prefer
    }
}

#[cfg(test)]
mod tests {
    use hansa_extension::federation as host;
    use hansa_extension::{ActiveSet, PluginError};
    use hansa_plugin_sdk::native::federation_source;
    use serde_json::{Value, json};

    use super::*;

    fn set(config: Value) -> Result<host::PolicySet, PluginError> {
        let source = federation_source::<PreferRegion>(config.into())?;
        Ok(host::PolicySet::new(std::sync::Arc::new(ActiveSet::new(vec![source]))))
    }

    #[test]
    fn the_preferred_region_scores_highest_and_weighs_most() {
        let mut set = set(json!({"prefer": "us-east", "weight": 3})).unwrap();
        for (ix, region) in [(0, "eu-west"), (1, "us-east")] {
            let region = set.mirror().sym(region);
            let bits = host::READY;
            set.mirror().upsert(host::ClusterRow { ix, region, bits, ..Default::default() });
        }
        let placement = host::Placement { replicas: 6, ..Default::default() };
        assert_eq!(set.select(&placement).unwrap().evaluation.scores, [10, 100]);
        let divided = set.divide(&placement, &[0, 1], &[10, 100], &[9, 9]).unwrap();
        assert_eq!(divided.division, host::Division::Weights(vec![1, 3]));
    }

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        for config in [Value::Null, json!({"prefer": ""}), json!({"prefer": "a", "weight": 0})] {
            assert!(matches!(set(config), Err(PluginError::Settings(_))));
        }
        let typo = set(json!({"perfer": "us-east"})).err().unwrap().to_string();
        assert!(typo.contains("perfer"), "{typo}");
    }
}
