//! From text to tokens.

use crate::issue::Issue;

/// One token and where it starts, in characters.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) offset: usize,
    /// As it stands in the source.
    pub(crate) text: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TokenKind {
    Ident,
    /// `true`, `false`, `null`, `in`.
    Keyword,
    Int,
    Uint,
    Float,
    String(String),
    Bytes(Vec<u8>),
    /// An operator or bracket.
    Mark,
    End,
}

/// Splits a source into tokens; the last one is the end.
pub(crate) fn tokens(source: &str) -> Result<Vec<Token>, Vec<Issue>> {
    let mut lexer = Lexer { letters: source.chars().collect(), at: 0, issues: Vec::new() };
    let mut found = Vec::new();
    while let Some(token) = lexer.next() {
        found.push(token);
    }
    let offset = lexer.letters.len();
    found.push(Token { kind: TokenKind::End, offset, text: "<EOF>".into() });
    if lexer.issues.is_empty() { Ok(found) } else { Err(lexer.issues) }
}

struct Lexer {
    letters: Vec<char>,
    at: usize,
    issues: Vec<Issue>,
}

const MARKS: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",",
    "(", ")", "[", "]", "{", "}",
];

impl Lexer {
    fn next(&mut self) -> Option<Token> {
        loop {
            self.skip_blank();
            let first = self.peek(0)?;
            let offset = self.at;
            if let Some(kind) = self.quoted() {
                return Some(self.token(offset, kind));
            }
            if first.is_ascii_alphabetic() || first == '_' {
                return Some(self.word(offset));
            }
            let fraction = first == '.' && self.peek(1).is_some_and(|next| next.is_ascii_digit());
            if first.is_ascii_digit() || fraction {
                return Some(self.number(offset));
            }
            if let Some(mark) = MARKS.iter().find(|mark| self.starts_with(mark)) {
                self.at += mark.len();
                return Some(self.token(offset, TokenKind::Mark));
            }
            self.unknown(offset);
        }
    }

    /// What no token starts with: reported together with what follows it, as ANTLR does.
    fn unknown(&mut self, offset: usize) {
        self.at += 1;
        let lone = matches!(self.letters[offset], '=' | '&' | '|');
        let upto = if lone && self.peek(0).is_some() { self.at + 1 } else { self.at };
        let text: String = self.letters[offset..upto].iter().collect();
        let message = format!("Syntax error: token recognition error at: '{text}'");
        self.issues.push(Issue::at(offset, message));
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.letters.get(self.at + ahead).copied()
    }

