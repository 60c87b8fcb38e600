//! The harness of the integration tests: real clusters in processes of their own, unmodified
//! kubectl, raw requests, and an API server inside the test's own process.
//!
//! All tests of one run share two member clusters ([`hollow`] and [`wasm`]) and a [`hub`]; each works
//! in a namespace of its own. Whatever a test waits for is polled with a bound; nothing sleeps for a fixed time.

pub mod extension;
pub mod federation;
pub mod http;
pub mod kubectl;
pub mod local;
pub mod process;
pub mod stream;
pub mod wait;
pub mod webhook;

use std::sync::LazyLock;

pub use federation::League;
pub use http::{Answer, Http};
pub use kubectl::{Kubectl, Output, Version};
pub use local::Local;
pub use process::{Cluster, Options, free_port, guests};
pub use wait::{eventually, soon};

/// The reference under which the wasm clusters know the sample component.
pub const STOREFRONT: &str = "hansa.dev/storefront:v1";

static HOLLOW: LazyLock<Cluster> = LazyLock::new(|| {
    Cluster::start(&Options { name: "hollow", runtime: "hollow", nodes: 3, hub: false })
});

static WASM: LazyLock<Cluster> = LazyLock::new(|| {
    let options = Options { name: "wasm", runtime: "wasm", nodes: 1, hub: false };
    let cluster = Cluster::start(&options);
    cluster.import("storefront.wasm", STOREFRONT);
    cluster
});

static HUB: LazyLock<Cluster> = LazyLock::new(|| {
    Cluster::start(&Options { name: "hub", runtime: "hollow", nodes: 0, hub: true })
});

/// The shared federation hub, without members: objects are templates there.
pub fn hub() -> &'static Cluster {
    &HUB
}

/// The shared cluster of three nodes whose pods only pretend.
pub fn hollow() -> &'static Cluster {
    &HOLLOW
}

/// The shared cluster of one node whose pods are WASI components.
pub fn wasm() -> &'static Cluster {
    &WASM
}
