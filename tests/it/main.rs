//! The one integration binary.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

mod admission;
mod admission_plugins;
mod aggregation;
mod apply;
mod auth;
mod bad_input;
mod change;
mod clients;
mod containerd;
mod crash;
mod crd;
mod crd_conversion;
mod crd_rules;
mod delete;
mod describe;
mod discover;
mod etcd;
mod federation;
mod garbage;
mod get;
mod hooks;
mod hub;
mod kinds;
mod lost_node;
mod network;
mod nodes;
mod policies;
mod propagation;
mod rollout;
mod scenario;
mod server_side_apply;
mod tidy;
mod wasm;
mod watching;
mod wire;
