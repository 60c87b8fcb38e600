//! The one integration binary.

mod apply;
mod auth;
mod bad_input;
mod change;
mod crash;
mod crd;
mod delete;
mod describe;
mod discover;
mod get;
mod nodes;
mod policies;
mod rollout;
mod scenario;
mod tidy;
mod wasm;
mod watching;
