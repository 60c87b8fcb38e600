//! `AdmissionReview`: what a webhook is asked, and what may be made of its answer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hansa_api::ApiError;
use hansa_api::meta::{at, int_at, list_at, str_at};
use hansa_api::status::{Cause, Details, Reason};
use serde_json::{Value, json};

use crate::admission::matching::{Seen, name_of, namespace_name};
use crate::generic::admit::{Attributes, Operation};

/// What a webhook's answer asks for.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) allowed: bool,
    /// The `Status` that goes with a refusal.
    pub(super) result: Value,
    /// The patch's bytes, decoded.
    pub(super) patch: Vec<u8>,
    pub(super) patch_type: String,
    pub(super) warnings: Vec<String>,
}

fn versioned((group, version, kind): (&str, &str, &str), word: &str) -> Value {
    json!({"group": group, "version": version, word: kind})
}

/// The request part of a review; policies see the same.
pub(in crate::admission) fn request(
    attrs: &Attributes<'_>,
    seen: &Seen,
    obj: Option<&Value>,
) -> Value {
    let own = Seen(None);
    let sub = attrs.ctx.subresource.as_str();
    let user = &attrs.ctx.user;
    let mut request = json!({
        "kind": versioned(seen.kind(attrs), "kind"),
        "resource": versioned(seen.resource(attrs), "resource"),
        "requestKind": versioned(own.kind(attrs), "kind"),
        "requestResource": versioned(own.resource(attrs), "resource"),
        "name": name_of(attrs, obj),
        "namespace": namespace_name(attrs, obj),
        "operation": attrs.operation.as_str(),
        "userInfo": {"username": user.name, "groups": user.groups, "extra": user.extra},
        "dryRun": attrs.ctx.dry_run,
        "options": options(attrs),
    });
    if !user.uid.is_empty() {
        request["userInfo"]["uid"] = user.uid.as_str().into();
    }
    if !sub.is_empty() {
        request["subResource"] = sub.into();
        request["requestSubResource"] = sub.into();
    }
    request
}

/// The options of the operation, as far as they are known here.
fn options(attrs: &Attributes<'_>) -> Value {
    let kind = match attrs.operation {
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        Operation::Delete => "DeleteOptions",
        Operation::Connect => return Value::Null,
    };
    let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    if !attrs.ctx.field_manager.is_empty() && attrs.operation != Operation::Delete {
        options["fieldManager"] = attrs.ctx.field_manager.as_str().into();
    }
    if attrs.ctx.dry_run {
        options["dryRun"] = json!(["All"]);
    }
    options
}

/// The whole review, and the version it is in; `None` if the webhook knows neither version.
pub(super) fn review(
    versions: &[String],
    attrs: &Attributes<'_>,
    seen: &Seen,
    obj: Option<&Value>,
    uid: &str,
) -> Option<Value> {
    let version = versions.iter().find(|version| matches!(version.as_str(), "v1" | "v1beta1"))?;
    let mut request = request(attrs, seen, obj);
    request["uid"] = uid.into();
    let convert =
        |obj: Option<&Value>| obj.map_or(Value::Null, |obj| seen.convert(attrs, obj).into_owned());
    request["object"] = convert(obj);
    request["oldObject"] = convert(attrs.old);
    Some(json!({
        "kind": "AdmissionReview",
        "apiVersion": format!("admission.k8s.io/{version}"),
        "request": request,
    }))
}

/// Checks an answer to a review of the same version.
///
/// # Errors
/// What is wrong with it.
pub(super) fn verify(review: &Value, answer: &Value, mutating: bool) -> Result<Answer, String> {
    let Some(response) = at(answer, &["response"]).filter(|response| response.is_object()) else {
        return Err("webhook response was absent".to_string());
    };
    let strict = review["apiVersion"] == "admission.k8s.io/v1";
    if strict {
        check_identity(review, answer, response)?;
    }
    let patch = STANDARD.decode(str_at(response, &["patch"]));
    let patch = patch.map_err(|error| format!("illegal base64 data in response.patch: {error}"))?;
    let kind = at(response, &["patchType"]).and_then(Value::as_str);
    if strict {
        check_patch(mutating, !patch.is_empty(), kind)?;
    }
    let kind = if strict { kind.unwrap_or_default() } else { "JSONPatch" };
    let warnings = list_at(response, &["warnings"]).iter().filter_map(Value::as_str);
    Ok(Answer {
        allowed: response["allowed"] == true,
        result: at(response, &["status"]).cloned().unwrap_or_default(),
        patch: if mutating { patch } else { Vec::new() },
        patch_type: kind.to_string(),
        warnings: warnings.map(str::to_owned).collect(),
    })
}

