//! Getting a container's image onto the node: pull policy and back-off.

use std::sync::Arc;

use base64::Engine as _;
use hansa_api::k8s_openapi::api::core::v1::{Container, Pod, Secret};
use jiff::Timestamp;
use k8s_cri::v1 as cri;
use parking_lot::Mutex;

use crate::api::{Api, Kind, reference};
use crate::backoff::Backoff;
use crate::cri::{Cri, CriError};
use crate::names::identity;
use crate::status::Waiting;

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// Each time a container is started.
    Always,
    /// When the node does not have it.
    IfNotPresent,
    /// Never.
    Never,
}

impl PullPolicy {
    /// The container's; without one, Always for `latest` and IfNotPresent else.
    #[must_use]
    pub fn of(spec: &Container) -> Self {
        match spec.image_pull_policy.as_deref() {
            Some("Always") => Self::Always,
            Some("Never") => Self::Never,
            Some("IfNotPresent") => Self::IfNotPresent,
            _ if is_latest(spec.image.as_deref().unwrap_or_default()) => Self::Always,
            _ => Self::IfNotPresent,
        }
    }
}

fn is_latest(image: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or(image);
    !last.contains('@') && (last.ends_with(":latest") || !last.contains(':'))
}

/// Pulls for all pods of a node.
pub struct Puller {
    cri: Cri,
    api: Arc<dyn Api>,
    backoff: Mutex<Backoff>,
}

impl Puller {
    /// A puller with this back-off between failed pulls of one image for one pod.
    #[must_use]
    pub fn new(cri: Cri, api: Arc<dyn Api>, backoff: Backoff) -> Self {
        Self { cri, api, backoff: Mutex::new(backoff) }
    }

    /// Sees to it that the image is there.
    ///
    /// # Errors
    /// It is not; what the container's status says until then.
    pub async fn ensure(&self, pod: &Pod, spec: &Container) -> Result<cri::ImageSpec, Waiting> {
        let name = spec.image.clone().unwrap_or_default();
        let policy = PullPolicy::of(spec);
        let found = self.cri.image(&name).await.map_err(|error| inspect_failed(&name, &error))?;
        if let Some(image) = found.filter(|_| policy != PullPolicy::Always) {
            let note = format!("Container image {name:?} already present on machine");
            self.event(pod, spec, Kind::Normal, "Pulled", note);
            return Ok(image_spec(&name, image.id));
        }
        if policy == PullPolicy::Never {
            let note = format!("Container image {name:?} is not present with pull policy of Never");
            self.event(pod, spec, Kind::Warning, "ErrImageNeverPull", note.clone());
            return Err(waiting("ErrImageNeverPull", note));
        }
        self.pull(pod, spec, &name).await
    }

    async fn pull(
        &self,
        pod: &Pod,
        spec: &Container,
        name: &str,
    ) -> Result<cri::ImageSpec, Waiting> {
        let key = format!("{}/{name}", identity(pod).2);
        let now = Timestamp::now();
        if self.last_failure_holds(&key, now) {
            let note = format!("Back-off pulling image {name:?}");
            self.event(pod, spec, Kind::Normal, "BackOff", note.clone());
            return Err(waiting("ImagePullBackOff", note));
        }
        self.event(pod, spec, Kind::Normal, "Pulling", format!("Pulling image {name:?}"));
        let auth = self.credentials(pod, name).await;
        match self.cri.pull(name, auth).await {
            Ok(image_ref) => {
                self.backoff.lock().reset(&key);
                let took = Timestamp::now().duration_since(now).unsigned_abs();
                let note = format!("Successfully pulled image {name:?} in {took:.3?}");
                self.event(pod, spec, Kind::Normal, "Pulled", note);
                Ok(image_spec(name, image_ref))
            }
            Err(error) => {
                self.backoff.lock().next(&key, Timestamp::now());
                let text = error.message();
                let note = format!("Failed to pull image {name:?}: {text}");
                self.event(pod, spec, Kind::Warning, "Failed", note);
                Err(waiting("ErrImagePull", text))
            }
        }
    }

