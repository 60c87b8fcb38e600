//! One verb, one file.

pub mod component;
pub mod down;
pub mod image;
pub mod list;
pub mod logs;
pub mod status;
pub mod up;
