//! Paths such as `.spec.a['b.c']`, as rules' `fieldPath` and selectable fields write them.

use hansa_api::field::{child, key};
use serde_json::Value;

/// A path that was found in a schema.
pub(in crate::crd) struct Found<'a> {
    /// As field errors write it.
    pub(in crate::crd) path: String,
    /// The schema that it leads to.
    pub(in crate::crd) schema: &'a Value,
    /// Its first name.
    pub(in crate::crd) root: String,
}

/// Follows a path into a schema; `brackets` allows `['name']`.
///
/// # Errors
/// In upstream's words, what is wrong with the path.
pub(in crate::crd) fn find<'a>(
    path: &str,
    schema: &'a Value,
    brackets: bool,
) -> Result<Found<'a>, String> {
    let mut found = Found { path: String::new(), schema, root: String::new() };
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        let name;
        (name, rest) = match first {
            '[' if !brackets => return Err("array notation is not allowed".into()),
            '[' => quoted(&rest[1..])?,
            '.' => plain(&rest[1..])?,
            _ => {
                let end = rest.find(['.', '[', ']']).unwrap_or(rest.len()).max(1);
                return Err(format!("expected [ or . but got: {}", &rest[..end]));
            }
        };
        found.step(&name)?;
    }
    Ok(found)
}

impl Found<'_> {
    fn step(&mut self, name: &str) -> Result<(), String> {
        let unknown = || "does not refer to a valid field".to_string();
        if self.root.is_empty() {
            self.root = name.to_string();
        }
        let properties = self.schema.get("properties").filter(|one| one.is_object());
        let values = self.schema.get("additionalProperties").filter(|one| one.is_object());
        match (properties, values) {
            (Some(properties), _) => {
                self.path = child(&self.path, name);
                self.schema = properties.get(name).ok_or_else(unknown)?;
            }
            (None, Some(values)) => {
                self.path = key(&self.path, name);
                self.schema = values;
            }
            (None, None) => return Err(unknown()),
        }
        Ok(())
    }
}

fn plain(rest: &str) -> Result<(String, &str), String> {
    if rest.is_empty() {
        return Err("unexpected end of JSON path".into());
    }
    let end = rest.find(['.', '[', ']']).unwrap_or(rest.len()).max(1);
    Ok((rest[..end].to_string(), &rest[end..]))
}

/// A name in single quotes and the bracket behind it.
fn quoted(rest: &str) -> Result<(String, &str), String> {
    if rest.is_empty() {
        return Err("unexpected end of JSON path".into());
    }
    let Some(body) = rest.strip_prefix('\'') else {
        let end = rest.find(['.', '[', ']']).unwrap_or(rest.len()).max(1);
        return Err(format!("expected single quoted string but got {}", &rest[..end]));
    };
    let mut name = String::new();
    let mut letters = body.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\'' => return close(&body[at + 1..]).map(|rest| (name, rest)),
            '\\' => name.push(escape(letters.next().map(|(_, letter)| letter))?),
            other => name.push(other),
        }
    }
    Err(format!("expected single quoted string but got {rest}"))
}

fn close(rest: &str) -> Result<&str, String> {
    match rest.chars().next() {
        Some(']') => Ok(&rest[1..]),
        None => Err("unexpected end of JSON path".into()),
        Some(_) => {
            let end = rest.find(['.', '[', ']']).unwrap_or(rest.len()).max(1);
            Err(format!("expected ] but got {}", &rest[..end]))
        }
    }
}

fn escape(letter: Option<char>) -> Result<char, String> {
    Ok(match letter {
        Some('a') => '\u{7}',
        Some('b') => '\u{8}',
        Some('f') => '\u{c}',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some('v') => '\u{b}',
        Some(letter @ ('\'' | '\\')) => letter,
        other => {
            let letter = other.map(String::from).unwrap_or_default();
            return Err(format!("invalid string literal: invalid escape char \\{letter}"));
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_are_followed_or_refused() {
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {"a.b": {"type": "string"}, "n": {
                "type": "object", "additionalProperties": {"type": "integer"}}}}}});
        let cases = [
            (".spec['a.b']", "spec.a.b", "string"),
            (".spec.n['k']", "spec.n[k]", "integer"),
            (".spec.n.k", "spec.n[k]", "integer"),
        ];
        for (path, expected, kind) in cases {
            let found = find(path, &schema, true).unwrap();
            assert_eq!((found.path.as_str(), &found.schema["type"]), (expected, &json!(kind)));
            assert_eq!(found.root, "spec");
        }
        let bad = [
            ("spec", "expected [ or . but got: spec"),
            (".spec.zzz", "does not refer to a valid field"),
            (".spec[0]", "expected single quoted string but got 0"),
            (".spec.", "unexpected end of JSON path"),
            (".spec['n'", "unexpected end of JSON path"),
        ];
        for (path, why) in bad {
            assert_eq!(find(path, &schema, true).err().as_deref(), Some(why), "{path}");
        }
        assert!(find(".spec['n']", &schema, false).is_err());
    }
}
