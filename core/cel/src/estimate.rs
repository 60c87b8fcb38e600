//! How much an expression may cost at worst, by upstream's reckoning.
//!
//! Sizes come from the declarations of the variables; what cannot be known counts as boundless.

use std::collections::HashMap;

use crate::ast::{ACCUMULATOR, CONDITIONAL, Comprehension, Expr, Kind, Name};
use crate::charges::{CHECK, FORMAT_REGEX, LIST, MAP, REGEX, STRUCT, TRAVERSAL};
use crate::check::Checked;
use crate::env::Env;
use crate::types::{Decl, Type, UNSIZED};
use crate::value::Value;

/// A range: of sizes or of costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// At least.
    pub min: u64,
    /// At most.
    pub max: u64,
}

impl Range {
    const UNKNOWN: Self = Self { min: 0, max: u64::MAX };

    const fn fixed(amount: u64) -> Self {
        Self { min: amount, max: amount }
    }

    fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    fn scaled(self, factor: f64) -> Self {
        let scale = |amount: u64| {
            let scaled = (amount as f64 * factor).ceil();
            if scaled >= u64::MAX as f64 { u64::MAX } else { scaled as u64 }
        };
        Self { min: scale(self.min), max: scale(self.max) }
    }

    fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// What a checked expression may cost.
pub(crate) fn estimate(root: &Expr, checked: &Checked, env: &Env) -> Range {
    let mut estimator = Estimator {
        checked,
        env,
        paths: HashMap::new(),
        sizes: HashMap::new(),
        entries: HashMap::new(),
        locals: Vec::new(),
    };
    estimator.cost(root)
}

/// Where a value comes from: a variable, and the steps from it.
type Path = Vec<String>;

/// The sizes of a container's keys (or indices) and values.
#[derive(Clone, Copy)]
struct Entries {
    list: bool,
    key: Range,
    value: Range,
}

struct Local {
    name: Name,
    path: Path,
    size: Option<Range>,
    entries: Option<Entries>,
}

struct Estimator<'a> {
    checked: &'a Checked,
    env: &'a Env,
    paths: HashMap<usize, Path>,
    sizes: HashMap<usize, Range>,
    entries: HashMap<usize, Entries>,
    locals: Vec<Local>,
}

