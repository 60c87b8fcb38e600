//! Aggregation: group versions that other API servers serve behind this one.
//!
//! An APIService with a `spec.service` sends everything below `/apis/GROUP/VERSION` to that Service.
//! [`routes`] says which, [`proxy`] carries requests and who sent them, one [`keeper`] per APIService
//! looks after its `Available` condition and its documents, and [`local`] keeps the APIServices of
//! what is served here.

mod available;
mod backend;
mod documents;
mod keeper;
mod local;
mod priority;
mod proxy;
mod routes;

use std::sync::Arc;

use arc_swap::ArcSwap;

pub(crate) use backend::{Backend, FrontProxyTls};
pub(crate) use priority::{CUSTOM, Priority};
pub(crate) use proxy::handle;
pub(crate) use routes::Routes;

use crate::server::ApiServer;

/// The group of APIServices.
pub(crate) const GROUP: &str = "apiregistration.k8s.io";
/// Their plural.
pub(crate) const PLURAL: &str = "apiservices";

/// What other servers serve, as of now.
pub(crate) struct Aggregator {
    routes: ArcSwap<Routes>,
    /// What this server shows the others; without it they cannot tell who asks.
    front_proxy: Option<FrontProxyTls>,
}

impl Aggregator {
    /// Nothing is served elsewhere until APIServices say so.
    pub(crate) fn new(front_proxy: Option<FrontProxyTls>) -> Self {
        Self { routes: ArcSwap::from_pointee(Routes::default()), front_proxy }
    }

    /// The current routes.
    pub(crate) fn routes(&self) -> Arc<Routes> {
        self.routes.load_full()
    }

    /// Who serves a path, if it is not this server.
    pub(crate) fn backend(&self, path: &str) -> Option<Arc<Backend>> {
        self.routes.load().backend(path).cloned()
    }

    /// Tells those who keep documents of everything that something changed.
    fn touch(&self) {
        self.routes.rcu(|routes| routes.touched());
    }
}

/// Starts following APIServices; ends with the server.
pub(crate) fn spawn(server: &Arc<ApiServer>) {
    tokio::spawn(local::run(server.clone()));
    tokio::spawn(keeper::run(server.clone()));
}
