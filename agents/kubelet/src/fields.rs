//! The downward API: a pod's fields and its containers' resources as text. Pure.

use std::collections::BTreeMap;

use hansa_api::k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use hansa_api::quantity::Quantity;

/// Why a field cannot be shown. Completes "failed to …".
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum FieldError {
    /// The downward API has no such field.
    #[error("show the field {0:?}: the downward API has no such field")]
    UnknownField(String),
    /// There is no such container.
    #[error("show resources of container {0:?}: the pod has none of that name")]
    UnknownContainer(String),
    /// The downward API has no such resource.
    #[error("show the resource {0:?}: the downward API has no such resource")]
    UnknownResource(String),
    /// A quantity does not parse.
    #[error("read the quantity {0:?}")]
    BadQuantity(String),
}

/// What is known of the pod besides its object.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// The node's name.
    pub node_name: String,
    /// The node's address.
    pub host_ip: String,
    /// The pod's addresses.
    pub pod_ips: Vec<String>,
    /// What the node can give: the limit of a container without one.
    pub allocatable: BTreeMap<String, String>,
}

/// The value of a field path.
///
/// # Errors
/// The downward API has no such field.
pub fn field(pod: &Pod, place: &Place, path: &str) -> Result<String, FieldError> {
    let spec = pod.spec.as_ref();
    let (namespace, name, uid) = crate::names::identity(pod);
    let account = || spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_default();
    let first_ip = || place.pod_ips.first().cloned().unwrap_or_default();
    let value = match path {
        "metadata.name" => name.to_string(),
        "metadata.namespace" => namespace.to_string(),
        "metadata.uid" => uid.to_string(),
        "metadata.labels" => listing(pod.metadata.labels.as_ref()),
        "metadata.annotations" => listing(pod.metadata.annotations.as_ref()),
        "spec.nodeName" => place.node_name.clone(),
        "spec.serviceAccountName" => account(),
        "status.hostIP" | "status.hostIPs" => place.host_ip.clone(),
        "status.podIP" => first_ip(),
        "status.podIPs" => place.pod_ips.join(","),
        _ => return subscripted(pod, path),
    };
    Ok(value)
}

/// `metadata.labels['key']` and the same of annotations; a missing key is empty.
fn subscripted(pod: &Pod, path: &str) -> Result<String, FieldError> {
    let unknown = || FieldError::UnknownField(path.to_string());
    let (base, rest) = path.split_once("['").ok_or_else(unknown)?;
    let key = rest.strip_suffix("']").ok_or_else(unknown)?;
    let map = match base {
        "metadata.labels" => pod.metadata.labels.as_ref(),
        "metadata.annotations" => pod.metadata.annotations.as_ref(),
        _ => return Err(unknown()),
    };
    Ok(map.and_then(|map| map.get(key)).cloned().unwrap_or_default())
}

/// One `key="value"` a line, as the files of the downward API have it.
fn listing(map: Option<&BTreeMap<String, String>>) -> String {
    let lines = map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The value of a container's resource, divided and rounded up.
///
/// # Errors
/// No such container or resource, or a quantity that does not parse.
pub fn resource(
    pod: &Pod,
    own: Option<&Container>,
    place: &Place,
    selector: &ResourceFieldSelector,
) -> Result<String, FieldError> {
    let container = match selector.container_name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => find(pod, name)?,
        None => own.ok_or_else(|| FieldError::UnknownContainer(String::new()))?,
    };
    let path = selector.resource.as_str();
    let unknown = || FieldError::UnknownResource(path.to_string());
    let (list, name) = path.split_once('.').ok_or_else(unknown)?;
    let resources = container.resources.as_ref();
    let limits = resources.and_then(|resources| resources.limits.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    let limit = || limits.and_then(|limits| limits.get(name)).map(|found| found.0.clone());
    let amount = match list {
        "limits" => limit().or_else(|| place.allocatable.get(name).cloned()),
        "requests" => requests.and_then(|all| all.get(name)).map(|found| found.0.clone()),
        _ => return Err(unknown()),
    };
    let divisor = selector.divisor.as_ref().map_or("1", |divisor| divisor.0.as_str());
    divided(name, &amount.unwrap_or_else(|| "0".to_string()), divisor)
}

fn find<'a>(pod: &'a Pod, name: &str) -> Result<&'a Container, FieldError> {
    let spec = pod.spec.as_ref().ok_or_else(|| FieldError::UnknownContainer(name.to_string()))?;
    let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    all.find(|container| container.name == name)
        .ok_or_else(|| FieldError::UnknownContainer(name.to_string()))
}

fn divided(name: &str, amount: &str, divisor: &str) -> Result<String, FieldError> {
    let divisor = if divisor == "0" { "1" } else { divisor };
    let (amount, divisor) = (quantity(amount)?, quantity(divisor)?);
    let (amount, divisor) = if name == "cpu" {
        (amount.milli_value(), divisor.milli_value())
    } else {
        (amount.value(), divisor.value())
    };
    Ok(amount.div_ceil_of(divisor.max(1)).to_string())
}

/// Parses a quantity.
///
/// # Errors
/// It does not parse.
pub fn quantity(text: &str) -> Result<Quantity, FieldError> {
    text.parse().map_err(|_| FieldError::BadQuantity(text.to_string()))
}

/// Division that rounds up, of amounts that are not negative.
trait DivCeil {
    fn div_ceil_of(self, divisor: i64) -> i64;
}

impl DivCeil for i64 {
    fn div_ceil_of(self, divisor: i64) -> i64 {
        self / divisor + i64::from(self % divisor != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "a", "namespace": "n", "uid": "u",
                "labels": {"app": "web", "tier": "x\"y"}},
            "spec": {"serviceAccountName": "sa", "containers": [{"name": "web",
                "resources": {"limits": {"cpu": "1500m"}, "requests": {"memory": "64Mi"}}}]},
        }))
        .unwrap()
    }

    #[test]
    fn fields_of_pod_and_place() {
        let place = Place {
            pod_ips: vec!["10.0.0.2".to_string(), "fd00::2".to_string()],
            ..Place::default()
        };
        let get = |path: &str| field(&pod(), &place, path).unwrap();
        assert_eq!(get("metadata.labels['app']"), "web");
        assert_eq!(get("metadata.labels['none']"), "");
        assert_eq!(get("metadata.labels"), "app=\"web\"\ntier=\"x\\\"y\"");
        assert_eq!(get("status.podIPs"), "10.0.0.2,fd00::2");
        assert_eq!(get("spec.serviceAccountName"), "sa");
        assert!(field(&pod(), &place, "spec.nothing").is_err());
    }

    #[test]
    fn resources_are_divided_and_rounded_up() {
        let mut place = Place::default();
        place.allocatable.insert("memory".to_string(), "1Gi".to_string());
        let get = |resource_name: &str, divisor: &str| {
            let selector = serde_json::from_value(serde_json::json!({
                "resource": resource_name, "divisor": divisor, "containerName": "web"}));
            resource(&pod(), None, &place, &selector.unwrap()).unwrap()
        };
        assert_eq!(get("limits.cpu", "0"), "2");
        assert_eq!(get("limits.cpu", "1m"), "1500");
        assert_eq!(get("requests.memory", "1Mi"), "64");
        assert_eq!(get("limits.memory", "1Mi"), "1024", "the node's, for want of a limit");
    }
}
