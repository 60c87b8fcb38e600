//! PriorityLevelConfigurations: how much room a level has, and who waits where.

use hansa_api::field::{FieldError, child};
use hansa_api::meta::{self, Fields, at, default_field, fields_mut, int_at, str_at};
use jiff::Timestamp;
use serde_json::Value;

use super::{GROUP, bootstrap, conditions};
use crate::generic::resource::Resource;
use crate::generic::strategy::{Column, Strategy};
use crate::registry::cells;
use crate::registry::check::Check;
use crate::registry::pod::defaults::within;

const EXEMPT: &str = "exempt";
const MAX_QUEUES: i64 = 10_000_000;
/// How many bits of a hash shuffle sharding has.
const HASH_BITS: i64 = 60;
const OLD_ZERO: &str = "flowcontrol.k8s.io/preserve-zero-concurrency-shares";

pub(in crate::registry) fn resource() -> Resource {
    Resource::new(GROUP, "v1", "PriorityLevelConfiguration", "prioritylevelconfigurations").status()
}

/// The strategy of PriorityLevelConfigurations.
pub(in crate::registry) struct PriorityLevels;

impl Strategy for PriorityLevels {
    fn default(&self, obj: &mut Value) {
        let spec = fields_mut(obj, &["spec"]);
        within(spec, "exempt", |exempt| {
            default_field(exempt, "nominalConcurrencyShares", 0);
            default_field(exempt, "lendablePercent", 0);
        });
        within(spec, "limited", |limited| {
            default_field(limited, "nominalConcurrencyShares", 30);
            default_field(limited, "lendablePercent", 0);
            within(limited, "limitResponse", |response| within(response, "queuing", queuing));
        });
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            if meta::annotation(obj, OLD_ZERO).is_some() {
                let why = format!("annotation '{OLD_ZERO}' is forbidden");
                check.forbidden("metadata.annotations", &why);
            }
            validate(check, meta::name(obj), &obj["spec"]);
            fixed(check, obj);
            conditions(check, obj);
        })
    }

    fn validate_status_update(&self, obj: &Value, _: &Value) -> Vec<FieldError> {
        Check::run(|check| conditions(check, obj))
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Type", "Limited, or exempt from limits."),
            Column::new("NominalConcurrencyShares", "Its share of the server."),
            Column::new("Queues", "How many queues it has."),
            Column::new("HandSize", "From how many of them a flow picks."),
            Column::new("QueueLengthLimit", "How many wait in each."),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let limited = &obj["spec"]["limited"];
        let number = |object: &Value, field| match int_at(object, &[field]) {
            Some(number) => number.into(),
            None => Value::from(cells::NONE),
        };
        let queuing = &limited["limitResponse"]["queuing"];
        vec![
            cells::name(obj),
            str_at(obj, &["spec", "type"]).into(),
            number(limited, "nominalConcurrencyShares"),
            number(queuing, "queues"),
            number(queuing, "handSize"),
            number(queuing, "queueLengthLimit"),
            cells::age(obj, now),
        ]
    }

    fn status_may_change_metadata(&self) -> bool {
        false
    }
}

