//! What controllers ask about pods.

use hansa_api::k8s_openapi::api::core::v1::{Pod, PodCondition};
use hansa_api::k8s_openapi::jiff::Timestamp;

/// The pod's condition of this type.
pub(crate) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// Whether the pod serves.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Whether the pod has served without a break for `min_ready_secs`.
pub(crate) fn is_available(pod: &Pod, min_ready_secs: i32, now: Timestamp) -> bool {
    let Some(ready) = condition(pod, "Ready").filter(|ready| ready.status == "True") else {
        return false;
    };
    let since = ready.last_transition_time.as_ref().map(|time| time.0);
    min_ready_secs <= 0
        || since
            .is_some_and(|since| now.duration_since(since).as_secs() >= i64::from(min_ready_secs))
}

/// The pod's phase.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Whether the pod has ended, well or not.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether the pod counts as a replica: neither ended nor on its way out.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// The node that the pod is bound to.
pub(crate) fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}
