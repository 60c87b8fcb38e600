//! The type checker: what an expression yields, and which overloads its calls may take.

use std::collections::BTreeSet;

use crate::ast::{AND, Ast, Comprehension, Expr, Field, Item, Kind, Name, OPT_SELECT, OR, Pair};
use crate::env::Env;
use crate::issue::{CompileError, Issue};
use crate::overloads::{self, Overload};
use crate::types::{Decl, Type};
use crate::unify::{Bindings, instantiate};

const ISSUES_MAX: usize = 100;

/// What checking found out.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    /// The type of every node, by its id.
    pub(crate) types: Vec<Type>,
    /// The overloads that each call may take, by the call's id.
    pub(crate) overloads: Vec<Vec<&'static str>>,
    /// The variables that are used.
    pub(crate) variables: BTreeSet<String>,
}

/// Checks an expression; calls of qualified functions are rewritten as plain calls.
pub(crate) fn check(ast: &mut Ast, env: &Env) -> Result<Checked, CompileError> {
    let count = ast.offsets.len();
    let mut checker = Checker {
        env,
        offsets: &ast.offsets,
        scopes: Vec::new(),
        bindings: Bindings::default(),
        types: vec![Type::Error; count],
        overloads: vec![Vec::new(); count],
        variables: BTreeSet::new(),
        issues: Vec::new(),
    };
    checker.check(&mut ast.root);
    let Checker { bindings, types, overloads, variables, issues, .. } = checker;
    if !issues.is_empty() {
        return Err(CompileError::new(&ast.source, issues));
    }
    let types = types.iter().map(|ty| bindings.resolve(ty, true)).collect();
    Ok(Checked { types, overloads, variables })
}

struct Checker<'a> {
    env: &'a Env,
    offsets: &'a [usize],
    scopes: Vec<(Name, Type)>,
    bindings: Bindings,
    types: Vec<Type>,
    overloads: Vec<Vec<&'static str>>,
    variables: BTreeSet<String>,
    issues: Vec<Issue>,
}

