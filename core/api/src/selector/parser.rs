//! The label selector grammar: a lexer and a parser with one token of look-ahead.

use super::label::{LabelSelectorError, Operator, Requirement, check_key};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    End,
    Comma,
    Open,
    Close,
    Not,
    Equals,
    DoubleEquals,
    NotEquals,
    Greater,
    Less,
    In,
    NotIn,
    Identifier,
}

struct Lexed {
    token: Token,
    text: String,
}

/// Parses a whole selector.
pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, LabelSelectorError> {
    let mut parser = Parser { tokens: lex(text), at: 0 };
    parser.selector()
}

fn is_special(character: char) -> bool {
    matches!(character, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn lex(text: &str) -> Vec<Lexed> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = if is_special(first) {
            special_len(rest)
        } else {
            rest.find(|c: char| is_special(c) || c.is_whitespace()).unwrap_or(rest.len())
        };
        let word = &rest[..end];
        tokens.push(Lexed { token: token_of(word), text: word.into() });
        rest = rest[end..].trim_start();
    }
    tokens.push(Lexed { token: Token::End, text: String::new() });
    tokens
}

fn special_len(rest: &str) -> usize {
    if rest.starts_with("==") || rest.starts_with("!=") { 2 } else { 1 }
}

fn token_of(word: &str) -> Token {
    match word {
        "," => Token::Comma,
        "(" => Token::Open,
        ")" => Token::Close,
        "!" => Token::Not,
        "=" => Token::Equals,
        "==" => Token::DoubleEquals,
        "!=" => Token::NotEquals,
        ">" => Token::Greater,
        "<" => Token::Less,
        "in" => Token::In,
        "notin" => Token::NotIn,
        _ => Token::Identifier,
    }
}

struct Parser {
    tokens: Vec<Lexed>,
    at: usize,
}

fn found(text: &str, rest: &str) -> LabelSelectorError {
    LabelSelectorError(format!("found '{text}'{rest}"))
}

impl Parser {
    fn peek(&self) -> (Token, String) {
        let lexed = &self.tokens[self.at.min(self.tokens.len() - 1)];
        (lexed.token.clone(), lexed.text.clone())
    }

    fn next(&mut self) -> (Token, String) {
        let lexed = self.peek();
        self.at += 1;
        lexed
    }

    /// Where a value or key is due, `in` and `notin` are plain words.
    fn peek_value(&self) -> (Token, String) {
        match self.peek() {
            (Token::In | Token::NotIn, text) => (Token::Identifier, text),
            other => other,
        }
    }

    fn next_value(&mut self) -> (Token, String) {
        let lexed = self.peek_value();
        self.at += 1;
        lexed
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, LabelSelectorError> {
        let mut requirements = Vec::new();
        loop {
            match self.peek_value() {
                (Token::Identifier | Token::Not, _) => {
                    let requirement = self.requirement().map_err(|error| {
                        LabelSelectorError(format!("unable to parse requirement: {error}"))
                    })?;
                    requirements.push(requirement);
                    if self.ends_after_requirement()? {
                        return Ok(requirements);
                    }
                }
                (Token::End, _) => return Ok(requirements),
                (_, text) => {
                    return Err(found(&text, ", expected: !, identifier, or 'end of string'"));
                }
            }
        }
    }

    fn ends_after_requirement(&mut self) -> Result<bool, LabelSelectorError> {
        match self.next_value() {
            (Token::End, _) => Ok(true),
            (Token::Comma, _) => match self.peek_value() {
                (Token::Identifier | Token::Not, _) => Ok(false),
                (_, text) => Err(found(&text, ", expected: identifier after ','")),
            },
            (_, text) => Err(found(&text, ", expected: ',' or 'end of string'")),
        }
    }

    fn requirement(&mut self) -> Result<Requirement, LabelSelectorError> {
        let (mut token, mut key) = self.next_value();
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.next_value();
        }
        if token != Token::Identifier {
            return Err(found(&key, ", expected: identifier"));
        }
        check_key(&key)?;
        if negated {
            return Requirement::new(&key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek_value().0, Token::End | Token::Comma) {
            return Requirement::new(&key, Operator::Exists, Vec::new());
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        Requirement::new(&key, operator, values)
    }

    fn operator(&mut self) -> Result<Operator, LabelSelectorError> {
        Ok(match self.next() {
            (Token::In, _) => Operator::In,
            (Token::NotIn, _) => Operator::NotIn,
            (Token::Equals | Token::DoubleEquals, _) => Operator::Equals,
            (Token::NotEquals, _) => Operator::NotEquals,
            (Token::Greater, _) => Operator::GreaterThan,
            (Token::Less, _) => Operator::LessThan,
            (_, text) => return Err(found(&text, ", expected: in, notin, =, ==, !=, gt, lt")),
        })
    }

    fn exact_value(&mut self) -> Result<String, LabelSelectorError> {
        if matches!(self.peek_value().0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.next_value() {
            (Token::Identifier, text) => Ok(text),
            (_, text) => Err(found(&text, ", expected: identifier")),
        }
    }

    fn values(&mut self) -> Result<Vec<String>, LabelSelectorError> {
        match self.next_value() {
            (Token::Open, _) => {}
            (_, text) => return Err(found(&text, " expected: '('")),
        }
        match self.peek_value() {
            (Token::Close, _) => {
                self.at += 1;
                Ok(Vec::new())
            }
            (Token::Identifier | Token::Comma, _) => self.value_list(),
            (_, text) => Err(found(&text, ", expected: ',', ')' or identifier")),
        }
    }

    /// `a,b)`, where an empty place stands for the empty value.
    fn value_list(&mut self) -> Result<Vec<String>, LabelSelectorError> {
        let mut values = Vec::new();
        loop {
            match self.peek_value() {
                (Token::Identifier, text) => {
                    self.at += 1;
                    values.push(text);
                }
                (Token::Comma | Token::Close, _) => values.push(String::new()),
                (_, text) => return Err(found(&text, ", expected: ',', or identifier")),
            }
            match self.next_value() {
                (Token::Close, _) => return Ok(values),
                (Token::Comma, _) => {}
                (_, text) => return Err(found(&text, ", expected: ',' or ')'")),
            }
        }
    }
}
