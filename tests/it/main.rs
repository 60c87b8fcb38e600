//! The one integration binary.

mod policies;
mod tidy;
