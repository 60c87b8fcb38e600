//! One schema with most of what users write, and what becomes of objects under it.

use serde_json::{Value, json};

use super::{Structural, check};

fn schema() -> Value {
    json!({"type": "object", "properties": {"spec": {
        "type": "object",
        "required": ["replicas"],
        "properties": {
            "replicas": {"type": "integer", "minimum": 0, "maximum": 10},
            "mode": {"type": "string", "enum": ["Fast", "Slow"], "default": "Fast"},
            "name": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 4},
            "port": {"x-kubernetes-int-or-string": true},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                "properties": {"known": {"type": "object"}}},
            "maybe": {"type": "string", "nullable": true},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "template": {"type": "object", "x-kubernetes-embedded-resource": true,
                "x-kubernetes-preserve-unknown-fields": true},
            "rules": {"type": "array", "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {
                    "name": {"type": "string"}, "weight": {"type": "integer", "default": 1}}}},
            "tags": {"type": "array", "x-kubernetes-list-type": "set", "maxItems": 2,
                "items": {"type": "string"}},
            "when": {"type": "string", "format": "date-time"},
            "either": {"type": "object",
                "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        },
    }}})
}

fn complaints(spec: Value) -> Vec<String> {
    let errors = Structural::compile(&schema()).validate(&json!({ "spec": spec }), "");
    errors.iter().map(ToString::to_string).collect()
}

fn told(cases: &[(Value, &str)]) {
    for (spec, complaint) in cases {
        assert_eq!(complaints(spec.clone()), [*complaint]);
    }
}

#[test]
fn complaints_about_scalars_are_upstreams() {
    told(&[
        (json!({}), "spec.replicas: Required value"),
        (
            json!({"replicas": "x"}),
            "spec.replicas: Invalid value: \"string\": spec.replicas in body must be of type \
             integer: \"string\"",
        ),
        (
            json!({"replicas": -1}),
            "spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or \
             equal to 0",
        ),
        (
            json!({"replicas": 11}),
            "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal \
             to 10",
        ),
        (
            json!({"replicas": 1, "mode": "Odd"}),
            r#"spec.mode: Unsupported value: "Odd": supported values: "Fast", "Slow""#,
        ),
        (
            json!({"replicas": 1, "name": "A1"}),
            r#"spec.name: Invalid value: "A1": spec.name in body should match '^[a-z]+$'"#,
        ),
        (
            json!({"replicas": 1, "name": "a"}),
            r#"spec.name: Invalid value: "a": spec.name in body should be at least 2 chars long"#,
        ),
        (
            json!({"replicas": 1, "name": "abcde"}),
            "spec.name: Too long: may not be more than 4 bytes",
        ),
        (
            json!({"replicas": null}),
            "spec.replicas: Invalid value: \"null\": spec.replicas in body must be of type \
             integer: \"null\"",
        ),
    ]);
}

#[test]
fn complaints_about_structure_are_upstreams() {
    told(&[
        (
            json!({"replicas": 1, "tags": ["a", "b", "c"]}),
            "spec.tags: Too many: 3: must have at most 2 items",
        ),
        (
            json!({"replicas": 1, "when": "now"}),
            "spec.when: Invalid value: \"now\": spec.when in body must be of type date-time: \
             \"now\"",
        ),
        (
            json!({"replicas": 1, "either": {}}),
            "spec.either: Invalid value: {}: \"spec.either\" must validate one and only one \
             schema (oneOf). Found none valid",
        ),
    ]);
}

#[test]
fn lists_and_embedded_objects_have_checks_of_their_own() {
    let structural = Structural::compile(&schema());
    let object = json!({"spec": {"rules": [{"name": "a"}, {"name": "a"}, {"name": "a"}],
        "tags": ["a", "a"], "template": {"kind": "K_", "metadata": {"labels": {"a b": "c"}}}}});
    let texts = |errors: Vec<crate::field::FieldError>| -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        texts(structural.duplicates(&object, "")),
        [
            r#"spec.rules[1]: Duplicate value: {"name":"a"}"#,
            r#"spec.tags[1]: Duplicate value: "a""#,
        ]
    );
    let embedded = texts(structural.embedded_errors(&object, ""));
    assert_eq!(embedded[0], "spec.template.apiVersion: Required value");
    assert!(
        embedded[1].starts_with("spec.template.kind: Invalid value: \"K_\": may have mixed case")
    );
    assert!(embedded[2].starts_with("spec.template.metadata.labels: Invalid value: \"a b\""));
}

