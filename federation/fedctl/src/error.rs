//! Exit statuses: 0 done, 1 failed, 2 usage, 3 refused by a safety rule.

use std::process::ExitCode;

use hansa_client::{kube, message_of};

/// A safety rule says no.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// The command cannot be understood as given.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Prints an error with its causes and gives the exit status that it stands for.
pub fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {}", chain(error));
    ExitCode::from(status(error))
}

/// An error with its causes, outermost first, without those that an outer one tells already.
pub fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let server = cause.downcast_ref::<kube::Error>();
        let cause = server.map_or_else(|| cause.to_string(), message_of);
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        if matches!(server, Some(kube::Error::Api(_))) {
            break;
        }
    }
    text
}

fn status(error: &anyhow::Error) -> u8 {
    match (error.is::<Refused>(), error.is::<Usage>()) {
        (true, _) => 3,
        (_, true) => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn scripts_can_tell_a_refusal_from_a_failure() {
        let refused: Result<(), _> = Err(Refused("no".into()));
        assert_eq!(status(&refused.context("failed to join").unwrap_err()), 3);
        assert_eq!(status(&Usage("what?".into()).into()), 2);
        assert_eq!(status(&anyhow::anyhow!("broken")), 1);
    }

    #[test]
    fn a_server_is_quoted_and_its_status_is_not_dumped() {
        let status = kube::core::Status::failure("pods \"x\" not found", "NotFound");
        let cause: Result<(), _> = Err(kube::Error::Api(status.boxed()));
        let error = cause.context("failed to read x").expect_err("it is one");
        assert_eq!(chain(&error), "failed to read x: pods \"x\" not found");
    }

    #[test]
    fn no_cause_is_told_twice() {
        let cause: Result<(), _> = Err(anyhow::anyhow!("no route"));
        let told = cause.context("failed to connect: no route").context("failed to join");
        assert_eq!(chain(&told.unwrap_err()), "failed to join: failed to connect: no route");
    }
}
