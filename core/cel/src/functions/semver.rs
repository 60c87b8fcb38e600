//! Semantic versions.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Entry, fail, no_overload};
use crate::eval::Evaluated;
use crate::value::Value;

/// A version; build metadata does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Semver {
    numbers: [u64; 3],
    pre: Vec<Part>,
}

/// One part of what stands behind the dash; numbers come before words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u64),
    Word(String),
}

pub(crate) const TABLE: &[Entry] = &[
    ("semver", |args, _| match read(args) {
        Some(Some(version)) => Ok(Value::Semver(Arc::new(version))),
        Some(None) => fail("No Major.Minor.Patch elements found"),
        None => no_overload(),
    }),
    ("isSemver", |args, _| match read(args) {
        Some(version) => Ok(Value::Bool(version.is_some())),
        None => no_overload(),
    }),
    ("major", |args, _| number(args, 0)),
    ("minor", |args, _| number(args, 1)),
    ("patch", |args, _| number(args, 2)),
];

/// The outer `None` is a wrong type, the inner one no version.
fn read(args: &[Value]) -> Option<Option<Semver>> {
    match args {
        [Value::String(text)] | [Value::String(text), Value::Bool(false)] => {
            Some(Semver::parse(text))
        }
        [Value::String(text), Value::Bool(true)] => Some(Semver::parse(&normalized(text))),
        _ => None,
    }
}

fn number(args: &[Value], at: usize) -> Evaluated {
    match args {
        [Value::Semver(version)] => Ok(Value::Int(version.numbers[at] as i64)),
        _ => no_overload(),
    }
}

/// Without a `v`, with all three numbers, without leading zeroes.
fn normalized(text: &str) -> String {
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (core, rest) = text.split_at(end);
    let mut parts: Vec<String> = core
        .split('.')
        .map(|part| match part.trim_start_matches('0') {
            "" if !part.is_empty() => "0".to_string(),
            trimmed => trimmed.to_string(),
        })
        .collect();
    while parts.len() < 3 {
        parts.push("0".into());
    }
    format!("{}{rest}", parts.join("."))
}

impl Semver {
    fn parse(text: &str) -> Option<Self> {
        let (text, build) = match text.split_once('+') {
            Some((text, build)) => (text, Some(build)),
            None => (text, None),
        };
        if build.is_some_and(|build| !build.split('.').all(is_word)) {
            return None;
        }
        let (core, pre) = match text.split_once('-') {
            Some((core, pre)) => (core, Some(pre)),
            None => (text, None),
        };
        let numbers: Option<Vec<u64>> = core.split('.').map(whole).collect();
        let pre: Option<Vec<Part>> =
            pre.into_iter().flat_map(|pre| pre.split('.')).map(part).collect();
        Some(Self { numbers: numbers?.try_into().ok()?, pre: pre? })
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'-')
}

fn whole(text: &str) -> Option<u64> {
    let zeroes = text.len() > 1 && text.starts_with('0');
    let digits = text.bytes().all(|digit| digit.is_ascii_digit());
    text.parse().ok().filter(|_| digits && !zeroes)
}

fn part(text: &str) -> Option<Part> {
    if !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit()) {
        return whole(text).map(Part::Number);
    }
    is_word(text).then(|| Part::Word(text.to_string()))
}

impl PartialOrd for Semver {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Semver {
    fn cmp(&self, other: &Self) -> Ordering {
        let numbers = self.numbers.cmp(&other.numbers);
        numbers.then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => self.pre.cmp(&other.pre),
        })
    }
}
