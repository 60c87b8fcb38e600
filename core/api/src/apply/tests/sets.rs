//! Sets of fields, their wire form, and what values mention.

use serde_json::{Value, json};

use super::{paths, schema};
use crate::apply::{
    ObjectType, PathElement, Set, field_path, field_set, from_fields_v1, to_fields_v1, validate,
};

fn set(fields: Value) -> Set {
    from_fields_v1(&fields).unwrap_or_else(|error| panic!("{fields}: {error}"))
}

#[test]
fn fields_are_read_and_written() {
    let fields = json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}},
            "f:finalizers": {"v:\"a/b\"": {}, "v:3": {}}, "f:rest": {"i:7": {}}}});
    let read = set(fields.clone());
    assert_eq!(to_fields_v1(&read), fields);
    assert_eq!(
        paths(&read),
        [
            r#".metadata.labels"#,
            r#".metadata.labels.app"#,
            r#".spec.finalizers[="a/b"]"#,
            r#".spec.finalizers[=3]"#,
            r#".spec.ports[port=80,protocol="TCP"]"#,
            r#".spec.ports[port=80,protocol="TCP"].port"#,
            r#".spec.rest[7]"#,
        ]
    );
    // What a later release may write is left out, not refused.
    assert_eq!(set(json!({"f:a": {}, "x:b": {}})), set(json!({"f:a": {}})));
    let escaped = to_fields_v1(&Set::of([&vec![PathElement::Value("a<b&c".into())]]));
    assert_eq!(escaped, json!({"v:\"a\\u003cb\\u0026c\"": {}}));
}

#[test]
fn malformed_fields_are_refused() {
    for bad in [
        json!({"f": {}}),
        json!({"fx:a": {}}),
        json!({"k:[1]": {}}),
        json!({"v:nonsense": {}}),
        json!({"i:x": {}}),
        json!({"f:a": 3}),
        json!([]),
    ] {
        assert!(from_fields_v1(&bad).is_err(), "{bad}");
    }
}

#[test]
fn sets_are_combined() {
    let a = set(json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:d": {}}));
    let b = set(json!({"f:a": {"f:b": {}}, "f:d": {"f:e": {}}, "f:z": {}}));
    let cases = [
        (a.union(&b), vec![".a", ".a.b", ".a.c", ".d", ".d.e", ".z"]),
        (a.intersection(&b), vec![".a.b"]),
        (a.difference(&b), vec![".a", ".a.c", ".d"]),
        (b.difference(&a), vec![".d.e", ".z"]),
        (b.recursive_difference(&a), vec![".z"]),
        (a.leaves(), vec![".a.b", ".a.c", ".d"]),
    ];
    for (set, expected) in cases {
        assert_eq!(paths(&set), expected);
        assert_eq!(set.len(), expected.len());
    }
    assert!(a.difference(&a).is_empty() && !a.is_empty());
    assert!(a.contains(&field_path(&["a", "b"])) && !a.contains(&field_path(&["a", "z"])));
    assert_eq!(a.child(&PathElement::Field("a".into())).map(Set::len), Some(2));
}

#[test]
fn values_mention_their_leaves_and_elements() {
    let kind = ObjectType::custom(&schema());
    let cases = [
        (json!({"text": "a", "number": 1}), vec![".number", ".text"]),
        (json!({"part": {"a": 1}}), vec![".part.a"]),
        (json!({"part": {}}), vec![".part"]),
        (json!({"whole": {"a": "b"}}), vec![".whole"]),
        (json!({"map": {"a": "b"}}), vec![".map.a"]),
        (json!({"set": ["a", "b"]}), vec![r#".set[="a"]"#, r#".set[="b"]"#]),
        (json!({"bag": [1, 2]}), vec![".bag"]),
        (
            json!({"list": [{"name": "a", "value": 1}]}),
            vec![
                r#".list[name="a",port=80]"#,
                r#".list[name="a",port=80].name"#,
                r#".list[name="a",port=80].value"#,
            ],
        ),
        (
            json!({"free": {"a": {"b": [1, {"c": 2}]}, "d": null}}),
            vec![".free.a", ".free.a.b", ".free.d"],
        ),
        // Twice the same element: nobody can have a part of either.
        (
            json!({"list": [{"name": "a", "value": 1}, {"name": "a", "value": 2}]}),
            vec![r#".list[name="a",port=80]"#],
        ),
    ];
    for (value, expected) in cases {
        assert_eq!(paths(&field_set(kind.get(), &value)), expected, "{value}");
    }
}

#[test]
fn what_does_not_fit_is_told() {
    let kind = ObjectType::custom(&schema());
    let cases = [
        (json!({"other": 1}), ".other: field not declared in schema"),
        (json!({"text": 3}), ".text: expected string, got &value.valueUnstructured{Value:3}"),
        (json!({"number": "a"}), ".number: expected numeric (int or float), got string"),
        (json!({"flag": "a"}), ".flag: expected boolean, got &{a}"),
        (json!({"part": [1, "x"]}), ".part: expected map, got &{[1 x]}"),
        (json!({"set": {"a": 1}}), ".set: expected list, got &{map[a:1]}"),
        (json!({"set": ["a", "a"]}), r#".set: duplicate entries for key [="a"]"#),
        (
            json!({"list": [{"name": "a", "port": 1}, {"name": "a", "port": 1}]}),
            r#".list: duplicate entries for key [name="a",port=1]"#,
        ),
        (
            json!({"set": [null]}),
            ".set: element 0: associative list without keys has an element that's an explicit null",
        ),
        (
            json!({"part": {"a": true}, "text": []}),
            "errors:\n  .part.a: expected numeric (int or float), got bool\n  \
             .text: expected string, got &value.valueUnstructured{Value:[]interface {}{}}",
        ),
    ];
    for (value, expected) in cases {
        let error = validate(kind.get(), &value).unwrap_err();
        assert_eq!(error.to_string(), expected, "{value}");
    }
    let fits = json!({"text": null, "set": null, "free": {"x": [1, "a", {}]}, "bag": []});
    assert_eq!(validate(kind.get(), &fits), Ok(()));
}
