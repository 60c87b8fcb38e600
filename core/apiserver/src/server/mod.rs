//! The API server as one value: built once, asked through one door.

mod bootstrap;
mod config;
mod flow_conditions;
mod guard;
mod kubernetes_service;
mod listener;
mod parts;
mod route;
pub mod tls;

use std::sync::Arc;

use hansa_storage::Storage;
use http::{Request, Response};
use tokio_util::sync::CancellationToken;

pub use config::{Config, FrontProxy, KubeletClient};
pub(crate) use route::route;

use crate::aggregation::{self, Aggregator, FrontProxyTls};
use crate::authn::jwt::{self, SigningKey};
use crate::authn::service_account::Tokens;
use crate::authn::{Identity, TokenAuthenticator};
use crate::authz::{Authorizer, keeper};
use crate::body::Body;
use crate::discovery::Discovery;
use crate::filters::{self, InFlightLimits};
use crate::generic::catalog::Catalog;
use crate::generic::registry::Registry;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::objects::RegistryObjects;
use crate::openapi::OpenApi;
use crate::streaming::KubeletTransport;

/// Why the server cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ServiceAccount signing key is unusable.
    #[error("use the service account signing key")]
    SigningKey(#[source] jwt::Error),
    /// The store does not answer.
    #[error("read the store")]
    Storage(#[from] hansa_storage::Error),
    /// The kubelet client certificate is unusable.
    #[error("use the kubelet client certificate")]
    Kubelet(#[source] tls::Error),
    /// The front proxy's client certificate is unusable.
    #[error("use the front proxy certificate")]
    FrontProxy(#[source] tls::Error),
    /// The Service network is no CIDR.
    #[error("parse the Service network {0:?}")]
    ServiceCidr(String),
    /// The CustomResourceDefinitions cannot be read.
    #[error("read the custom resource definitions")]
    CustomResources(#[source] hansa_api::ApiError),
}

/// The server; everything that a request may need hangs on it.
pub struct ApiServer {
    /// As given to [`ApiServer::new`].
    pub config: Config,
    /// Objects of every kind.
    pub registry: Arc<Registry>,
    /// RBAC and node authorization.
    pub authorizer: Arc<Authorizer>,
    /// Bearer tokens.
    pub tokens: TokenAuthenticator,
    /// Counters.
    pub metrics: Metrics,
    /// Liveness and readiness.
    pub health: Health,
    pub(crate) limits: InFlightLimits,
    pub(crate) aggregator: Aggregator,
    pub(crate) discovery: Discovery,
    pub(crate) openapi: OpenApi,
    pub(crate) kubelets: Option<KubeletTransport>,
    pub(crate) stop: CancellationToken,
}

impl ApiServer {
    /// Builds the server over a store and starts what keeps it up to date; ends with `stop`.
    ///
    /// # Errors
    /// If keys or certificates are unusable or the store does not answer.
    pub async fn new(
        config: Config,
        storage: Arc<dyn Storage>,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, Error> {
        let key =
            SigningKey::from_pem(&config.service_account_key_pem).map_err(Error::SigningKey)?;
        let kubelets = config.kubelet.as_ref().map(KubeletTransport::new).transpose();
        let front_proxy = config.front_proxy.as_ref().map(FrontProxyTls::new).transpose();
        let catalog = Arc::new(Catalog::new(parts::builtin(&config)?));
        let registry = Registry::new(storage, catalog, stop.clone()).await?;
        let server = Arc::new(Self {
            registry,
            authorizer: Arc::default(),
            tokens: TokenAuthenticator::new(Tokens::new(key, config.issuer.clone())),
            metrics: Metrics::default(),
            health: Health::default(),
            limits: InFlightLimits::new(config.max_in_flight, config.max_mutating_in_flight),
            aggregator: Aggregator::new(front_proxy.map_err(Error::FrontProxy)?),
            discovery: Discovery::default(),
            openapi: OpenApi::default(),
            kubelets: kubelets.map_err(Error::Kubelet)?,
            // Ended by the caller, or by the listener when it drains; the latter ends nobody else.
            stop: stop.child_token(),
            config,
        });
        server.start().await?;
        Ok(server)
    }

    async fn start(self: &Arc<Self>) -> Result<(), Error> {
        // Admission follows a custom resource, too.
        crate::crd::start(&self.registry).await.map_err(Error::CustomResources)?;
        guard::install(self).await?;
        keeper::spawn(self);
        aggregation::spawn(self);
        tokio::spawn(bootstrap::run(self.clone()));
        Ok(())
    }

    /// The one door: filters, then the handler. `identity` is given by in-process clients; without
    /// it the request is authenticated by its connection's certificate or its bearer token.
    pub async fn handle(
        self: &Arc<Self>,
        request: Request<Body>,
        identity: Option<Arc<Identity>>,
    ) -> Response<Body> {
        filters::run(self, request, identity).await
    }

    /// Waits until the bootstrap objects are there and the authorizer knows them.
    pub async fn ready(&self) {
        while !self.health.is_started() && !self.stop.is_cancelled() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    /// The live objects, for authentication and authorization.
    pub(crate) fn objects(&self) -> RegistryObjects<'_> {
        RegistryObjects(&self.registry)
    }
}

#[cfg(test)]
mod tests;
