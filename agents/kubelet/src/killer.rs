//! Ends a pod's containers: hooks, a grace period, then force.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hansa_api::k8s_openapi::api::core::v1::{Container as Spec, Pod};

use crate::api::Kind;
use crate::context::Context;
use crate::hooks;
use crate::observed::{Container, Observed};
use crate::plan::is_sidecar;
use crate::probes::check::Target;
use crate::starter::address_of;

/// What a container gets after its hook has used up the grace period.
const LEAST_AFTER_HOOK: Duration = Duration::from_secs(2);

/// Ends all running containers of a pod: the main ones together, then sidecars, the last first.
pub async fn stop_all(context: &Arc<Context>, pod: &Pod, observed: &Observed, grace: Duration) {
    let from = Instant::now();
    let sidecars: Vec<&Spec> = pod
        .spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten())
        .filter(|spec| is_sidecar(spec))
        .collect();
    let is_served =
        |container: &&Container| sidecars.iter().all(|sidecar| sidecar.name != container.name);
    let main = observed.running().filter(is_served);
    let stops = main.map(|found| stop(context, pod, observed, found, grace, ""));
    futures::future::join_all(stops).await;
    for sidecar in sidecars.iter().rev() {
        let left = grace.saturating_sub(from.elapsed());
        for found in observed.running().filter(|found| found.name == sidecar.name) {
            stop(context, pod, observed, found, left, "").await;
        }
    }
}

/// Ends one container; `why` goes into the event.
pub async fn stop(
    context: &Arc<Context>,
    pod: &Pod,
    observed: &Observed,
    container: &Container,
    grace: Duration,
    why: &str,
) {
    let name = &container.name;
    let note = match why {
        "" => format!("Stopping container {name}"),
        why => format!("Container {name} {why}"),
    };
    context.event(pod, name, Kind::Normal, "Killing", note);
    let from = Instant::now();
    let hooked = pre_stop(context, pod, observed, container, grace).await;
    let left = grace.saturating_sub(from.elapsed());
    let left = if hooked && !grace.is_zero() { left.max(LEAST_AFTER_HOOK) } else { left };
    let secs = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
    if let Err(error) = context.cri.stop_container(&container.id, secs).await {
        tracing::warn!(%error, container = container.id, "could not stop the container");
    }
}

/// Runs the hook within the grace period; true if there was one.
async fn pre_stop(
    context: &Arc<Context>,
    pod: &Pod,
    observed: &Observed,
    container: &Container,
    grace: Duration,
) -> bool {
    let spec = spec_of(pod, &container.name);
    let hook = spec.and_then(|spec| spec.lifecycle.as_ref()?.pre_stop.as_ref());
    let (Some(spec), Some(hook), false) = (spec, hook, grace.is_zero()) else { return false };
    let address = observed.sandbox().map(|sandbox| address_of(context, sandbox));
    let target = Target {
        container_id: container.id.clone(),
        address: address.unwrap_or_default(),
        spec: spec.clone(),
    };
    let failed = match tokio::time::timeout(grace, hooks::run(&context.cri, &target, hook)).await {
        Ok(Ok(())) => None,
        Ok(Err(text)) => Some(text),
        Err(_) => Some("it took longer than the grace period".to_string()),
    };
    if let Some(text) = failed {
        let note = format!("PreStopHook failed: {text}");
        context.event(pod, &spec.name, Kind::Warning, "FailedPreStopHook", note);
    }
    true
}

fn spec_of<'a>(pod: &'a Pod, name: &str) -> Option<&'a Spec> {
    let spec = pod.spec.as_ref()?;
    let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    all.find(|spec| spec.name == name)
}
