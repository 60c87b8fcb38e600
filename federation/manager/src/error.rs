//! What can go wrong while reconciling; the key is tried again.

use hansa_client::{kube, message_of};

/// Why a reconcile did not get to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The hub refused or did not answer.
    #[error("talk to the hub: {}", message_of(.0))]
    Hub(#[source] kube::Error),
    /// The member refused.
    #[error("talk to the member: {}", message_of(.0))]
    Member(#[source] kube::Error),
    /// The member did not answer in time.
    #[error("reach the member: no answer within {0:?}")]
    Timeout(std::time::Duration),
    /// A kind that the cluster does not serve.
    #[error("find the resource of {0} {1}")]
    UnknownKind(String, String),
    /// The object is there and not the federation's.
    #[error("adopt {0}: it is not managed by the federation, and conflictResolution is Abort")]
    NotOurs(String),
    /// The member holds what a later state of this hub put there.
    #[error(
        "delete {0}: the member holds a later version than this hub knows, which seems to have \
         been set back to an older state; delete it in the member if it is to go"
    )]
    SetBack(String),
    /// Something the object's author has to mend.
    #[error("{0}")]
    Unusable(String),
    /// A document that cannot be read or written.
    #[error("convert an object: {0}")]
    Convert(#[from] serde_json::Error),
}

/// The result of a step of reconciling.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The HTTP status that an API server answered with, if it answered.
pub fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// Turns "not found" into nothing.
pub fn found<T>(result: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if code(&error) == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}
