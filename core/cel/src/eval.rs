//! The evaluator: walks the checked tree, charging every step.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ast::{
    ACCUMULATOR, ADD, AND, CONDITIONAL, Comprehension, Expr, Field, INDEX, Item, Kind, MAP_INSERT,
    NOT_STRICTLY_FALSE, Name, OPT_INDEX, OPT_SELECT, OR, Pair,
};
use crate::charges;
use crate::functions;
use crate::meter::Meter;
use crate::value::{Key, Map, Value};

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// It costs more than it may.
    #[error("operation cancelled: actual cost limit exceeded")]
    CostExceeded,
    /// A function does not take such arguments.
    #[error("no such overload")]
    NoSuchOverload,
    /// Everything else: a missing key, an overflow, a text that does not parse.
    #[error("{0}")]
    Failed(String),
}

impl EvalError {
    /// An error with its own words.
    pub fn new(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    fn no_key(key: &str) -> Self {
        Self::Failed(format!("no such key: {key}"))
    }
}

/// What evaluating gives.
pub type Evaluated = Result<Value, EvalError>;

/// The values of an expression's variables.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    values: BTreeMap<String, Value>,
}

impl Variables {
    /// No variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives a variable its value.
    pub fn set(&mut self, name: &str, value: Value) {
        self.values.insert(name.to_string(), value);
    }

    /// The same with one more variable.
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.set(name, value);
        self
    }
}

/// Evaluates an expression.
pub(crate) fn evaluate(root: &Expr, variables: &Variables, meter: &mut Meter) -> Evaluated {
    Evaluator { variables, locals: Vec::new(), meter }.eval(root)
}

struct Evaluator<'a> {
    variables: &'a Variables,
    /// Loop variables and accumulators; an accumulator may hold an error for a while.
    locals: Vec<(Name, Evaluated)>,
    meter: &'a mut Meter,
}

