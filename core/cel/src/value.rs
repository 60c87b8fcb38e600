//! What expressions compute with.

use std::any::Any;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;

use hansa_api::quantity::Quantity;
use jiff::Timestamp;

use crate::eval::EvalError;
use crate::functions::net::Cidr;
use crate::functions::semver::Semver;
use crate::functions::url::Url;

/// A value; cloning one is cheap.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
    /// Nanoseconds.
    Duration(i64),
    Timestamp(Timestamp),
    List(Arc<List>),
    Map(Arc<Map>),
    Optional(Option<Arc<Value>>),
    /// A type, by its name.
    Type(Arc<str>),
    Quantity(Quantity),
    Ip(IpAddr),
    Cidr(Cidr),
    Url(Arc<Url>),
    Semver(Arc<Semver>),
    /// A named format.
    Format(&'static str),
    /// Something of the host's own, such as an authorizer.
    Host(Arc<dyn Host>),
}

/// A value whose fields and functions the host provides.
pub trait Host: Debug + Send + Sync + Any {
    /// Its type's name, as `type()` shows it.
    fn type_name(&self) -> &str;

    /// A field's value; `None` if there is no such field.
    ///
    /// # Errors
    /// What computing it may run into.
    fn field(&self, _name: &str) -> Result<Option<Value>, EvalError> {
        Ok(None)
    }

    /// Calls a member function; `None` if it has no such function for these arguments.
    fn call(&self, _function: &str, _args: &[Value]) -> Option<Result<Value, EvalError>> {
        None
    }

    /// Itself, for whoever knows its type.
    fn as_any(&self) -> &dyn Any;
}

/// A list and what makes two of its kind equal.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// The elements.
    pub items: Vec<Value>,
    /// `x-kubernetes-list-type`.
    pub kind: ListKind,
}

/// `x-kubernetes-list-type`: sets and maps know no order, and `+` merges them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    /// The order counts.
    #[default]
    Atomic,
    /// Scalars, each once.
    Set,
    /// Objects, each once by these fields.
    Map(Arc<[String]>),
}

/// A map, or an object whose fields go by their escaped names.
#[derive(Clone, Debug, Default)]
pub struct Map {
    /// The entries.
    pub entries: BTreeMap<Key, Value>,
    /// Whether it is an object: its fields are selected by identifiers.
    pub object: bool,
    /// The name in the struct literal that made it, else empty.
    pub type_name: &'static str,
}

/// What maps are indexed by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Key {
    Bool(bool),
    Int(i128),
    String(Arc<str>),
}

impl Key {
    /// The key of a text.
    pub fn text(text: &str) -> Self {
        Self::String(text.into())
    }

    pub(crate) fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Int(number) => Self::Int((*number).into()),
            Value::Uint(number) => Self::Int((*number).into()),
            Value::Double(number) if number.fract() == 0.0 && number.abs() < 1e18 => {
                Self::Int(*number as i128)
            }
            Value::String(text) => Self::String(text.clone()),
            _ => return None,
        })
    }

    pub(crate) fn value(&self) -> Value {
        match self {
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Int(number) => match i64::try_from(*number) {
                Ok(number) => Value::Int(number),
                Err(_) => Value::Uint(u64::try_from(*number).unwrap_or_default()),
            },
            Self::String(text) => Value::String(text.clone()),
        }
    }
}

impl Value {
    /// A string.
    pub fn text(text: &str) -> Self {
        Self::String(text.into())
    }

    /// A list without a kind.
    pub fn list(items: Vec<Value>) -> Self {
        Self::List(Arc::new(List { items, kind: ListKind::Atomic }))
    }

    /// A map with text keys; `object` if its fields go by escaped names.
    pub fn map(fields: impl IntoIterator<Item = (Arc<str>, Value)>, object: bool) -> Self {
        let entries = fields.into_iter().map(|(name, value)| (Key::String(name), value)).collect();
        Self::Map(Arc::new(Map { entries, object, type_name: "" }))
    }

