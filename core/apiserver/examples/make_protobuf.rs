//! Makes `data/protobuf.json` from the Go types of a release: which number a field has on the wire.
//!
//! `cargo run -p hansa-apiserver --example make_protobuf -- OUT PREFIX=FILE…`: FILE is a `types.go`,
//! PREFIX the schema name of its package, such as `io.k8s.api.core.v1`. Only facts go out: per type
//! the fields' JSON names and numbers. A number is negative where Go's JSON leaves the zero value out,
//! and a field that Go inlines is `"@NUMBER": {…}`. So is one whose type is a named list (`type Verbs
//! []string`): its message has the items in field 1.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::{Map, Value, json};

/// A type that is another version's, by their full names.
type Alias = (String, String);

/// The full names of lists that have a name of their own.
type Lists = BTreeSet<String>;

/// The fields of Go structs by full name: JSON name (empty if inlined), Go type, number, omitted.
type Structs = BTreeMap<String, Vec<Field>>;

#[derive(Clone)]
struct Field {
    name: String,
    go_type: String,
    number: i64,
    omit_zero: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let output = arguments.next().ok_or("usage: make_protobuf OUT PREFIX=FILE…")?;
    let mut structs = Structs::new();
    let mut aliases = Vec::new();
    let mut lists = Lists::new();
    for argument in arguments {
        let (prefix, file) = argument.split_once('=').ok_or("PREFIX=FILE expected")?;
        let text = std::fs::read_to_string(file)?;
        read(prefix, &text, &mut structs)?;
        aliases.extend(renamed(prefix, &text)?);
        lists.extend(named_lists(prefix, &text)?);
    }
    resolve(&aliases, &mut structs);
    let rows: Vec<String> = structs
        .keys()
        .filter_map(|name| {
            let fields = numbers(name, &structs, &lists);
            (!fields.is_empty()).then(|| format!("{name:?}:{}", Value::Object(fields)))
        })
        .collect();
    std::fs::write(output, format!("{{\n{}\n}}\n", rows.join(",\n")))?;
    Ok(())
}

fn read(prefix: &str, text: &str, structs: &mut Structs) -> Result<(), regex::Error> {
    let start = Regex::new(r"^type (\w+) struct \{")?;
    let field = Regex::new(r#"^\s+(?:(\w+)\s+)?(\S+)\s+`json:"([^"]*)".*?protobuf:"([^"]*)""#)?;
    let mut current = String::new();
    for line in text.lines() {
        if let Some(found) = start.captures(line) {
            current = format!("{prefix}.{}", &found[1]);
        } else if line == "}" {
            current.clear();
        } else if let Some(found) = field.captures(line).filter(|_| !current.is_empty()) {
            let embedded = found.get(1).is_none();
            let (name, options) = found[3].split_once(',').unwrap_or((&found[3], ""));
            let number = found[4].split(',').nth(1).and_then(|number| number.parse().ok());
            let Some(number) = number else { continue };
            let go_type = found[2].to_string();
            let scalar = !go_type.starts_with(['*', '[']) && !go_type.starts_with("map[");
            structs.entry(current.clone()).or_default().push(Field {
                name: if embedded && name.is_empty() { String::new() } else { name.to_string() },
                omit_zero: scalar && options.contains("omitempty"),
                go_type,
                number,
            });
        }
    }
    Ok(())
}

/// `type MatchCondition v1.MatchCondition` and the like: the same fields under another name.
fn renamed(prefix: &str, text: &str) -> Result<Vec<Alias>, regex::Error> {
    let group = prefix.rsplit_once('.').map_or(prefix, |(group, _)| group);
    let alias = Regex::new(r"(?m)^type (\w+) (?:= )?(v\w+)\.(\w+)$")?;
    let found = alias.captures_iter(text).map(|found| {
        (format!("{prefix}.{}", &found[1]), format!("{group}.{}.{}", &found[2], &found[3]))
    });
    Ok(found.collect())
}

/// `type Verbs []string` and the like.
fn named_lists(prefix: &str, text: &str) -> Result<Vec<String>, regex::Error> {
    let list = Regex::new(r"(?m)^type (\w+) \[\]string$")?;
    Ok(list.captures_iter(text).map(|found| format!("{prefix}.{}", &found[1])).collect())
}

fn resolve(aliases: &[Alias], structs: &mut Structs) {
    for (name, of) in aliases {
        if let Some(fields) = structs.get(of).cloned() {
            let package = of.rsplit_once('.').map_or("", |(package, _)| package);
            let outside = |field: Field| Field {
                go_type: match field.name.is_empty() {
                    true => format!("{package}.{}", field.go_type.trim_start_matches('*')),
                    false => field.go_type.clone(),
                },
                ..field
            };
            structs.insert(name.clone(), fields.into_iter().map(outside).collect());
        }
    }
}

fn numbers(name: &str, structs: &Structs, lists: &Lists) -> Map<String, Value> {
    let package = name.rsplit_once('.').map_or("", |(package, _)| package);
    let mut out = Map::new();
    for field in structs.get(name).into_iter().flatten() {
        if field.name.is_empty() {
            let own = field.go_type.trim_start_matches('*');
            let inner =
                if structs.contains_key(own) { own.into() } else { format!("{package}.{own}") };
            out.insert(format!("@{}", field.number), numbers(&inner, structs, lists).into());
        } else if lists.contains(&format!("{package}.{}", field.go_type)) {
            out.insert(format!("@{}", field.number), json!({ (&field.name): 1 }));
        } else {
            let number = if field.omit_zero { -field.number } else { field.number };
            out.insert(field.name.clone(), number.into());
        }
    }
    out
}