fn queuing(queuing: &mut Fields) {
    for (field, value) in [("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)] {
        if queuing.get(field).and_then(Value::as_i64) == Some(0) {
            queuing.remove(field);
        }
        default_field(queuing, field, value);
    }
}

/// The levels that every server must have are what they are.
fn fixed(check: &mut Check, obj: &Value) {
    let name = meta::name(obj);
    let Some(fixed) = bootstrap::mandatory_level(name) else { return };
    let (mut own, mut spec) = (obj["spec"].clone(), fixed["spec"].clone());
    let except = if name == EXEMPT { " except the 'spec.exempt' field" } else { "" };
    if name == EXEMPT {
        for spec in [&mut own, &mut spec] {
            spec.as_object_mut().and_then(|fields| fields.remove("exempt"));
        }
    }
    if own != spec {
        let why = format!("spec of '{name}'{except} must equal the fixed value");
        check.invalid("spec", obj["spec"].clone(), &why);
    }
}

fn validate(check: &mut Check, name: &str, spec: &Value) {
    let kind = str_at(spec, &["type"]);
    if (name == EXEMPT) != (kind == "Exempt") {
        check.invalid("spec.type", kind, "must be 'Exempt' if and only if `name` is 'exempt'");
    }
    let (limited, exempt) = (at(spec, &["limited"]), at(spec, &["exempt"]));
    match (kind, limited, exempt) {
        ("Exempt", limited, exempt) => {
            if limited.is_some() {
                check.forbidden("spec.limited", "must be nil if the type is not Limited");
            }
            shares(check, "spec.exempt", exempt.unwrap_or(&Value::Null));
        }
        ("Limited", limited, exempt) => {
            if exempt.is_some() {
                check.forbidden("spec.exempt", "must be nil if the type is Limited");
            }
            match limited {
                None => check.required("spec.limited", "must not be empty when type is Limited"),
                Some(limited) => validate_limited(check, limited),
            }
        }
        _ => check.add(FieldError::not_supported("spec.type", kind, &["Exempt", "Limited"])),
    }
}

/// What both kinds of levels have.
fn shares(check: &mut Check, path: &str, level: &Value) {
    let shares = int_at(level, &["nominalConcurrencyShares"]);
    if let Some(shares) = shares.filter(|shares| *shares < 0) {
        let path = child(path, "nominalConcurrencyShares");
        check.invalid(&path, shares, "must be a non-negative integer");
    }
}

fn validate_limited(check: &mut Check, limited: &Value) {
    let path = "spec.limited";
    shares(check, path, limited);
    respond(check, &child(path, "limitResponse"), &limited["limitResponse"]);
    let lent = int_at(limited, &["lendablePercent"]);
    check.range(&child(path, "lendablePercent"), lent, 0, 100);
    let borrowed = int_at(limited, &["borrowingLimitPercent"]);
    if let Some(borrowed) = borrowed.filter(|borrowed| *borrowed < 0) {
        let why = "if specified, must be a non-negative integer";
        check.invalid(&child(path, "borrowingLimitPercent"), borrowed, why);
    }
}

fn respond(check: &mut Check, path: &str, response: &Value) {
    let queuing = at(response, &["queuing"]);
    let queuing_path = child(path, "queuing");
    match (str_at(response, &["type"]), queuing) {
        ("Reject", Some(_)) => {
            let why = "must be nil if limited.limitResponse.type is not Limited";
            check.forbidden(&queuing_path, why);
        }
        ("Reject", None) => {}
        ("Queue", None) => {
            let why = "must not be empty if limited.limitResponse.type is Limited";
            check.required(&queuing_path, why);
        }
        ("Queue", Some(queuing)) => validate_queuing(check, &queuing_path, queuing),
        (other, _) => {
            let path = child(path, "type");
            check.add(FieldError::not_supported(path, other, &["Queue", "Reject"]));
        }
    }
}

fn validate_queuing(check: &mut Check, path: &str, queuing: &Value) {
    let number = |field| (child(path, field), cells::int(queuing, &[field]));
    let (length_path, length) = number("queueLengthLimit");
    if length <= 0 {
        check.invalid(&length_path, length, "must be positive");
    }
    let (queues_path, queues) = number("queues");
    if queues <= 0 {
        check.invalid(&queues_path, queues, "must be positive");
    } else if queues > MAX_QUEUES {
        check.invalid(&queues_path, queues, &format!("must not be greater than {MAX_QUEUES}"));
    }
    let (hand_path, hand) = number("handSize");
    if hand <= 0 {
        check.invalid(&hand_path, hand, "must be positive");
    } else if hand > queues {
        check.invalid(&hand_path, hand, &format!("should not be greater than queues ({queues})"));
    } else if entropy(queues, hand) > HASH_BITS {
        let why = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater \
             than {HASH_BITS}"
        );
        check.invalid(&hand_path, hand, &why);
    }
}

/// How many bits it takes to deal a hand.
fn entropy(deck: i64, hand: i64) -> i64 {
    ((deck as f64).log2() * hand as f64).ceil() as i64
}
