//! The only crate that runs decisions in wasmtime: engine, loader, limits, rollout, adapters.
