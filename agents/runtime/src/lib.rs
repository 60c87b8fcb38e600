//! The embedded CRI servers: wasm and hollow.
