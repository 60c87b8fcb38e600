//! Webhooks, policies, bindings.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::binding::PolicyBindings;
use super::policy::Policies;
use super::webhook::Webhooks;
use crate::generic::strategy::Strategy;
use crate::registry::check::{refuses, texts};

const VALIDATING: Policies = Policies { mutating: false };
const MUTATING: Policies = Policies { mutating: true };

fn with(base: Value, more: Value) -> Value {
    let mut base = base;
    let fields = base.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    fields.retain(|_, value| !value.is_null());
    base
}

fn webhook(more: Value) -> Value {
    let hook = json!({"name": "a.b.io", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://a.io/x"},
        "rules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"],
            "resources": ["*"]}]});
    let mut obj = json!({"metadata": {"name": "w"}, "webhooks": [with(hook, more)]});
    Webhooks { mutating: true }.default(&mut obj);
    obj
}

#[test]
fn mistakes_in_webhooks_are_named() {
    let client = |client: Value| webhook(json!({"clientConfig": client}));
    let rule = |more: Value| {
        let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
            "resources": ["pods"]});
        webhook(json!({"rules": [with(rule, more)]}))
    };
    refuses(
        &Webhooks { mutating: true },
        [
            (
                webhook(json!({"name": "b.io"})),
                "webhooks[0].name: Invalid value: \"b.io\": should be a domain with at least \
                 three segments separated by dots",
            ),
            (
                webhook(json!({"sideEffects": null})),
                "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
            ),
            (
                webhook(json!({"admissionReviewVersions": ["v9"]})),
                "webhooks[0].admissionReviewVersions: Invalid value: [\"v9\"]: must include at \
                 least one of v1, v1beta1",
            ),
            (
                webhook(json!({"timeoutSeconds": 31})),
                "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between \
                 1 and 30 seconds",
            ),
            (
                client(json!({})),
                "webhooks[0].clientConfig: Required value: exactly one of url or service is \
                 required",
            ),
            (
                client(json!({"url": "http://a.io"})),
                "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only \
                 allowed URL scheme; desired format: https://host[/path]",
            ),
            (
                client(json!({"service": {"name": "a", "namespace": "b", "path": "/a//b"}})),
                "webhooks[0].clientConfig.service.path: Invalid value: \"/a//b\": segment[1] may \
                 not be empty",
            ),
            (
                rule(json!({"operations": ["*", "CREATE"]})),
                "webhooks[0].rules[0].operations: Invalid value: [\"*\",\"CREATE\"]: if '*' is \
                 present, must not specify other operations",
            ),
            (
                rule(json!({"resources": ["pods/*", "pods/log"]})),
                "webhooks[0].rules[0].resources[1]: Invalid value: \"pods/log\": if 'pods/*' is \
                 present, must not specify pods/log",
            ),
            (rule(json!({"apiVersions": []})), "webhooks[0].rules[0].apiVersions: Required value"),
        ],
    );
    let bad = json!({"matchConditions": [{"name": "a", "expression": "... [] bad expression"}]});
    let errors = texts(&Webhooks { mutating: true }.validate_create(&webhook(bad)));
    let expected = "webhooks[0].matchConditions[0].expression: Invalid value: \"... [] bad \
                    expression\": compilation failed: ";
    assert!(errors.len() == 1 && errors[0].starts_with(expected), "{errors:?}");
    let old = webhook(json!({"sideEffects": "Some"}));
    assert_eq!(texts(&Webhooks { mutating: true }.validate_update(&old, &old)), [""; 0]);
}

