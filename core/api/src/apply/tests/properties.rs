//! What holds for all parts of objects and all sets.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{World, paths, schema};
use crate::apply::{ObjectType, Set, compare, field_set, from_fields_v1, merge, to_fields_v1};

/// Parts of a thing out of few names and values, so that they meet often.
fn part() -> impl Strategy<Value = Value> {
    part_of(vec!["a", "b", "c"])
}

fn part_of(names: Vec<&'static str>) -> impl Strategy<Value = Value> {
    let name = proptest::sample::select(names);
    let number = 0..3_i64;
    let text = proptest::sample::select(vec!["x", "y"]);
    let map = prop::collection::btree_map(name.clone(), text.clone(), 0..3);
    // Nobody manages an empty list, so none is applied here.
    let set = prop::collection::btree_set(name.clone(), 1..3);
    let element = (number.clone(), prop::option::of(map.clone()));
    let list = prop::collection::btree_map(name, element, 1..3);
    let fields = (
        prop::option::of(number.clone()),
        prop::option::of(prop::collection::btree_map("[ab]", number.clone(), 0..2)),
        prop::option::of(map.clone()),
        prop::option::of(map),
        prop::option::of(set),
        prop::option::of(list),
        prop::option::of(prop::collection::vec(number, 0..3)),
    );
    fields.prop_map(|(number, part, map, whole, set, list, bag)| {
        let mut out = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                out.insert(name.into(), value);
            }
        };
        put("number", number.map(Value::from));
        put("part", part.map(|part| json!(part)));
        put("map", map.map(|map| json!(map)));
        put("whole", whole.map(|map| json!(map)));
        put("set", set.map(|set| json!(set)));
        put("bag", bag.map(Value::from));
        let list = list.map(|list| {
            let items = list.into_iter().map(|(name, (value, more))| match more {
                Some(more) => json!({"name": name, "value": value, "more": more}),
                None => json!({"name": name, "value": value}),
            });
            items.collect::<Value>()
        });
        put("list", list);
        Value::Object(out)
    })
}

/// What no two managers can have apart is left to one of them.
fn without_wholes(mut part: Value) -> Value {
    for field in ["number", "part", "whole", "bag"] {
        part.as_object_mut().unwrap().remove(field);
    }
    part
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sets_survive_the_wire(value in part()) {
        let kind = ObjectType::custom(&schema());
        let set = field_set(kind.get(), &value);
        prop_assert_eq!(from_fields_v1(&to_fields_v1(&set)).unwrap(), set);
    }

    #[test]
    fn sets_are_sets_of_paths(a in part(), b in part()) {
        let kind = ObjectType::custom(&schema());
        let (a, b) = (field_set(kind.get(), &a), field_set(kind.get(), &b));
        let all = |set: &Set| paths(set).into_iter().collect::<BTreeSet<_>>();
        let (left, right) = (all(&a), all(&b));
        prop_assert_eq!(all(&a.union(&b)), &left | &right);
        prop_assert_eq!(all(&a.intersection(&b)), &left & &right);
        prop_assert_eq!(all(&a.difference(&b)), &left - &right);
        prop_assert_eq!(a.union(&b), b.union(&a));
        prop_assert!(a.leaves().difference(&a).is_empty());
    }

    #[test]
    fn merging_keeps_the_part_and_loses_nothing(whole in part(), part in part()) {
        let kind = ObjectType::custom(&schema());
        let merged = merge(kind.get(), &whole, &part).unwrap();
        let changes = compare(kind.get(), &part, &merged).unwrap();
        prop_assert!(changes.removed.is_empty() && changes.modified.is_empty(), "{:?}", changes);
        let changes = compare(kind.get(), &whole, &merged).unwrap();
        prop_assert!(changes.removed.is_empty(), "{:?}", changes);
        prop_assert_eq!(merge(kind.get(), &merged, &part).unwrap(), merged);
    }

    #[test]
    fn applying_twice_is_applying_once(there in part(), part in part()) {
        let mut world = World::new();
        world.update("other", there).force("me", part.clone());
        let once = world.object.clone();
        world.apply("me", part);
        prop_assert_eq!(&world.object, &once);
    }

    #[test]
    fn what_one_applied_no_longer_is_gone(first in part(), second in part()) {
        let mut world = World::new();
        world.apply("me", first).apply("me", second.clone());
        let kind = ObjectType::custom(&schema());
        let changes = compare(kind.get(), &second, &world.body()).unwrap();
        prop_assert!(changes.is_empty(), "{:?} in {}", changes, world.body());
        world.apply("me", json!({}));
        prop_assert_eq!(world.body(), json!({}));
    }

    #[test]
    fn who_applies_other_fields_is_never_in_the_way(
        mine in part_of(vec!["a", "b"]), theirs in part_of(vec!["y", "z"]), again in part_of(vec!["a"])
    ) {
        let theirs = without_wholes(theirs);
        let mut world = World::new();
        world.apply("me", mine).apply("you", theirs.clone()).apply("me", again);
        let kind = ObjectType::custom(&schema());
        let changes = compare(kind.get(), &theirs, &world.body()).unwrap();
        prop_assert!(changes.removed.is_empty() && changes.modified.is_empty(), "{:?}", changes);
    }

    #[test]
    fn the_quick_way_leads_to_the_same(
        first in part(), parts in prop::collection::vec(part(), 1..4)
    ) {
        let mut world = World::new();
        world.apply("one", first);
        for (at, part) in parts.into_iter().enumerate() {
            let mut new = super::object(&part);
            new["metadata"]["uid"] = "u".into();
            new["metadata"]["managedFields"] = world.entries().into();
            // Whoever sends managed fields that differ is read in full.
            let mut sent = new.clone();
            for entry in sent["metadata"]["managedFields"].as_array_mut().into_iter().flatten() {
                entry["odd"] = "yes".into();
            }
            let name = ["one", "two"][at % 2];
            let (object, minute) = (world.object.clone(), world.minute);
            let mut other = World { object, minute, ..World::new() };
            other.write(name, sent);
            world.write(name, new);
            prop_assert_eq!(&world.object, &other.object);
        }
    }

    #[test]
    fn a_forced_apply_has_its_way(there in part(), part in part()) {
        let mut world = World::new();
        world.apply("other", there).force("me", part.clone());
        let kind = ObjectType::custom(&schema());
        let changes = compare(kind.get(), &part, &world.body()).unwrap();
        prop_assert!(changes.removed.is_empty() && changes.modified.is_empty(), "{:?}", changes);
        let wanted = field_set(kind.get(), &part);
        let entry = world.entry("me", "Apply");
        let mine = entry.map(|entry| from_fields_v1(&entry["fieldsV1"]).unwrap());
        prop_assert_eq!(mine.unwrap_or_default(), wanted);
    }
}
