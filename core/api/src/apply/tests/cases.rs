//! What several managers of one object do to each other.

use serde_json::{Value, json};

use super::World;
use crate::apply::{ApplyError, Set, field_path, is_reset};
use crate::status::ApiError;

#[test]
fn appliers_of_different_fields_share_an_object() {
    let mut world = World::new();
    world
        .apply("one", json!({"number": 1, "map": {"a": "1"}, "set": ["x"], "part": {"a": 1}}))
        .apply("two", json!({"text": "t", "map": {"b": "2"}, "set": ["y"], "part": {"b": 2}}));
    assert_eq!(
        world.body(),
        json!({"number": 1, "text": "t", "map": {"a": "1", "b": "2"}, "set": ["x", "y"],
            "part": {"a": 1, "b": 2}})
    );
    assert_eq!(world.fields("two", "Apply"), [".map.b", ".part.b", r#".set[="y"]"#, ".text"]);
    // The same value is nobody's to fight over: both have it then, and it goes with the last.
    world.apply("two", json!({"number": 1}));
    assert_eq!(
        world.body(),
        json!({"number": 1, "map": {"a": "1"}, "set": ["x"], "part": {"a": 1}})
    );
    world.apply("one", json!({}));
    assert_eq!(world.body(), json!({"number": 1}));
    world.apply("two", json!({}));
    assert_eq!(world.body(), json!({}));
}

#[test]
fn what_others_manage_is_a_conflict_unless_forced() {
    let mut world = World::new();
    world.apply("one", json!({"number": 1, "part": {"a": 1}, "bag": [1], "whole": {"k": "v"}}));
    let wanted = json!({"number": 2, "part": {"a": 1, "b": 3}, "bag": [1, 2], "whole": {}});
    assert_eq!(world.conflicts("two", wanted.clone()), [".bag", ".number", ".whole"]);
    assert_eq!(world.body()["number"], 1, "a conflict changes nothing");
    world.force("two", wanted);
    assert_eq!(world.fields("one", "Apply"), [".part.a"]);
    assert_eq!(world.conflicts("one", json!({"number": 1})), [".number"]);
    world.apply("one", json!({"number": 2}));
    assert_eq!(
        world.body(),
        json!({"number": 2, "part": {"a": 1, "b": 3}, "bag": [1, 2], "whole": {}})
    );
}

#[test]
fn what_is_applied_no_longer_goes() {
    let mut world = World::new();
    let list = |names: &[&str]| -> Value {
        names.iter().map(|name| json!({"name": name, "value": 1})).collect()
    };
    world.apply(
        "one",
        json!({"part": {"a": 1, "b": 1}, "list": list(&["a", "b"]), "set": ["x"],
        "map": {"k": "v"}, "free": {"deep": {"er": 1}}}),
    );
    world.apply("one", json!({"part": {"a": 1}, "list": list(&["b"])}));
    assert_eq!(world.body(), json!({"part": {"a": 1}, "list": list(&["b"])}));
    // What another one put into an element keeps the element.
    world.apply("two", json!({"list": [{"name": "b", "more": {"x": "y"}}]}));
    world.apply("one", json!({"part": {"a": 1}}));
    assert_eq!(
        world.body(),
        json!({"part": {"a": 1}, "list": [{"name": "b", "more": {"x": "y"}}]})
    );
}

#[test]
fn updates_take_what_they_change() {
    let mut world = World::new();
    world.apply("one", json!({"number": 1, "part": {"a": 1}, "set": ["x", "y"]}));
    world.update("two", json!({"number": 2, "part": {"a": 1}, "set": ["y", "z"], "text": "t"}));
    assert_eq!(world.fields("one", "Apply"), [".part.a", r#".set[="y"]"#]);
    assert_eq!(world.fields("two", "Update"), [".number", r#".set[="z"]"#, ".text"]);
    assert_eq!(world.conflicts("one", json!({"number": 1})), [".number"]);
    // Taken back by force; what one never had stays though one says nothing about it.
    world.force("one", json!({"number": 3}));
    assert_eq!(world.body(), json!({"number": 3, "set": ["z"], "text": "t"}));
    assert_eq!(world.fields("two", "Update"), [r#".set[="z"]"#, ".text"]);
    world.update("two", json!({"number": 3}));
    assert_eq!(world.entry("two", "Update"), None);
}

#[test]
fn lists_keep_an_order_that_both_can_live_with() {
    let list = |names: &str| -> Value { names.chars().map(|name| json!({"name": name})).collect() };
    let names = |body: &Value| -> String {
        body["list"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect()
    };
    // There, applied, result.
    let cases = [
        ("abc", "b", "abc"),
        ("abc", "cb", "acb"),
        ("abc", "xb", "axbc"),
        ("abc", "bx", "abcx"),
        ("abcd", "dxa", "bcdxa"),
        ("", "ab", "ab"),
        ("ab", "", "ab"),
        ("abc", "cba", "cba"),
    ];
    for (there, applied, result) in cases {
        let mut world = World::new();
        world.update("one", json!({"list": list(there)}));
        world.apply("two", json!({"list": list(applied)}));
        assert_eq!(names(&world.body()), result, "{there} + {applied}");
    }
}

#[test]
fn a_list_may_have_an_element_twice_until_somebody_applies_it() {
    let mut world = World::new();
    let twice = json!([{"name": "a", "value": 1}, {"name": "a", "value": 2}]);
    world.update("one", json!({"list": twice}));
    assert_eq!(world.fields("one", "Update"), [".list", r#".list[name="a",port=80]"#]);
    world.apply("two", json!({"number": 1}));
    assert_eq!(world.body()["list"], twice, "others leave it alone");
    let mine = json!({"list": [{"name": "a", "value": 3}]});
    assert_eq!(world.conflicts("two", mine.clone()), [r#".list[name="a",port=80]"#]);
    world.force("two", mine.clone());
    assert_eq!(world.body()["list"], mine["list"]);
    let error = world.try_apply("two", &json!({"list": twice}), true).unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to create typed patch object (/x; a.io/v1, Kind=Thing): \
         .list: duplicate entries for key [name=\"a\",port=80]"
    );
}

#[test]
fn nulls_and_empty_values_are_said_too() {
    let mut world = World::new();
    world.update("one", json!({"number": 1, "map": {"a": "b"}, "part": {"a": 1}}));
    world.force("two", json!({"number": null, "map": null, "part": {}, "set": []}));
    assert_eq!(
        world.body(),
        json!({"number": null, "map": {"a": "b"}, "part": {"a": 1}, "set": []})
    );
    assert_eq!(world.fields("two", "Apply"), [".map", ".number", ".part"]);
}

#[test]
fn the_message_names_managers_and_fields() {
    let mut world = World::new();
    world.update("kubectl-create", json!({"number": 1}));
    let told = |world: &mut World, part: Value| -> ApiError {
        world.try_apply("me", &part, false).unwrap_err().into()
    };
    let error = told(&mut world, json!({"number": 2}));
    assert_eq!(
        error.message,
        "Apply failed with 1 conflict: conflict with \"kubectl-create\" using a.io/v1: .number"
    );
    assert_eq!((error.code, error.reason.as_str()), (409, "Conflict"));
    world.subresource = "status";
    world.apply("other", json!({"part": {"a": 1, "b": 1}}));
    world.subresource = "";
    let error = told(&mut world, json!({"number": 2, "part": {"a": 2, "b": 2}}));
    assert_eq!(
        error.message,
        "Apply failed with 3 conflicts: conflicts with \"kubectl-create\" using a.io/v1:\n- .number\n\
         conflicts with \"other\" with subresource \"status\":\n- .part.a\n- .part.b"
    );
    let status = error.to_status();
    assert_eq!(
        status["details"]["causes"][1],
        json!({"reason": "FieldManagerConflict", "field": ".part.a",
            "message": "conflict with \"other\" with subresource \"status\""})
    );
}

#[test]
fn parts_that_make_no_sense_are_refused() {
    let mut world = World::new();
    let mut other = super::object(&json!({}));
    other["kind"] = "Other".into();
    let refused = |world: &mut World, part: &Value| {
        let error =
            world.track(|tracker, live| tracker.apply(live, part, "me", false)).unwrap_err();
        let error = ApiError::from(error);
        (error.code, error.message)
    };
    assert_eq!(
        refused(&mut world, &other),
        (400, "invalid object type: a.io/v1, Kind=Other".into())
    );
    let mut managed = super::object(&json!({}));
    managed["metadata"]["managedFields"] = json!([]);
    assert_eq!(refused(&mut world, &managed), (400, "metadata.managedFields must be nil".into()));
    world.object = json!({"metadata": {"managedFields": [{"operation": "Guess"}]}});
    assert_eq!(
        refused(&mut world, &super::object(&json!({}))),
        (500, "failed to decode managed fields: operation must be `Apply` or `Update`".into())
    );
    assert!(matches!(world.try_apply("me", &json!({}), false), Err(ApplyError::Managers(_))));
}

#[test]
fn times_move_only_with_changes() {
    let mut world = World::new();
    let time = |world: &World, manager: &str, operation: &str| {
        world.entry(manager, operation).map(|entry| entry["time"].clone())
    };
    world.apply("one", json!({"number": 1})).update("two", json!({"number": 1, "text": "a"}));
    let (one, two) = (time(&world, "one", "Apply"), time(&world, "two", "Update"));
    assert_eq!(one, Some("2026-01-01T00:01:00Z".into()));
    world.apply("one", json!({"number": 1})).update("two", json!({"number": 1, "text": "a"}));
    assert_eq!((time(&world, "one", "Apply"), time(&world, "two", "Update")), (one.clone(), two));
    world.update("two", json!({"number": 1, "text": "b"}));
    assert_eq!(time(&world, "one", "Apply"), one);
    assert_eq!(time(&world, "two", "Update"), Some("2026-01-01T00:05:00Z".into()));
}

#[test]
fn what_nobody_managed_is_taken_for_older_than_the_first_apply() {
    let mut world = World::new();
    world.object = super::object(&json!({"number": 1}));
    world.object["metadata"]["uid"] = "u".into();
    world.update("quiet", json!({"number": 1, "text": "t"}));
    assert_eq!(world.entries(), Vec::<Value>::new(), "nothing is tracked before");
    let wanted = json!({"number": 2});
    assert_eq!(world.conflicts("me", wanted.clone()), [".number"]);
    world.force("me", wanted);
    assert_eq!(world.fields("before-first-apply", "Update"), [".text"]);
}

#[test]
fn clients_may_set_managed_fields_or_forget_them() {
    let mut world = World::new();
    world.apply("one", json!({"number": 1}));
    let mut new = world.object.clone();
    new["metadata"]["managedFields"][0]["manager"] = "renamed".into();
    world.write("two", new);
    assert_eq!(world.fields("renamed", "Apply"), [".number"]);
    assert_eq!(world.entry("two", "Update"), None);
    // What makes no sense is as if it was not sent.
    for bad in [
        json!([{"manager": "x"}]),
        json!(null),
        json!([{"operation": "Update",
        "apiVersion": "v1", "fieldsType": "FieldsV2"}]),
    ] {
        let mut new = world.object.clone();
        new["metadata"]["managedFields"] = bad;
        world.write("two", new);
        assert_eq!(world.fields("renamed", "Apply"), [".number"]);
    }
    for reset in [json!([]), json!([{}])] {
        let mut other = World::new();
        let mut new = other.apply("one", json!({"number": 1})).object.clone();
        new["metadata"]["managedFields"] = reset;
        assert!(is_reset(&new));
        assert_eq!(other.write("two", new).entries(), Vec::<Value>::new());
    }
}

#[test]
fn subresources_write_under_their_own_name_and_cannot_set_managers() {
    let mut world = World::new();
    world.apply("one", json!({"number": 1}));
    world.subresource = "status";
    let mut new = world.object.clone();
    new["metadata"]["managedFields"] = json!([]);
    new["text"] = "t".into();
    world.write("one", new);
    assert_eq!(world.fields("one", "Apply"), [".number"]);
    assert_eq!(world.entry("one", "Update").unwrap()["subresource"], "status");
}

#[test]
fn what_the_server_resets_is_nobodys() {
    let mut world = World::new();
    world.reset = Set::of([&field_path(&["part"])]);
    world.apply("one", json!({"number": 1, "part": {"a": 1}}));
    assert_eq!(world.fields("one", "Apply"), [".number"]);
    world.update("two", json!({"number": 1, "part": {"a": 2}, "text": "t"}));
    assert_eq!(world.fields("two", "Update"), [".text"]);
}

#[test]
fn the_oldest_updates_become_one() {
    let mut world = World::new();
    let mut body = json!({"map": {}});
    for at in 0..12 {
        body["map"][format!("k{at}")] = "v".into();
        world.update(&format!("manager-{at}"), body.clone());
    }
    let updaters = world.entries();
    assert_eq!(updaters.len(), 10);
    assert_eq!(
        world.fields("ancient-changes", "Update"),
        [".map", ".map.k0", ".map.k1", ".map.k2"]
    );
    let ancient = world.entry("ancient-changes", "Update").unwrap();
    assert_eq!(ancient["time"], "2026-01-01T00:03:00Z");
}

#[test]
fn client_side_apply_becomes_server_side_apply() {
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    let mut world = World::new();
    let applied = super::object(&json!({"number": 1, "text": "t"})).to_string();
    world.update(
        "kubectl-client-side-apply",
        json!({"metadata": {"annotations": {annotation: applied}}, "number": 1, "text": "t"}),
    );
    let wanted = json!({"number": 2, "text": "t"});
    // Other managers are no heirs of it, and what somebody changed since is in the way.
    assert_eq!(world.conflicts("helm", wanted.clone()), [".number"]);
    let mut later = World::new();
    later.object = world.object.clone();
    let mut scaled = later.object.clone();
    scaled["number"] = 5.into();
    later.write("kubectl-scale", scaled);
    assert_eq!(later.conflicts("kubectl", wanted.clone()), [".number"]);

    world.apply("kubectl", wanted.clone());
    assert_eq!(world.body(), wanted);
    let kept = world.object["metadata"]["annotations"][annotation].as_str().unwrap();
    let kept: Value = serde_json::from_str(kept).unwrap();
    assert_eq!(kept, super::object(&wanted), "client-side apply may come back");
}

#[test]
fn types_that_change_their_minds() {
    let granular = super::schema();
    let mut atomic = granular.clone();
    atomic["properties"]["part"]["x-kubernetes-map-type"] = "atomic".into();
    atomic["properties"]["list"]["x-kubernetes-list-type"] = "atomic".into();
    let mut world = World::of(&granular);
    world.apply("one", json!({"part": {"a": 1}, "list": [{"name": "x"}], "number": 1}));
    world.kind = super::ObjectType::custom(&atomic);
    world.update("two", json!({"part": {"a": 1}, "list": [{"name": "x"}], "number": 2}));
    assert_eq!(world.fields("one", "Apply"), [".list", ".part"]);
    assert_eq!(world.conflicts("two", json!({"part": {"a": 1, "b": 2}})), [".part"]);
}

#[test]
fn whoever_wrote_a_version_that_is_no_more_is_forgotten() {
    let mut world = World::new();
    world.apply("one", json!({"number": 1}));
    world.object["metadata"]["managedFields"][0]["apiVersion"] = "a.io/v0".into();
    world.apply("two", json!({"number": 2}));
    assert_eq!(world.entry("one", "Apply"), None);
    assert_eq!(world.fields("two", "Apply"), [".number"]);
}
