//! What to tell users of a request that failed.

use kube::Error;

/// The server's own words; or, if it said nothing, what kept it from answering.
pub fn message_of(error: &Error) -> String {
    match error {
        Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        error => error.to_string(),
    }
}