    /// An optional value.
    pub fn some(value: Value) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The flag, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// The name of its type, as `type(x)` prints it.
    pub fn type_name(&self) -> &str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::List(_) => "list",
            Self::Map(map) if !map.type_name.is_empty() => map.type_name,
            Self::Map(_) => "map",
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Url(_) => "kubernetes.URL",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Host(host) => host.type_name(),
        }
    }

    /// How much there is to go through: characters, bytes, elements; 1 for everything else.
    pub(crate) fn size(&self) -> u64 {
        let size = match self {
            Self::String(text) => text.chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(list) => list.items.len(),
            Self::Map(map) => map.entries.len(),
            Self::Optional(Some(value)) => return value.size(),
            Self::Ip(ip) => {
                if ip.is_ipv4() {
                    4
                } else {
                    16
                }
            }
            Self::Cidr(cidr) => {
                if cidr.network().is_ipv4() {
                    4
                } else {
                    16
                }
            }
            _ => 1,
        };
        size as u64
    }

    /// How many values there are in it, itself included; counts no further than `limit`.
    pub(crate) fn weight(&self, limit: usize) -> usize {
        let mut total = 1;
        let mut add = |value: &Value| {
            if total < limit {
                total += value.weight(limit - total);
            }
        };
        match self {
            Self::String(text) => total += text.len() / 32,
            Self::List(list) => list.items.iter().for_each(&mut add),
            Self::Map(map) => map.entries.values().for_each(&mut add),
            _ => {}
        }
        total
    }

    /// CEL's equality: numbers across their types, sets and map lists without order.
    pub fn equals(&self, other: &Value) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Duration(a), Self::Duration(b)) => a == b,
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::Type(a), Self::Type(b)) => a == b,
            (Self::List(a), Self::List(b)) => a.equals(b),
            (Self::Map(a), Self::Map(b)) => a.equals(b),
            (Self::Optional(None), Self::Optional(None)) => true,
            (Self::Optional(Some(a)), Self::Optional(Some(b))) => a.equals(b),
            (Self::Quantity(a), Self::Quantity(b)) => a.cmp(b) == Ordering::Equal,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a), Self::Cidr(b)) => a == b,
            (Self::Url(a), Self::Url(b)) => a.text() == b.text(),
            (Self::Semver(a), Self::Semver(b)) => a.cmp(b) == Ordering::Equal,
            (Self::Format(a), Self::Format(b)) => a == b,
            (Self::Host(a), Self::Host(b)) => Arc::ptr_eq(a, b),
            _ => compare_numbers(self, other) == Some(Ordering::Equal),
        }
    }

    /// The order of two values of one ordered type.
    pub(crate) fn compare(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::String(a), Self::String(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Duration(a), Self::Duration(b)) => Some(a.cmp(b)),
            (Self::Timestamp(a), Self::Timestamp(b)) => Some(a.cmp(b)),
            _ => compare_numbers(self, other),
        }
    }
}

fn compare_numbers(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Double(a), _) => a.partial_cmp(&(whole(b)? as f64)),
        (_, Value::Double(b)) => (whole(a)? as f64).partial_cmp(b),
        _ => Some(whole(a)?.cmp(&whole(b)?)),
    }
}

fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Int(number) => Some((*number).into()),
        Value::Uint(number) => Some((*number).into()),
        _ => None,
    }
}

impl List {
    fn equals(&self, other: &List) -> bool {
        if self.items.len() != other.items.len() {
            return false;
        }
        let keys = match &self.kind {
            ListKind::Atomic => {
                return self.items.iter().zip(&other.items).all(|(a, b)| a.equals(b));
            }
            ListKind::Set => None,
            ListKind::Map(keys) => Some(keys),
        };
        let counterpart = |item: &Value| {
            other.items.iter().any(|other| match keys {
                Some(keys) => item.key_of(keys) == other.key_of(keys) && item.equals(other),
                None => item.equals(other),
            })
        };
        self.items.iter().all(counterpart)
    }

    /// `self + other`: one after the other, or merged for sets and maps.
    pub(crate) fn join(&self, other: &List) -> List {
        let mut joined = self.clone();
        match &self.kind {
            ListKind::Atomic => joined.items.extend_from_slice(&other.items),
            ListKind::Set => {
                for item in &other.items {
                    if !joined.items.iter().any(|known| known.equals(item)) {
                        joined.items.push(item.clone());
                    }
                }
            }
            ListKind::Map(keys) => {
                for item in &other.items {
                    let key = item.key_of(keys);
                    match joined.items.iter_mut().find(|known| known.key_of(keys) == key) {
                        Some(known) => *known = item.clone(),
                        None => joined.items.push(item.clone()),
                    }
                }
            }
        }
        joined
    }
}

impl Value {
    fn key_of(&self, keys: &[String]) -> Vec<Option<Key>> {
        let Self::Map(map) = self else { return Vec::new() };
        let part = |key: &String| map.entries.get(&Key::text(key)).and_then(Key::of);
        keys.iter().map(part).collect()
    }
}

impl Map {
    fn equals(&self, other: &Map) -> bool {
        let same = |(key, value): (&Key, &Value)| {
            other.entries.get(key).is_some_and(|other| value.equals(other))
        };
        self.entries.len() == other.entries.len() && self.entries.iter().all(same)
    }

    /// The entry that an identifier selects.
    pub(crate) fn field(&self, name: &str) -> Option<&Value> {
        let entry = |name: &str| self.entries.get(&Key::text(name));
        if self.object && name.contains("__") {
            return crate::escape::unescape(name).and_then(|name| entry(&name));
        }
        entry(name)
    }
}
