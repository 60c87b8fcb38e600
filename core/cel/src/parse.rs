//! From tokens to an [`Ast`]: precedence climbing, with the depth bounded.

use crate::ast::{
    ADD, AND, Ast, CONDITIONAL, EQUALS, Expr, Field, IN, INDEX, Item, Kind, NEGATE, NOT,
    NOT_EQUALS, Name, OPT_INDEX, OPT_SELECT, OR, Pair,
};
use crate::issue::{CompileError, Issue};
use crate::lex::{Token, TokenKind, tokens};
use crate::macros;
use crate::value::Value;

/// How deep brackets may nest; what reads, checks and runs an expression recurses as deep.
const DEPTH_MAX: usize = 100;
/// How deep the tree may be.
const TREE_MAX: usize = 250;
/// How many characters an expression may have, as upstream.
const SOURCE_MAX: usize = 100_000;

const PRIMARY: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, \
    NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Parses an expression and writes its macros out.
pub(crate) fn parse(source: &str) -> Result<Ast, CompileError> {
    let fail = |issues| CompileError::new(source, issues);
    let length = source.chars().count();
    if length > SOURCE_MAX {
        let message =
            format!("expression code point size exceeds limit: size: {length}, limit {SOURCE_MAX}");
        return Err(fail(vec![Issue { message, offset: None }]));
    }
    let tokens = tokens(source).map_err(fail)?;
    let mut parser = Parser { tokens, at: 0, depth: 0, nodes: Nodes::default() };
    let root = parser.whole().map_err(|issue| fail(vec![issue]))?;
    if !parser.nodes.issues.is_empty() {
        return Err(fail(parser.nodes.issues));
    }
    Ok(Ast { root, source: source.into(), offsets: parser.nodes.offsets })
}

/// Hands out ids, and remembers where nodes start and how deep they reach.
#[derive(Default)]
pub(crate) struct Nodes {
    offsets: Vec<usize>,
    depths: Vec<usize>,
    deepest: usize,
    pub(crate) issues: Vec<Issue>,
}

impl Nodes {
    /// A new node.
    pub(crate) fn make(&mut self, offset: usize, kind: Kind) -> Expr {
        let depth = 1 + children(&kind).map(|id| self.depths[id]).max().unwrap_or(0);
        self.deepest = self.deepest.max(depth);
        self.offsets.push(offset);
        self.depths.push(depth);
        Expr { id: self.offsets.len() - 1, kind }
    }

    pub(crate) fn offset(&self, expr: &Expr) -> usize {
        self.offsets[expr.id]
    }

    /// A call of a function that is no member.
    pub(crate) fn call(&mut self, offset: usize, function: &str, args: Vec<Expr>) -> Expr {
        self.make(offset, Kind::Call { function: function.into(), target: None, args })
    }
}

fn children(kind: &Kind) -> Box<dyn Iterator<Item = usize> + '_> {
    match kind {
        Kind::Literal(_) | Kind::Ident(_) => Box::new(std::iter::empty()),
        Kind::Select { operand, .. } => Box::new(std::iter::once(operand.id)),
        Kind::Call { target, args, .. } => {
            Box::new(target.iter().map(|expr| expr.id).chain(args.iter().map(|expr| expr.id)))
        }
        Kind::List(items) => Box::new(items.iter().map(|item| item.value.id)),
        Kind::Map(pairs) => Box::new(pairs.iter().flat_map(|pair| [pair.key.id, pair.value.id])),
        Kind::Struct { fields, .. } => Box::new(fields.iter().map(|field| field.value.id)),
        Kind::Comprehension(loops) => {
            let parts = [&loops.range, &loops.init, &loops.condition, &loops.step, &loops.result];
            Box::new(parts.into_iter().map(|expr| expr.id))
        }
    }
}

fn too_deep(limit: usize) -> Issue {
    Issue { message: format!("expression recursion limit exceeded: {limit}"), offset: None }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    nodes: Nodes,
}

type Parsed = Result<Expr, Issue>;

impl Parser {
    fn whole(&mut self) -> Parsed {
        let expr = self.expression()?;
        match self.token().kind {
            TokenKind::End => Ok(expr),
            _ => Err(self.unexpected("extraneous input", "<EOF>")),
        }
    }

