//! Functions of strings, counted in characters.

use super::{Entry, fail, no_overload};
use crate::eval::{EvalError, Evaluated};
use crate::meter::Meter;
use crate::value::Value;

pub(crate) const TABLE: &[Entry] = &[
    ("contains", |args, _| text_test(args, |text, part| text.contains(part))),
    ("startsWith", |args, _| text_test(args, |text, part| text.starts_with(part))),
    ("endsWith", |args, _| text_test(args, |text, part| text.ends_with(part))),
    ("lowerAscii", |args, _| mapped(args, str::to_ascii_lowercase)),
    ("upperAscii", |args, _| mapped(args, str::to_ascii_uppercase)),
    ("trim", |args, _| mapped(args, |text| text.trim().to_string())),
    ("strings.quote", |args, _| mapped(args, quote)),
    ("jsonpatch.escapeKey", |args, _| {
        mapped(args, |text| text.replace('~', "~0").replace('/', "~1"))
    }),
    ("charAt", char_at),
    ("substring", substring),
    ("replace", replace),
    ("split", split),
    ("join", join),
    ("format", format),
];

fn text_test(args: &[Value], test: impl Fn(&str, &str) -> bool) -> Evaluated {
    match args {
        [Value::String(text), Value::String(part)] => Ok(Value::Bool(test(text, part))),
        _ => no_overload(),
    }
}

fn mapped(args: &[Value], map: impl Fn(&str) -> String) -> Evaluated {
    match args {
        [Value::String(text)] => Ok(Value::String(map(text).into())),
        _ => no_overload(),
    }
}

fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn out_of_range(index: i64) -> EvalError {
    EvalError::new(format!("index out of range: {index}"))
}

/// The byte at which a character starts; the end counts too.
fn position(text: &str, index: i64) -> Result<usize, EvalError> {
    let wanted = usize::try_from(index).map_err(|_| out_of_range(index))?;
    let mut starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    starts.nth(wanted).ok_or_else(|| out_of_range(index))
}

fn char_at(args: &[Value], _: &mut Meter) -> Evaluated {
    let [Value::String(text), Value::Int(index)] = args else { return no_overload() };
    let at = position(text, *index)?;
    Ok(Value::text(
        text[at..].chars().next().map_or("", |letter| &text[at..at + letter.len_utf8()]),
    ))
}

fn substring(args: &[Value], _: &mut Meter) -> Evaluated {
    let (text, start, end) = match args {
        [Value::String(text), Value::Int(start)] => (text, *start, None),
        [Value::String(text), Value::Int(start), Value::Int(end)] => (text, *start, Some(*end)),
        _ => return no_overload(),
    };
    let from = position(text, start)?;
    let Some(end) = end else { return Ok(Value::text(&text[from..])) };
    let to = position(text, end)?;
    if from > to {
        return fail(format!("invalid substring range. start: {start}, end: {end}"));
    }
    Ok(Value::text(&text[from..to]))
}

/// The character at which a part is first found from `start` on; -1 if nowhere.
pub(super) fn index_of(text: &str, part: &str, start: Option<i64>) -> Evaluated {
    let from = position(text, start.unwrap_or(0))?;
    let found = text[from..].find(part).map(|at| text[..from + at].chars().count());
    Ok(Value::Int(found.map_or(-1, |at| at as i64)))
}

/// The character at which a part is last found, starting no later than `start`; -1 if nowhere.
pub(super) fn last_index_of(text: &str, part: &str, start: Option<i64>) -> Evaluated {
    let until = match start {
        Some(start) => (position(text, start)? + part.len()).min(text.len()),
        None => text.len(),
    };
    let until = (until..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    let found = text[..until].rfind(part).map(|at| text[..at].chars().count());
    Ok(Value::Int(found.map_or(-1, |at| at as i64)))
}

fn replace(args: &[Value], meter: &mut Meter) -> Evaluated {
    let (text, from, to, count) = match args {
        [Value::String(text), Value::String(from), Value::String(to)] => (text, from, to, -1),
        [Value::String(text), Value::String(from), Value::String(to), Value::Int(count)] => {
            (text, from, to, *count)
        }
        _ => return no_overload(),
    };
    let found =
        if from.is_empty() { text.chars().count() + 1 } else { text.matches(&**from).count() };
    let times = usize::try_from(count).map_or(found, |count| count.min(found));
    meter.work((text.len() + times.saturating_mul(to.len())) / 32)?;
    Ok(Value::text(&text.replacen(&**from, to, times)))
}

fn split(args: &[Value], meter: &mut Meter) -> Evaluated {
    let (text, by, limit) = match args {
        [Value::String(text), Value::String(by)] => (text, by, -1),
        [Value::String(text), Value::String(by), Value::Int(limit)] => (text, by, *limit),
        _ => return no_overload(),
    };
    meter.work(text.len() / 4)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if limit == 0 {
        return Ok(Value::list(Vec::new()));
    }
    if !by.is_empty() {
        return Ok(Value::texts(text.splitn(limit, &**by)));
    }
    let mut parts: Vec<&str> = Vec::new();
    let mut rest = &**text;
    while let Some(letter) = rest.chars().next().filter(|_| parts.len() + 1 < limit) {
        let (one, more) = rest.split_at(letter.len_utf8());
        parts.push(one);
        rest = more;
    }
    parts.extend((!rest.is_empty()).then_some(rest));
    Ok(Value::texts(parts))
}

fn join(args: &[Value], meter: &mut Meter) -> Evaluated {
    let (list, by) = match args {
        [Value::List(list)] => (list, ""),
        [Value::List(list), Value::String(by)] => (list, &**by),
        _ => return no_overload(),
    };
    let texts: Option<Vec<&str>> = list.items.iter().map(Value::as_text).collect();
    let Some(texts) = texts else { return no_overload() };
    let length = texts.iter().map(|text| text.len() + by.len()).sum::<usize>();
    meter.work(length / 32)?;
    Ok(Value::text(&texts.join(by)))
}

/// `"%s is %d".format([…])`.
fn format(args: &[Value], meter: &mut Meter) -> Evaluated {
    let [Value::String(pattern), Value::List(values)] = args else { return no_overload() };
    let mut values = values.items.iter();
    let mut out = String::new();
    let mut rest = pattern.chars();
    while let Some(letter) = rest.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let (precision, verb) = directive(&mut rest)?;
        if verb == '%' {
            out.push('%');
            continue;
        }
        let value = values
            .next()
            .ok_or_else(|| EvalError::new("error during formatting: index out of range"))?;
        meter.work(value.weight(meter.left()))?;
        out.push_str(&formatted(verb, precision, value)?);
    }
    Ok(Value::text(&out))
}

