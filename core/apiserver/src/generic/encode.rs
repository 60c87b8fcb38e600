//! The bytes of objects: stored without a resourceVersion, served with it, never encoded twice.
//!
//! A stored object is JSON that starts with `apiVersion`, `kind` and `metadata`. Its
//! resourceVersion is the revision of its commit, which is known only after the bytes are durable;
//! it is spliced in once, and the result is what every reader shares.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value};

const LEADING: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Encodes an object for storage: leading keys first, `metadata.resourceVersion` left out.
pub fn stored(obj: &Value) -> Bytes {
    let mut out = Vec::with_capacity(1024);
    out.push(b'{');
    let empty = Map::new();
    let fields = obj.as_object().unwrap_or(&empty);
    for key in LEADING {
        match (key, fields.get(key)) {
            ("metadata", Some(Value::Object(metadata))) => write_metadata(&mut out, metadata),
            (_, Some(value)) => write_field(&mut out, key, value),
            (_, None) => {}
        }
    }
    for (key, value) in fields.iter().filter(|(key, _)| !LEADING.contains(&key.as_str())) {
        write_field(&mut out, key, value);
    }
    out.push(b'}');
    Bytes::from(out)
}

fn write_metadata(out: &mut Vec<u8>, metadata: &Map<String, Value>) {
    separate(out);
    out.extend_from_slice(b"\"metadata\":{");
    for (key, value) in metadata.iter().filter(|(key, _)| *key != "resourceVersion") {
        write_field(out, key, value);
    }
    out.push(b'}');
}

fn write_field(out: &mut Vec<u8>, key: &str, value: &Value) {
    separate(out);
    serde_json::to_writer(&mut *out, key).expect("a string encodes into memory");
    out.push(b':');
    serde_json::to_writer(&mut *out, value).expect("a JSON tree encodes into memory");
}

fn separate(out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
}

/// Splices a revision as `metadata.resourceVersion` into stored bytes.
/// Bytes without a `metadata` object are returned as they are.
pub fn with_revision(stored: &Bytes, revision: u64) -> Bytes {
    let Some(at) = metadata_start(stored) else { return stored.clone() };
    let mut out = BytesMut::with_capacity(stored.len() + 40);
    out.put_slice(&stored[..at]);
    out.put_slice(b"\"resourceVersion\":\"");
    out.put_slice(revision.to_string().as_bytes());
    out.put_u8(b'"');
    if stored.get(at) != Some(&b'}') {
        out.put_u8(b',');
    }
    out.put_slice(&stored[at..]);
    out.freeze()
}

/// The offset just behind the `{` of the top-level `metadata`.
fn metadata_start(json: &[u8]) -> Option<usize> {
    let mut at = skip_blank(json, 0);
    if json.get(at) != Some(&b'{') {
        return None;
    }
    at += 1;
    loop {
        at = skip_blank(json, at);
        let key_end = skip_string(json, at)?;
        let key = &json[at..key_end];
        at = skip_blank(json, key_end);
        at = skip_blank(json, at + 1);
        if key == b"\"metadata\"" {
            return (json.get(at) == Some(&b'{')).then(|| skip_blank(json, at + 1));
        }
        at = skip_blank(json, skip_value(json, at)?);
        if json.get(at) != Some(&b',') {
            return None;
        }
        at += 1;
    }
}

fn skip_blank(json: &[u8], mut at: usize) -> usize {
    while json.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// The offset behind the string that starts at `at`.
fn skip_string(json: &[u8], at: usize) -> Option<usize> {
    if json.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        match json.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The offset behind the value that starts at `at`.
fn skip_value(json: &[u8], at: usize) -> Option<usize> {
    match json.get(at)? {
        b'"' => skip_string(json, at),
        b'{' | b'[' => skip_nested(json, at),
        _ => {
            let end = json[at..].iter().position(|b| matches!(b, b',' | b'}' | b']'))?;
            Some(at + end)
        }
    }
}

fn skip_nested(json: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        match json.get(at)? {
            b'"' => {
                at = skip_string(json, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Reads an object that the registry stored, and gives it its resourceVersion.
pub fn parse(stored: &[u8], revision: u64) -> Result<Value, serde_json::Error> {
    let mut obj: Value = serde_json::from_slice(stored)?;
    if let Some(metadata) = obj.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".into(), revision.to_string().into());
    }
    Ok(obj)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn stored_bytes_lack_the_resource_version_and_lead_with_the_type() {
        let obj = json!({
            "data": {"a": "b"}, "metadata": {"name": "x", "resourceVersion": "9"},
            "kind": "ConfigMap", "apiVersion": "v1",
        });
        let bytes = stored(&obj);
        assert_eq!(
            &bytes[..],
            br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"a":"b"}}"#
        );
        let served: Value = serde_json::from_slice(&with_revision(&bytes, 12)).unwrap();
        assert_eq!(served["metadata"], json!({"name": "x", "resourceVersion": "12"}));
        assert_eq!(parse(&bytes, 12).unwrap(), served);
    }

    #[test]
    fn splices_whatever_the_order_and_the_blanks() {
        let cases = [
            r#"{"metadata":{}}"#,
            r#" { "a" : [ {"metadata":{"x":"]}"}} , "\"" ], "b":-1.5, "metadata" : {"name":"n"} }"#,
            r#"{"kind":"K","n":null,"t":true,"metadata":{"name":"n"},"z":{}}"#,
        ];
        for case in cases {
            let mut expected: Value = serde_json::from_str(case).unwrap();
            expected["metadata"]["resourceVersion"] = "7".into();
            let spliced = with_revision(&Bytes::from_static(case.as_bytes()), 7);
            assert_eq!(serde_json::from_slice::<Value>(&spliced).unwrap(), expected, "{case}");
        }
        for odd in ["", "[]", r#"{"metadata":null}"#, r#"{"a":"#, "{}"] {
            assert_eq!(with_revision(&Bytes::from_static(odd.as_bytes()), 7), odd.as_bytes());
        }
    }
}
