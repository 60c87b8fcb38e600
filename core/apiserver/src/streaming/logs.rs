//! `pods/log`: a container's log, followed for as long as the client likes.

use std::sync::Arc;

use hansa_api::{ApiError, meta};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};

use super::sessions::{container_of, encode, pod_of, to_kubelet, with_query};
use crate::body::Body;
use crate::request_info::{RequestInfo, query_pairs};
use crate::server::ApiServer;

/// The options that kubelets take.
const OPTIONS: [&str; 8] = [
    "follow",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "timestamps",
    "tailLines",
    "limitBytes",
    "stream",
];
const NUMBERS: [(&str, i64); 3] = [("sinceSeconds", 1), ("tailLines", 0), ("limitBytes", 1)];

/// Streams a log.
pub(super) async fn handle(
    server: &Arc<ApiServer>,
    info: &RequestInfo,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let query = request.uri().query().unwrap_or_default();
    let options = kubelet_query(query)?;
    let asked = query_pairs(query).find(|(key, _)| key == "container").map(|(_, name)| name);
    let pod = pod_of(server, info).await?;
    let container = container_of(&pod, asked.as_deref())?;
    let (namespace, name) = (meta::namespace(&pod), meta::name(&pod));
    let path = with_query(format!("/containerLogs/{namespace}/{name}/{container}"), &options);
    let mut response = to_kubelet(server, &pod, &path, request).await?;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

/// Checks the options and keeps those that are for the kubelet.
fn kubelet_query(query: &str) -> Result<String, ApiError> {
    let mut out = Vec::new();
    for (key, value) in query_pairs(query).filter(|(key, _)| OPTIONS.contains(&key.as_str())) {
        if let Some((_, least)) = NUMBERS.iter().find(|(name, _)| *name == key) {
            let fits = value.parse::<i64>().is_ok_and(|number| number >= *least);
            if !fits {
                return Err(ApiError::bad_request(format!(
                    "{key}: Invalid value: {value:?}: must be greater than or equal to {least}"
                )));
            }
        }
        out.push(format!("{key}={}", encode(&value)));
    }
    Ok(out.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_log_options_reach_the_kubelet_and_bad_numbers_do_not() {
        let query = "container=x&follow=true&tailLines=10&insecureSkipTLSVerifyBackend=true";
        assert_eq!(kubelet_query(query).unwrap(), "follow=true&tailLines=10");
        assert_eq!(kubelet_query("tailLines=-1").unwrap_err().code, 400);
        assert_eq!(kubelet_query("sinceSeconds=x").unwrap_err().code, 400);
    }
}