    fn starts_with(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(ahead, letter)| self.peek(ahead) == Some(letter))
    }

    fn skip_blank(&mut self) {
        while let Some(letter) = self.peek(0) {
            if self.starts_with("//") {
                while self.peek(0).is_some_and(|letter| letter != '\n') {
                    self.at += 1;
                }
            } else if matches!(letter, ' ' | '\t' | '\r' | '\n' | '\u{c}') {
                self.at += 1;
            } else {
                return;
            }
        }
    }

    fn token(&self, offset: usize, kind: TokenKind) -> Token {
        Token { kind, offset, text: self.letters[offset..self.at].iter().collect() }
    }

    fn word(&mut self, offset: usize) -> Token {
        while self.peek(0).is_some_and(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
            self.at += 1;
        }
        let mut token = self.token(offset, TokenKind::Ident);
        if matches!(token.text.as_str(), "true" | "false" | "null" | "in") {
            token.kind = TokenKind::Keyword;
        }
        token
    }

    fn number(&mut self, offset: usize) -> Token {
        if self.starts_with("0x") || self.starts_with("0X") {
            self.at += 2;
            self.skip_while(|letter| letter.is_ascii_hexdigit());
        } else if self.decimal() {
            return self.token(offset, TokenKind::Float);
        }
        if matches!(self.peek(0), Some('u' | 'U')) {
            self.at += 1;
            return self.token(offset, TokenKind::Uint);
        }
        self.token(offset, TokenKind::Int)
    }

    /// Skips a decimal number; true if it has a fraction or an exponent.
    fn decimal(&mut self) -> bool {
        self.skip_while(|letter| letter.is_ascii_digit());
        let mut float = false;
        if self.peek(0) == Some('.') && self.peek(1).is_some_and(|next| next.is_ascii_digit()) {
            self.at += 1;
            self.skip_while(|letter| letter.is_ascii_digit());
            float = true;
        }
        let sign = usize::from(matches!(self.peek(1), Some('+' | '-')));
        let exponent = matches!(self.peek(0), Some('e' | 'E'))
            && self.peek(1 + sign).is_some_and(|next| next.is_ascii_digit());
        if exponent {
            self.at += 1 + sign;
            self.skip_while(|letter| letter.is_ascii_digit());
        }
        float || exponent
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.peek(0).is_some_and(&wanted) {
            self.at += 1;
        }
    }

    /// A string or bytes literal, if one starts here.
    fn quoted(&mut self) -> Option<TokenKind> {
        let start = self.at;
        let (mut raw, mut bytes) = (false, false);
        while let Some(letter @ ('r' | 'R' | 'b' | 'B')) = self.peek(0) {
            let flag = if matches!(letter, 'r' | 'R') { &mut raw } else { &mut bytes };
            if std::mem::replace(flag, true) {
                break;
            }
            self.at += 1;
        }
        let Some(quote @ ('"' | '\'')) = self.peek(0) else {
            self.at = start;
            return None;
        };
        let triple = self.peek(1) == Some(quote) && self.peek(2) == Some(quote);
        self.at += if triple { 3 } else { 1 };
        match self.body(quote, triple, raw, bytes) {
            Some(body) if bytes => Some(TokenKind::Bytes(body)),
            Some(body) => Some(TokenKind::String(String::from_utf8(body).unwrap_or_default())),
            None => {
                let text: String = self.letters[start..].iter().collect();
                let message = format!("Syntax error: token recognition error at: '{text}'");
                self.issues.push(Issue::at(start, message));
                self.at = self.letters.len();
                Some(TokenKind::String(String::new()))
            }
        }
    }

    /// What stands between the quotes; `None` if they are not closed.
    fn body(&mut self, quote: char, triple: bool, raw: bool, bytes: bool) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let closing: String = std::iter::repeat_n(quote, if triple { 3 } else { 1 }).collect();
        loop {
            if self.starts_with(&closing) {
                self.at += closing.len();
                return Some(out);
            }
            let letter = self.peek(0)?;
            if letter == '\n' && !triple {
                return None;
            }
            self.at += 1;
            match letter {
                '\\' if raw => {
                    out.push(b'\\');
                    push(&mut out, self.peek(0)?);
                    self.at += 1;
                }
                '\\' => self.escape(&mut out, bytes)?,
                letter => push(&mut out, letter),
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>, bytes: bool) -> Option<()> {
        let letter = self.peek(0)?;
        self.at += 1;
        let digits = match letter {
            'a' => return simple(out, '\u{7}'),
            'b' => return simple(out, '\u{8}'),
            'f' => return simple(out, '\u{c}'),
            'n' => return simple(out, '\n'),
            'r' => return simple(out, '\r'),
            't' => return simple(out, '\t'),
            'v' => return simple(out, '\u{b}'),
            '\\' | '\'' | '"' | '`' | '?' => return simple(out, letter),
            'x' | 'X' => (2, 16),
            'u' if !bytes => (4, 16),
            'U' if !bytes => (8, 16),
            '0'..='3' => {
                self.at -= 1;
                (3, 8)
            }
            _ => return None,
        };
        let text: String = self.letters.get(self.at..self.at + digits.0)?.iter().collect();
        let code = u32::from_str_radix(&text, digits.1).ok()?;
        self.at += digits.0;
        if bytes {
            out.push(u8::try_from(code).ok()?);
            return Some(());
        }
        simple(out, char::from_u32(code)?)
    }
}

fn simple(out: &mut Vec<u8>, letter: char) -> Option<()> {
    push(out, letter);
    Some(())
}

fn push(out: &mut Vec<u8>, letter: char) {
    out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<TokenKind> {
        tokens(source).unwrap().into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn literals_are_read_as_they_are_meant() {
        use TokenKind::{Bytes, End, Float, Int, Keyword, Mark, Uint};
        let cases = [
            ("1 0x1F 2u", vec![Int, Int, Uint, End]),
            ("1.5 1e3 .5", vec![Float, Float, Float, End]),
            (r#"'a\n\u00e9'"#, vec![TokenKind::String("a\n\u{e9}".into()), End]),
            (r#"r"a\n""#, vec![TokenKind::String("a\\n".into()), End]),
            (r#"b'\xff'"#, vec![Bytes(vec![255]), End]),
            ("'''a'b'''", vec![TokenKind::String("a'b".into()), End]),
            ("in // why\n ==", vec![Keyword, Mark, End]),
        ];
        for (source, expected) in cases {
            assert_eq!(kinds(source), expected, "{source}");
        }
    }

    #[test]
    fn what_is_no_token_is_an_error() {
        let cases = [("self = 42", "at: '= '"), ("a # b", "at: '#'"), ("'open", "at: ''open'")];
        for (source, text) in cases {
            let issues = tokens(source).unwrap_err();
            assert!(issues[0].message.ends_with(text), "{issues:?}");
        }
    }
}
