//! Writing a cloud provider: implement [`Provider`], export it with [`crate::export_cloud!`].

pub use crate::bindings::cloud::exports::hansa::cloud::instances_v2::{
    Instance, InstanceState, NodeRef,
};
pub use crate::bindings::cloud::hansa::cloud::types::{
    Address, AddressKind, LbIngress, LbPort, LbSpec, Proto, Route,
};
pub use crate::bindings::cloud::hansa::core::types::{Code, Failure, Kv};

use crate::Settings;

/// A cloud, as plain functions. What a provider does not do it leaves as it is here.
pub trait Provider: Sized + 'static {
    /// The provider's name, the scheme of its provider IDs.
    const NAME: &'static str;

    /// Makes the provider from its settings.
    ///
    /// # Errors
    /// A text for people; the provider is then refused.
    fn configure(settings: &Settings) -> Result<Self, String>;

    /// What became of a node's instance.
    ///
    /// # Errors
    /// The cloud's.
    fn state(&mut self, node: &NodeRef) -> Result<InstanceState, Failure>;

    /// What is known of a node's instance.
    ///
    /// # Errors
    /// The cloud's.
    fn metadata(&mut self, node: &NodeRef) -> Result<Instance, Failure>;

    /// Region and zone of the control plane.
    ///
    /// # Errors
    /// The cloud's.
    fn local_zone(&mut self) -> Result<(String, String), Failure> {
        Err(unsupported("zones"))
    }

    /// The name of a Service's load balancer: the letter `a` and the Service's UID without dashes,
    /// at most 32 characters (upstream's default name).
    fn load_balancer_name(&mut self, spec: &LbSpec) -> String {
        let uid: String = spec.uid.chars().filter(|c| *c != '-').collect();
        format!("a{uid}").chars().take(32).collect()
    }

    /// The load balancer's addresses, if it is there.
    ///
    /// # Errors
    /// The cloud's.
    fn load_balancer(&mut self, spec: &LbSpec) -> Result<Option<Vec<LbIngress>>, Failure> {
        let _ = spec;
        Err(unsupported("load balancers"))
    }

    /// Creates or changes the load balancer.
    ///
    /// # Errors
    /// The cloud's.
    fn ensure_load_balancer(
        &mut self,
        spec: &LbSpec,
        nodes: &[NodeRef],
    ) -> Result<Vec<LbIngress>, Failure> {
        let _ = (spec, nodes);
        Err(unsupported("load balancers"))
    }

    /// Changes the nodes behind the load balancer.
    ///
    /// # Errors
    /// The cloud's.
    fn update_load_balancer(&mut self, spec: &LbSpec, nodes: &[NodeRef]) -> Result<(), Failure> {
        self.ensure_load_balancer(spec, nodes).map(drop)
    }

    /// Deletes the load balancer; fine if there is none.
    ///
    /// # Errors
    /// The cloud's.
    fn delete_load_balancer(&mut self, spec: &LbSpec) -> Result<(), Failure> {
        let _ = spec;
        Err(unsupported("load balancers"))
    }

    /// The cluster's routes.
    ///
    /// # Errors
    /// The cloud's.
    fn routes(&mut self, cluster: &str) -> Result<Vec<Route>, Failure> {
        let _ = cluster;
        Err(unsupported("routes"))
    }

    /// Creates a route.
    ///
    /// # Errors
    /// The cloud's.
    fn create_route(&mut self, cluster: &str, hint: &str, route: Route) -> Result<(), Failure> {
        let _ = (cluster, hint, route);
        Err(unsupported("routes"))
    }

    /// Deletes a route.
    ///
    /// # Errors
    /// The cloud's.
    fn delete_route(&mut self, cluster: &str, route: Route) -> Result<(), Failure> {
        let _ = (cluster, route);
        Err(unsupported("routes"))
    }
}

/// A failure with a message.
pub fn failure(code: Code, message: impl Into<String>) -> Failure {
    Failure { code, message: message.into(), retry_after_ms: 0, ext: Vec::new() }
}

