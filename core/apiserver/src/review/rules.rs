//! SelfSubjectRulesReview: everything that the one who asks may do in a namespace.

use hansa_api::{ApiError, meta};
use serde_json::{Value, json};

use super::Question;
use crate::authn::MASTERS;
use crate::authz::rules::Rule;

/// The rules of `kubectl auth can-i --list`.
pub(super) fn answer(question: &Question<'_>) -> Result<Value, ApiError> {
    let namespace = meta::str_at(question.spec(), &["namespace"]);
    if namespace.is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    let mut rules = question.server.authorizer.rules_for(&question.user, namespace);
    if question.user.in_group(MASTERS) {
        let all = everything();
        rules.retain(|rule| !all.contains(rule));
        rules.splice(0..0, all);
    }
    let (paths, resources): (Vec<Rule>, Vec<Rule>) =
        rules.into_iter().partition(|rule| !rule.non_resource_urls.is_empty());
    let to_json = |rules: Vec<Rule>| rules.iter().map(Rule::to_json).collect::<Vec<_>>();
    Ok(question.answered(json!({
        "resourceRules": to_json(resources),
        "nonResourceRules": to_json(paths),
        "incomplete": false,
    })))
}

fn everything() -> [Rule; 2] {
    let all = || vec!["*".to_string()];
    [
        Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() },
        Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() },
    ]
}