fn policy(strategy: &Policies, more: Value) -> Value {
    let constraints = json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
        "operations": ["CREATE"], "resources": ["pods"]}]});
    let spec = match strategy.mutating {
        false => json!({"matchConstraints": constraints, "validations": [{"expression": "true"}]}),
        true => json!({"matchConstraints": constraints, "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}}]}),
    };
    let mut obj = json!({"metadata": {"name": "p"}, "spec": with(spec, more)});
    strategy.default(&mut obj);
    obj
}

#[test]
fn mistakes_in_validating_policies_are_named() {
    let of = |more: Value| policy(&VALIDATING, more);
    let rule = |rule: Value| of(json!({"validations": [rule]}));
    refuses(
        &VALIDATING,
        [
            (of(json!({"matchConstraints": null})), "spec.matchConstraints: Required value"),
            (
                rule(json!({})),
                "spec.validations[0].expression: Required value: expression is not specified",
            ),
            (
                rule(json!({"expression": "true", "message": "a\nb"})),
                "spec.validations[0].message: Invalid value: \"a\\nb\": must not contain line \
                 breaks",
            ),
            (
                rule(json!({"expression": "true", "reason": "Bored"})),
                "spec.validations[0].reason: Unsupported value: \"Bored\": supported values: \
                 \"Forbidden\", \"Invalid\", \"RequestEntityTooLarge\"",
            ),
            (
                of(json!({"variables": [{"name": "for", "expression": "1"}]})),
                "spec.variables[0].name: Invalid value: \"for\": must be a valid CEL identifier",
            ),
            (
                of(json!({"paramKind": {"apiVersion": "v1", "kind": ""}})),
                "spec.paramKind.kind: Required value",
            ),
            (
                of(json!({"matchConditions": [{"name": "a"}]})),
                "spec.matchConditions[0].expression: Required value",
            ),
            (
                of(json!({"matchConditions": [{"name": "a", "expression": "object.spec"}]})),
                "spec.matchConditions[0].expression: Invalid value: \"object.spec\": must \
                 evaluate to bool",
            ),
            (
                rule(json!({"expression": "true", "messageExpression": "1"})),
                "spec.validations[0].messageExpression: Invalid value: \"1\": must evaluate to \
                 string",
            ),
        ],
    );
    let row = VALIDATING.row(&of(json!({})), Timestamp::now());
    assert_eq!(json!(row[..3]), json!(["p", 1, "<unset>"]));
}

#[test]
fn mistakes_in_mutating_policies_are_named() {
    let of = |more: Value| policy(&MUTATING, more);
    let change = |change: Value| of(json!({"mutations": [change]}));
    refuses(
        &MUTATING,
        [
            (
                of(json!({"mutations": []})),
                "spec.mutations: Required value: mutations must contain at least one item",
            ),
            (of(json!({"reinvocationPolicy": null})), "spec.reinvocationPolicy: Required value"),
            (
                change(json!({"patchType": "JSONPatch"})),
                "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is \
                 JSONPatch",
            ),
            (
                change(json!({"patchType": "Glue"})),
                "spec.mutations[0].patchType: Unsupported value: \"Glue\": supported values: \
                 \"ApplyConfiguration\", \"JSONPatch\"",
            ),
        ],
    );
}

#[test]
fn mistakes_in_bindings_are_named() {
    let strategy = PolicyBindings { mutating: false };
    let of = |more: Value| {
        let spec = json!({"policyName": "p", "validationActions": ["Deny"]});
        json!({"metadata": {"name": "b"}, "spec": with(spec, more)})
    };
    refuses(
        &strategy,
        [
            (of(json!({"policyName": null})), "spec.policyName: Required value"),
            (
                of(json!({"validationActions": []})),
                "spec.validationActions: Required value: at least one validation action is \
                 required",
            ),
            (
                of(json!({"validationActions": ["Audit", "Audit"]})),
                "spec.validationActions[1]: Duplicate value: \"Audit\"",
            ),
            (
                of(json!({"paramRef": {"parameterNotFoundAction": "Deny"}})),
                "spec.paramRef: Required value: one of name or selector must be specified",
            ),
            (
                of(json!({"paramRef": {"name": "x"}})),
                "spec.paramRef.parameterNotFoundAction: Required value",
            ),
        ],
    );
    let shown = |reference: Value| {
        strategy.row(&of(json!({"paramRef": reference})), Timestamp::now())[2].clone()
    };
    assert_eq!(shown(json!({"name": "x", "namespace": "n"})), "n/x");
    assert_eq!(
        shown(json!({"selector": {"matchLabels": {"a": "b"}}})),
        "&LabelSelector{MatchLabels:map[string]string{a: b,},\
         MatchExpressions:[]LabelSelectorRequirement{},}"
    );
}
