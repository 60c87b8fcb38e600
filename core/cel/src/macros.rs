//! Macros: calls that are written out as loops, tests and conditions while parsing.

use crate::ast::{
    ACCUMULATOR, ADD, AND, CONDITIONAL, Comprehension, EQUALS, Expr, Item, Kind, MAP_INSERT, NOT,
    NOT_STRICTLY_FALSE, Name, OR, SORT_BY,
};
use crate::issue::Issue;
use crate::parse::Nodes;
use crate::value::Value;

/// A call, or what stands for it if it is a macro.
pub(crate) fn expand(
    nodes: &mut Nodes,
    offset: usize,
    target: Option<Expr>,
    function: Name,
    args: Vec<Expr>,
) -> Expr {
    match target {
        None => global(nodes, offset, function, args),
        Some(target) => member(nodes, offset, target, function, args),
    }
}

fn global(nodes: &mut Nodes, offset: usize, function: Name, mut args: Vec<Expr>) -> Expr {
    if &*function != "has" || args.len() != 1 {
        return nodes.make(offset, Kind::Call { function, target: None, args });
    }
    let arg = args.remove(0);
    match arg.kind {
        Kind::Select { operand, field, .. } => {
            nodes.make(offset, Kind::Select { operand, field, test: true })
        }
        _ => fail(nodes, &arg, "invalid argument to has() macro"),
    }
}

fn fail(nodes: &mut Nodes, at: &Expr, message: &str) -> Expr {
    let offset = nodes.offset(at);
    nodes.issues.push(Issue::at(offset, message));
    nodes.make(offset, Kind::Literal(Value::Null))
}

/// Which macro a member call is, by its name and how many arguments it has.
fn member(nodes: &mut Nodes, offset: usize, target: Expr, function: Name, args: Vec<Expr>) -> Expr {
    let loops = match (&*function, args.len()) {
        ("all" | "exists" | "exists_one" | "filter" | "map", 2) | ("map", 3) => 1,
        ("all" | "exists" | "exists_one" | "existsOne", 3) => 2,
        ("transformList" | "transformMap" | "transformMapEntry", 3 | 4) => 2,
        ("existsOne", 2) => 1,
        ("optMap" | "optFlatMap", 2) => return opt_map(nodes, offset, target, &function, args),
        ("sortBy", 2) => return sort_by(nodes, offset, target, args),
        _ => {
            return nodes
                .make(offset, Kind::Call { function, target: Some(Box::new(target)), args });
        }
    };
    let names: Result<Vec<Name>, usize> =
        args[..loops].iter().enumerate().map(|(at, arg)| simple(arg).ok_or(at)).collect();
    match names {
        Err(at) => fail(nodes, &args[at], "argument must be a simple name"),
        Ok(names) => {
            let spot = Spot { nodes, offset };
            spot.expand(&function, target, names, args.into_iter().skip(loops).collect())
        }
    }
}

fn simple(arg: &Expr) -> Option<Name> {
    match &arg.kind {
        Kind::Ident(name) if &**name != ACCUMULATOR && !name.starts_with('@') => Some(name.clone()),
        _ => None,
    }
}

/// Makes the nodes of one macro; all are where the macro is.
struct Spot<'a> {
    nodes: &'a mut Nodes,
    offset: usize,
}

