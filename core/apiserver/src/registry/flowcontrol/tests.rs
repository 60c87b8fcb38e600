//! Both kinds, and what every server has of them.

use jiff::Timestamp;
use serde_json::json;

use super::bootstrap::{levels, reconciled, schemas};
use super::flowschema::FlowSchemas;
use super::prioritylevel::PriorityLevels;
use crate::generic::strategy::Strategy;
use crate::registry::check::{refuses, texts};

use super::*;

#[test]
fn what_every_server_has_is_valid_as_it_is() {
    for (strategy, objects) in
        [(&FlowSchemas as &dyn Strategy, schemas()), (&PriorityLevels, levels())]
    {
        for obj in objects {
            let mut defaulted = obj.clone();
            strategy.default(&mut defaulted);
            assert_eq!(defaulted, obj);
            assert_eq!(texts(&strategy.validate_create(&obj)), [""; 0], "{obj}");
        }
    }
}

#[test]
fn mandatory_ones_stay_and_others_may_go_their_way() {
    let changed = |objects: Vec<Value>, name: &str, pointer: &str| {
        let obj = objects.into_iter().find(|obj| obj["metadata"]["name"] == name).unwrap();
        let mut live = obj.clone();
        *live.pointer_mut(pointer).unwrap() = 7.into();
        (live, obj)
    };
    let (live, wanted) = changed(levels(), "catch-all", "/spec/limited/nominalConcurrencyShares");
    let errors = texts(&PriorityLevels.validate_create(&live));
    assert!(errors[0].ends_with("spec of 'catch-all' must equal the fixed value"), "{errors:?}");
    assert_eq!(reconciled(&live, &wanted), Some(wanted));
    let (mut live, wanted) = changed(schemas(), "probes", "/spec/matchingPrecedence");
    assert_eq!(reconciled(&live, &wanted), Some(wanted.clone()));
    live["metadata"]["annotations"] = json!({});
    assert_eq!(reconciled(&live, &wanted), None);
}

fn schema(more: Value) -> Value {
    let mut spec = json!({"priorityLevelConfiguration": {"name": "l"}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut obj = json!({"metadata": {"name": "s"}, "spec": spec});
    FlowSchemas.default(&mut obj);
    obj
}

#[test]
fn mistakes_in_schemas_are_named() {
    let rule = |subject: Value, rule: Value| {
        schema(json!({"rules": [{"subjects": [subject], "resourceRules": [rule]}]}))
    };
    let user = json!({"kind": "User", "user": {"name": "ann"}});
    let good = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
        "clusterScope": true});
    let with = |field: &str, value: Value| {
        let mut bad = good.clone();
        bad[field] = value;
        rule(user.clone(), bad)
    };
    refuses(
        &FlowSchemas,
        [
            (
                schema(json!({"matchingPrecedence": 1})),
                "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may \
                 have matchingPrecedence 1",
            ),
            (
                schema(json!({"priorityLevelConfiguration": {}})),
                "spec.priorityLevelConfiguration.name: Required value: must reference a priority \
                 level",
            ),
            (
                rule(json!({"kind": "Robot"}), good.clone()),
                "spec.rules[0].subjects[0].kind: Unsupported value: \"Robot\": supported values: \
                 \"Group\", \"ServiceAccount\", \"User\"",
            ),
            (
                rule(
                    json!({"kind": "User", "group": {"name": "g"}, "user": {"name": "u"}}),
                    good.clone(),
                ),
                "spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind \
                 is not 'Group'",
            ),
            (
                with("verbs", json!(["*", "get"])),
                "spec.rules[0].resourceRules[0].verbs: Invalid value: [\"*\",\"get\"]: if '*' is \
                 present, must not specify other verbs",
            ),
            (
                with("clusterScope", json!(false)),
                "spec.rules[0].resourceRules[0].namespaces: Required value: resource rules that \
                 are not cluster scoped must supply at least one namespace",
            ),
        ],
    );
}

#[test]
fn mistakes_in_levels_are_named() {
    let level = |limited: Value| {
        let mut obj = json!({"metadata": {"name": "l"},
            "spec": {"type": "Limited", "limited": limited}});
        PriorityLevels.default(&mut obj);
        obj
    };
    let queuing =
        |queuing: Value| level(json!({"limitResponse": {"type": "Queue", "queuing": queuing}}));
    refuses(
        &PriorityLevels,
        [
            (
                level(json!({"limitResponse": {"type": "Queue"}})),
                "spec.limited.limitResponse.queuing: Required value: must not be empty if \
                 limited.limitResponse.type is Limited",
            ),
            (
                queuing(json!({"queues": 4})),
                "spec.limited.limitResponse.queuing.handSize: Invalid value: 8: should not be \
                 greater than queues (4)",
            ),
            (
                queuing(json!({"queues": 1024})),
                "spec.limited.limitResponse.queuing.handSize: Invalid value: 8: required entropy \
                 bits of deckSize 1024 and handSize 8 should not be greater than 60",
            ),
            (
                json!({"metadata": {"name": "l"}, "spec": {"type": "Limited"}}),
                "spec.limited: Required value: must not be empty when type is Limited",
            ),
        ],
    );
    let row = PriorityLevels.row(&queuing(json!({})), Timestamp::now());
    assert_eq!(json!(row[..6]), json!(["l", "Limited", 30, 64, 8, 50]));
}