impl Estimator<'_> {
    fn ty(&self, expr: &Expr) -> &Type {
        &self.checked.types[expr.id]
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|local| &*local.name == name)
    }

    fn cost(&mut self, expr: &Expr) -> Range {
        match &expr.kind {
            Kind::Literal(_) => Range::fixed(0),
            Kind::Ident(name) => {
                let path = self.local(name).map(|local| local.path.clone());
                self.paths.insert(expr.id, path.unwrap_or_else(|| vec![name.to_string()]));
                Range::fixed(1)
            }
            Kind::Select { operand, test: true, .. } => self.cost(operand),
            Kind::Select { operand, field, .. } => {
                let cost = self.cost(operand);
                let mut path = self.path(operand);
                path.push(field.to_string());
                self.paths.insert(expr.id, path);
                match self.ty(operand) {
                    Type::Map(..) | Type::Object(_) | Type::Param(_) => cost.plus(Range::fixed(1)),
                    _ => cost,
                }
            }
            Kind::Call { function, target, args } => {
                self.call(expr, function, target.as_deref(), args)
            }
            Kind::List(items) => {
                let values: Vec<_> = items.iter().map(|item| &item.value).collect();
                let cost = self.sum(&values);
                let value = self.union_of(&values);
                let entries = Entries { list: true, key: Range::fixed(1), value };
                self.entries.insert(expr.id, entries);
                cost.plus(Range::fixed(LIST))
            }
            Kind::Map(pairs) => {
                let keys: Vec<_> = pairs.iter().map(|pair| &pair.key).collect();
                let values: Vec<_> = pairs.iter().map(|pair| &pair.value).collect();
                let cost = self.sum(&keys).plus(self.sum(&values));
                let entries = Entries {
                    list: false,
                    key: self.union_of(&keys),
                    value: self.union_of(&values),
                };
                self.entries.insert(expr.id, entries);
                cost.plus(Range::fixed(MAP))
            }
            Kind::Struct { fields, .. } => {
                let values: Vec<_> = fields.iter().map(|field| &field.value).collect();
                self.sum(&values).plus(Range::fixed(STRUCT))
            }
            Kind::Comprehension(loops) if is_bind(loops) => self.bind(expr, loops),
            Kind::Comprehension(loops) => self.comprehension(expr, loops),
        }
    }

    fn sum(&mut self, exprs: &[&Expr]) -> Range {
        exprs.iter().fold(Range::fixed(0), |sum, expr| sum.plus(self.cost(expr)))
    }

    fn union_of(&mut self, exprs: &[&Expr]) -> Range {
        let sizes = exprs.iter().map(|expr| self.size(expr).unwrap_or(Range::UNKNOWN));
        sizes.reduce(Range::union).unwrap_or(Range::fixed(0))
    }

    fn path(&self, expr: &Expr) -> Path {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned().unwrap_or_default()
    }

    fn bind(&mut self, expr: &Expr, loops: &Comprehension) -> Range {
        let cost = self.cost(&loops.range).plus(self.cost(&loops.init));
        self.push(loops.accu.clone(), &loops.init);
        let cost = cost.plus(self.cost(&loops.result));
        self.locals.pop();
        if let Some(size) = self.size(&loops.result) {
            self.sizes.insert(expr.id, size);
        }
        if let Some(entries) = self.entries_of(&loops.result) {
            self.entries.insert(expr.id, entries);
        }
        cost
    }

    fn push(&mut self, name: Name, value: &Expr) {
        let (path, size, entries) = (self.path(value), self.size(value), self.entries_of(value));
        self.locals.push(Local { name, path, size, entries });
    }

    fn comprehension(&mut self, expr: &Expr, loops: &Comprehension) -> Range {
        let cost = self.cost(&loops.range).plus(self.cost(&loops.init));
        self.push(loops.accu.clone(), &loops.init);
        let depth = self.locals.len();
        self.push_loop_variables(loops);
        let turn = self.cost(&loops.condition).plus(self.cost(&loops.step));
        self.locals.truncate(depth);
        let cost = cost.plus(self.cost(&loops.result));
        self.locals.pop();
        let count = self.size(&loops.range).unwrap_or(Range::UNKNOWN);
        match loops.init.kind {
            Kind::Literal(_) => {
                if let Some(size) = self.size(&loops.init) {
                    self.sizes.insert(expr.id, size);
                }
            }
            Kind::List(_) | Kind::Map(_) => {
                self.sizes.insert(expr.id, count);
                if let Some(entries) = self.entries_of(&loops.step) {
                    self.entries.insert(expr.id, entries);
                }
            }
            _ => {}
        }
        cost.plus(count.times(turn))
    }

    fn push_loop_variables(&mut self, loops: &Comprehension) {
        let entries = self.entries_of(&loops.range);
        let list = match entries {
            Some(entries) => entries.list,
            None => matches!(self.ty(&loops.range), Type::List(_)),
        };
        let (keys, values) = if list { ("@indices", "@items") } else { ("@keys", "@values") };
        let key = (keys, entries.map(|entries| entries.key));
        let value = (values, entries.map(|entries| entries.value));
        let first = if list && loops.var2.is_none() { value } else { key };
        let path = self.path(&loops.range);
        let mut push = |name: &Name, (step, size): (&str, Option<Range>)| {
            let mut path = path.clone();
            path.push(step.to_string());
            self.locals.push(Local { name: name.clone(), path, size, entries: None });
        };
        push(&loops.var, first);
        if let Some(var2) = &loops.var2 {
            push(var2, value);
        }
    }

    /// How big an expression's value may be, if that can be told.
    fn size(&mut self, expr: &Expr) -> Option<Range> {
        if let Some(size) = self.sizes.get(&expr.id) {
            return Some(*size);
        }
        match &expr.kind {
            Kind::Literal(value) => return Some(Range::fixed(literal_size(value))),
            Kind::List(items) => return Some(Range::fixed(items.len() as u64)),
            Kind::Map(pairs) => return Some(Range::fixed(pairs.len() as u64)),
            _ => {}
        }
        let path = self.path(expr);
        if path.first().is_none_or(|first| first != ACCUMULATOR)
            && let Some(decl) = self.decl(&path).filter(|decl| decl.max != UNSIZED)
        {
            let size = Range { min: 0, max: decl.max };
            self.sizes.insert(expr.id, size);
            return Some(size);
        }
        if self.ty(expr).is_scalar() {
            return Some(Range::fixed(1));
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.size),
            _ => None,
        }
    }

    fn decl(&self, path: &[String]) -> Option<Decl> {
        let (first, steps) = path.split_first()?;
        let root = self.env.decl(first)?.clone();
        steps.iter().try_fold(root, |decl, step| decl.step(step))
    }

    fn entries_of(&self, expr: &Expr) -> Option<Entries> {
        if let Some(entries) = self.entries.get(&expr.id) {
            return Some(*entries);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.entries),
            _ => None,
        }
    }

    fn call(&mut self, expr: &Expr, function: &str, target: Option<&Expr>, args: &[Expr]) -> Range {
        let costs: Vec<Range> = args.iter().map(|arg| self.cost(arg)).collect();
        let target_cost = target.map_or(Range::fixed(0), |target| self.cost(target));
        let arguments = costs.iter().fold(target_cost, |sum, cost| sum.plus(*cost));
        if function == "dyn" {
            self.copy_size(expr, &args[0]);
            return arguments.plus(Range::fixed(1));
        }
        match (function, costs.as_slice()) {
            ("_&&_" | "_||_", [left, right]) => {
                return Range { min: left.min, max: left.plus(*right).max };
            }
            (CONDITIONAL, [condition, yes, no]) => {
                let size = self.known(&args[1]).union(self.known(&args[2]));
                self.sizes.insert(expr.id, size);
                let (yes_entries, no_entries) =
                    (self.entries_of(&args[1]), self.entries_of(&args[2]));
                self.set_entries(expr, yes_entries, no_entries);
                return condition.plus(yes.union(*no));
            }
            _ => {}
        }
        arguments.plus(self.function(expr, function, target, args))
    }

    fn copy_size(&mut self, to: &Expr, from: &Expr) {
        if let Some(size) = self.size(from) {
            self.sizes.insert(to.id, size);
        }
        if let Some(entries) = self.entries_of(from) {
            self.entries.insert(to.id, entries);
        }
    }

    fn set_entries(&mut self, expr: &Expr, a: Option<Entries>, b: Option<Entries>) {
        if let (Some(a), Some(b)) = (a, b) {
            let (key, value) = (a.key.union(b.key), a.value.union(b.value));
            self.entries.insert(expr.id, Entries { list: a.list, key, value });
        }
    }

    fn known(&mut self, expr: &Expr) -> Range {
        self.size(expr).unwrap_or(Range::UNKNOWN)
    }

    /// The cost of the function itself, over all overloads that may be meant.
    fn function(
        &mut self,
        expr: &Expr,
        function: &str,
        target: Option<&Expr>,
        args: &[Expr],
    ) -> Range {
        if let Some(cost) = self.library(expr, function, target, args) {
            return cost;
        }
        let overloads = self.checked.overloads[expr.id].clone();
        let costs = overloads.iter().map(|overload| self.overload(expr, overload, target, args));
        costs.reduce(Range::union).unwrap_or(Range::fixed(0))
    }

    fn overload(&mut self, expr: &Expr, id: &str, target: Option<&Expr>, args: &[Expr]) -> Range {
        let receiver = target.map(|target| self.known(target));
        let sizes: Vec<Range> = args.iter().map(|arg| self.known(arg)).collect();
        match (id, receiver, sizes.as_slice()) {
            ("format_string", Some(text), _) => text.scaled(TRAVERSAL),
            ("string_to_bytes", _, [text]) => {
                let size = Range { min: text.min, max: text.max.saturating_mul(4) };
                self.sized(expr, size, text.scaled(TRAVERSAL))
            }
            ("bytes_to_string", _, [bytes]) => {
                let size = Range { min: bytes.min / 4, max: bytes.max };
                self.sized(expr, size, bytes.scaled(TRAVERSAL))
            }
            ("quote_string", _, [text]) => {
                let size = text.plus(*text).plus(Range::fixed(2));
                let size = Range { min: text.min.saturating_add(2), max: size.max };
                self.sized(expr, size, text.scaled(TRAVERSAL))
            }
            ("starts_with_string" | "ends_with_string", _, [part]) => part.scaled(TRAVERSAL),
            ("in_list", _, [_, list]) => *list,
            ("matches_string", Some(text), [pattern]) => regex_cost(text, *pattern),
            ("matches_string", None, [text, pattern]) => regex_cost(*text, *pattern),
            ("contains_string", Some(text), [part]) => {
                text.scaled(TRAVERSAL).times(part.scaled(TRAVERSAL))
            }
            ("add_text" | "add_list", _, [left, right]) => {
                let size = left.plus(*right);
                let entries = (self.entries_of(&args[0]), self.entries_of(&args[1]));
                self.set_entries(expr, entries.0, entries.1);
                let text = size.scaled(TRAVERSAL);
                self.sized(expr, size, if id == "add_list" { Range::fixed(1) } else { text })
            }
            ("order_text" | "equals" | "not_equals", _, [left, right]) => {
                let max = left.max.min(right.max);
                Range { min: u64::from(max > 0), max }.scaled(TRAVERSAL)
            }
            ("index_list" | "index_map", ..) => {
                let step = if id == "index_list" { "@items" } else { "@values" };
                let mut path = self.path(&args[0]);
                path.push(step.to_string());
                self.paths.insert(expr.id, path);
                if let Some(entries) = self.entries_of(&args[0]) {
                    self.sizes.insert(expr.id, entries.value);
                }
                Range::fixed(1)
            }
            _ => Range::fixed(1),
        }
    }

    fn sized(&mut self, expr: &Expr, size: Range, cost: Range) -> Range {
        let before = self.sizes.get(&expr.id).map_or(size, |before| before.union(size));
        self.sizes.insert(expr.id, before);
        cost
    }

    /// What Kubernetes' own functions cost; `None` for the others.
    fn library(
        &mut self,
        expr: &Expr,
        function: &str,
        target: Option<&Expr>,
        args: &[Expr],
    ) -> Option<Range> {
        let first = args.first().map_or(Range::UNKNOWN, |arg| self.known(arg));
        let receiver = target.map_or(first, |target| self.known(target));
        Some(match function {
            "check" => Range::fixed(CHECK),
            "fieldSelector" | "labelSelector" => {
                let parse = first.scaled(TRAVERSAL);
                Range::fixed(LIST).plus(parse).plus(first.scaled(0.5).scaled(50.0))
            }
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
                self.elements(target?)
            }
            "url" | "jsonpatch.escapeKey" => self.sized(expr, first, first.scaled(TRAVERSAL)),
            "lowerAscii" | "upperAscii" | "substring" | "trim" => {
                self.sized(expr, receiver, receiver.scaled(TRAVERSAL))
            }
            "replace" => {
                let with = args.get(1).map_or(Range::UNKNOWN, |arg| self.known(arg));
                self.sized(expr, replaced(receiver, first, with), receiver.scaled(2.0 * TRAVERSAL))
            }
            "split" => {
                let limit = match args.get(1).map(|arg| &arg.kind) {
                    Some(Kind::Literal(Value::Int(limit))) => {
                        u64::try_from(*limit).unwrap_or(u64::MAX)
                    }
                    _ => receiver.max,
                };
                let size = Range { min: 0, max: limit };
                self.sized(expr, size, receiver.scaled(2.0 * TRAVERSAL))
            }
            "join" => self.join(expr, target?, args),
            "find" | "findAll" => {
                let size = Range { min: 0, max: receiver.max };
                self.sized(expr, size, regex_cost(receiver, first))
            }
            "cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "semver" | "isSemver" => {
                first.scaled(TRAVERSAL)
            }
            "ip" if target.is_none() => first.scaled(TRAVERSAL),
            "ip.isCanonical" => first.scaled(2.0 * TRAVERSAL),
            "containsIP" | "containsCIDR" => contains_net(function, first, self.ty(&args[0])),
            "validate" => first.scaled(TRAVERSAL).scaled(FORMAT_REGEX as f64 * REGEX),
            "_==_" if self.is_unit(&args[0]) => Range::fixed(1),
            "sort" | "distinct" | "@sortByAssociatedKeys" | "reverse" | "flatten" | "slice" => {
                self.rearranged(expr, function, target?)
            }
            "sets.contains" | "sets.intersects" | "sets.equivalent" => {
                let other = args.get(1).map_or(Range::UNKNOWN, |arg| self.known(arg));
                let pairs = first.times(other).plus(Range::fixed(1));
                if function == "sets.equivalent" { pairs.plus(pairs) } else { pairs }
            }
            "lists.range" => Range::UNKNOWN,
            _ => return None,
        })
    }

    fn is_unit(&self, expr: &Expr) -> bool {
        matches!(self.ty(expr), Type::Opaque(name) if *name != "kubernetes.URL")
    }

    fn rearranged(&mut self, expr: &Expr, function: &str, target: &Expr) -> Range {
        let size = self.known(target);
        let most = Range { min: 0, max: size.max };
        let cost = match function {
            "sort" | "distinct" | "@sortByAssociatedKeys" => {
                let steps = u64::from(u64::BITS - size.max.leading_zeros()).max(1);
                size.times(Range::fixed(steps))
            }
            _ => size,
        };
        if function != "flatten" {
            self.sizes.insert(expr.id, if function == "slice" { most } else { size });
        }
        cost.plus(Range::fixed(1))
    }

    /// Going through every element of a list, or through a string.
    fn elements(&mut self, target: &Expr) -> Range {
        let size = self.known(target);
        match self.ty(target).clone() {
            Type::List(of) => {
                let mut each = Range::fixed(1);
                if matches!(*of, Type::String | Type::Bytes) {
                    each = each.plus(self.element_size(target).scaled(TRAVERSAL));
                }
                size.times(each)
            }
            _ => size.scaled(TRAVERSAL),
        }
    }

    fn element_size(&mut self, target: &Expr) -> Range {
        let mut path = self.path(target);
        path.push("@items".into());
        match self.decl(&path).filter(|decl| decl.max != UNSIZED) {
            Some(decl) => Range { min: 0, max: decl.max },
            None => Range::UNKNOWN,
        }
    }

    fn join(&mut self, expr: &Expr, target: &Expr, args: &[Expr]) -> Range {
        let count = self.known(target);
        let mut size = count.times(self.element_size(target));
        if let Some(by) = args.first() {
            let by = self.known(by);
            let gaps = Range { min: count.min.saturating_sub(1), max: count.max.saturating_sub(1) };
            size = size.plus(by.times(gaps));
        }
        self.sized(expr, size, size.scaled(TRAVERSAL))
    }
}

