//! What pod workers ask of the API server, behind a narrow trait; a fake for tests beside it.

use std::sync::Arc;

use async_trait::async_trait;
use hansa_api::k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestStatus};
use hansa_api::k8s_openapi::api::core::v1::{
    ConfigMap, ObjectReference, Pod, Secret, Service, ServiceAccount,
};
use hansa_client::kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use hansa_client::kube::{Api as KubeApi, Client, Error as KubeError};
use hansa_client::{Event, EventType, Informer, Recorder};
use serde_json::Value;

/// Why the API server did not do it. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// There is no such object.
    #[error("find it: not found")]
    NotFound,
    /// The object is another one by now.
    #[error("change it: it is another object by now")]
    Conflict,
    /// Anything else.
    #[error("reach the API server: {0}")]
    Other(String),
}

impl From<KubeError> for ApiError {
    fn from(error: KubeError) -> Self {
        match error {
            KubeError::Api(status) if status.code == 404 => Self::NotFound,
            KubeError::Api(status) if status.code == 409 => Self::Conflict,
            KubeError::Api(status) => Self::Other(status.message.clone()),
            other => Self::Other(other.to_string()),
        }
    }
}

/// How an event is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

/// What pod workers ask of the API server.
#[async_trait]
pub trait Api: Send + Sync + 'static {
    /// The pod as it is now; `None` if it is gone or another one has its name.
    async fn pod(&self, namespace: &str, name: &str, uid: &str) -> Result<Option<Pod>, ApiError>;
    /// Merges a patch into a pod's status.
    async fn patch_status(
        &self,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Result<(), ApiError>;
    /// Deletes a pod at once: its containers are gone. One that is gone is fine.
    async fn delete_pod(&self, namespace: &str, name: &str, uid: &str) -> Result<(), ApiError>;
    /// A ConfigMap, if there is one.
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<ConfigMap>, ApiError>;
    /// A Secret, if there is one.
    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>, ApiError>;
    /// A token for a service account.
    async fn token(
        &self,
        namespace: &str,
        service_account: &str,
        request: &TokenRequest,
    ) -> Result<TokenRequestStatus, ApiError>;
    /// The Services of a namespace as last seen.
    fn services(&self, namespace: &str) -> Vec<Arc<Service>>;
    /// Says what happened to an object. Never waits, never fails.
    fn event(&self, about: ObjectReference, kind: Kind, reason: &str, note: String);
}

/// The API server.
#[derive(Clone)]
pub struct Server {
    client: Client,
    services: Informer<Service>,
    events: tokio::sync::mpsc::Sender<(Event, ObjectReference)>,
}

impl Server {
    /// Over a client; events go out in the background, in order, and are dropped when too many
    /// wait.
    #[must_use]
    pub fn new(client: Client, services: Informer<Service>, recorder: Recorder) -> Self {
        let (events, mut queue) = tokio::sync::mpsc::channel::<(Event, ObjectReference)>(1024);
        tokio::spawn(async move {
            while let Some((event, about)) = queue.recv().await {
                if let Err(error) = recorder.publish(&event, &about).await {
                    tracing::debug!(%error, reason = event.reason, "event lost");
                }
            }
        });
        Self { client, services, events }
    }

    fn pods(&self, namespace: &str) -> KubeApi<Pod> {
        KubeApi::namespaced(self.client.clone(), namespace)
    }
}

#[async_trait]
impl Api for Server {
    async fn pod(&self, namespace: &str, name: &str, uid: &str) -> Result<Option<Pod>, ApiError> {
        let found = self.pods(namespace).get_opt(name).await?;
        Ok(found.filter(|pod| pod.metadata.uid.as_deref() == Some(uid)))
    }

