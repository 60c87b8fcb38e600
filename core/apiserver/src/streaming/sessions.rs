//! exec, attach and port-forward: a session with a container, tunnelled to the kubelet.

use std::sync::Arc;

use hansa_api::{ApiError, GroupResource, meta};
use http::{Request, Response};
use serde_json::Value;

use super::transport::{connect_kubelet, kubelet_of};
use super::tunnel::{forward, is_upgrade, refusal};
use crate::body::Body;
use crate::objects::Objects;
use crate::request_info::{RequestInfo, query_pairs};
use crate::server::ApiServer;

const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
const CONTAINER_LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// Opens a session.
pub(super) async fn handle(
    server: &Arc<ApiServer>,
    info: &RequestInfo,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let pod = pod_of(server, info).await?;
    let query = request.uri().query().unwrap_or_default();
    let path = session_path(info, &pod, query)?;
    if !is_upgrade(request.headers()) {
        return Err(ApiError::bad_request("Upgrade request required"));
    }
    to_kubelet(server, &pod, &path, request).await
}

/// Carries a request to the kubelet of a pod's node; refusals become API failures.
pub(super) async fn to_kubelet(
    server: &Arc<ApiServer>,
    pod: &Value,
    path: &str,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let kubelet = kubelet_of(server, node_of(pod)?).await?;
    let stream = connect_kubelet(server, &kubelet).await?;
    let response = forward(stream, &kubelet, path, request, server.stop.clone()).await?;
    if response.status().is_client_error() || response.status().is_server_error() {
        return Err(refusal(response).await);
    }
    Ok(response)
}

/// The pod that a request names.
pub(super) async fn pod_of(
    server: &Arc<ApiServer>,
    info: &RequestInfo,
) -> Result<Arc<Value>, ApiError> {
    let found = server.objects().get("pods", &info.namespace, &info.name).await;
    found.ok_or_else(|| ApiError::not_found(&GroupResource::new("", "pods"), &info.name))
}

fn node_of(pod: &Value) -> Result<&str, ApiError> {
    match meta::str_at(pod, &["spec", "nodeName"]) {
        "" => Err(ApiError::bad_request(format!(
            "pod {} does not have a host assigned",
            meta::name(pod)
        ))),
        node => Ok(node),
    }
}

fn session_path(info: &RequestInfo, pod: &Value, query: &str) -> Result<String, ApiError> {
    let (namespace, name) = (meta::namespace(pod), meta::name(pod));
    if info.subresource == "portforward" {
        return Ok(with_query(format!("/portForward/{namespace}/{name}"), query));
    }
    let asked = query_pairs(query).find(|(key, _)| key == "container").map(|(_, name)| name);
    let container = container_of(pod, asked.as_deref())?;
    let verb = &info.subresource;
    let query = kubelet_query(query);
    Ok(with_query(format!("/{verb}/{namespace}/{name}/{container}"), &query))
}

/// A path with a query, if there is one.
pub(super) fn with_query(path: String, query: &str) -> String {
    if query.is_empty() { path } else { format!("{path}?{query}") }
}

/// The API's parameters under the names that kubelets know: `stdin` is `input` there, and so on.
fn kubelet_query(query: &str) -> String {
    let mut out: Vec<String> = Vec::new();
    for (key, value) in query_pairs(query) {
        let renamed = match key.as_str() {
            "stdin" => "input",
            "stdout" => "output",
            "stderr" => "error",
            "tty" => "tty",
            "command" => {
                out.push(format!("command={}", encode(&value)));
                continue;
            }
            _ => continue,
        };
        if crate::request_info::is_true(&value) {
            out.push(format!("{renamed}=1"));
        }
    }
    out.join("&")
}

/// Percent-encodes a query value.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The container that a request means: the one it names, the annotated one, or the only one.
pub(super) fn container_of<'a>(pod: &'a Value, asked: Option<&str>) -> Result<&'a str, ApiError> {
    let spec = &pod["spec"];
    let all = CONTAINER_LISTS.iter().flat_map(|list| meta::list_at(spec, &[list]));
    let mut names = all.map(|container| meta::str_at(container, &["name"]));
    let wanted = asked.filter(|name| !name.is_empty());
    let wanted = wanted.or_else(|| meta::annotation(pod, DEFAULT_CONTAINER));
    let pod_name = meta::name(pod);
    if let Some(wanted) = wanted {
        return names.find(|name| *name == wanted).ok_or_else(|| {
            let message = format!("container {wanted} is not valid for pod {pod_name}");
            ApiError::bad_request(message)
        });
    }
    match meta::list_at(spec, &["containers"]) {
        [only] => Ok(meta::str_at(only, &["name"])),
        many => {
            let many: Vec<&str> =
                many.iter().map(|container| meta::str_at(container, &["name"])).collect();
            Err(ApiError::bad_request(format!(
                "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                many.join(" ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(containers: &[&str]) -> Value {
        let containers: Vec<Value> = containers.iter().map(|name| json!({"name": name})).collect();
        json!({
            "metadata": {"namespace": "a", "name": "web"},
            "spec": {"containers": containers, "initContainers": [{"name": "init"}]},
        })
    }

    #[test]
    fn the_container_is_named_or_obvious() {
        assert_eq!(container_of(&pod(&["x"]), None).unwrap(), "x");
        assert_eq!(container_of(&pod(&["x", "y"]), Some("init")).unwrap(), "init");
        let error = container_of(&pod(&["x", "y"]), None).unwrap_err();
        assert_eq!(
            error.message,
            "a container name must be specified for pod web, choose one of: [x y]"
        );
        let error = container_of(&pod(&["x"]), Some("z")).unwrap_err();
        assert_eq!(error.message, "container z is not valid for pod web");
        let mut annotated = pod(&["x", "y"]);
        annotated["metadata"]["annotations"] = json!({DEFAULT_CONTAINER: "y"});
        assert_eq!(container_of(&annotated, None).unwrap(), "y");
    }

    #[test]
    fn kubelets_get_their_own_parameter_names() {
        let uri = "/api/v1/namespaces/a/pods/web/exec?command=ls&command=-l+%2Fx%26y&stdin=true\
                   &stdout=true&stderr=false&tty=true&container=x";
        let uri: http::Uri = uri.parse().unwrap();
        let info = RequestInfo::parse(&http::Method::GET, &uri);
        let path = session_path(&info, &pod(&["x"]), uri.query().unwrap()).unwrap();
        assert_eq!(path, "/exec/a/web/x?command=ls&command=-l%20/x%26y&input=1&output=1&tty=1");
    }
}
