//! What becomes of a policy's answer.

use hansa_api::ApiError;
use hansa_api::patch::json as json_patch;
use hansa_api::status::Reason;
use hansa_extension::PluginError;
use hansa_extension::admission::{Change, Mutation, Verdict};
use serde_json::Value;

use super::Failure;
use crate::admission::matching::Seen;
use crate::admission::webhooks::conform;
use crate::generic::admit::Attributes;

/// The object as the policy wants it, `None` if it wants no other.
///
/// # Errors
/// [`PluginError::Contract`]: no such change can be made.
pub(super) fn changed(
    attrs: &Attributes<'_>,
    seen: &Seen,
    before: &Value,
    change: &Change,
) -> Result<Option<Value>, PluginError> {
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).map_err(contract);
    let wanted = match change {
        Change::Unchanged => return Ok(None),
        Change::Replace(object) => json(object)?,
        Change::Patch(patch) => {
            let mut wanted = seen.convert(attrs, before).into_owned();
            json_patch::apply(&mut wanted, &json(patch)?).map_err(contract)?;
            wanted
        }
    };
    let mut wanted = seen.restore(attrs, wanted);
    if ["apiVersion", "kind"].iter().any(|field| wanted[field] != before[field]) {
        return Err(contract("it makes an object of another kind"));
    }
    conform(attrs, &mut wanted).map_err(|error| contract(error.message))?;
    Ok(Some(wanted))
}

fn contract(why: impl std::fmt::Display) -> PluginError {
    PluginError::Contract(why.to_string())
}

/// The verdict of a policy that may change nothing.
///
/// # Errors
/// [`PluginError::Contract`] if it wants to.
pub(super) fn unchanging(Mutation { verdict, change }: Mutation) -> Result<Verdict, PluginError> {
    match (verdict.allowed, change) {
        (true, Change::Patch(_) | Change::Replace(_)) => {
            Err(contract("it changes an object where that is not supported"))
        }
        _ => Ok(verdict),
    }
}

/// Passes on what goes with a verdict, then yes or no.
pub(super) fn heed(attrs: &Attributes<'_>, plugin: &str, verdict: Verdict) -> Result<(), Failure> {
    verdict.warnings.iter().for_each(|warning| attrs.ctx.warnings.add(warning.as_str()));
    for (key, value) in &verdict.audit {
        let user = attrs.ctx.user.name.as_str();
        tracing::debug!(target: "hansa_apiserver::audit", plugin, user, key, value, "annotation");
    }
    match verdict.allowed {
        true => Ok(()),
        false => Err(Failure::Refused(refusal(plugin, &verdict))),
    }
}

/// The failure that a policy's no is to its client.
pub(super) fn refusal(plugin: &str, verdict: &Verdict) -> ApiError {
    let denied = format!("admission plugin {plugin:?} denied the request");
    let message = match verdict.message.as_str() {
        "" => format!("{denied} without explanation"),
        message => format!("{denied}: {message}"),
    };
    let code = if (400..600).contains(&verdict.code) { verdict.code } else { 403 };
    let mut error = ApiError::new(reason(code), message);
    error.code = code;
    error
}

/// The reason that goes with an HTTP status.
fn reason(code: u16) -> Reason {
    use Reason::*;
    let known = [
        BadRequest,
        Unauthorized,
        Forbidden,
        NotFound,
        MethodNotAllowed,
        Conflict,
        Gone,
        RequestEntityTooLarge,
        Invalid,
        TooManyRequests,
        InternalError,
        ServiceUnavailable,
        Timeout,
    ];
    known.into_iter().find(|reason| reason.code() == code).unwrap_or(Unknown)
}
