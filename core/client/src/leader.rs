//! Leader election by a Lease, with client-go's times (KEP-589): of several replicas one acts.

use std::future::Future;
use std::time::Duration;

use hansa_api::k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use hansa_api::k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a lease holds and how often it is renewed.
#[derive(Clone, Copy, Debug)]
pub struct LeaseTimes {
    /// Others wait this long after the last renewal that they saw.
    pub lease: Duration,
    /// The leader gives up if it could not renew for this long.
    pub renew: Duration,
    /// Between tries.
    pub retry: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// A candidate for one Lease.
pub struct LeaderElector {
    leases: Api<Lease>,
    name: String,
    identity: String,
    times: LeaseTimes,
}

/// What a candidate has seen of the lease, by its own clock.
struct Observed {
    spec: Option<LeaseSpec>,
    at: Instant,
}

impl LeaderElector {
    /// A candidate called `identity` for the Lease `namespace/name`.
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            name: name.into(),
            identity: identity.into(),
            times: LeaseTimes::default(),
        }
    }

    /// Other times than the defaults.
    pub fn with_times(mut self, times: LeaseTimes) -> Self {
        self.times = times;
        self
    }

    /// Waits to lead, then runs `lead` until it ends, `stop` fires or leadership is lost.
    ///
    /// The token that `lead` gets is cancelled as soon as it must not act any more. The lease is
    /// given up on the way out, so that the next candidate need not wait for it to run out.
    pub async fn run<F, Fut>(&self, stop: CancellationToken, lead: F)
    where
        F: FnOnce(CancellationToken) -> Fut,
        Fut: Future<Output = ()>,
    {
        tokio::select! {
            () = stop.cancelled() => return,
            () = self.acquire() => {}
        }
        tracing::info!(lease = %self.name, identity = %self.identity, "leading");
        let leading = stop.child_token();
        tokio::select! {
            () = lead(leading.clone()) => {}
            () = self.hold() => {
                tracing::warn!(lease = %self.name, "lost the lease");
            }
        }
        leading.cancel();
        self.release().await;
    }

    async fn acquire(&self) {
        let mut seen = Observed { spec: None, at: Instant::now() };
        while !self.try_once(&mut seen).await {
            tokio::time::sleep(self.times.retry).await;
        }
    }

    /// Renews until that has failed for the renew deadline, counted from the last renewal's start: a
    /// server that hangs must not make a leader outlive its lease.
    async fn hold(&self) {
        let mut seen = Observed { spec: None, at: Instant::now() };
        let mut deadline = Instant::now() + self.times.renew;
        loop {
            tokio::time::sleep(self.times.retry).await;
            let began = Instant::now();
            let attempt = tokio::time::timeout_at(deadline, self.try_once(&mut seen));
            if attempt.await.unwrap_or(false) {
                deadline = began + self.times.renew;
            } else if Instant::now() >= deadline {
                return;
            }
        }
    }

    /// Takes or renews the lease if it is ours or has run out; conflicts mean that another did.
    async fn try_once(&self, seen: &mut Observed) -> bool {
        match self.leases.get_opt(&self.name).await {
            Ok(None) => self.create().await,
            Ok(Some(lease)) => {
                if lease.spec != seen.spec {
                    *seen = Observed { spec: lease.spec.clone(), at: Instant::now() };
                }
                may_take(&lease, &self.identity, seen.at.elapsed(), self.times.lease)
                    && self.update(lease).await
            }
            Err(error) => {
                tracing::debug!(lease = %self.name, %error, "failed to read the lease");
                false
            }
        }
    }

    async fn create(&self) -> bool {
        let mut lease = Lease::default();
        lease.metadata.name = Some(self.name.clone());
        lease.spec = Some(self.claim(None));
        self.leases.create(&PostParams::default(), &lease).await.is_ok()
    }

    async fn update(&self, mut lease: Lease) -> bool {
        lease.spec = Some(self.claim(lease.spec.as_ref()));
        self.leases.replace(&self.name, &PostParams::default(), &lease).await.is_ok()
    }

    /// The lease as this candidate would hold it from now on.
    fn claim(&self, old: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let ours = old.filter(|spec| spec.holder_identity.as_deref() == Some(&self.identity));
        let transitions = old.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.times.lease.as_secs()).ok(),
            acquire_time: ours.and_then(|spec| spec.acquire_time.clone()).or(Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions + i32::from(old.is_some() && ours.is_none())),
            ..LeaseSpec::default()
        }
    }

    async fn release(&self) {
        let Ok(Some(mut lease)) = self.leases.get_opt(&self.name).await else {
            return;
        };
        let Some(spec) = lease.spec.as_mut() else {
            return;
        };
        if spec.holder_identity.as_deref() == Some(&self.identity) {
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
            let _ = self.leases.replace(&self.name, &PostParams::default(), &lease).await;
        }
    }
}

/// Whether a candidate may write itself into the lease, given how long it has seen no renewal.
fn may_take(lease: &Lease, identity: &str, unchanged: Duration, ours: Duration) -> bool {
    let Some(spec) = &lease.spec else { return true };
    let Some(holder) = spec.holder_identity.as_deref().filter(|holder| !holder.is_empty()) else {
        return true;
    };
    let term = spec.lease_duration_seconds.and_then(|secs| u64::try_from(secs).ok());
    holder == identity || unchanged > term.map_or(ours, Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn held_by(holder: &str) -> Lease {
        let spec = LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        };
        Lease { spec: Some(spec), ..Lease::default() }
    }

    #[test]
    fn a_lease_is_taken_only_when_free_ours_or_run_out() {
        let own = Duration::from_secs(15);
        let young = Duration::from_secs(14);
        let old = Duration::from_secs(16);
        assert!(may_take(&Lease::default(), "a", young, own));
        assert!(may_take(&held_by(""), "a", young, own));
        assert!(may_take(&held_by("a"), "a", young, own));
        assert!(!may_take(&held_by("b"), "a", young, own));
        assert!(may_take(&held_by("b"), "a", old, own));
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_gives_up_in_time_though_the_server_hangs() {
        let hangs = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            std::future::pending::<()>().await;
            Ok::<_, Infallible>(http::Response::new(kube::client::Body::empty()))
        });
        let elector = LeaderElector::new(Client::new(hangs, "default"), "ns", "lease", "a");
        let started = Instant::now();
        elector.hold().await;
        assert!(started.elapsed() < elector.times.lease, "{:?}", started.elapsed());
    }
}
