//! Tests with real guests, as `cargo xtask guests` builds them.

mod admission;
mod bad;
mod cached;
mod cloud;
mod placement;
mod scheduling;

use std::path::Path;

use hansa_extension::PluginError;
use hansa_extension::federation as fed;
use hansa_extension::runtime::{FailurePolicy, Limits, LoadRequest, Loaded, PluginRuntime, World};
use serde_json::Value;

use crate::{Host, HostConfig, digest_of};

/// The worlds that nothing here runs yet: that this compiles says that their packages parse.
#[allow(missing_docs, dead_code, clippy::all)]
mod worlds {
    pub mod admission {
        wasmtime::component::bindgen!({
            path: "../../wit/admission",
            world: "policy-with-context",
        });
    }
    pub mod interpreter {
        wasmtime::component::bindgen!({
            path: "../../wit/federation",
            world: "resource-interpreter",
        });
    }
    pub mod full {
        wasmtime::component::bindgen!({ path: "../../wit/scheduler", world: "full" });
    }
}

/// The bytes of a guest.
fn guest(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join("target/guests").join(name).with_extension("wasm");
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; run `cargo xtask guests` first", path.display())
    })
}

/// A host; all of them share compiled code, so that every guest is compiled once.
fn host() -> Host {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tmp/plugin-host-aot");
    Host::new(&HostConfig { cache_dir: Some(cache) }).unwrap()
}

fn request(name: &str, world: World, guest_name: &str, config: Value) -> LoadRequest {
    let bytes = guest(guest_name);
    LoadRequest {
        name: name.into(),
        world,
        digest: digest_of(&bytes),
        bytes,
        config,
        limits: Limits { call_ms: 1000, ..Limits::default() },
        weight: 1,
        constraints: Value::Null,
        failure: FailurePolicy::Fallback,
    }
}

async fn load_and_activate(host: &Host, request: LoadRequest) -> Result<Loaded, PluginError> {
    let loaded = host.load(request).await?;
    host.activate(&loaded.identity).await?;
    Ok(loaded)
}

/// Activates a placement policy.
async fn placement(host: &Host, name: &str, guest_name: &str, config: Value) -> Loaded {
    let request = request(name, World::Federation, guest_name, config);
    load_and_activate(host, request).await.unwrap()
}

/// Two members, `eu-west` and `us-east`, each a region.
fn members(host: &Host) -> fed::PolicySet {
    let mut set = fed::PolicySet::new(host.federation());
    for (ix, region) in [(0, "eu-west"), (1, "us-east")] {
        let region = set.mirror().sym(region);
        let (bits, cpu_milli, memory) = (fed::READY, 1000, 1000);
        let row = fed::ClusterRow { ix, name: region, region, bits, ..Default::default() };
        set.mirror().upsert(fed::ClusterRow { cpu_milli, memory, ..row });
    }
    set
}

fn storefront() -> fed::Placement {
    fed::Placement { name: "storefront".into(), replicas: 6, ..Default::default() }
}
