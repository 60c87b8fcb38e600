//! What is different about two answers. Pure.
//!
//! Not compared, because no two servers have it in common: uids, resourceVersions, continue tokens
//! and the times that a server writes; a ClusterIP that a server chose; the random end of the name
//! of a pod's volume for its token; and in which order errors of fields and warnings are told.
//! In texts a uid is `<uid>` and such an address `<address>`. Nothing else is left out.

use std::collections::BTreeSet;

use hansa_tests::Answer;
use serde_json::Value;

/// Metadata that no two servers have in common.
const OWN: [&str; 7] = [
    "uid",
    "creationTimestamp",
    "resourceVersion",
    "time",
    "deletionTimestamp",
    "lastTransitionTime",
    "continue",
];
/// How the address range of Services begins.
const ADDRESS: &str = "10.96.";
/// How the name of the volume for a pod's token begins.
pub const TOKEN: &str = "kube-api-access-";

/// How two answers differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `code`, `reason`, `causes`, `message`, `warning`, `type` or `body`.
    pub class: &'static str,
    /// What the peer said.
    pub peer: String,
    /// What we said.
    pub ours: String,
}

/// The first difference that a client would meet; `None` if there is none.
pub fn difference(peer: Option<&Answer>, ours: Option<&Answer>) -> Option<Difference> {
    let (peer, ours) = match (peer, ours) {
        (Some(peer), Some(ours)) => (peer, ours),
        (None, None) => return None,
        (peer, ours) => {
            let show = |answer: Option<&Answer>| answer.map_or("000 no answer".into(), told);
            return Some(Difference { class: "code", peer: show(peer), ours: show(ours) });
        }
    };
    let pairs = [
        ("code", told(peer), told(ours), peer.code == ours.code),
        same("reason", peer.reason(), ours.reason()),
        same("causes", &causes(peer), &causes(ours)),
        same("message", &message(peer), &message(ours)),
        same("warning", &warnings(peer), &warnings(ours)),
        same("type", &media(peer), &media(ours)),
    ];
    let found = pairs.into_iter().find(|(_, _, _, equal)| !equal);
    let found = found.map(|(class, peer, ours, _)| Difference { class, peer, ours });
    found.or_else(|| bodies(peer, ours))
}

fn same(class: &'static str, peer: &str, ours: &str) -> (&'static str, String, String, bool) {
    let (peer, ours) = (anonymous(peer), anonymous(ours));
    let equal = peer == ours;
    (class, peer, ours, equal)
}

/// A text without what is each server's own.
fn anonymous(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    let mut out = String::new();
    for piece in text.split_inclusive(|c| !is_part(c)) {
        let word = piece.trim_end_matches(|c| !is_part(c));
        let named = match word {
            word if is_uid(word) => "<uid>",
            word if word.starts_with(ADDRESS) => "<address>",
            word if word.starts_with(TOKEN) => "<token>",
            word => word,
        };
        out.push_str(named);
        out.push_str(&piece[word.len()..]);
    }
    out
}

fn is_uid(word: &str) -> bool {
    let lengths = word.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && word.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

fn told(answer: &Answer) -> String {
    format!("{} {}", answer.code, answer.message())
}

/// The message; the field errors that it may repeat come in any order.
fn message(answer: &Answer) -> String {
    let text = answer.message();
    let Some((head, list)) = text.split_once(": [") else { return text.to_owned() };
    let mut errors: Vec<&str> = list.trim_end_matches(']').split(", ").collect();
    errors.sort_unstable();
    format!("{head}: {}", errors.join(", "))
}

fn causes(answer: &Answer) -> String {
    let causes = answer.body["details"]["causes"].as_array().cloned().unwrap_or_default();
    let mut causes: Vec<String> = causes.iter().map(Value::to_string).collect();
    causes.sort();
    causes.join("\n")
}

fn warnings(answer: &Answer) -> String {
    let all = answer.headers.get_all("warning").iter();
    let all: BTreeSet<_> = all.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    all.into_iter().collect::<Vec<_>>().join("\n")
}

fn media(answer: &Answer) -> String {
    let value = answer.headers.get("content-type").map(|value| value.as_bytes());
    let text = String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    text.replace(' ', "").to_lowercase()
}

fn bodies(peer: &Answer, ours: &Answer) -> Option<Difference> {
    let (mut left, mut right) = (peer.body.clone(), ours.body.clone());
    strip(&mut left);
    strip(&mut right);
    let mut pairs = Vec::new();
    walk("", &left, &right, &mut pairs);
    let show = |side: fn(&(String, String, String)) -> &String| {
        let lines = pairs.iter().take(12);
        lines.map(|pair| format!("{} {}", pair.0, side(pair))).collect::<Vec<_>>().join("\n")
    };
    let is_same = pairs.is_empty();
    (!is_same).then(|| Difference { class: "body", peer: show(|p| &p.1), ours: show(|p| &p.2) })
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !OWN.contains(&name.as_str()));
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

fn walk(at: &str, peer: &Value, ours: &Value, pairs: &mut Vec<(String, String, String)>) {
    match (peer, ours) {
        (Value::Object(left), Value::Object(right)) => {
            let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for name in names {
                let [left, right] = [left, right].map(|fields| fields.get(name));
                let at = format!("{at}/{name}");
                match (left, right) {
                    (Some(left), Some(right)) => walk(&at, left, right, pairs),
                    (left, right) => pairs.push((at, shown(left), shown(right))),
                }
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (number, (left, right)) in left.iter().zip(right).enumerate() {
                walk(&format!("{at}/{number}"), left, right, pairs);
            }
        }
        (Value::String(left), Value::String(right)) if anonymous(left) == anonymous(right) => {}
        (left, right) if left == right => {}
        (left, right) => pairs.push((at.into(), shown(Some(left)), shown(Some(right)))),
    }
}

fn shown(value: Option<&Value>) -> String {
    let text = value.map_or_else(|| "absent".into(), Value::to_string);
    text.chars().take(200).collect()
}