    async fn patch_status(
        &self,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Result<(), ApiError> {
        let params = PatchParams::default();
        self.pods(namespace).patch_status(name, &params, &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn delete_pod(&self, namespace: &str, name: &str, uid: &str) -> Result<(), ApiError> {
        let uid = Some(uid.to_string());
        let preconditions = Some(Preconditions { uid, resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::default().grace_period(0) };
        match self.pods(namespace).delete(name, &params).await.map_err(ApiError::from) {
            Err(ApiError::NotFound | ApiError::Conflict) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<ConfigMap>, ApiError> {
        Ok(KubeApi::namespaced(self.client.clone(), namespace).get_opt(name).await?)
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>, ApiError> {
        Ok(KubeApi::namespaced(self.client.clone(), namespace).get_opt(name).await?)
    }

    async fn token(
        &self,
        namespace: &str,
        service_account: &str,
        request: &TokenRequest,
    ) -> Result<TokenRequestStatus, ApiError> {
        let api: KubeApi<ServiceAccount> = KubeApi::namespaced(self.client.clone(), namespace);
        let params = PostParams::default();
        let answer = api.create_token_request(service_account, &params, request).await?;
        answer.status.ok_or_else(|| ApiError::Other("the token request has no status".to_string()))
    }

    fn services(&self, namespace: &str) -> Vec<Arc<Service>> {
        self.services.list_in(namespace)
    }

    fn event(&self, about: ObjectReference, kind: Kind, reason: &str, note: String) {
        let type_ = match kind {
            Kind::Normal => EventType::Normal,
            Kind::Warning => EventType::Warning,
        };
        let reason = reason.to_string();
        let event =
            Event { type_, action: reason.clone(), reason, note: Some(note), secondary: None };
        if self.events.try_send((event, about)).is_err() {
            tracing::debug!("too many events wait, one was dropped");
        }
    }
}

/// A reference to a pod, or to one of its containers, for events.
#[must_use]
pub fn reference(pod: &Pod, field_path: Option<String>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_string()),
        kind: Some("Pod".to_string()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path,
    }
}

#[cfg(any(test, feature = "testing"))]
pub mod fake {
    //! An API server in memory that holds what a test put in it.

    use std::collections::BTreeMap;

    use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use parking_lot::Mutex;

    use super::*;

    /// Objects by `namespace/name`; patches are merged as a server would.
    #[derive(Default)]
    pub struct Fake {
        /// Pods.
        pub pods: Mutex<BTreeMap<String, Value>>,
        /// ConfigMaps.
        pub config_maps: Mutex<BTreeMap<String, ConfigMap>>,
        /// Secrets.
        pub secrets: Mutex<BTreeMap<String, Secret>>,
        /// Services.
        pub services: Mutex<Vec<Arc<Service>>>,
        /// Events as `reason: note`.
        pub events: Mutex<Vec<String>>,
        /// Every status patch.
        pub patches: Mutex<Vec<Value>>,
    }

    impl Fake {
        /// Stores a pod.
        pub fn put(&self, pod: &Pod) {
            let value = serde_json::to_value(pod).expect("pods are JSON");
            self.pods.lock().insert(key_of(pod), value);
        }

        /// Reads a pod.
        pub fn get(&self, namespace: &str, name: &str) -> Option<Pod> {
            let value = self.pods.lock().get(&format!("{namespace}/{name}")).cloned()?;
            serde_json::from_value(value).ok()
        }
    }

    fn key_of(pod: &Pod) -> String {
        let (namespace, name, _) = crate::names::identity(pod);
        format!("{namespace}/{name}")
    }

    fn merge(into: &mut Value, patch: &Value) {
        let (Value::Object(into), Value::Object(patch)) = (&mut *into, patch) else {
            *into = patch.clone();
            return;
        };
        for (key, value) in patch {
            if value.is_null() {
                into.remove(key);
            } else {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
    }

    #[async_trait]
    impl Api for Fake {
        async fn pod(
            &self,
            namespace: &str,
            name: &str,
            uid: &str,
        ) -> Result<Option<Pod>, ApiError> {
            Ok(self.get(namespace, name).filter(|pod| pod.metadata.uid.as_deref() == Some(uid)))
        }

        async fn patch_status(
            &self,
            namespace: &str,
            name: &str,
            patch: &Value,
        ) -> Result<(), ApiError> {
            let mut pods = self.pods.lock();
            let pod = pods.get_mut(&format!("{namespace}/{name}")).ok_or(ApiError::NotFound)?;
            merge(pod, patch);
            self.patches.lock().push(patch.clone());
            Ok(())
        }

        async fn delete_pod(&self, namespace: &str, name: &str, _: &str) -> Result<(), ApiError> {
            self.pods.lock().remove(&format!("{namespace}/{name}"));
            Ok(())
        }

        async fn config_map(
            &self,
            namespace: &str,
            name: &str,
        ) -> Result<Option<ConfigMap>, ApiError> {
            Ok(self.config_maps.lock().get(&format!("{namespace}/{name}")).cloned())
        }

        async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>, ApiError> {
            Ok(self.secrets.lock().get(&format!("{namespace}/{name}")).cloned())
        }

        async fn token(
            &self,
            _: &str,
            service_account: &str,
            request: &TokenRequest,
        ) -> Result<TokenRequestStatus, ApiError> {
            let spec = request.spec.clone().unwrap_or_default();
            let audience = spec.audiences.unwrap_or_default().join(",");
            let expires = jiff::Timestamp::now() + std::time::Duration::from_secs(3600);
            let token = Some(format!("token-of-{service_account}-for-{audience}"));
            let expiration_timestamp = Some(Time(expires));
            Ok(TokenRequestStatus { token, expiration_timestamp })
        }

        fn services(&self, namespace: &str) -> Vec<Arc<Service>> {
            let all = self.services.lock();
            let here =
                |service: &&Arc<Service>| service.metadata.namespace.as_deref() == Some(namespace);
            all.iter().filter(here).cloned().collect()
        }

        fn event(&self, _: ObjectReference, _: Kind, reason: &str, note: String) {
            self.events.lock().push(format!("{reason}: {note}"));
        }
    }
}