    fn token(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn ahead(&self, by: usize) -> &Token {
        &self.tokens[(self.at + by).min(self.tokens.len() - 1)]
    }

    /// Takes a mark if it is next; its place.
    fn take(&mut self, mark: &str) -> Option<usize> {
        let token = self.token();
        let found = token.kind == TokenKind::Mark && token.text == mark;
        let offset = token.offset;
        self.at += usize::from(found);
        found.then_some(offset)
    }

    fn expect(&mut self, mark: &str) -> Result<usize, Issue> {
        match self.take(mark) {
            Some(offset) => Ok(offset),
            None => Err(self.unexpected("mismatched input", &format!("'{mark}'"))),
        }
    }

    fn unexpected(&self, what: &str, expected: &str) -> Issue {
        let token = self.token();
        let message = format!("Syntax error: {what} '{}' expecting {expected}", token.text);
        Issue::at(token.offset, message)
    }

    /// A call that one more operator of a chain makes, unless the chain is too long.
    fn chain(&mut self, offset: usize, function: &str, args: Vec<Expr>) -> Parsed {
        let call = self.nodes.call(offset, function, args);
        if self.nodes.deepest > TREE_MAX { Err(too_deep(TREE_MAX)) } else { Ok(call) }
    }

    fn expression(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(too_deep(DEPTH_MAX));
        }
        let condition = self.or()?;
        let found = match self.take("?") {
            None => condition,
            Some(offset) => {
                let yes = self.or()?;
                self.expect(":")?;
                let no = self.expression()?;
                self.nodes.call(offset, CONDITIONAL, vec![condition, yes, no])
            }
        };
        self.depth -= 1;
        Ok(found)
    }

    fn or(&mut self) -> Parsed {
        let mut terms = vec![self.and()?];
        let mut places = Vec::new();
        while let Some(offset) = self.take("||") {
            places.push(offset);
            terms.push(self.and()?);
        }
        Ok(self.balance(OR, terms, &places))
    }

    fn and(&mut self) -> Parsed {
        let mut terms = vec![self.relation()?];
        let mut places = Vec::new();
        while let Some(offset) = self.take("&&") {
            places.push(offset);
            terms.push(self.relation()?);
        }
        Ok(self.balance(AND, terms, &places))
    }

    /// A long chain as a balanced tree, so that its depth is only logarithmic.
    fn balance(&mut self, function: &str, mut terms: Vec<Expr>, places: &[usize]) -> Expr {
        if terms.len() == 1 {
            return terms.remove(0);
        }
        let middle = places.len().div_ceil(2);
        let right = terms.split_off(middle);
        let left = self.balance(function, terms, &places[..middle - 1]);
        let right = self.balance(function, right, &places[middle..]);
        self.nodes.call(places[middle - 1], function, vec![left, right])
    }

    fn relation(&mut self) -> Parsed {
        let mut left = self.sum()?;
        loop {
            let token = self.token();
            let function = match (&token.kind, token.text.as_str()) {
                (TokenKind::Mark, "==") => EQUALS,
                (TokenKind::Mark, "!=") => NOT_EQUALS,
                (TokenKind::Mark, "<") => "_<_",
                (TokenKind::Mark, "<=") => "_<=_",
                (TokenKind::Mark, ">") => "_>_",
                (TokenKind::Mark, ">=") => "_>=_",
                (TokenKind::Keyword, "in") => IN,
                _ => return Ok(left),
            };
            let offset = token.offset;
            self.at += 1;
            let right = self.sum()?;
            left = self.chain(offset, function, vec![left, right])?;
        }
    }

    fn sum(&mut self) -> Parsed {
        let mut left = self.product()?;
        loop {
            let (function, offset) = if let Some(offset) = self.take("+") {
                (ADD, offset)
            } else if let Some(offset) = self.take("-") {
                ("_-_", offset)
            } else {
                return Ok(left);
            };
            let right = self.product()?;
            left = self.chain(offset, function, vec![left, right])?;
        }
    }

    fn product(&mut self) -> Parsed {
        let mut left = self.unary()?;
        loop {
            let marks = [("*", "_*_"), ("/", "_/_"), ("%", "_%_")];
            let found = marks.iter().find_map(|(mark, name)| Some((*name, self.take(mark)?)));
            let Some((function, offset)) = found else { return Ok(left) };
            let right = self.unary()?;
            left = self.chain(offset, function, vec![left, right])?;
        }
    }