/// The failure of a provider that does not do `what`.
pub fn unsupported(what: &str) -> Failure {
    failure(Code::Unsupported, format!("this provider has no {what}"))
}

/// Where an exported provider is kept.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub struct Place<P>(std::cell::RefCell<Option<P>>);

#[cfg(target_arch = "wasm32")]
impl<P: Provider> Place<P> {
    /// An empty place.
    pub const fn new() -> Self {
        Self(std::cell::RefCell::new(None))
    }

    /// Puts a configured provider there.
    ///
    /// # Errors
    /// What the provider says of its settings.
    pub fn configure(&self, settings: Vec<u8>) -> Result<(), String> {
        *self.0.borrow_mut() = Some(P::configure(&Settings::new(settings))?);
        Ok(())
    }

    /// Calls with the provider.
    pub fn with<R>(&self, call: impl FnOnce(&mut P) -> R) -> R {
        let mut place = self.0.borrow_mut();
        call(place.as_mut().expect("the host configures before it calls"))
    }
}

/// Turns a [`Provider`] into a component of the world `hansa:cloud/provider`.
#[macro_export]
macro_rules! export_cloud {
    ($provider:ty) => {
        mod hansa_component {
            #![allow(unsafe_code, missing_docs)]
            use super::*;
            use $crate::bindings::cloud as b;
            use $crate::bindings::cloud::exports::hansa::cloud::{
                instances_v2, load_balancers, routes, zones,
            };
            use $crate::bindings::cloud::exports::hansa::core::lifecycle;
            use $crate::cloud as c;
            use $crate::cloud::Provider as _;

            std::thread_local! {
                static PLACE: c::Place<$provider> = const { c::Place::new() };
            }

            fn with<R>(call: impl FnOnce(&mut $provider) -> R) -> R {
                PLACE.with(|place| place.with(call))
            }

            struct Component;

            $crate::lifecycle_exports!(b, $provider, c::Provider);

            impl instances_v2::Guest for Component {
                fn state(nodes: Vec<c::NodeRef>) -> Result<Vec<c::InstanceState>, c::Failure> {
                    with(|p| nodes.iter().map(|node| p.state(node)).collect())
                }
                fn metadata(
                    nodes: Vec<c::NodeRef>,
                ) -> Result<Vec<Result<c::Instance, c::Failure>>, c::Failure> {
                    Ok(with(|p| nodes.iter().map(|node| p.metadata(node)).collect()))
                }
            }

            impl zones::Guest for Component {
                fn local_zone() -> Result<(String, String), c::Failure> {
                    with(|p| p.local_zone())
                }
            }

            impl load_balancers::Guest for Component {
                fn name(spec: c::LbSpec) -> String {
                    with(|p| p.load_balancer_name(&spec))
                }
                fn get(spec: c::LbSpec) -> Result<Option<Vec<c::LbIngress>>, c::Failure> {
                    with(|p| p.load_balancer(&spec))
                }
                fn ensure(
                    spec: c::LbSpec,
                    nodes: Vec<c::NodeRef>,
                ) -> Result<Vec<c::LbIngress>, c::Failure> {
                    with(|p| p.ensure_load_balancer(&spec, &nodes))
                }
                fn update(spec: c::LbSpec, nodes: Vec<c::NodeRef>) -> Result<(), c::Failure> {
                    with(|p| p.update_load_balancer(&spec, &nodes))
                }
                fn ensure_deleted(spec: c::LbSpec) -> Result<(), c::Failure> {
                    with(|p| p.delete_load_balancer(&spec))
                }
            }

            impl routes::Guest for Component {
                fn list(cluster: String) -> Result<Vec<c::Route>, c::Failure> {
                    with(|p| p.routes(&cluster))
                }
                fn create(
                    cluster: String,
                    hint: String,
                    r: c::Route,
                ) -> Result<(), c::Failure> {
                    with(|p| p.create_route(&cluster, &hint, r))
                }
                fn delete(cluster: String, r: c::Route) -> Result<(), c::Failure> {
                    with(|p| p.delete_route(&cluster, r))
                }
            }

            b::export_provider!(Component with_types_in b);
        }
    };
}