impl Checker<'_> {
    fn check(&mut self, expr: &mut Expr) -> Type {
        let id = expr.id;
        let ty = match &mut expr.kind {
            Kind::Literal(value) => literal_type(value),
            Kind::Ident(name) => self.ident(id, &name.clone()),
            Kind::Select { .. } => self.select(expr),
            Kind::Call { .. } => self.call(expr),
            Kind::List(items) => self.list(items),
            Kind::Map(pairs) => self.map(pairs),
            Kind::Struct { name, fields } => self.structure(id, &name.clone(), fields),
            Kind::Comprehension(loops) => self.comprehension(loops),
        };
        self.types[id] = ty.clone();
        ty
    }

    fn fail(&mut self, id: usize, message: String) -> Type {
        if self.issues.len() < ISSUES_MAX {
            self.issues.push(Issue::at(self.offsets[id], message));
        }
        Type::Error
    }

    fn undeclared(&mut self, id: usize, name: &str) -> Type {
        self.fail(id, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn lookup(&mut self, name: &str) -> Option<Type> {
        if let Some((_, ty)) = self.scopes.iter().rev().find(|(known, _)| &**known == name) {
            return Some(ty.clone());
        }
        if let Some(decl) = self.env.decl(name) {
            self.variables.insert(name.to_string());
            return Some(decl.ty.clone());
        }
        type_named(name).map(|ty| Type::TypeOf(Box::new(ty)))
    }

    fn ident(&mut self, id: usize, name: &str) -> Type {
        self.lookup(name).unwrap_or_else(|| self.undeclared(id, name))
    }

    fn select(&mut self, expr: &mut Expr) -> Type {
        if let Some(name) = expr.qualified_name()
            && let Some(ty) = self.lookup(&name)
        {
            expr.kind = Kind::Ident(name.as_str().into());
            return ty;
        }
        let id = expr.id;
        let Kind::Select { operand, field, test } = &mut expr.kind else { return Type::Error };
        let operand = self.check(operand);
        let found = self.field(id, &operand, &field.clone(), false);
        if *test { Type::Bool } else { found }
    }

    /// The type of a field; optional if the operand is, or if it is asked for optionally.
    fn field(&mut self, id: usize, operand: &Type, field: &str, optional: bool) -> Type {
        let operand = self.bindings.resolve(operand, false);
        let (target, wrapped) = operand.unwrapped();
        let found = match target {
            Type::Map(_, value) => (**value).clone(),
            Type::Object(object) => match &object.fields {
                None => Type::Dyn,
                Some(fields) => match fields.get(field) {
                    Some(decl) => decl.ty.clone(),
                    None => self.fail(id, format!("undefined field '{field}'")),
                },
            },
            Type::Param(_) => {
                self.bindings.unify(target, &Type::Dyn);
                Type::Dyn
            }
            other if other.is_dyn_or_error() => Type::Dyn,
            other => {
                self.fail(id, format!("type '{other}' does not support field selection"));
                Type::Dyn
            }
        };
        match wrapped || optional {
            true => Type::Optional(Box::new(found)),
            false => found,
        }
    }

    fn call(&mut self, expr: &mut Expr) -> Type {
        let id = expr.id;
        qualify(expr);
        let Kind::Call { function, target, args } = &mut expr.kind else { return Type::Error };
        if &**function == OPT_SELECT {
            let operand = self.check(&mut args[0]);
            let field = args[1].as_text().unwrap_or_default().to_string();
            self.types[args[1].id] = Type::String;
            return self.field(id, &operand, &field, true);
        }
        let function = function.clone();
        let mut types: Vec<Type> = args.iter_mut().map(|arg| self.check(arg)).collect();
        if let Some(target) = target {
            types.insert(0, self.check(target));
        }
        if &*function == AND || &*function == OR {
            return self.logical(&function, id, args, &types);
        }
        self.literal_arguments(&function, args);
        self.resolve(id, &function, target.is_some(), &types)
    }

    fn logical(&mut self, function: &str, id: usize, args: &[Expr], types: &[Type]) -> Type {
        for (arg, ty) in args.iter().zip(types) {
            if !self.bindings.unify(ty, &Type::Bool) {
                self.fail(arg.id, format!("expected type 'bool' but found '{ty}'"));
            }
        }
        self.overloads[id] = overloads::of(function).iter().map(|one| one.id).collect();
        Type::Bool
    }

    fn resolve(&mut self, id: usize, function: &str, member: bool, types: &[Type]) -> Type {
        let known = overloads::of(function);
        if known.is_empty() || (function.starts_with("jsonpatch.") && !self.env.json_patch) {
            return self.undeclared(id, function);
        }
        let mut result: Option<Type> = None;
        let usable = |one: &&Overload| one.member == member && one.args.len() == types.len();
        for overload in known.iter().filter(usable) {
            let Some(ty) = self.try_overload(overload, types) else { continue };
            self.overloads[id].push(overload.id);
            result = match result {
                None => Some(ty),
                Some(before) if before == ty => Some(before),
                Some(_) => Some(Type::Dyn),
            };
        }
        result.unwrap_or_else(|| self.no_overload(id, function, member, types))
    }

    fn try_overload(&mut self, overload: &Overload, types: &[Type]) -> Option<Type> {
        let first = self.bindings.fresh_many(overload.params);
        let wanted = overload.args.iter().map(|ty| instantiate(ty, first));
        let pairs: Vec<_> = types.iter().cloned().zip(wanted).collect();
        let fits = self.bindings.unify_all(&pairs);
        fits.then(|| self.bindings.resolve(&instantiate(&overload.result, first), false))
    }

    fn no_overload(&mut self, id: usize, function: &str, member: bool, types: &[Type]) -> Type {
        let texts: Vec<_> =
            types.iter().map(|ty| self.bindings.resolve(ty, true).to_string()).collect();
        let signature = match (member, texts.split_first()) {
            (true, Some((target, args))) => format!("{target}.({})", args.join(", ")),
            _ => format!("({})", texts.join(", ")),
        };
        let message =
            format!("found no matching overload for '{function}' applied to '{signature}'");
        self.fail(id, message)
    }

    /// Literals that the function is sure to refuse.
    fn literal_arguments(&mut self, function: &str, args: &[Expr]) {
        let Some(last) = args.last() else { return };
        let Some(text) = last.as_text() else { return };
        let valid = match function {
            "matches" => regex::Regex::new(text).is_ok(),
            "duration" => crate::functions::time::parse_duration(text).is_some(),
            "timestamp" => crate::functions::time::parse_timestamp(text).is_some(),
            _ => true,
        };
        if !valid {
            self.fail(last.id, format!("invalid {function} argument"));
        }
    }

    fn list(&mut self, items: &mut [Item]) -> Type {
        let mut joined = None;
        for Item { value, optional } in items {
            let ty = self.check(value);
            let ty = self.maybe_optional(value.id, ty, *optional);
            joined = Some(self.join(value.id, joined, ty));
        }
        Type::list(joined.unwrap_or_else(|| self.bindings.fresh()))
    }

    fn map(&mut self, pairs: &mut [Pair]) -> Type {
        let (mut keys, mut values) = (None, None);
        for Pair { key, value, optional } in pairs {
            let ty = self.check(key);
            keys = Some(self.join(key.id, keys, ty));
            let ty = self.check(value);
            let ty = self.maybe_optional(value.id, ty, *optional);
            values = Some(self.join(value.id, values, ty));
        }
        let mut or_fresh = |ty: Option<Type>| ty.unwrap_or_else(|| self.bindings.fresh());
        let (keys, values) = (or_fresh(keys), or_fresh(values));
        Type::Map(Box::new(keys), Box::new(values))
    }

    /// What an optional entry holds.
    fn maybe_optional(&mut self, id: usize, ty: Type, optional: bool) -> Type {
        if !optional {
            return ty;
        }
        match ty {
            Type::Optional(inner) => *inner,
            Type::Dyn => Type::Dyn,
            other => {
                self.fail(id, format!("expected type 'optional_type({other})' but found '{other}'"))
            }
        }
    }

    /// The type of elements so far, with one more.
    fn join(&mut self, id: usize, before: Option<Type>, ty: Type) -> Type {
        let Some(before) = before else { return ty };
        if self.bindings.unify(&before, &ty) {
            return if ty == Type::Dyn { Type::Dyn } else { before };
        }
        let (wanted, found) =
            (self.bindings.resolve(&before, true), self.bindings.resolve(&ty, true));
        self.fail(id, format!("expected type '{wanted}' but found '{found}'"))
    }

    fn structure(&mut self, id: usize, name: &str, fields: &mut [Field]) -> Type {
        for field in fields {
            let ty = self.check(&mut field.value);
            self.maybe_optional(field.value.id, ty, field.optional);
        }
        match self.env.struct_named(name) {
            Some(known) => Decl::open_object(known).ty,
            None => self.undeclared(id, name),
        }
    }

    fn comprehension(&mut self, loops: &mut Comprehension) -> Type {
        let range = self.check(&mut loops.range);
        let range = self.bindings.resolve(&range, false);
        let accu = self.check(&mut loops.init);
        let depth = self.scopes.len();
        self.scopes.push((loops.accu.clone(), accu.clone()));
        let (one, two) = self.loop_variables(loops.range.id, &range, loops.var2.is_some());
        self.scopes.push((loops.var.clone(), one));
        if let Some(var2) = &loops.var2 {
            self.scopes.push((var2.clone(), two));
        }
        self.assert(&mut loops.condition, &Type::Bool);
        self.assert(&mut loops.step, &accu);
        self.scopes.truncate(depth + 1);
        let result = self.check(&mut loops.result);
        self.scopes.truncate(depth);
        self.bindings.resolve(&result, false)
    }

    fn loop_variables(&mut self, id: usize, range: &Type, two: bool) -> (Type, Type) {
        match range {
            Type::List(of) if two => (Type::Int, (**of).clone()),
            Type::List(of) => ((**of).clone(), Type::Error),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Param(_) => {
                self.bindings.unify(range, &Type::Dyn);
                (Type::Dyn, Type::Dyn)
            }
            other if other.is_dyn_or_error() => (Type::Dyn, Type::Dyn),
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be \
                     list, map, or dynamic)"
                );
                self.fail(id, message);
                (Type::Error, Type::Error)
            }
        }
    }

    fn assert(&mut self, expr: &mut Expr, wanted: &Type) {
        let found = self.check(expr);
        if !self.bindings.unify(&found, wanted) {
            let (wanted, found) =
                (self.bindings.resolve(wanted, true), self.bindings.resolve(&found, true));
            self.fail(expr.id, format!("expected type '{wanted}' but found '{found}'"));
        }
    }
}

