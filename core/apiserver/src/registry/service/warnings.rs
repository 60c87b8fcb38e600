//! What a Service's author is told beside the answer.

use hansa_api::meta::{annotation, list_at, str_at};
use serde_json::Value;

const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const MODE: &str = "service.kubernetes.io/topology-mode";

/// The warnings about a Service that is written.
pub(super) fn of(obj: &Value) -> Vec<String> {
    let text = |field: &str| str_at(obj, &["spec", field]);
    let named = text("type") == "ExternalName";
    let headless = !named && text("clusterIP") == "None";
    let external = !list_at(obj, &["spec", "externalIPs"]).is_empty();
    let ignored = |field: &str| format!("spec.{field} is ignored for headless services");
    let found = [
        (
            annotation(obj, HINTS).is_some(),
            format!("annotation {HINTS} is deprecated, please use {MODE} instead"),
        ),
        (headless && !text("loadBalancerIP").is_empty(), ignored("loadBalancerIP")),
        (headless && external, ignored("externalIPs")),
        (headless && text("sessionAffinity") != "None", ignored("SessionAffinity")),
        (
            external && !headless && !named,
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
                .into(),
        ),
        (
            named && external,
            "spec.externalIPs is ignored when spec.type is \"ExternalName\"".into(),
        ),
        (
            !named && !text("externalName").is_empty(),
            "spec.externalName is ignored when spec.type is not \"ExternalName\"".into(),
        ),
        (
            text("trafficDistribution") == "PreferClose",
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\""
                .into(),
        ),
    ];
    found.into_iter().filter(|(is, _)| *is).map(|(_, text)| text).collect()
}
