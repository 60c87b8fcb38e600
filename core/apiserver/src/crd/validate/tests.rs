//! Bad definitions and exactly what is said of them.

use serde_json::{Value, json};

use super::{validate, validate_update};

fn definition() -> Value {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "crew": {"type": "integer"}, "flag": {"type": "string"}}}}});
    json!({"metadata": {"name": "ships.sea.io"}, "spec": {
        "group": "sea.io", "scope": "Namespaced", "conversion": {"strategy": "None"},
        "names": {"plural": "ships", "singular": "ship", "kind": "Ship", "listKind": "ShipList"},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": schema}}]},
        "status": {"storedVersions": ["v1"]}})
}

fn with(pointer: &str, value: Value) -> Value {
    let mut crd = definition();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = crd.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}"));
    match parent {
        Value::Array(items) => items.push(value),
        other => other[name] = value,
    }
    crd
}

fn texts(crd: &Value) -> Vec<String> {
    validate(crd).iter().map(ToString::to_string).collect()
}

/// The definition with one more property in its schema.
fn property(schema: Value) -> Value {
    with("/spec/versions/0/schema/openAPIV3Schema/properties/x", schema)
}

const AT: &str = "spec.validation.openAPIV3Schema";

fn told(cases: Vec<(Value, String)>) {
    for (crd, expected) in cases {
        let found = texts(&crd);
        assert_eq!(found, [expected], "{crd}");
    }
}

#[test]
fn a_good_definition_passes() {
    assert_eq!(texts(&definition()), [""; 0]);
}

#[test]
fn names_and_groups() {
    let label = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start \
                 with an alphabetic character, and end with an alphanumeric character (e.g. \
                 'my-name',  or 'abc-123', regex used for validation is \
                 '[a-z]([-a-z0-9]*[a-z0-9])?')";
    told(vec![
        (
            with("/metadata/name", json!("boats.sea.io")),
            r#"metadata.name: Invalid value: "boats.sea.io": must be spec.names.plural+"."+spec.group"#.into(),
        ),
        (with("/spec/scope", json!("")), "spec.scope: Required value".into()),
        (
            with("/spec/scope", json!("Global")),
            r#"spec.scope: Unsupported value: "Global": supported values: "Cluster", "Namespaced""#.into(),
        ),
        (with("/spec/names/singular", json!("")), "spec.names.singular: Required value".into()),
        (
            with("/spec/names/shortNames", json!(["S"])),
            format!("spec.names.shortNames[0]: Invalid value: \"S\": {label}"),
        ),
        (
            with("/spec/names/categories", json!(["all", "A"])),
            format!("spec.names.categories[1]: Invalid value: \"A\": {label}"),
        ),
        (
            with("/spec/names/listKind", json!("Ship")),
            r#"spec.names.listKind: Invalid value: "Ship": kind and listKind may not be the same"#.into(),
        ),
        (
            with("/spec/names/kind", json!("Sh_ip")),
            format!("spec.names.kind: Invalid value: \"Sh_ip\": may have mixed case, but should otherwise match: {label}"),
        ),
        (
            with("/spec/preserveUnknownFields", json!(true)),
            "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set \
             x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead".into(),
        ),
    ]);
    let mut group = definition();
    group["spec"]["group"] = "sea".into();
    group["metadata"]["name"] = "ships.sea".into();
    let why = r#"spec.group: Invalid value: "sea": should be a domain with at least one dot"#;
    assert_eq!(texts(&group), [why]);
    group["spec"]["group"] = "sea.k8s.io".into();
    group["metadata"]["name"] = "ships.sea.k8s.io".into();
    let why = "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups \
               must have approval annotation \"api-approved.kubernetes.io\", see \
               https://github.com/kubernetes/enhancements/pull/1111";
    assert_eq!(texts(&group), [why]);
    group["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": "unapproved, a test"});
    assert_eq!(texts(&group), [""; 0]);
}