/// `strings.quote(x)` reads as a member call until one sees that there is such a function.
fn qualify(expr: &mut Expr) {
    let Kind::Call { function, target, .. } = &mut expr.kind else { return };
    let Some(prefix) = target.as_ref().and_then(|target| target.qualified_name()) else { return };
    let name = format!("{prefix}.{function}");
    if !overloads::of(&name).is_empty() {
        *function = name.as_str().into();
        *target = None;
    }
}

fn literal_type(value: &crate::value::Value) -> Type {
    use crate::value::Value;
    match value {
        Value::Bool(_) => Type::Bool,
        Value::Int(_) => Type::Int,
        Value::Uint(_) => Type::Uint,
        Value::Double(_) => Type::Double,
        Value::String(_) => Type::String,
        Value::Bytes(_) => Type::Bytes,
        _ => Type::Null,
    }
}

/// The type that an identifier names.
pub(crate) fn type_named(name: &str) -> Option<Type> {
    const OPAQUE: [&str; 6] = [
        "kubernetes.Quantity",
        "kubernetes.URL",
        "kubernetes.Semver",
        "kubernetes.NamedFormat",
        "net.IP",
        "net.CIDR",
    ];
    Some(match name {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "null_type" => Type::Null,
        "list" => Type::list(Type::Dyn),
        "map" => Type::Map(Box::new(Type::Dyn), Box::new(Type::Dyn)),
        "type" => Type::TypeOf(Box::new(Type::Dyn)),
        "optional_type" => Type::Optional(Box::new(Type::Dyn)),
        "google.protobuf.Timestamp" => Type::Timestamp,
        "google.protobuf.Duration" => Type::Duration,
        _ => Type::Opaque(OPAQUE.iter().find(|known| **known == name)?),
    })
}
