//! What wasmtime makes of `wit/`, one module per world. The host's own interfaces (`hansa:core`)
//! are made once, with the scheduler's world, and shared.
#![allow(missing_docs, clippy::all)]

pub mod scheduler {
    wasmtime::component::bindgen!({
        path: "../../wit/scheduler",
        world: "filter-score",
    });
}

pub mod federation {
    wasmtime::component::bindgen!({
        path: "../../wit/federation",
        world: "policy",
        with: {
            "hansa:core/types": super::scheduler::hansa::core::types,
            "hansa:core/log": super::scheduler::hansa::core::log,
            "hansa:core/clock": super::scheduler::hansa::core::clock,
            "hansa:core/metrics": super::scheduler::hansa::core::metrics,
            "hansa:core/config": super::scheduler::hansa::core::config,
        },
    });
}

pub mod cloud {
    wasmtime::component::bindgen!({
        path: "../../wit/cloud",
        world: "provider",
        with: {
            "hansa:core/types": super::scheduler::hansa::core::types,
            "hansa:core/log": super::scheduler::hansa::core::log,
            "hansa:core/clock": super::scheduler::hansa::core::clock,
            "hansa:core/metrics": super::scheduler::hansa::core::metrics,
            "hansa:core/config": super::scheduler::hansa::core::config,
        },
    });
}

pub mod admission {
    wasmtime::component::bindgen!({
        path: "../../wit/admission",
        world: "policy",
        with: {
            "hansa:core/types": super::scheduler::hansa::core::types,
            "hansa:core/log": super::scheduler::hansa::core::log,
            "hansa:core/clock": super::scheduler::hansa::core::clock,
            "hansa:core/metrics": super::scheduler::hansa::core::metrics,
            "hansa:core/config": super::scheduler::hansa::core::config,
        },
    });
}

/// The exports that every world has, under one trait: each world's bindings have their own types.
pub use scheduler::hansa::core::{clock, config, log, metrics};
