//! HTTP in, objects out: filters, handlers, registry, admission, discovery, OpenAPI.

pub mod admission;
pub(crate) mod aggregation;
pub mod authn;
pub mod authz;
pub mod body;
pub mod crd;
pub mod discovery;
pub mod filters;
pub mod generic;
pub mod handlers;
pub mod health;
pub mod metrics;
pub mod negotiate;
pub mod objects;
pub mod openapi;
pub mod protobuf;
pub mod registry;
pub mod request_info;
pub mod responses;
pub mod review;
pub mod server;
pub mod streaming;
pub mod version;
pub mod webhook;

pub use authn::Identity;
pub use body::{Body, BoxError};
pub use server::{ApiServer, Config, FrontProxy, KubeletClient};
