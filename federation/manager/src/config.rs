//! What the manager is told from outside.

use std::time::Duration;

use hansa_federation_api::health::Thresholds;
use jiff::SignedDuration;

/// The manager's settings; the defaults are those of kubefed and Karmada.
#[derive(Clone, Debug)]
pub struct Config {
    /// Between two probes of a member.
    pub probe_period: Duration,
    /// How long one call to a member may take.
    pub member_timeout: Duration,
    /// Bad probes in a row until a member is not ready.
    pub failure_threshold: u32,
    /// Good probes in a row until a member is ready again.
    pub success_threshold: u32,
    /// How long a member may be not ready before its workloads move; none never moves them.
    pub eviction_grace: Option<Duration>,
    /// How long a member must be ready again before it is used.
    pub recovery: Duration,
    /// Whether to act only while holding the lease, for several replicas of the manager.
    pub leader_elect: bool,
    /// This replica's name in the lease.
    pub identity: String,
    /// Workers per queue.
    pub workers: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            probe_period: Duration::from_secs(10),
            member_timeout: Duration::from_secs(3),
            failure_threshold: 3,
            success_threshold: 1,
            eviction_grace: Some(Duration::from_secs(30)),
            recovery: Duration::from_secs(10),
            leader_elect: false,
            identity: "federation-manager".into(),
            workers: 4,
        }
    }
}

impl Config {
    pub(crate) fn thresholds(&self) -> Thresholds {
        Thresholds { failures: self.failure_threshold, successes: self.success_threshold }
    }

    pub(crate) fn patience(&self) -> hansa_federation_api::health::Patience {
        let signed = |d: Duration| SignedDuration::try_from(d).unwrap_or(SignedDuration::MAX);
        hansa_federation_api::health::Patience {
            eviction_grace: self.eviction_grace.map(signed),
            recovery: signed(self.recovery),
        }
    }
}
