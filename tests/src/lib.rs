//! The in-process cluster harness.
