//! Metrics, the audit log line and the headers that every response carries.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use http::header::{CACHE_CONTROL, HeaderName, HeaderValue, USER_AGENT};
use http::{Request, Response};

use super::tracked;
use crate::authn::Identity;
use crate::body::Body;
use crate::metrics::Observation;
use crate::negotiate::media_type;
use crate::request_info::RequestInfo;
use crate::responses::TotalSize;
use crate::server::ApiServer;

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
const PRIVATE: HeaderValue = HeaderValue::from_static("no-cache, private");

/// What is remembered of a request until it is answered.
pub(super) struct Account {
    info: Arc<RequestInfo>,
    audit_id: String,
    agent: String,
    dry_run: bool,
    apply: bool,
    started: Instant,
    user: OnceLock<Arc<Identity>>,
}

impl Account {
    /// Starts the clock; a client's own `Audit-ID` is kept.
    pub(super) fn open(info: &Arc<RequestInfo>, request: &Request<Body>) -> Self {
        let header = |name: &HeaderName| {
            let value = request.headers().get(name).and_then(|value| value.to_str().ok());
            value.filter(|value| !value.is_empty() && value.len() <= 256).map(String::from)
        };
        Self {
            info: info.clone(),
            audit_id: header(&AUDIT_ID).unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
            agent: header(&USER_AGENT).unwrap_or_default(),
            dry_run: request.uri().query().is_some_and(|query| query.contains("dryRun=All")),
            apply: media_type(request.headers()).starts_with("application/apply-patch"),
            started: Instant::now(),
            user: OnceLock::new(),
        }
    }

    /// Who it turned out to be.
    pub(super) fn set_user(&self, user: &Arc<Identity>) {
        let _ = self.user.set(user.clone());
    }

    /// Counts, logs and stamps the response; long-running bodies go on being counted.
    pub(super) fn close(
        self,
        server: &Arc<ApiServer>,
        mut response: Response<Body>,
    ) -> Response<Body> {
        let took = self.started.elapsed();
        let code = response.status().as_u16();
        let size = size_of(&response);
        let (dry_run, apply) = (self.dry_run, self.apply);
        server.metrics.observe(&self.info, Observation { code, took, size, dry_run, apply });
        self.log(code, took);
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(&self.audit_id) {
            headers.insert(AUDIT_ID, id);
        }
        headers.entry(CACHE_CONTROL).or_insert(PRIVATE);
        if self.info.is_long_running() && response.status().is_success() {
            let guard = server.metrics.long_running(&self.info);
            let stop = server.stop.clone();
            return response.map(|body| tracked::track(body, guard, stop));
        }
        response
    }

    fn log(&self, code: u16, took: std::time::Duration) {
        tracing::debug!(
            target: "hansa_apiserver::audit",
            audit_id = %self.audit_id,
            verb = %self.info.verb,
            path = %self.info.path,
            user = self.user.get().map_or("", |user| user.name.as_str()),
            agent = %self.agent,
            code,
            took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "request"
        );
    }
}

/// How large an answer will be, where that is known when it begins.
fn size_of(response: &Response<Body>) -> Option<u64> {
    let told = response.extensions().get::<TotalSize>().map(|size| size.0);
    told.or_else(|| http_body::Body::size_hint(response.body()).exact())
}
