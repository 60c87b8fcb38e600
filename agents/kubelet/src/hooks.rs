//! Lifecycle hooks: after the start, before the stop.

use std::time::Duration;

use hansa_api::k8s_openapi::api::core::v1::LifecycleHandler;

use crate::cri::Cri;
use crate::probes::check::{self, Target};

/// A hook has no time of its own: it ends with the grace period, or after this.
const LONGEST: Duration = Duration::from_secs(3600);

/// Runs a hook to its end.
///
/// # Errors
/// It failed; the text says how.
pub async fn run(cri: &Cri, target: &Target, hook: &LifecycleHandler) -> Result<(), String> {
    if let Some(action) = &hook.exec {
        return check::exec(cri, target, action, LONGEST).await;
    }
    if let Some(action) = &hook.http_get {
        return check::http(target, action).await;
    }
    if let Some(action) = &hook.sleep {
        let secs = u64::try_from(action.seconds).unwrap_or(0);
        tokio::time::sleep(Duration::from_secs(secs)).await;
    }
    Ok(())
}
