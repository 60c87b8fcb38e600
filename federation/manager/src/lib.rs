//! The federation controllers.
