//! How many requests are worked on at once; those over the limit wait a little, then 429.

use std::time::Duration;

use hansa_api::ApiError;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::authn::{Identity, MASTERS};
use crate::metrics::{InFlight, Metrics};
use crate::request_info::RequestInfo;

/// What the one too many is told.
pub(super) const TOO_MANY: &str = "Too many requests, please try again later.";
/// How long a request may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// The two limits, as `--max-requests-inflight` and `--max-mutating-requests-inflight`.
pub struct InFlightLimits {
    read_only: Semaphore,
    mutating: Semaphore,
}

/// The right to be worked on; given back when dropped.
pub struct Permit<'a> {
    _permit: Option<SemaphorePermit<'a>>,
    _gauge: InFlight<'a>,
}

impl InFlightLimits {
    /// So many of each at once.
    pub fn new(read_only: usize, mutating: usize) -> Self {
        Self { read_only: Semaphore::new(read_only), mutating: Semaphore::new(mutating) }
    }

    /// Waits for a turn; health checks and administrators need none.
    pub(super) async fn enter<'a>(
        &'a self,
        info: &RequestInfo,
        user: &Identity,
        metrics: &'a Metrics,
    ) -> Result<Permit<'a>, ApiError> {
        let (semaphore, gauge) = if is_read_only(&info.verb) {
            (&self.read_only, &metrics.read_only)
        } else {
            (&self.mutating, &metrics.mutating)
        };
        let permit = if is_exempt(info, user) { None } else { Some(turn(semaphore).await?) };
        Ok(Permit { _permit: permit, _gauge: InFlight::new(gauge) })
    }
}

async fn turn(semaphore: &Semaphore) -> Result<SemaphorePermit<'_>, ApiError> {
    if let Ok(permit) = semaphore.try_acquire() {
        return Ok(permit);
    }
    match tokio::time::timeout(PATIENCE, semaphore.acquire()).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(ApiError::too_many_requests(TOO_MANY, 1)),
    }
}

fn is_read_only(verb: &str) -> bool {
    matches!(verb, "get" | "list" | "watch" | "head")
}

fn is_exempt(info: &RequestInfo, user: &Identity) -> bool {
    !info.is_resource_request || user.in_group(MASTERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_one_too_many_is_told_to_come_back() {
        let (limits, metrics) = (InFlightLimits::new(1, 1), Metrics::default());
        let read =
            RequestInfo { verb: "get".into(), is_resource_request: true, ..RequestInfo::default() };
        let ann = Identity::user("ann", &[]);
        let first = limits.enter(&read, &ann, &metrics).await.unwrap();
        let second = limits.enter(&read, &ann, &metrics).await;
        assert_eq!(second.err().unwrap().code, 429);
        let root = Identity::user("root", &[MASTERS]);
        assert!(limits.enter(&read, &root, &metrics).await.is_ok());
        drop(first);
        assert!(limits.enter(&read, &ann, &metrics).await.is_ok());
    }
}