impl Evaluator<'_> {
    fn eval(&mut self, expr: &Expr) -> Evaluated {
        match &expr.kind {
            Kind::Literal(value) => Ok(value.clone()),
            Kind::Ident(name) => self.ident(name),
            Kind::Select { operand, field, test } => self.select(operand, field, *test),
            Kind::Call { function, target, args } => self.call(function, target.as_deref(), args),
            Kind::List(items) => self.list(items),
            Kind::Map(pairs) => self.map(pairs),
            Kind::Struct { name, fields } => self.structure(name, fields),
            Kind::Comprehension(loops) => self.comprehension(loops),
        }
    }

    fn ident(&mut self, name: &str) -> Evaluated {
        self.meter.charge(1)?;
        if let Some((_, value)) = self.locals.iter().rev().find(|(known, _)| &**known == name) {
            return value.clone();
        }
        if let Some(value) = self.variables.values.get(name) {
            return Ok(value.clone());
        }
        match crate::check::type_named(name) {
            Some(_) => Ok(Value::Type(name.into())),
            None => Err(EvalError::new(format!("no such attribute(s): {name}"))),
        }
    }

    fn select(&mut self, operand: &Expr, field: &str, test: bool) -> Evaluated {
        let operand = self.eval(operand)?;
        if test {
            return Ok(Value::Bool(find(&operand, field)?.is_some()));
        }
        self.meter.charge(1)?;
        match &operand {
            Value::Optional(None) => Ok(operand),
            Value::Optional(Some(inner)) => Ok(optional(find(inner, field)?)),
            _ => find(&operand, field)?.ok_or_else(|| EvalError::no_key(field)),
        }
    }

    fn call(&mut self, function: &str, target: Option<&Expr>, args: &[Expr]) -> Evaluated {
        match function {
            AND => return self.logical(args, false),
            OR => return self.logical(args, true),
            CONDITIONAL => {
                let chosen = match self.eval(&args[0])? {
                    Value::Bool(true) => &args[1],
                    Value::Bool(false) => &args[2],
                    _ => return Err(EvalError::NoSuchOverload),
                };
                return self.eval(chosen);
            }
            NOT_STRICTLY_FALSE => return self.not_strictly_false(&args[0]),
            _ => {}
        }
        let mut values = Vec::with_capacity(args.len() + 1);
        for expr in target.into_iter().chain(args) {
            values.push(self.eval(expr)?);
        }
        self.apply(function, &values)
    }

    fn apply(&mut self, function: &str, args: &[Value]) -> Evaluated {
        self.meter.charge(charges::before(function, args))?;
        match function {
            INDEX => return self.index(&args[0], &args[1]),
            OPT_INDEX => return self.optional_index(&args[0], &args[1]),
            OPT_SELECT => return optional_select(&args[0], &args[1]),
            _ => {}
        }
        if let Some(Value::Host(host)) = args.first()
            && let Some(result) = host.call(function, &args[1..])
        {
            return result;
        }
        let run = functions::named(function).ok_or(EvalError::NoSuchOverload)?;
        let result = run(args, self.meter)?;
        self.meter.charge(charges::after(function, &result))?;
        Ok(result)
    }

    /// `&&` and `||`: one side that decides is enough, whatever the other runs into.
    fn logical(&mut self, args: &[Expr], decisive: bool) -> Evaluated {
        let left = self.eval(&args[0]);
        match &left {
            Ok(Value::Bool(flag)) if *flag == decisive => return left,
            Err(EvalError::CostExceeded) => return left,
            _ => {}
        }
        let right = self.eval(&args[1]);
        match (&left, &right) {
            (_, Ok(Value::Bool(flag))) if *flag == decisive => right,
            (_, Err(EvalError::CostExceeded)) => right,
            (Err(_), _) => left,
            (Ok(Value::Bool(_)), Ok(Value::Bool(_)) | Err(_)) => right,
            _ => Err(EvalError::NoSuchOverload),
        }
    }

    fn not_strictly_false(&mut self, arg: &Expr) -> Evaluated {
        let value = self.eval(arg);
        self.meter.charge(1)?;
        match value {
            Ok(Value::Bool(flag)) => Ok(Value::Bool(flag)),
            Err(EvalError::CostExceeded) => Err(EvalError::CostExceeded),
            _ => Ok(Value::Bool(true)),
        }
    }

    fn index(&mut self, container: &Value, key: &Value) -> Evaluated {
        match container {
            Value::Optional(None) => Ok(container.clone()),
            Value::Optional(Some(inner)) => Ok(optional(element(inner, key)?)),
            _ => match element(container, key)? {
                Some(found) => Ok(found),
                None => Err(missing(container, key)),
            },
        }
    }

    fn optional_index(&mut self, container: &Value, key: &Value) -> Evaluated {
        match container {
            Value::Optional(None) => Ok(container.clone()),
            Value::Optional(Some(inner)) => Ok(optional(element(inner, key)?)),
            _ => Ok(optional(element(container, key)?)),
        }
    }

    fn list(&mut self, items: &[Item]) -> Evaluated {
        let mut values = Vec::with_capacity(items.len());
        for Item { value, optional } in items {
            let value = self.eval(value)?;
            values.extend(if *optional { present(value)? } else { Some(value) });
        }
        self.meter.charge(charges::LIST)?;
        self.meter.work(values.len())?;
        Ok(Value::list(values))
    }

    fn map(&mut self, pairs: &[Pair]) -> Evaluated {
        let mut entries = BTreeMap::new();
        for Pair { key, value, optional } in pairs {
            let key = self.eval(key)?;
            let key = Key::of(&key).ok_or_else(|| {
                EvalError::new(format!("unsupported key type: {}", key.type_name()))
            })?;
            let value = self.eval(value)?;
            let Some(value) = (if *optional { present(value)? } else { Some(value) }) else {
                continue;
            };
            if entries.insert(key, value).is_some() {
                return Err(EvalError::new("Failed with repeated key"));
            }
        }
        self.meter.charge(charges::MAP)?;
        self.meter.work(entries.len())?;
        Ok(Value::Map(Arc::new(Map { entries, object: false, type_name: "" })))
    }

    fn structure(&mut self, name: &str, fields: &[Field]) -> Evaluated {
        let mut entries = BTreeMap::new();
        for field in fields {
            let value = self.eval(&field.value)?;
            let value = if field.optional { present(value)? } else { Some(value) };
            let name = crate::escape::unescape(&field.name).unwrap_or(field.name.to_string());
            entries.extend(value.map(|value| (Key::text(&name), value)));
        }
        self.meter.charge(charges::STRUCT)?;
        let type_name = if name == "JSONPatch" { "JSONPatch" } else { "Object" };
        Ok(Value::Map(Arc::new(Map { entries, object: true, type_name })))
    }

    fn comprehension(&mut self, loops: &Comprehension) -> Evaluated {
        let range = self.eval(&loops.range)?;
        let init = self.eval(&loops.init)?;
        let depth = self.locals.len();
        self.locals.push((loops.accu.clone(), Ok(init)));
        let result = self.run(loops, &range, depth).and_then(|()| {
            self.locals.truncate(depth + 1);
            self.eval(&loops.result)
        });
        self.locals.truncate(depth);
        result
    }

    fn run(&mut self, loops: &Comprehension, range: &Value, depth: usize) -> Result<(), EvalError> {
        match range {
            Value::List(list) => {
                for (at, item) in list.items.iter().enumerate() {
                    let index = Value::Int(i64::try_from(at).unwrap_or(i64::MAX));
                    let first = if loops.var2.is_some() { &index } else { item };
                    if !self.turn(loops, depth, first, item)? {
                        return Ok(());
                    }
                }
                Ok(())
            }
            Value::Map(map) => {
                for (key, value) in &map.entries {
                    let key = match key {
                        Key::String(name) if map.object => escaped_key(name),
                        other => other.value(),
                    };
                    if !self.turn(loops, depth, &key, value)? {
                        return Ok(());
                    }
                }
                Ok(())
            }
            _ => Err(EvalError::NoSuchOverload),
        }
    }

    /// One turn of a loop; false if it was the last.
    fn turn(
        &mut self,
        loops: &Comprehension,
        depth: usize,
        first: &Value,
        second: &Value,
    ) -> Result<bool, EvalError> {
        self.locals.truncate(depth + 1);
        self.locals.push((loops.var.clone(), Ok(first.clone())));
        if let Some(var2) = &loops.var2 {
            self.locals.push((var2.clone(), Ok(second.clone())));
        }
        if self.eval(&loops.condition)?.as_bool() != Some(true) {
            return Ok(false);
        }
        self.step(&loops.step, depth)?;
        Ok(true)
    }

    /// The next accumulator. Lists and maps that only grow are grown in place.
    fn step(&mut self, step: &Expr, depth: usize) -> Result<(), EvalError> {
        if let Kind::Call { function, target: None, args } = &step.kind {
            let grows = args.first().is_some_and(is_accumulator);
            match (&**function, args.as_slice()) {
                (CONDITIONAL, [condition, then, kept]) if is_accumulator(kept) => {
                    return match self.eval(condition)?.as_bool() {
                        Some(true) => self.step(then, depth),
                        Some(false) => self.meter.charge(1),
                        None => Err(EvalError::NoSuchOverload),
                    };
                }
                (ADD, [_, added]) if grows && self.locals[depth].0.as_ref() == ACCUMULATOR => {
                    return self.append(added, depth);
                }
                (MAP_INSERT, [_, inserted @ ..]) if grows => {
                    return self.insert(inserted, depth);
                }
                _ => {}
            }
        }
        let value = self.eval(step);
        if matches!(value, Err(EvalError::CostExceeded)) {
            return Err(EvalError::CostExceeded);
        }
        self.locals[depth].1 = value;
        Ok(())
    }

    /// Takes the accumulator out of its place, so that nobody else shares it.
    fn take(&mut self, depth: usize) -> Evaluated {
        std::mem::replace(&mut self.locals[depth].1, Ok(Value::Null))
    }

    fn append(&mut self, added: &Expr, depth: usize) -> Result<(), EvalError> {
        self.meter.charge(1)?;
        let added = self.eval(added)?;
        let mut accu = self.take(depth)?;
        match (&mut accu, &added) {
            (Value::List(list), Value::List(more)) => {
                self.meter.charge(1)?;
                self.meter.work(more.items.len())?;
                Arc::make_mut(list).items.extend(more.items.iter().cloned());
            }
            _ => accu = self.apply(ADD, &[accu, added])?,
        }
        self.locals[depth].1 = Ok(accu);
        Ok(())
    }

    fn insert(&mut self, inserted: &[Expr], depth: usize) -> Result<(), EvalError> {
        self.meter.charge(2)?;
        let mut values = Vec::new();
        for expr in inserted {
            values.push(self.eval(expr)?);
        }
        let mut accu = self.take(depth)?;
        let Value::Map(map) = &mut accu else { return Err(EvalError::NoSuchOverload) };
        let more = match values.as_slice() {
            [key, value] => vec![(Key::of(key).ok_or(EvalError::NoSuchOverload)?, value.clone())],
            [Value::Map(more)] => {
                more.entries.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
            }
            _ => return Err(EvalError::NoSuchOverload),
        };
        self.meter.work(more.len())?;
        let entries = &mut Arc::make_mut(map).entries;
        for (key, value) in more {
            if entries.contains_key(&key) {
                let key = functions::convert::text_of(&key.value());
                return Err(EvalError::new(format!("insert failed: key {key} already exists")));
            }
            entries.insert(key, value);
        }
        self.locals[depth].1 = Ok(accu);
        Ok(())
    }
}

