//! What wit-bindgen makes of `wit/`, one module per world. Natively the types are usable and the
//! imports must not be called.

pub use hansa_bindings_admission as admission;
pub use hansa_bindings_cloud as cloud;
pub use hansa_bindings_federation as federation;
pub use hansa_bindings_scheduler as scheduler;