impl Spot<'_> {
    fn make(&mut self, kind: Kind) -> Expr {
        self.nodes.make(self.offset, kind)
    }

    fn accu(&mut self) -> Expr {
        self.make(Kind::Ident(ACCUMULATOR.into()))
    }

    fn literal(&mut self, value: Value) -> Expr {
        self.make(Kind::Literal(value))
    }

    fn call(&mut self, function: &str, args: Vec<Expr>) -> Expr {
        self.nodes.call(self.offset, function, args)
    }

    fn conditional(&mut self, condition: Expr, step: Expr) -> Expr {
        let accu = self.accu();
        self.call(CONDITIONAL, vec![condition, step, accu])
    }

    fn expand(
        mut self,
        function: &str,
        range: Expr,
        names: Vec<Name>,
        mut args: Vec<Expr>,
    ) -> Expr {
        let last = args.pop().expect("every loop macro has a body");
        let filter = args.pop();
        let (init, condition, step, result) = match function {
            "all" => self.quantifier(true, last),
            "exists" => self.quantifier(false, last),
            "exists_one" | "existsOne" => self.exactly_one(last),
            "filter" => self.filter(&names[0], last),
            "map" | "transformList" => self.collect(filter, last),
            "transformMap" => self.insert(filter, last, Some(names[0].clone())),
            _ => self.insert(filter, last, None),
        };
        let mut names = names.into_iter();
        let var = names.next().unwrap_or_else(|| "@unused".into());
        self.make(Kind::Comprehension(Box::new(Comprehension {
            range,
            var,
            var2: names.next(),
            accu: ACCUMULATOR.into(),
            init,
            condition,
            step,
            result,
        })))
    }

    fn quantifier(&mut self, all: bool, body: Expr) -> (Expr, Expr, Expr, Expr) {
        let init = self.literal(Value::Bool(all));
        let mut going = self.accu();
        if !all {
            going = self.call(NOT, vec![going]);
        }
        let condition = self.call(NOT_STRICTLY_FALSE, vec![going]);
        let accu = self.accu();
        let step = self.call(if all { AND } else { OR }, vec![accu, body]);
        (init, condition, step, self.accu())
    }

    fn exactly_one(&mut self, body: Expr) -> (Expr, Expr, Expr, Expr) {
        let init = self.literal(Value::Int(0));
        let condition = self.literal(Value::Bool(true));
        let (accu, one) = (self.accu(), self.literal(Value::Int(1)));
        let count = self.call(ADD, vec![accu, one]);
        let step = self.conditional(body, count);
        let (accu, one) = (self.accu(), self.literal(Value::Int(1)));
        let result = self.call(EQUALS, vec![accu, one]);
        (init, condition, step, result)
    }

    fn append(&mut self, value: Expr) -> Expr {
        let accu = self.accu();
        let one = self.make(Kind::List(vec![Item { value, optional: false }]));
        self.call(ADD, vec![accu, one])
    }

    fn filter(&mut self, var: &Name, body: Expr) -> (Expr, Expr, Expr, Expr) {
        let init = self.make(Kind::List(Vec::new()));
        let condition = self.literal(Value::Bool(true));
        let element = self.make(Kind::Ident(var.clone()));
        let step = self.append(element);
        let step = self.conditional(body, step);
        (init, condition, step, self.accu())
    }

    fn collect(&mut self, filter: Option<Expr>, body: Expr) -> (Expr, Expr, Expr, Expr) {
        let init = self.make(Kind::List(Vec::new()));
        let condition = self.literal(Value::Bool(true));
        let mut step = self.append(body);
        if let Some(filter) = filter {
            step = self.conditional(filter, step);
        }
        (init, condition, step, self.accu())
    }

    /// Into a map: under the loop's key, or the entries of the body.
    fn insert(
        &mut self,
        filter: Option<Expr>,
        body: Expr,
        key: Option<Name>,
    ) -> (Expr, Expr, Expr, Expr) {
        let init = self.make(Kind::Map(Vec::new()));
        let condition = self.literal(Value::Bool(true));
        let mut args = vec![self.accu()];
        if let Some(key) = key {
            args.push(self.make(Kind::Ident(key)));
        }
        args.push(body);
        let mut step = self.call(MAP_INSERT, args);
        if let Some(filter) = filter {
            step = self.conditional(filter, step);
        }
        (init, condition, step, self.accu())
    }
}

/// A name for the time of one expression: a loop that never runs, whose accumulator is the name.
fn bind(spot: &mut Spot<'_>, name: Name, value: Expr, result: Expr) -> Expr {
    let range = spot.make(Kind::List(Vec::new()));
    let condition = spot.literal(Value::Bool(false));
    let step = spot.make(Kind::Ident(name.clone()));
    spot.make(Kind::Comprehension(Box::new(Comprehension {
        range,
        var: "#unused".into(),
        var2: None,
        accu: name,
        init: value,
        condition,
        step,
        result,
    })))
}

/// `target.optMap(x, body)`: the body of the value, or none.
fn opt_map(
    nodes: &mut Nodes,
    offset: usize,
    target: Expr,
    function: &str,
    mut args: Vec<Expr>,
) -> Expr {
    let Some(name) = simple(&args[0]) else {
        return fail(
            nodes,
            &args[0],
            &format!("{function}() variable name must be a simple identifier"),
        );
    };
    let body = args.remove(1);
    let mut spot = Spot { nodes, offset };
    let member = |spot: &mut Spot<'_>, target: Expr, name: &str| {
        let call =
            Kind::Call { function: name.into(), target: Some(Box::new(target)), args: vec![] };
        spot.make(call)
    };
    let again = target.clone();
    let present = member(&mut spot, target, "hasValue");
    let value = member(&mut spot, again, "value");
    let bound = bind(&mut spot, name, value, body);
    let some = match function {
        "optMap" => spot.call("optional.of", vec![bound]),
        _ => bound,
    };
    let none = spot.call("optional.none", Vec::new());
    spot.call(CONDITIONAL, vec![present, some, none])
}

/// `list.sortBy(x, key)`: the list in the order of the keys.
fn sort_by(nodes: &mut Nodes, offset: usize, target: Expr, mut args: Vec<Expr>) -> Expr {
    let Some(name) = simple(&args[0]) else {
        return fail(nodes, &args[0], "argument must be a simple name");
    };
    let body = args.remove(1);
    let list: Name = "@__sortBy_input__".into();
    let mut spot = Spot { nodes, offset };
    let range = spot.make(Kind::Ident(list.clone()));
    let again = spot.make(Kind::Ident(list.clone()));
    let keys = Spot { nodes: spot.nodes, offset }.expand("map", range, vec![name], vec![body]);
    let call =
        Kind::Call { function: SORT_BY.into(), target: Some(Box::new(again)), args: vec![keys] };
    let mut spot = Spot { nodes, offset };
    let sorted = spot.make(call);
    bind(&mut spot, list, target, sorted)
}
