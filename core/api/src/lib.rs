//! The nouns: kinds, metadata, selectors, quantities, patches, Status. No I/O.

pub use k8s_openapi;

pub mod address;
pub mod apply;
pub mod cron;
pub mod custom;
pub mod field;
pub mod gvk;
pub mod meta;
pub mod names;
pub mod patch;
pub mod plugin;
pub mod pod_resources;
pub mod quantity;
pub mod quota;
pub mod schema;
pub mod selector;
pub mod status;
pub mod structural;
pub mod time;
pub mod version;

pub use field::{FieldError, FieldErrorType};
pub use gvk::{GroupResource, GroupVersion, GroupVersionKind, GroupVersionResource};
pub use status::ApiError;
