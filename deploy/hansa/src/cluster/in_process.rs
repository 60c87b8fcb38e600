//! Clients without a connection: a component's requests go straight to the API server's one door,
//! under the component's own identity, and are authorized like any other.

use std::sync::Arc;

use hansa_apiserver::authn::Identity;
use hansa_apiserver::body::boxed;
use hansa_apiserver::server::ApiServer;
use hansa_client::kube::client::Body;
use hansa_client::kube::{Client, client};
use http::Request;

use super::identity;

/// Makes the components' clients.
#[derive(Clone)]
pub struct Clients {
    server: Arc<ApiServer>,
}

impl Clients {
    /// Clients of this server.
    pub fn new(server: Arc<ApiServer>) -> Self {
        Self { server }
    }

    /// The client of a component that is the user `user`.
    pub fn component(&self, user: &str) -> Client {
        self.client(identity::component(user))
    }

    /// The client of a node's kubelet.
    pub fn node(&self, name: &str) -> Client {
        self.client(identity::node(name))
    }

    /// The API server's own client: for its readiness, and for the kinds that it must define.
    pub fn admin(&self) -> Client {
        self.client(Arc::new(Identity::apiserver()))
    }

    fn client(&self, identity: Arc<Identity>) -> Client {
        let server = self.server.clone();
        let service = tower::service_fn(move |request: Request<client::Body>| {
            let (server, identity) = (server.clone(), identity.clone());
            async move {
                let request = request.map(|body: Body| boxed(body));
                Ok::<_, std::convert::Infallible>(server.handle(request, Some(identity)).await)
            }
        });
        Client::new(service, "default")
    }
}
