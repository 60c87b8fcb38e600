//! Which field has which number.

use std::collections::HashMap;
use std::sync::LazyLock;

use hansa_api::schema::{self, FieldType, TypeDef, TypeId};
use serde_json::{Map, Value};

/// One numbered field of a message.
#[derive(Debug)]
pub(super) enum Slot {
    /// A field of this JSON name.
    Field {
        /// The JSON name.
        name: String,
        /// Whether Go's JSON leaves the zero value out.
        omit_zero: bool,
    },
    /// A message whose fields JSON has in the outer object.
    Inline(Message),
}

/// The fields of a message by number.
pub(super) type Message = HashMap<u64, Slot>;

static TABLE: LazyLock<HashMap<String, Message>> = LazyLock::new(|| {
    let file: Map<String, Value> = serde_json::from_str(include_str!("../../data/protobuf.json"))
        .expect("the committed table is well formed");
    file.iter().map(|(name, fields)| (name.clone(), message(fields))).collect()
});

fn message(fields: &Value) -> Message {
    let fields = fields.as_object().into_iter().flatten();
    fields.filter_map(|(name, value)| slot(name, value)).collect()
}

fn slot(name: &str, value: &Value) -> Option<(u64, Slot)> {
    if let Some(number) = name.strip_prefix('@') {
        return Some((number.parse().ok()?, Slot::Inline(message(value))));
    }
    let number = value.as_i64()?;
    let field = Slot::Field { name: name.to_string(), omit_zero: number < 0 };
    Some((number.unsigned_abs(), field))
}

/// Whether a type has a protobuf encoding.
pub(super) fn has(name: &str) -> bool {
    TABLE.contains_key(name)
}

/// The fields of a type.
pub(super) fn of(name: &str) -> Option<&'static Message> {
    TABLE.get(name)
}

/// One field of a type as it is written.
pub(super) enum Step {
    /// A field, its JSON name and its type.
    Field {
        /// On the wire.
        number: u64,
        /// In JSON.
        name: &'static str,
        /// What it holds.
        kind: &'static FieldType,
    },
    /// A message whose fields JSON has in the outer object.
    Inline {
        /// On the wire.
        number: u64,
        /// Its fields.
        steps: Vec<Step>,
    },
}

static PLANS: LazyLock<HashMap<TypeId, Vec<Step>>> = LazyLock::new(|| {
    let types = schema::builtin().types();
    types.filter_map(|(id, def)| Some((id, steps(def, of(&def.name)?)))).collect()
});

/// The fields of a type in the order of their numbers; none if it has no protobuf encoding.
pub(super) fn plan(id: TypeId) -> Option<&'static [Step]> {
    PLANS.get(&id).map(Vec::as_slice)
}

fn steps(def: &'static TypeDef, message: &'static Message) -> Vec<Step> {
    let mut numbers: Vec<u64> = message.keys().copied().collect();
    numbers.sort_unstable();
    let step = |number: u64| match &message[&number] {
        Slot::Inline(inner) => Some(Step::Inline { number, steps: steps(def, inner) }),
        Slot::Field { name, .. } => {
            Some(Step::Field { number, name, kind: &def.field(name)?.kind })
        }
    };
    numbers.into_iter().filter_map(step).collect()
}
