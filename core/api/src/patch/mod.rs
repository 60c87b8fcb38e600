//! The three patch types of the API: JSON Patch, merge patch, strategic merge patch.

pub mod json;
pub mod merge;
mod order;
pub mod strategic;

use crate::status::{ApiError, Reason};

/// Most operations that one JSON Patch may hold, as upstream.
pub const MAX_OPERATIONS: usize = 10_000;

/// Why a patch cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The document is no patch of its type.
    #[error("{0}")]
    Malformed(String),
    /// More than [`MAX_OPERATIONS`].
    #[error("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {0}")]
    TooManyOperations(usize),
    /// The patch is one, but not for this object (a failed `test`, a missing path); clients are
    /// not told the cause.
    #[error("the server rejected our request due to an error in our request")]
    Rejected(String),
}

impl From<PatchError> for ApiError {
    fn from(error: PatchError) -> Self {
        let message = error.to_string();
        match error {
            PatchError::Malformed(_) => Self::bad_request(message),
            PatchError::TooManyOperations(_) => Self::new(Reason::RequestEntityTooLarge, message),
            PatchError::Rejected(_) => {
                let details = Some(Box::default());
                Self { details, ..Self::new(Reason::Invalid, message) }
            }
        }
    }
}
