//! Groups of the Kubernetes community: who may define kinds in them.

use hansa_api::meta;
use serde_json::Value;

/// Where the approval stands.
const ANNOTATION: &str = "api-approved.kubernetes.io";
const MORE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";

/// What the approval's annotation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Neither a URL nor a reason.
    Invalid,
    /// Approved at a URL.
    Approved,
    /// Openly not approved.
    Bypassed,
    /// Nothing.
    Missing,
}

/// Whether a group is the community's.
pub(super) fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"].iter().any(|own| {
        group.strip_suffix(own).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

/// What a definition's annotation says, and the words for it.
pub(super) fn state(crd: &Value) -> (State, String) {
    let text =
        meta::annotations(crd).and_then(|all| all.get(ANNOTATION)?.as_str()).unwrap_or_default();
    let (scheme, rest) = text.split_once("://").unwrap_or(("", ""));
    let host = rest.split('/').next().unwrap_or_default();
    if text.is_empty() {
        let why = format!("protected groups must have approval annotation {ANNOTATION:?}, {MORE}");
        (State::Missing, why)
    } else if text.starts_with("unapproved") {
        (State::Bypassed, format!("not approved: {text:?}"))
    } else if !scheme.is_empty() && !host.is_empty() && !text.contains(' ') {
        (State::Approved, format!("approved in {text}"))
    } else {
        let why = format!(
            "protected groups must have approval annotation {ANNOTATION:?} with either a URL or a \
             reason starting with \"unapproved\", {MORE}"
        );
        (State::Invalid, why)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_annotation_decides() {
        let cases = [
            ("", State::Missing),
            ("unapproved, experimental", State::Bypassed),
            ("https://github.com/kubernetes/x/pull/1", State::Approved),
            ("yes", State::Invalid),
        ];
        for (text, expected) in cases {
            let crd = json!({"metadata": {"annotations": {ANNOTATION: text}}});
            assert_eq!(state(&crd).0, expected, "{text}");
        }
        assert!(is_protected("apps.k8s.io") && is_protected("kubernetes.io"));
        assert!(!is_protected("mk8s.io") && !is_protected("example.com"));
    }
}
