//! Rules of a schema, what breaks them, and what an update may keep.

use serde_json::{Value, json};

use super::RuleTree;

fn schema() -> Value {
    json!({"type": "object",
        "x-kubernetes-validations": [
            {"rule": "self.metadata.name.startsWith('a')", "message": "must start with a"}],
        "properties": {"spec": {"type": "object",
            "x-kubernetes-validations": [
                {"rule": "self.min <= self.max", "fieldPath": ".max", "reason": "FieldValueForbidden",
                 "messageExpression": "'max must be at least ' + string(self.min)"}],
            "properties": {
                "min": {"type": "integer"}, "max": {"type": "integer"},
                "fixed": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]},
                "once": {"type": "string", "x-kubernetes-validations": [
                    {"rule": "!oldSelf.hasValue() || oldSelf.value() == self", "optionalOldSelf": true}]},
                "short": {"type": "string", "x-kubernetes-validations": [{"rule": "size(self) < 4"}]},
                "list": {"type": "array", "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["k"],
                    "items": {"type": "object", "properties": {
                        "k": {"type": "string"},
                        "v": {"type": "integer", "x-kubernetes-validations": [
                            {"rule": "self >= oldSelf"}, {"rule": "self < 100"}]}}}},
                "big": {"type": "array", "items": {"type": "integer"}, "x-kubernetes-validations": [
                    {"rule": "self.all(x, self.all(y, x == y))"}]},
                "port": {"x-kubernetes-int-or-string": true, "x-kubernetes-validations": [
                    {"rule": "self > 0"}]}}}}})
}

fn object(spec: Value) -> Value {
    json!({"apiVersion": "a.io/v1", "kind": "A", "metadata": {"name": "a"}, "spec": spec})
}

fn broken(spec: Value, old: Option<Value>) -> Vec<String> {
    let tree = RuleTree::of_resource(&schema()).unwrap();
    let old = old.map(object);
    tree.validate(&object(spec), old.as_ref()).iter().map(ToString::to_string).collect()
}

#[test]
fn what_breaks_a_rule_is_told_in_upstreams_words() {
    let max = "spec.max: Forbidden: max must be at least 5";
    let port = "spec.port: Invalid value: \"\": 'no such overload': call arguments did not match \
                a supported operator, function or macro signature for rule: self > 0";
    let cases = [
        (json!({"min": 1, "max": 2}), vec![]),
        (json!({"min": 5, "max": 2}), vec![max]),
        (
            json!({"min": 1}),
            vec![
                "spec: Invalid value: \"object\": no such key: max evaluating rule: self.min <= self.max",
            ],
        ),
        (
            json!({"min": 1, "max": 1, "short": "long one"}),
            vec!["spec.short: Invalid value: \"long one\": failed rule: size(self) < 4"],
        ),
        (json!({"min": 1, "max": 1, "port": "http"}), vec![port]),
    ];
    for (spec, expected) in cases {
        assert_eq!(broken(spec.clone(), None), expected, "{spec}");
    }
    let tree = RuleTree::of_resource(&schema()).unwrap();
    let named = json!({"apiVersion": "a.io/v1", "kind": "A", "metadata": {"name": "b"}});
    let errors = tree.validate(&named, None);
    assert_eq!(errors[0].to_string(), "<nil>: Invalid value: must start with a");
}

#[test]
fn transition_rules_see_what_was() {
    let spec = |fixed: &str, once: Option<&str>| {
        let mut spec = json!({"min": 1, "max": 1, "fixed": fixed});
        if let Some(once) = once {
            spec["once"] = once.into();
        }
        spec
    };
    assert_eq!(broken(spec("a", Some("x")), None), [""; 0], "creation passes");
    let changed = broken(spec("b", Some("y")), Some(spec("a", Some("x"))));
    assert_eq!(changed.len(), 2, "{changed:?}");
    assert_eq!(changed[0], "spec.fixed: Invalid value: \"b\": failed rule: self == oldSelf");
    assert_eq!(broken(spec("a", Some("x")), Some(spec("a", None))), [""; 0]);
}

#[test]
fn elements_of_map_lists_are_compared_by_their_keys() {
    let spec = |list: Value| json!({"min": 1, "max": 1, "list": list});
    let old = spec(json!([{"k": "a", "v": 5}, {"k": "b", "v": 7}]));
    let moved = spec(json!([{"k": "b", "v": 7}, {"k": "a", "v": 5}, {"k": "c", "v": 1}]));
    assert_eq!(broken(moved, Some(old.clone())), [""; 0]);
    let lower = spec(json!([{"k": "b", "v": 6}]));
    assert_eq!(
        broken(lower, Some(old)),
        ["spec.list[0].v: Invalid value: 6: failed rule: self >= oldSelf",]
    );
}

#[test]
fn what_was_wrong_before_may_stay_as_it_is() {
    let bad = json!({"min": 5, "max": 2, "short": "too long", "list": [{"k": "a", "v": 200}]});
    assert_eq!(broken(bad.clone(), Some(bad.clone())), [""; 0]);
    let mut other = bad.clone();
    other["list"] = json!([{"k": "z", "v": 1}, {"k": "a", "v": 200}]);
    assert_eq!(
        broken(other.clone(), Some(bad.clone())),
        ["spec.max: Forbidden: max must be at least 5",],
        "spec itself changed, the element that moved did not"
    );
    other["short"] = "still too long".into();
    assert_eq!(broken(other, Some(bad)).len(), 2);
}

#[test]
fn a_rule_that_costs_too_much_stops_everything() {
    let numbers = vec![20; 725];
    let errors = broken(json!({"min": 1, "max": 1, "big": numbers}), None);
    assert_eq!(
        errors,
        [
            "spec.big: Invalid value: \"array\": 'operation cancelled: actual cost limit exceeded': no \
         further validation rules will be run due to call cost exceeds limit for rule: \
         self.all(x, self.all(y, x == y))",
        ]
    );
}