#[test]
fn shapes_of_schemas() {
    told(vec![
        (
            property(json!({})),
            format!(
                "{AT}.properties[x].type: Required value: must not be empty for specified object fields"
            ),
        ),
        (
            property(json!({"type": "array"})),
            format!("{AT}.properties[x].items: Required value: must be specified"),
        ),
        (
            property(json!({"type": "string", "pattern": "("})),
            format!(
                "{AT}.properties[x].pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: error parsing regexp: unclosed group: `(`"
            ),
        ),
        (
            property(json!({"type": "array", "uniqueItems": true, "items": {"type": "string"}})),
            format!(
                "{AT}.properties[x].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
            ),
        ),
        (
            property(json!({"type": "integer", "default": "x"})),
            format!(
                "{AT}.properties[x].default: Invalid value: \"string\": {AT}.properties[x].default in body must be of type integer: \"string\""
            ),
        ),
        (
            property(json!({"type": "object", "default": {"y": 1}})),
            format!(
                "{AT}.properties[x].default: Invalid value: {{\"y\":1}}: must not have unknown fields"
            ),
        ),
        (
            property(json!({"type": "object", "patternProperties": {"a": {"type": "string"}}})),
            format!(
                "{AT}.properties[x].patternProperties: Forbidden: patternProperties is not supported"
            ),
        ),
        (
            property(
                json!({"type": "array", "items": {"type": "object", "properties": {"k": {"type": "string"}}},
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}),
            ),
            format!(
                "{AT}.properties[x].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            ),
        ),
        (
            property(
                json!({"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "set"}),
            ),
            format!(
                "{AT}.properties[x].items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set"
            ),
        ),
        (
            property(
                json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "bag"}),
            ),
            format!(
                "{AT}.properties[x].x-kubernetes-list-type: Unsupported value: \"bag\": supported values: \"atomic\", \"set\", \"map\""
            ),
        ),
    ]);
    let mut none = definition();
    none["spec"]["versions"][0]["schema"] = Value::Null;
    assert_eq!(texts(&none), ["spec.versions[0].schema.openAPIV3Schema: Required value"]);
}

#[test]
fn rules_compile_and_are_not_too_expensive() {
    let rule = |rule: Value| {
        property(json!({"type": "object",
        "properties": {"a": {"type": "integer"}, "l": {"type": "array", "items": {"type": "string"}}},
        "x-kubernetes-validations": [rule]}))
    };
    let at = format!("{AT}.properties[x].x-kubernetes-validations[0]");
    let errors = texts(&rule(json!({"rule": "self.z == 100"})));
    assert_eq!(errors.len(), 1);
    assert!(errors[0].starts_with(&format!("{at}.rule: Invalid value: {{")), "{errors:?}");
    assert!(errors[0].contains("compilation failed: ERROR: <input>:1:5: undefined field 'z'"));
    assert!(texts(&rule(json!({"rule": "self = 42"})))[0].contains("Syntax error"));
    assert!(
        texts(&rule(json!({"rule": "self.a"})))[0]
            .ends_with("cel expression must evaluate to a bool")
    );
    let factor = "exceeds budget by factor of more than 100x (try simplifying the rule, or adding \
                  maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)";
    let nested = property(json!({"type": "array", "items": {"type": "array",
        "items": {"type": "string"},
        "x-kubernetes-validations": [{"rule": "self.all(s, s == 'string constant')"}]}}));
    let errors = texts(&nested);
    assert_eq!(
        errors[0],
        format!(
            "{AT}.properties[x].items.x-kubernetes-validations[0].rule: Forbidden: estimated rule cost {factor}"
        )
    );
    assert!(errors[1].contains("contributed to estimated rule cost total"), "{errors:?}");
    told(vec![
        (rule(json!({"rule": " "})), format!("{at}.rule: Required value: rule is not specified")),
        (
            rule(json!({"rule": "true", "message": "a\nb"})),
            format!("{at}.message: Invalid value: \"a\\nb\": must not contain line breaks"),
        ),
        (
            rule(json!({"rule": "true &&\ntrue"})),
            format!(
                "{at}.message: Required value: message must be specified if rule contains line breaks"
            ),
        ),
        (
            rule(json!({"rule": "true", "reason": "No"})),
            format!(
                "{at}.reason: Unsupported value: \"No\": supported values: \"FieldValueDuplicate\", \"FieldValueForbidden\", \"FieldValueInvalid\", \"FieldValueRequired\""
            ),
        ),
        (
            rule(json!({"rule": "true", "fieldPath": ".nope"})),
            format!("{at}.fieldPath: Invalid value: \".nope\": must be a valid path"),
        ),
        (
            rule(json!({"rule": "true", "optionalOldSelf": true})),
            format!(
                "{at}.optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"
            ),
        ),
    ]);
    let old = property(json!({"type": "array", "maxItems": 3, "items": {"type": "integer",
        "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}}));
    assert_eq!(
        texts(&old),
        [format!(
            "{AT}.properties[x].items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": \
         oldSelf cannot be used on the uncorrelatable portion of the schema within {AT}.properties[x]"
        )]
    );
}

#[test]
fn columns_scale_and_selectable_fields() {
    let version = |field: &str, value: Value| with(&format!("/spec/versions/0/{field}"), value);
    told(vec![
        (
            version("additionalPrinterColumns", json!([{"name": "a", "type": "any", "jsonPath": ".a"}])),
            "spec.additionalPrinterColumns[0].type: Invalid value: \"any\": must be one of boolean,date,integer,number,string".into(),
        ),
        (
            version("additionalPrinterColumns", json!([{"name": "a", "type": "string", "jsonPath": "a"}])),
            "spec.additionalPrinterColumns[0].JSONPath: Invalid value: \"a\": must be a simple json path starting with .".into(),
        ),
        (
            version("subresources", json!({"scale": {"specReplicasPath": ".status.a", "statusReplicasPath": ".status.a"}})),
            "spec.subresources.scale.specReplicasPath: Invalid value: \".status.a\": should be a json path under .spec".into(),
        ),
        (
            version("selectableFields", json!([{"jsonPath": ".spec.none"}])),
            "spec.selectableFields[0].jsonPath: Invalid value: \".spec.none\": is an invalid path: does not refer to a valid field".into(),
        ),
        (
            version("selectableFields", json!([{"jsonPath": ".spec"}])),
            "spec.selectableFields[0].jsonPath: Invalid value: \".spec\": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.".into(),
        ),
        (
            version("selectableFields", json!([{"jsonPath": ".spec.flag"}, {"jsonPath": ".spec.flag"}])),
            "spec.selectableFields[1].jsonPath: Duplicate value: \".spec.flag\"".into(),
        ),
        (
            version("deprecationWarning", json!("old")),
            "spec.versions[0].deprecationWarning: Invalid value: \"old\": can only be set for deprecated versions".into(),
        ),
    ]);
}

#[test]
fn conversion_and_versions() {
    let webhook = |webhook: Value| {
        with("/spec/conversion", json!({"strategy": "Webhook", "webhook": webhook}))
    };
    told(vec![
        (
            with("/spec/conversion", json!({"strategy": "Magic"})),
            "spec.conversion.strategy: Unsupported value: \"Magic\": supported values: \"None\", \"Webhook\"".into(),
        ),
        (
            webhook(json!({"conversionReviewVersions": ["v1"]})),
            "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook".into(),
        ),
        (
            webhook(json!({"conversionReviewVersions": ["v1"], "clientConfig": {}})),
            "spec.conversion.webhookClientConfig: Required value: exactly one of url or service is required".into(),
        ),
        (
            webhook(json!({"conversionReviewVersions": ["v2"], "clientConfig": {"url": "https://h/p"}})),
            "spec.conversion.conversionReviewVersions: Invalid value: [\"v2\"]: must include at least one of v1, v1beta1".into(),
        ),
    ]);
    let mut two = definition();
    let mut beta = two["spec"]["versions"][0].clone();
    beta["name"] = "v1beta1".into();
    beta["storage"] = false.into();
    beta["schema"]["openAPIV3Schema"]["type"] = "string".into();
    two["spec"]["versions"].as_array_mut().unwrap().push(beta);
    assert_eq!(
        texts(&two),
        [
            "spec.versions[1].schema.openAPIV3Schema.type: Invalid value: \"string\": must be object at the root",
        ],
        "schemas that differ are named one by one"
    );
}

#[test]
fn updates_keep_what_must_stay() {
    let mut old = definition();
    old["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
    let mut new = old.clone();
    new["spec"]["scope"] = "Cluster".into();
    let texts = |new: &Value, old: &Value| -> Vec<String> {
        validate_update(new, old).iter().map(ToString::to_string).collect()
    };
    assert_eq!(texts(&new, &old), ["spec.scope: Invalid value: \"Cluster\": field is immutable"]);
    assert_eq!(texts(&new, &definition()), [""; 0], "until the names are accepted");
    let mut new = old.clone();
    new["spec"]["versions"][0]["name"] = "v2".into();
    new["status"]["storedVersions"] = json!(["v1", "v2"]);
    assert_eq!(
        texts(&new, &old),
        ["status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions; v1 was \
         previously a storage version, and must remain in spec.versions until a storage migration \
         ensures no data remains persisted in v1 and removes v1 from status.storedVersions",]
    );
}
