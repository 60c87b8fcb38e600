//! Kubernetes' JSONPath dialect, for printer columns and selectable fields.
//!
//! Definitions write `.spec.a\.b[0].c` without the leading `$`; the rest is close enough to RFC
//! 9535 that a rewrite of the field steps suffices.

use jsonpath_rust::parser::model::JpQuery;
use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::js_path_process;
use serde_json::Value;

/// A path that was parsed once.
#[derive(Clone, Debug)]
pub(super) struct JsonPath(JpQuery);

/// A path that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("parse the JSONPath {0:?}: {1}")]
pub(super) struct PathError(String, String);

impl JsonPath {
    /// Parses a path such as `.spec.replicas`.
    pub(super) fn parse(text: &str) -> Result<Self, PathError> {
        let query = rewrite(text);
        match parse_json_path(&query) {
            Ok(path) => Ok(Self(path)),
            Err(error) => Err(PathError(text.to_string(), error.to_string())),
        }
    }

    /// Everything that the path finds.
    pub(super) fn find<'a>(&self, obj: &'a Value) -> Vec<&'a Value> {
        let found = js_path_process(&self.0, obj).unwrap_or_default();
        found.into_iter().map(|one| one.val()).collect()
    }
}

/// `.a\.b[?(@.c=="d")].e-f` as `$['a.b'][?(@.c=="d")]['e-f']`.
fn rewrite(text: &str) -> String {
    let text = text.trim().trim_start_matches('{').trim_end_matches('}');
    let mut rest = text.trim_start_matches('$');
    let mut out = String::from("$");
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '[' => bracket(rest),
            '.' if rest.starts_with("..") => 1,
            '.' => 1 + field(&rest[1..]),
            _ => field(rest),
        };
        push_step(&mut out, &rest[..taken]);
        rest = &rest[taken..];
    }
    out
}

fn push_step(out: &mut String, step: &str) {
    match step.trim_start_matches('.') {
        _ if step.starts_with('[') => out.push_str(step),
        "" => out.push_str(step),
        "*" => out.push_str("[*]"),
        name => {
            let name = name.replace("\\.", ".").replace('\'', "\\'");
            out.push_str(&format!("['{name}']"));
        }
    }
}

/// The length of a field's name; a backslash keeps the next character.
fn field(text: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '.' | '[' => return at,
            _ => {}
        }
    }
    text.len()
}

/// The length of a bracketed step; brackets within quotes do not count.
fn bracket(text: &str) -> usize {
    let (mut depth, mut quote) = (0, None);
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(letter),
            (None, '[') => depth += 1,
            (None, ']') if depth == 1 => return at + 1,
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_of_definitions_find_their_fields() {
        let obj = json!({
            "metadata": {"labels": {"a.b/c": "label"}},
            "spec": {"some-list": [{"kind": "A"}, {"kind": "B"}], "n": 3},
            "status": {"conditions": [
                {"type": "Synced", "status": "False"}, {"type": "Ready", "status": "True"},
            ]},
        });
        let cases = [
            (".spec.n", json!([3])),
            (r".metadata.labels.a\.b/c", json!(["label"])),
            (".spec.some-list[0].kind", json!(["A"])),
            (".spec.some-list[*].kind", json!(["A", "B"])),
            (r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"])),
            (".status.conditions[?(@.type=='Ready')].status", json!(["True"])),
            ("{.spec.n}", json!([3])),
            (".spec.none.of.this", json!([])),
        ];
        for (path, expected) in cases {
            let found = JsonPath::parse(path).unwrap();
            assert_eq!(json!(found.find(&obj)), expected, "{path}");
        }
    }

    #[test]
    fn a_broken_path_is_an_error() {
        assert!(JsonPath::parse(".spec[?(@.a").is_err());
    }
}
