//! `pods/log`: a container's log, followed for as long as the client likes.

use std::sync::Arc;

use hansa_api::field::FieldError;
use hansa_api::gvk::GroupVersionKind;
use hansa_api::{ApiError, meta};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};

use super::sessions::{container_of, encode, pod_of, to_kubelet, with_query};
use crate::body::Body;
use crate::generic::options::Query;
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
/// Numbers, the least that each may be, and what is said of less.
const NUMBERS: [(&str, i64, &str); 3] = [
    ("tailLines", 0, "must be greater than or equal to 0"),
    ("limitBytes", 1, "must be greater than 0"),
    ("sinceSeconds", 1, "must be greater than 0"),
];

/// Streams a log.
pub(super) async fn handle(
    server: &Arc<ApiServer>,
    info: &RequestInfo,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let query = request.uri().query().unwrap_or_default();
    check(query, &info.name)?;
    let options = kubelet_query(query);
    let asked = query_pairs(query).find(|(key, _)| key == "container").map(|(_, name)| name);
    let pod = pod_of(server, info).await?;
    let container = container_of(&pod, asked.as_deref())?;
    let (namespace, name) = (meta::namespace(&pod), meta::name(&pod));
    let path = with_query(format!("/containerLogs/{namespace}/{name}/{container}"), &options);
    let mut response = to_kubelet(server, &pod, &path, request).await?;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

/// Refuses options that no log can be read with.
fn check(query: &str, pod: &str) -> Result<(), ApiError> {
    let query = Query::parse(query);
    let mut errors = Vec::new();
    for (name, least, why) in NUMBERS {
        if let Some(number) = query.number::<i64>(name)?.filter(|number| *number < least) {
            errors.push(FieldError::invalid(name, number, why));
        }
    }
    if !query.text("sinceTime").is_empty() && !query.text("sinceSeconds").is_empty() {
        let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        errors.push(FieldError::forbidden("", why));
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(&GroupVersionKind::new("", "v1", "PodLogOptions"), pod, &errors))
}

/// The options that are for the kubelet.
fn kubelet_query(query: &str) -> String {
    let options = query_pairs(query).filter(|(key, _)| OPTIONS.contains(&key.as_str()));
    let texts = options.map(|(key, value)| format!("{key}={}", encode(&value)));
    texts.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_log_options_reach_the_kubelet_and_bad_numbers_do_not() {
        let query = "container=x&follow=true&tailLines=10&insecureSkipTLSVerifyBackend=true";
        assert_eq!(kubelet_query(query), "follow=true&tailLines=10");
        assert!(check(query, "p").is_ok());
        for (query, code, why) in [
            ("tailLines=-1", 422, "tailLines: Invalid value: -1"),
            ("sinceSeconds=0", 422, "sinceSeconds: Invalid value: 0: must be greater than 0"),
            ("sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z", 422, "at most one of"),
            ("sinceSeconds=x", 400, "invalid syntax"),
        ] {
            let error = check(query, "p").unwrap_err();
            assert!(error.code == code && error.message.contains(why), "{query}: {error}");
        }
    }
}