    fn last_failure_holds(&self, key: &str, now: Timestamp) -> bool {
        let backoff = self.backoff.lock();
        backoff.since(key).is_some_and(|since| backoff.waits_until(key, since, now).is_some())
    }

    /// The first of the pod's pull secrets that knows the image's registry.
    async fn credentials(&self, pod: &Pod, image: &str) -> Option<cri::AuthConfig> {
        let names = pod.spec.as_ref()?.image_pull_secrets.clone().unwrap_or_default();
        for name in names {
            let secret = self.api.secret(identity(pod).0, &name.name).await.ok().flatten();
            if let Some(auth) = secret.and_then(|secret| auth_of(&secret, registry_of(image))) {
                return Some(auth);
            }
        }
        None
    }

    fn event(&self, pod: &Pod, spec: &Container, kind: Kind, reason: &str, note: String) {
        let path = format!("spec.containers{{{}}}", spec.name);
        self.api.event(reference(pod, Some(path)), kind, reason, note);
    }
}

fn waiting(reason: &str, message: String) -> Waiting {
    Waiting { reason: reason.to_string(), message }
}

fn inspect_failed(name: &str, error: &CriError) -> Waiting {
    let text = format!("Failed to inspect image {name:?}: {}", error.message());
    waiting("ImageInspectError", text)
}

fn image_spec(name: &str, image: String) -> cri::ImageSpec {
    cri::ImageSpec { image, user_specified_image: name.to_string(), ..Default::default() }
}

/// The registry's host: the part before the first slash if it looks like one.
fn registry_of(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "index.docker.io",
    }
}

/// Credentials for a registry out of a `kubernetes.io/dockerconfigjson` secret.
fn auth_of(secret: &Secret, registry: &str) -> Option<cri::AuthConfig> {
    let bytes = &secret.data.as_ref()?.get(".dockerconfigjson")?.0;
    let config: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let bare = |key: &str| {
        let key = key.trim_start_matches("https://").trim_start_matches("http://");
        key.split('/').next().unwrap_or(key).to_string()
    };
    let auths = config.get("auths")?.as_object()?;
    let entry = auths.iter().find(|(key, _)| bare(key) == registry)?.1;
    let text = |key: &str| entry.get(key).and_then(|value| value.as_str()).map(str::to_string);
    let decoded = text("auth").and_then(|auth| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(auth).ok()?;
        String::from_utf8(bytes).ok()?.split_once(':').map(|(u, p)| (u.to_string(), p.to_string()))
    });
    let plain = text("username").zip(text("password"));
    let (username, password) = plain.or(decoded)?;
    let server_address = registry.to_string();
    Some(cri::AuthConfig { username, password, server_address, ..Default::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latest_is_pulled_always_unless_told_otherwise() {
        let of = |image: &str, policy: Option<&str>| {
            PullPolicy::of(&Container {
                image: Some(image.to_string()),
                image_pull_policy: policy.map(str::to_string),
                ..Container::default()
            })
        };
        assert_eq!(of("localhost:5000/a", None), PullPolicy::Always);
        assert_eq!(of("a:latest", Some("IfNotPresent")), PullPolicy::IfNotPresent);
        assert_eq!(of("a:v1", None), PullPolicy::IfNotPresent);
        assert_eq!(of("a@sha256:00", None), PullPolicy::IfNotPresent);
    }

    #[test]
    fn a_pull_secret_is_found_by_registry() {
        let config = r#"{"auths": {"https://reg.example:5000/v1/": {"auth": "bWU6cHc="}}}"#;
        let data = serde_json::json!({".dockerconfigjson":
            base64::engine::general_purpose::STANDARD.encode(config)});
        let secret = serde_json::from_value(serde_json::json!({"data": data})).unwrap();
        let auth = auth_of(&secret, registry_of("reg.example:5000/a:v1")).unwrap();
        assert_eq!((auth.username.as_str(), auth.password.as_str()), ("me", "pw"));
        assert!(auth_of(&secret, registry_of("a:v1")).is_none());
    }
}