fn regex_cost(text: Range, pattern: Range) -> Range {
    text.plus(Range::fixed(1)).scaled(TRAVERSAL).times(pattern.scaled(REGEX))
}

fn is_bind(loops: &Comprehension) -> bool {
    let empty = matches!(&loops.range.kind, Kind::List(items) if items.is_empty());
    empty && matches!(loops.condition.kind, Kind::Literal(Value::Bool(false)))
}

fn literal_size(value: &Value) -> u64 {
    match value {
        Value::String(_) | Value::Bytes(_) => value.size(),
        _ => 1,
    }
}

fn contains_net(function: &str, text: Range, ty: &Type) -> Range {
    let address = Range { min: 4, max: 16 };
    let mut cost = address.plus(address).scaled(TRAVERSAL);
    if function == "containsCIDR" {
        cost = cost.plus(address.scaled(TRAVERSAL)).plus(Range::fixed(1));
    }
    if *ty == Type::String { cost.plus(text.scaled(TRAVERSAL)) } else { cost }
}

/// How long a text may get when parts of it are replaced.
fn replaced(text: Range, part: Range, with: Range) -> Range {
    let divided = |length: u64, by: u64| length.div_ceil(by.max(1));
    let (most, kept_most) = if part.min == 0 {
        (text.max.saturating_add(1), text.max)
    } else if with.max <= part.min {
        (0, text.max)
    } else {
        (divided(text.max, part.min), 0)
    };
    let (least, kept_least) = if part.max == 0 {
        (text.min.saturating_add(1), text.min)
    } else if part.max <= with.min {
        (0, text.min)
    } else {
        (divided(text.min, part.max), 0)
    };
    let count = Range { min: least, max: most };
    count.times(with).plus(Range { min: kept_least, max: kept_most })
}
