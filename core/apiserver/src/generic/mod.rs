//! The generic registry: one implementation of every verb, driven by the [`catalog`] and by one
//! [`strategy`] per kind.
//!
//! Reading order: [`resource`] and [`strategy`] say what a kind is, [`registry`] writes objects,
//! [`encode`] and [`render`] own their bytes, [`feed`] and [`cache`] keep what readers share, [`watcher`] serves
//! it.

pub mod admit;
pub mod cache;
pub mod catalog;
pub mod context;
pub mod convert;
pub mod create;
pub mod decode;
pub mod delete;
pub mod encode;
pub mod entry;
pub mod feed;
pub mod filter;
pub mod lifecycle;
pub mod list;
pub(crate) mod managed_fields;
pub mod metadata;
pub mod options;
pub mod registry;
pub mod render;
pub mod resource;
pub mod strategy;
pub mod table;
pub mod token;
pub mod update;
pub mod watcher;