/// The precision and the letter of a directive.
fn directive(rest: &mut std::str::Chars<'_>) -> Result<(usize, char), EvalError> {
    let unexpected = || EvalError::new("error during formatting: unexpected end of string");
    let mut precision = None;
    let mut verb = rest.next().ok_or_else(unexpected)?;
    if verb == '.' {
        let mut digits = String::new();
        verb = rest.next().ok_or_else(unexpected)?;
        while verb.is_ascii_digit() {
            digits.push(verb);
            verb = rest.next().ok_or_else(unexpected)?;
        }
        let bad = |_| EvalError::new("error during formatting: bad precision");
        precision = Some(digits.parse::<usize>().map_err(bad)?.min(100));
    }
    Ok((precision.unwrap_or(6), verb))
}

fn formatted(verb: char, precision: usize, value: &Value) -> Result<String, EvalError> {
    let wrong = |clause: &str| {
        let message = format!(
            "error during formatting: {clause} can only be used on integers, but was given {}",
            value.type_name()
        );
        EvalError::new(message)
    };
    let number = match value {
        Value::Int(number) => Some(i128::from(*number)),
        Value::Uint(number) => Some(i128::from(*number)),
        Value::Bool(flag) => Some(i128::from(*flag)),
        _ => None,
    };
    let float = match value {
        Value::Double(number) => Some(*number),
        _ => number.map(|number| number as f64),
    };
    let signed = |digits: String, number: i128| {
        if number < 0 { format!("-{digits}") } else { digits }
    };
    Ok(match (verb, number, float) {
        ('s', ..) => shown(value),
        ('d', Some(number), _) => number.to_string(),
        ('d', None, Some(float)) => super::convert::double_text(float),
        ('f', _, Some(float)) => format!("{float:.precision$}"),
        ('e', _, Some(float)) => exponent(float, precision),
        ('b', Some(number), _) => signed(format!("{:b}", number.abs()), number),
        ('o', Some(number), _) => signed(format!("{:o}", number.abs()), number),
        ('x', Some(number), _) => signed(format!("{:x}", number.abs()), number),
        ('X', Some(number), _) => signed(format!("{:X}", number.abs()), number),
        ('x' | 'X', None, _) => match value {
            Value::String(text) => hex(text.as_bytes(), verb),
            Value::Bytes(bytes) => hex(bytes, verb),
            _ => return Err(wrong("hex clause")),
        },
        ('d' | 'f' | 'e' | 'b' | 'o', ..) => return Err(wrong("clause")),
        _ => {
            let message =
                format!("error during formatting: unrecognized formatting clause \"{verb}\"");
            return Err(EvalError::new(message));
        }
    })
}

fn hex(bytes: &[u8], verb: char) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if verb == 'X' { digits.to_uppercase() } else { digits }
}

fn exponent(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    match exponent.strip_prefix('-') {
        Some(exponent) => format!("{digits}e-{exponent:0>2}"),
        None => format!("{digits}e+{exponent:0>2}"),
    }
}

/// How `%s` shows a value: lists and maps spelled out.
fn shown(value: &Value) -> String {
    match value {
        Value::List(list) => {
            let items: Vec<_> = list.items.iter().map(shown).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(map) => {
            let entry = |(key, value): (&crate::value::Key, &Value)| {
                format!("{}: {}", shown(&key.value()), shown(value))
            };
            let entries: Vec<_> = map.entries.iter().map(entry).collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => super::convert::text_of(other),
    }
}