    fn unary(&mut self) -> Parsed {
        for (mark, function) in [("!", NOT), ("-", NEGATE)] {
            if mark == "-" && self.is_negative_literal() {
                break;
            }
            let Some(offset) = self.take(mark) else { continue };
            let mut count = 1;
            while self.take(mark).is_some() {
                count += 1;
            }
            let operand = self.member()?;
            // An even number of them undoes itself.
            if count % 2 == 0 {
                return Ok(operand);
            }
            return Ok(self.nodes.call(offset, function, vec![operand]));
        }
        self.member()
    }

    fn is_negative_literal(&self) -> bool {
        let number = matches!(self.ahead(1).kind, TokenKind::Int | TokenKind::Float);
        self.token().text == "-" && self.token().kind == TokenKind::Mark && number
    }

    fn member(&mut self) -> Parsed {
        let mut operand = self.primary()?;
        loop {
            if let Some(offset) = self.take(".") {
                operand = self.selection(operand, offset)?;
            } else if let Some(offset) = self.take("[") {
                let function = if self.take("?").is_some() { OPT_INDEX } else { INDEX };
                let index = self.expression()?;
                self.expect("]")?;
                operand = self.chain(offset, function, vec![operand, index])?;
            } else if self.at_struct(&operand) {
                operand = self.structure(&operand)?;
            } else {
                return Ok(operand);
            }
        }
    }

    fn selection(&mut self, operand: Expr, offset: usize) -> Parsed {
        if self.nodes.deepest > TREE_MAX {
            return Err(too_deep(TREE_MAX));
        }
        let optional = self.take("?").is_some();
        let field = self.identifier()?;
        if optional {
            let place = self.tokens[self.at - 1].offset;
            let name = self.nodes.make(place, Kind::Literal(Value::text(&field)));
            return Ok(self.nodes.call(offset, OPT_SELECT, vec![operand, name]));
        }
        let Some(open) = self.take("(") else {
            let select = Kind::Select { operand: Box::new(operand), field, test: false };
            return Ok(self.nodes.make(offset, select));
        };
        let args = self.arguments(")")?;
        Ok(macros::expand(&mut self.nodes, open, Some(operand), field, args))
    }

    fn identifier(&mut self) -> Result<Name, Issue> {
        if self.token().kind != TokenKind::Ident {
            return Err(self.unexpected("mismatched input", "IDENTIFIER"));
        }
        let name = self.token().text.as_str().into();
        self.at += 1;
        Ok(name)
    }

