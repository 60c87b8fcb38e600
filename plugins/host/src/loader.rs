//! From bytes to a component that may be run: everything that can be checked without running it.

use std::collections::BTreeSet;

use hansa_extension::PluginError;
use hansa_extension::runtime::World;
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::cache::{Cache, CacheMiss};

/// The most bytes that a component may have.
pub const MAX_BYTES: usize = 32 << 20;
/// What a component may import. All of it is harmless, so it needs no grant.
const GRANTED: [&str; 5] = [
    "hansa:core/types",
    "hansa:core/log",
    "hansa:core/clock",
    "hansa:core/metrics",
    "hansa:core/config",
];
/// Interfaces of types alone: a component may import them from whichever world it is of.
const TYPES: [&str; 4] = [
    "hansa:scheduler/types",
    "hansa:cloud/types",
    "hansa:federation/types",
    "hansa:admission/types",
];
/// The version of every interface; compatible are all of the same minor (semver below 1.0).
const MINOR: &str = "0.1.";

/// What a world must export.
pub fn exports_of(world: World) -> &'static [&'static str] {
    match world {
        World::Scheduler => {
            &["hansa:core/lifecycle", "hansa:scheduler/node-store", "hansa:scheduler/evaluate"]
        }
        World::Cloud => &[
            "hansa:core/lifecycle",
            "hansa:cloud/instances-v2",
            "hansa:cloud/zones",
            "hansa:cloud/load-balancers",
            "hansa:cloud/routes",
        ],
        World::Federation => &[
            "hansa:core/lifecycle",
            "hansa:federation/cluster-store",
            "hansa:federation/select",
            "hansa:federation/divide",
        ],
        World::Admission => &["hansa:core/lifecycle", "hansa:admission/review"],
    }
}

/// `sha256:<hex>` of some bytes.
pub fn digest_of(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Checks digest, size and form of the bytes.
///
/// # Errors
/// [`PluginError::Digest`] or [`PluginError::Load`].
pub fn check_bytes(bytes: &[u8], digest: &str) -> Result<(), PluginError> {
    let have = digest_of(bytes);
    if !have.eq_ignore_ascii_case(digest) {
        return Err(PluginError::Digest { want: digest.into(), have });
    }
    if bytes.len() > MAX_BYTES {
        let (mib, max) = (bytes.len() >> 20, MAX_BYTES >> 20);
        return Err(PluginError::Load(format!("{mib} MiB are more than the {max} allowed")));
    }
    match bytes.get(..8) {
        Some(b"\0asm\x0d\0\x01\0") => Ok(()),
        Some(b"\0asm\x01\0\0\0") => refuse("this is a core module; wrap it into a component"),
        Some([0, b'a', b's', b'm', ..]) => refuse("this version of the binary format is unknown"),
        _ => refuse("this is not WebAssembly"),
    }
}

fn refuse<T>(why: &str) -> Result<T, PluginError> {
    Err(PluginError::Load(why.into()))
}

/// Compiles the bytes, or takes the code from the cache.
///
/// # Errors
/// [`PluginError::Load`] with the compiler's words.
pub fn compile(
    engine: &Engine,
    cache: Option<&Cache>,
    bytes: &[u8],
    digest: &str,
) -> Result<Component, PluginError> {
    let Some(cache) = cache else { return fresh(engine, bytes) };
    match cache.load(engine, digest) {
        Ok(component) => return Ok(component),
        Err(CacheMiss::Absent) => {}
        Err(miss) => tracing::warn!(digest, %miss, "compiling again"),
    }
    let component = fresh(engine, bytes)?;
    if let Err(error) = cache.store(engine, digest, &component) {
        tracing::warn!(digest, %error, "failed to cache compiled code");
    }
    Ok(component)
}

fn fresh(engine: &Engine, bytes: &[u8]) -> Result<Component, PluginError> {
    Component::from_binary(engine, bytes).map_err(|error| PluginError::Load(format!("{error:#}")))
}

/// Checks that the component is of the world and imports nothing that is not granted.
///
/// # Errors
/// [`PluginError::World`] or [`PluginError::Imports`].
pub fn check_world(
    engine: &Engine,
    component: &Component,
    world: World,
) -> Result<(), PluginError> {
    let kind = component.component_type();
    let exports: BTreeSet<String> = kind.exports(engine).map(|(name, _)| name.into()).collect();
    let missing: Vec<&str> =
        exports_of(world).iter().copied().filter(|want| !has(&exports, want)).collect();
    if !missing.is_empty() {
        let detail = wrong_world(&missing, &exports);
        return Err(PluginError::World { world: world.as_str().into(), detail });
    }
    let imports = kind.imports(engine).map(|(name, _)| name.to_owned());
    let foreign: Vec<String> = imports.filter(|name| !is_granted(name)).collect();
    if foreign.is_empty() { Ok(()) } else { Err(PluginError::Imports(foreign)) }
}

fn wrong_world(missing: &[&str], exports: &BTreeSet<String>) -> String {
    let is = |world: &World| exports_of(*world).iter().all(|want| has(exports, want));
    let hint = match World::ALL.into_iter().find(is) {
        Some(world) => format!("; it is of world {:?}", world.as_str()),
        None => String::new(),
    };
    format!("{}@{MINOR}x not exported{hint}", missing.join(", "))
}

fn has(exports: &BTreeSet<String>, interface: &str) -> bool {
    exports.iter().any(|name| split(name) == (interface, true))
}

fn is_granted(import: &str) -> bool {
    let (name, compatible) = split(import);
    compatible && (GRANTED.contains(&name) || TYPES.contains(&name))
}

/// The interface's name, and whether its version is compatible.
fn split(name: &str) -> (&str, bool) {
    match name.split_once('@') {
        Some((name, version)) => (name, version.starts_with(MINOR)),
        None => (name, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8]) -> Result<(), PluginError> {
        check_bytes(bytes, &digest_of(bytes))
    }

    #[test]
    fn what_is_no_component_is_said_to_be_what_it_is() {
        let core = check(b"\0asm\x01\0\0\0").unwrap_err();
        assert!(core.to_string().contains("core module"), "{core}");
        let text = check(b"#!/bin/sh\nexit").unwrap_err();
        assert!(text.to_string().contains("not WebAssembly"), "{text}");
        assert!(check(b"").is_err());
    }

    #[test]
    fn other_bytes_than_promised_are_refused_first() {
        let error = check_bytes(b"#!/bin/sh", "sha256:00").unwrap_err();
        assert!(matches!(error, PluginError::Digest { .. }), "{error}");
    }

    #[test]
    fn imports_are_granted_by_name_and_minor() {
        assert!(is_granted("hansa:core/log@0.1.7"));
        assert!(!is_granted("hansa:core/log@0.2.0"));
        assert!(!is_granted("hansa:core/fetch@0.1.0"));
        assert!(!is_granted("wasi:sockets/tcp@0.2.0"));
    }
}