fn is_accumulator(expr: &Expr) -> bool {
    matches!(&expr.kind, Kind::Ident(name) if &**name == ACCUMULATOR)
}

/// The name that an object's field goes by when its fields are looped over.
fn escaped_key(name: &str) -> Value {
    Value::text(&crate::escape::escape(name).unwrap_or_else(|| name.to_string()))
}

fn find(operand: &Value, field: &str) -> Result<Option<Value>, EvalError> {
    match operand {
        Value::Map(map) => Ok(map.field(field).cloned()),
        Value::Host(host) => host.field(field),
        Value::Optional(Some(inner)) => find(inner, field),
        Value::Optional(None) => Ok(None),
        _ => Err(EvalError::NoSuchOverload),
    }
}

/// An element of a list or a map; a list that is too short is an error unless asked optionally.
fn element(container: &Value, key: &Value) -> Result<Option<Value>, EvalError> {
    match container {
        Value::List(list) => {
            let index = match key {
                Value::Int(index) => usize::try_from(*index).ok(),
                Value::Uint(index) => usize::try_from(*index).ok(),
                Value::Double(index) if index.fract() == 0.0 && *index >= 0.0 => {
                    Some(*index as usize)
                }
                _ => return Err(EvalError::NoSuchOverload),
            };
            Ok(index.and_then(|index| list.items.get(index)).cloned())
        }
        Value::Map(map) => {
            let key = Key::of(key).ok_or(EvalError::NoSuchOverload)?;
            Ok(map.entries.get(&key).cloned())
        }
        Value::Host(host) => host.field(key.as_text().ok_or(EvalError::NoSuchOverload)?),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn missing(container: &Value, key: &Value) -> EvalError {
    let key = functions::convert::text_of(key);
    match container {
        Value::List(_) => EvalError::new(format!("index out of bounds: {key}")),
        _ => EvalError::no_key(&key),
    }
}

fn optional_select(operand: &Value, field: &Value) -> Evaluated {
    let field = field.as_text().ok_or(EvalError::NoSuchOverload)?;
    Ok(optional(find(operand, field)?))
}

fn optional(found: Option<Value>) -> Value {
    Value::Optional(found.map(Arc::new))
}

/// The value of an optional entry of a literal.
fn present(value: Value) -> Result<Option<Value>, EvalError> {
    match value {
        Value::Optional(inner) => Ok(inner.map(|value| (*value).clone())),
        other => Err(EvalError::new(format!(
            "cannot initialize optional list element from non-optional value {}",
            functions::convert::text_of(&other)
        ))),
    }
}

impl Value {
    /// A list of texts.
    pub(crate) fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Value {
        Value::list(texts.into_iter().map(Value::text).collect())
    }
}