    fn arguments(&mut self, close: &str) -> Result<Vec<Expr>, Issue> {
        let mut args = Vec::new();
        if self.take(close).is_some() {
            return Ok(args);
        }
        loop {
            args.push(self.expression()?);
            if self.take(",").is_none() {
                self.expect(close)?;
                return Ok(args);
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        let token = self.token().clone();
        match token.kind {
            TokenKind::Ident => self.name(),
            TokenKind::Mark => self.bracketed(&token),
            TokenKind::Keyword if token.text == "in" => {
                Err(self.unexpected("mismatched input", PRIMARY))
            }
            TokenKind::End => Err(self.unexpected("mismatched input", PRIMARY)),
            _ => {
                self.at += 1;
                let value = literal(&token, false)?;
                Ok(self.nodes.make(token.offset, Kind::Literal(value)))
            }
        }
    }

    fn bracketed(&mut self, token: &Token) -> Parsed {
        self.at += 1;
        match token.text.as_str() {
            "(" => {
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            "[" => self.list(token.offset),
            "{" => self.map(token.offset),
            "." => self.name(),
            "-" => {
                let number = self.token().clone();
                self.at += 1;
                let value = literal(&number, true)?;
                Ok(self.nodes.make(token.offset, Kind::Literal(value)))
            }
            _ => {
                self.at -= 1;
                Err(self.unexpected("mismatched input", PRIMARY))
            }
        }
    }

    fn name(&mut self) -> Parsed {
        let offset = self.token().offset;
        let name = self.identifier()?;
        if RESERVED.contains(&&*name) {
            let message = format!("reserved identifier: {name}");
            self.nodes.issues.push(Issue::at(offset, message));
        }
        let Some(open) = self.take("(") else {
            return Ok(self.nodes.make(offset, Kind::Ident(name)));
        };
        let args = self.arguments(")")?;
        Ok(macros::expand(&mut self.nodes, open, None, name, args))
    }

    fn list(&mut self, offset: usize) -> Parsed {
        let mut items = Vec::new();
        while self.take("]").is_none() {
            let optional = self.take("?").is_some();
            items.push(Item { value: self.expression()?, optional });
            if self.take(",").is_none() {
                self.expect("]")?;
                break;
            }
        }
        Ok(self.nodes.make(offset, Kind::List(items)))
    }

    fn map(&mut self, offset: usize) -> Parsed {
        let mut pairs = Vec::new();
        while self.take("}").is_none() {
            let optional = self.take("?").is_some();
            let key = self.expression()?;
            self.expect(":")?;
            pairs.push(Pair { key, value: self.expression()?, optional });
            if self.take(",").is_none() {
                self.expect("}")?;
                break;
            }
        }
        Ok(self.nodes.make(offset, Kind::Map(pairs)))
    }

    fn at_struct(&self, operand: &Expr) -> bool {
        let brace = self.token().kind == TokenKind::Mark && self.token().text == "{";
        brace && operand.qualified_name().is_some()
    }

    fn structure(&mut self, operand: &Expr) -> Parsed {
        let name = operand.qualified_name().unwrap_or_default();
        let offset = self.expect("{")?;
        let mut fields = Vec::new();
        while self.take("}").is_none() {
            let optional = self.take("?").is_some();
            let field = self.identifier()?;
            self.expect(":")?;
            fields.push(Field { name: field, value: self.expression()?, optional });
            if self.take(",").is_none() {
                self.expect("}")?;
                break;
            }
        }
        Ok(self.nodes.make(offset, Kind::Struct { name: name.as_str().into(), fields }))
    }
}

fn literal(token: &Token, negative: bool) -> Result<Value, Issue> {
    let bad = |what: &str| Issue::at(token.offset, format!("invalid {what} literal"));
    let text = token.text.as_str();
    Ok(match &token.kind {
        TokenKind::String(text) => Value::text(text),
        TokenKind::Bytes(bytes) => Value::Bytes(bytes.as_slice().into()),
        TokenKind::Float => {
            let number: f64 = text.parse().map_err(|_| bad("double"))?;
            Value::Double(if negative { -number } else { number })
        }
        TokenKind::Uint => {
            let digits = text.trim_end_matches(['u', 'U']);
            let number = radix(digits).and_then(|number| u64::try_from(number).ok());
            Value::Uint(number.ok_or_else(|| bad("uint"))?)
        }
        TokenKind::Int => {
            let number = radix(text).map(|number| if negative { -number } else { number });
            let number = number.and_then(|number| i64::try_from(number).ok());
            Value::Int(number.ok_or_else(|| bad("int"))?)
        }
        _ => match text {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => Value::Null,
        },
    })
}

fn radix(text: &str) -> Option<i128> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => i128::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(source: &str) -> String {
        parse(source).unwrap_err().issues.remove(0).message
    }

    #[test]
    fn broken_expressions_are_told_as_upstream_tells_them() {
        let cases = [
            ("self = 42", "Syntax error: token recognition error at: '= '"),
            ("a +", "Syntax error: mismatched input '<EOF>' expecting {'[', '{', '('"),
            ("a b", "Syntax error: extraneous input 'b' expecting <EOF>"),
            ("(a", "Syntax error: mismatched input '<EOF>' expecting ')'"),
            ("namespace == 1", "reserved identifier: namespace"),
            ("9223372036854775808", "invalid int literal"),
            ("[1].all(2, true)", "argument must be a simple name"),
        ];
        for (source, text) in cases {
            assert!(error(source).starts_with(text), "{source}: {}", error(source));
        }
        assert!(parse("-9223372036854775808 < 0").is_ok());
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let deep = "(".repeat(300) + "1" + &")".repeat(300);
        let chain = vec!["1"; 40_000].join("+");
        let selects = "a".to_string() + &".b".repeat(40_000);
        for source in [deep, chain, selects, "!".repeat(99_000)] {
            assert!(parse(&source).is_err());
        }
        let long = vec!["a"; 9_000].join("&&");
        assert!(parse(&long).is_ok(), "a long conjunction is balanced");
        assert!(error(&"a".repeat(100_001)).starts_with("expression code point size exceeds"));
    }
}