fn check_identity(review: &Value, answer: &Value, response: &Value) -> Result<(), String> {
    let (wanted, got) = (str_at(review, &["request", "uid"]), str_at(response, &["uid"]));
    if wanted != got {
        return Err(format!("expected response.uid={wanted:?}, got {got:?}"));
    }
    let gvk = |review: &Value| {
        let (version, kind) = (str_at(review, &["apiVersion"]), str_at(review, &["kind"]));
        format!("{version}, Kind={kind}")
    };
    let (wanted, got) = (gvk(review), gvk(answer));
    if wanted != got {
        return Err(format!("expected webhook response of {wanted}, got {got}"));
    }
    Ok(())
}

fn check_patch(mutating: bool, patched: bool, kind: Option<&str>) -> Result<(), String> {
    let why = match (mutating, patched, kind) {
        (true, true, None) => "webhook returned response.patch but not response.patchType",
        (true, false, Some(_)) => "webhook returned response.patchType but not response.patch",
        (true, true, Some("")) => "webhook returned invalid response.patchType of \"\"",
        (false, true, _) => "validating webhook may not return response.patch",
        (false, false, Some(_)) => "validating webhook may not return response.patchType",
        _ => return Ok(()),
    };
    Err(why.to_string())
}

/// The failure that a webhook's refusal is to its client.
pub(super) fn refusal(webhook: &str, result: &Value) -> ApiError {
    let denied = format!("admission webhook {webhook:?} denied the request");
    let message = match (str_at(result, &["message"]), str_at(result, &["reason"])) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    let code = int_at(result, &["code"]).and_then(|code| u16::try_from(code).ok()).unwrap_or(0);
    let mut error = ApiError::new(Reason::parse(str_at(result, &["reason"])), message);
    error.code = if (400..600).contains(&code) { code } else { 400 };
    error.details = at(result, &["details"]).map(|details| Box::new(read_details(details)));
    error
}

fn read_details(details: &Value) -> Details {
    let text = |of: &Value, field: &str| str_at(of, &[field]).to_owned();
    let cause = |cause: &Value| Cause {
        reason: text(cause, "reason"),
        message: text(cause, "message"),
        field: text(cause, "field"),
    };
    let wait = int_at(details, &["retryAfterSeconds"]).unwrap_or(0);
    Details {
        name: text(details, "name"),
        group: text(details, "group"),
        kind: text(details, "kind"),
        uid: text(details, "uid"),
        causes: list_at(details, &["causes"]).iter().map(cause).collect(),
        retry_after_seconds: u32::try_from(wait).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(answer: Value, mutating: bool) -> String {
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "u"}});
        verify(&review, &answer, mutating).map_or_else(|why| why, |_| "fine".to_string())
    }

    #[test]
    fn answers_are_checked_before_they_count() {
        let answer = |response: Value| {
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                "response": response})
        };
        let patch = STANDARD.encode("[]");
        let cases = [
            (json!({}), false, "webhook response was absent"),
            (answer(json!({"uid": "x"})), false, "expected response.uid=\"u\", got \"x\""),
            (
                json!({"apiVersion": "v1", "kind": "List", "response": {"uid": "u"}}),
                false,
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got v1, \
                 Kind=List",
            ),
            (
                answer(json!({"uid": "u", "patch": patch})),
                true,
                "webhook returned response.patch but not response.patchType",
            ),
            (
                answer(json!({"uid": "u", "patchType": "JSONPatch"})),
                true,
                "webhook returned response.patchType but not response.patch",
            ),
            (
                answer(json!({"uid": "u", "patch": patch, "patchType": "JSONPatch"})),
                false,
                "validating webhook may not return response.patch",
            ),
            (answer(json!({"uid": "u", "allowed": true})), true, "fine"),
        ];
        for (answer, mutating, expected) in cases {
            assert_eq!(verdict(answer.clone(), mutating), expected, "{answer}");
        }
    }

    #[test]
    fn refusals_keep_what_the_webhook_said() {
        let error = refusal("a.io", &json!({"message": "no", "code": 422, "reason": "Invalid"}));
        assert_eq!(error.message, "admission webhook \"a.io\" denied the request: no");
        assert_eq!((error.code, error.reason), (422, Reason::Invalid));
        let error = refusal("a.io", &Value::Null);
        assert_eq!(
            error.message,
            "admission webhook \"a.io\" denied the request without explanation"
        );
        assert_eq!(error.code, 400);
        assert_eq!(refusal("a.io", &json!({"code": 200})).code, 400);
    }
}
