//! The `Available` condition of an APIService: what can be told from its Service, and what its server
//! answers.

use std::sync::Arc;

use hansa_api::meta;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::backend::{ServiceRef, port_name};

/// A condition without its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn no(reason: &'static str, message: String) -> Self {
        Self { status: "False", reason, message }
    }

    fn unknown(reason: &'static str, message: String) -> Self {
        Self { status: "Unknown", reason, message }
    }

    /// Everything is as it should be.
    pub(super) fn passed() -> Self {
        Self { status: "True", reason: "Passed", message: "all checks passed".into() }
    }

    /// It does not answer as an API server does.
    pub(super) fn failed_discovery(why: String) -> Self {
        Self::no("FailedDiscoveryCheck", why)
    }

    /// What is served here always is.
    pub(super) fn local() -> Self {
        let message = "Local APIServices are always available".into();
        Self { status: "True", reason: "Local", message }
    }

    /// Whether the server may be sent requests.
    pub(super) fn is_passed(&self) -> bool {
        self.status == "True"
    }

    /// The APIService with this condition; `None` if it has it already.
    pub(super) fn applied(&self, service: &Value, now: Timestamp) -> Option<Value> {
        let conditions = meta::list_at(service, &["status", "conditions"]);
        let old = conditions.iter().find(|one| one["type"] == "Available");
        let same = |field: &str, own: &str| old.is_some_and(|old| old[field] == own);
        if same("status", self.status)
            && same("reason", self.reason)
            && same("message", &self.message)
        {
            return None;
        }
        let since = match old {
            Some(old) if same("status", self.status) => old["lastTransitionTime"].clone(),
            _ => now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into(),
        };
        let mut kept: Vec<Value> =
            conditions.iter().filter(|one| one["type"] != "Available").cloned().collect();
        kept.push(json!({
            "type": "Available", "status": self.status, "lastTransitionTime": since,
            "reason": self.reason, "message": self.message,
        }));
        let mut next = service.clone();
        meta::fields_mut(&mut next, &["status"]).insert("conditions".into(), kept.into());
        Some(next)
    }
}

/// What the Service alone tells; `None` if its server is to be asked.
pub(super) fn of_service(
    wanted: &ServiceRef,
    service: Option<&Value>,
    slices: Result<&[Arc<Value>], String>,
) -> Option<Verdict> {
    let ServiceRef { namespace, name, port } = wanted;
    let Some(service) = service else {
        let message = format!("service/{name} in {namespace:?} is not present");
        return Some(Verdict::no("ServiceNotFound", message));
    };
    // Only a Service with an address of its own must listen itself.
    if !matches!(meta::str_at(service, &["spec", "type"]), "" | "ClusterIP") {
        return None;
    }
    let Some(port_name) = port_name(service, *port) else {
        let message = format!("service/{name} in {namespace:?} is not listening on port {port}");
        return Some(Verdict::no("ServicePortError", message));
    };
    let slices = match slices {
        Ok(slices) => slices,
        Err(error) => {
            let message =
                format!("service/{name} in {namespace:?} cannot be checked due to: {error}");
            return Some(Verdict::unknown("EndpointsAccessError", message));
        }
    };
    if slices.is_empty() {
        let message = format!("cannot find endpointslices for service/{name} in {namespace:?}");
        return Some(Verdict::no("EndpointsNotFound", message));
    }
    if slices.iter().any(|slice| has_endpoint(slice, &port_name)) {
        return None;
    }
    let message = format!(
        "endpointslices for service/{name} in {namespace:?} have no addresses with port name \
         {port_name:?}"
    );
    Some(Verdict::no("MissingEndpoints", message))
}

fn has_endpoint(slice: &Value, port_name: &str) -> bool {
    let ready = |one: &Value| one["conditions"]["ready"] != false;
    let is_port = |one: &Value| meta::str_at(one, &["name"]) == port_name && one["port"].is_u64();
    meta::list_at(slice, &["endpoints"]).iter().any(ready)
        && meta::list_at(slice, &["ports"]).iter().any(is_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_says_why_it_leads_nowhere() {
        let wanted = ServiceRef { namespace: "a".into(), name: "api".into(), port: 443 };
        let service = json!({"spec": {"ports": [{"name": "https", "port": 443}]}});
        let other = json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80}]}});
        let slice = |ready: bool, port: &str| {
            Arc::new(json!({"endpoints": [{"addresses": ["10.0.0.1"],
                "conditions": {"ready": ready}}], "ports": [{"name": port, "port": 8443}]}))
        };
        let reason = |service: Option<&Value>, slices: &[Arc<Value>]| {
            of_service(&wanted, service, Ok(slices)).map(|verdict| verdict.reason)
        };
        assert_eq!(reason(None, &[]), Some("ServiceNotFound"));
        assert_eq!(reason(Some(&other), &[]), Some("ServicePortError"));
        assert_eq!(reason(Some(&service), &[]), Some("EndpointsNotFound"));
        assert_eq!(reason(Some(&service), &[slice(false, "https")]), Some("MissingEndpoints"));
        assert_eq!(reason(Some(&service), &[slice(true, "http")]), Some("MissingEndpoints"));
        assert_eq!(reason(Some(&service), &[slice(true, "https")]), None);
        let external = json!({"spec": {"type": "ExternalName", "externalName": "x"}});
        assert_eq!(reason(Some(&external), &[]), None);
    }

    #[test]
    fn a_condition_keeps_its_time_while_its_status_lasts() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = Verdict::passed().applied(&json!({}), at(0)).unwrap();
        assert_eq!(Verdict::passed().applied(&first, at(60)), None);
        let failed = |why: &str| Verdict::failed_discovery(why.into());
        let second = failed("x").applied(&first, at(60)).unwrap();
        let third = failed("y").applied(&second, at(120)).unwrap();
        let since =
            |service: &Value| service["status"]["conditions"][0]["lastTransitionTime"].clone();
        assert_eq!((since(&second), since(&third)), (since(&second), since(&second)));
        assert_ne!(since(&first), since(&second));
    }
}
