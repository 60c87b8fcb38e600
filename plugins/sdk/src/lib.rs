//! The guest side for plugin authors, thin over wit-bindgen.