#[test]
fn what_was_wrong_before_may_stay() {
    let structural = Structural::compile(&schema());
    let complaints = |spec: Value, old: Value| {
        let (new, old) = (json!({ "spec": spec }), json!({ "spec": old }));
        structural.validate_update(&new, Some(&old), "").len()
    };
    let bad = json!({"replicas": 11, "name": "A1", "rules": [{"name": 1, "weight": "x"}]});
    assert_eq!(complaints(bad.clone(), bad.clone()), 0);
    let mut other = bad.clone();
    other["mode"] = "Fast".into();
    other["rules"] = json!([{"name": "b"}, {"name": 1, "weight": "x"}]);
    assert_eq!(complaints(other.clone(), bad.clone()), 0, "each part is compared for itself");
    other["name"] = "B1".into();
    assert_eq!(complaints(other, bad), 1);
    let (new, old) = (json!({"replicas": 1, "either": {}}), json!({"replicas": 2, "either": {}}));
    assert_eq!(complaints(new, old), 0);
}

#[test]
fn good_objects_pass() {
    for fine in [
        json!({"replicas": 1, "port": 80}),
        json!({"replicas": 1.0, "port": "http", "maybe": null}),
        json!({"replicas": 0, "either": {"a": "x"}, "when": "2026-01-02T03:04:05Z"}),
    ] {
        assert_eq!(complaints(fine), [""; 0]);
    }
}

#[test]
fn unknown_fields_are_pruned_except_where_they_are_preserved() {
    let mut object = json!({"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "x"},
        "bogus": 1,
        "spec": {"replicas": 1, "bogus": 1, "free": {"any": 1, "known": {"bogus": 1}},
            "labels": {"k": "v"}, "rules": [{"name": "a", "bogus": 1}],
            "template": {"apiVersion": "v1", "kind": "X", "metadata": {}, "y": 1}}});
    let unknown = Structural::compile(&schema()).prune(&mut object);
    assert_eq!(
        unknown,
        [
            r#"unknown field "bogus""#,
            r#"unknown field "spec.bogus""#,
            r#"unknown field "spec.free.known.bogus""#,
            r#"unknown field "spec.rules[0].bogus""#,
        ]
    );
    assert_eq!(object["spec"]["free"], json!({"any": 1, "known": {}}));
    assert_eq!(object["spec"]["template"]["y"], 1);
    assert_eq!(object["metadata"]["name"], "x");
}

#[test]
fn nulls_that_mean_nothing_go() {
    let structural = Structural::compile(&schema());
    let mut object = json!({"spec": {"replicas": null, "maybe": null, "mode": null, "odd": null,
        "rules": [{"name": null, "weight": null}]}});
    structural.prune_nulls(&mut object);
    let kept = json!({"maybe": null, "mode": null, "odd": null, "rules": [{"weight": null}]});
    assert_eq!(object["spec"], kept);
}

#[test]
fn defaults_go_where_values_are_missing() {
    let structural = Structural::compile(&schema());
    let mut object =
        json!({"spec": {"mode": null, "rules": [{"name": "a"}, {"name": "b", "weight": 5}]}});
    structural.default(&mut object);
    assert_eq!(object["spec"]["mode"], "Fast");
    assert_eq!(object["spec"]["rules"][0]["weight"], 1);
    assert_eq!(object["spec"]["rules"][1]["weight"], 5);
    let mut without_spec = json!({});
    structural.default(&mut without_spec);
    assert_eq!(without_spec, json!({}), "defaults do not make their parents");
}

#[test]
fn schemas_that_are_not_structural_are_refused() {
    assert!(check(&schema(), "s").is_empty());
    let cases = [
        (json!({"properties": {}}), "s.type: Required value: must not be empty at the root"),
        (
            json!({"type": "string"}),
            "s.type: Invalid value: \"string\": must be object at the root",
        ),
        (
            json!({"type": "object", "properties": {"a": {}}}),
            "s.properties[a].type: Required value: must not be empty for specified object fields",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array"}}}),
            "s.properties[a].items: Required value: must be specified",
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            "s.additionalProperties: Forbidden: must not be used at the root",
        ),
        (
            json!({"type": "object", "anyOf": [{"type": "object"}]}),
            "s.anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            json!({"type": "object", "allOf": [{"properties": {"a": {"minimum": 1}}}]}),
            "s.properties[a]: Required value: because it is defined in s.allOf[0].properties[a]",
        ),
        (
            json!({"type": "object", "properties": {"a": {"x-kubernetes-int-or-string": true,
                "x-kubernetes-preserve-unknown-fields": true}}}),
            "s.properties[a].x-kubernetes-preserve-unknown-fields: Invalid value: true: must be \
             false if x-kubernetes-int-or-string is true",
        ),
        (
            json!({"type": "object", "properties": {"metadata": {"type": "object",
                "properties": {"labels": {"type": "object"}}}}}),
            "s.properties[metadata]: Forbidden: must not specify anything other than name and \
             generateName, but metadata is implicitly specified",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "object",
                "x-kubernetes-embedded-resource": true}}}),
            "s.properties[a].properties: Required value: must not be empty if \
             x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        ),
    ];
    for (schema, complaint) in cases {
        let errors: Vec<_> = check(&schema, "s").iter().map(ToString::to_string).collect();
        assert_eq!(errors, [complaint]);
    }
}
