//! Rules that every line of the table keeps.

use std::collections::HashSet;

use hansa_api::gvk::GroupVersionKind;
use hansa_api::schema::builtin;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;

fn served() -> Vec<Served> {
    let service_range = AddressRange::parse("10.96.0.0/16").unwrap();
    table(&Settings { service_range, node_ports: NODE_PORTS })
}

fn kind(served: &Served) -> GroupVersionKind {
    let resource = &served.resource;
    GroupVersionKind::new(&*resource.group, &*resource.version, &*resource.kind)
}

#[test]
fn every_kind_has_a_schema_and_a_path_of_its_own() {
    let mut seen = HashSet::new();
    for served in served() {
        assert!(builtin().type_of(&kind(&served)).is_some(), "{}", kind(&served));
        let resource = &served.resource;
        assert!(
            seen.insert((resource.api_version(), resource.plural.clone())),
            "{}",
            resource.plural
        );
        assert!(resource.verbs.is_sorted(), "{}", resource.plural);
    }
}

#[test]
fn rows_fit_their_columns_and_defaults_settle_even_for_empty_objects() {
    for served in served() {
        let name = kind(&served).to_string();
        let mut obj = json!({"metadata": {"name": "a", "namespace": "b"}});
        served.strategy.default(&mut obj);
        let row = served.strategy.row(&obj, Timestamp::now());
        assert_eq!(row.len(), served.strategy.columns().len(), "{name}");
        let once = obj.clone();
        served.strategy.default(&mut obj);
        assert_eq!(obj, once, "{name}: defaults must settle");
        served.strategy.validate_create(&obj);
        served.strategy.validate_update(&obj, &json!({}));
    }
}

#[test]
fn what_defaults_add_is_known_to_the_schema() {
    for served in served() {
        let kind = kind(&served);
        let mut obj = json!({"metadata": {"name": "a"}});
        served.strategy.default(&mut obj);
        let id = builtin().type_of(&kind).unwrap();
        let unknown = hansa_api::schema::decode::conform(builtin(), id, &mut obj).unwrap();
        assert_eq!(unknown, Vec::<String>::new(), "{kind}");
    }
}

#[test]
fn selectable_fields_have_values() {
    for served in served() {
        for field in served.strategy.selectable_fields() {
            let value = served.strategy.field_value(&Value::Null, &field);
            assert!(!value.contains(' '), "{field}");
        }
    }
}
