//! The OpenAPI v2 document in gnostic's protobuf form (`openapi.v2.Document`), which older clients
//! ask for. Only the fields that [`super::v2`] fills are encoded.

use serde_json::{Map, Value};

/// Appends protobuf fields to a buffer.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn bytes(&mut self, tag: u32, bytes: &[u8]) -> &mut Self {
        self.varint(u64::from(tag) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn message(&mut self, tag: u32, message: &Message) -> &mut Self {
        self.bytes(tag, &message.0)
    }

    fn text(&mut self, tag: u32, value: &Value) -> &mut Self {
        if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
            self.bytes(tag, text.as_bytes());
        }
        self
    }

    fn flag(&mut self, tag: u32, value: bool) -> &mut Self {
        if value {
            self.varint(u64::from(tag) << 3);
            self.varint(1);
        }
        self
    }

    fn number(&mut self, tag: u32, value: &Value) -> &mut Self {
        if let Some(number) = value.as_f64() {
            self.varint(u64::from(tag) << 3 | 1);
            self.0.extend_from_slice(&number.to_le_bytes());
        }
        self
    }

    fn count(&mut self, tag: u32, value: &Value) -> &mut Self {
        if let Some(count) = value.as_u64().filter(|count| *count > 0) {
            self.varint(u64::from(tag) << 3);
            self.varint(count);
        }
        self
    }
}

/// Encodes a whole document.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    let info = &document["info"];
    let mut info_message = Message::default();
    info_message.text(1, &info["title"]).text(2, &info["version"]);
    out.text(1, &document["swagger"]).message(2, &info_message);
    let mut paths = Message::default();
    each(&document["paths"], |name, item| {
        paths.message(2, &named(name, &path_item(item)));
    });
    out.message(8, &paths);
    out.message(9, &named_schemas(&document["definitions"]));
    out.0
}

fn each(map: &Value, mut one: impl FnMut(&str, &Value)) {
    for (name, value) in map.as_object().into_iter().flatten() {
        one(name, value);
    }
}

fn named(name: &str, value: &Message) -> Message {
    let mut out = Message::default();
    out.bytes(1, name.as_bytes()).message(2, value);
    out
}

fn path_item(item: &Value) -> Message {
    let mut out = Message::default();
    for (method, tag) in [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("patch", 8)] {
        if item[method].is_object() {
            out.message(tag, &operation(&item[method]));
        }
    }
    out
}

fn operation(operation: &Value) -> Message {
    let mut out = Message::default();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        out.message(8, &query_parameter(parameter));
    }
    let mut responses = Message::default();
    each(&operation["responses"], |code, response| {
        let (mut body, mut value) = (Message::default(), Message::default());
        body.text(1, &response["description"]);
        value.message(1, &body);
        responses.message(1, &named(code, &value));
    });
    out.message(9, &responses);
    extensions(&mut out, 13, operation);
    out
}

fn query_parameter(parameter: &Value) -> Message {
    let mut query = Message::default();
    query.text(2, &parameter["in"]).text(4, &parameter["name"]).text(6, &parameter["type"]);
    let nest = |tag, inner: &Message| {
        let mut outer = Message::default();
        outer.message(tag, inner);
        outer
    };
    nest(1, &nest(2, &nest(3, &query)))
}

fn named_schemas(schemas: &Value) -> Message {
    let mut out = Message::default();
    each(schemas, |name, value| {
        out.message(1, &named(name, &schema(value)));
    });
    out
}

fn schema(schema_json: &Value) -> Message {
    let of = schema_json;
    let mut out = Message::default();
    out.text(1, &of["$ref"]).text(2, &of["format"]).text(3, &of["title"]);
    out.text(4, &of["description"]);
    out.number(7, &of["maximum"]).number(9, &of["minimum"]);
    out.count(11, &of["maxLength"]).count(12, &of["minLength"]).text(13, &of["pattern"]);
    out.count(14, &of["maxItems"]).count(15, &of["minItems"]);
    out.flag(16, of["uniqueItems"] == true);
    for name in of["required"].as_array().into_iter().flatten() {
        out.text(19, name);
    }
    for value in of["enum"].as_array().into_iter().flatten() {
        out.message(20, &any(value));
    }
    additional(&mut out, &of["additionalProperties"]);
    nested(&mut out, of);
    extensions(&mut out, 31, of);
    out
}

fn additional(out: &mut Message, value: &Value) {
    let mut item = Message::default();
    match value {
        Value::Object(_) => item.message(1, &schema(value)),
        Value::Bool(true) => item.flag(2, true),
        _ => return,
    };
    out.message(21, &item);
}

fn nested(out: &mut Message, of: &Value) {
    if of["type"].is_string() {
        let mut item = Message::default();
        item.text(1, &of["type"]);
        out.message(22, &item);
    }
    if of["items"].is_object() {
        let mut items = Message::default();
        items.message(1, &schema(&of["items"]));
        out.message(23, &items);
    }
    if of["properties"].as_object().is_some_and(|properties: &Map<_, _>| !properties.is_empty()) {
        out.message(25, &named_schemas(&of["properties"]));
    }
}

fn extensions(out: &mut Message, tag: u32, of: &Value) {
    each(of, |name, value| {
        if name.starts_with("x-") {
            out.message(tag, &named(name, &any(value)));
        }
    });
}

/// `Any` carries YAML, of which JSON is a part.
fn any(value: &Value) -> Message {
    let mut out = Message::default();
    out.bytes(2, format!("{value}\n").as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_tagged_and_sized_as_protobuf_has_it() {
        let document = json!({"swagger": "2.0", "info": {"title": "K", "version": "1"},
            "paths": {}, "definitions": {"A": {"type": "string"}}});
        let bytes = encode(&document);
        let expected = [
            &[0x0a, 3][..],
            b"2.0",
            &[0x12, 6, 0x0a, 1],
            b"K",
            &[0x12, 1],
            b"1",
            &[0x42, 0],
            // definitions { additional_properties { name: A, value { type { value: string } } } }
            &[0x4a, 18, 0x0a, 16, 0x0a, 1],
            b"A",
            &[0x12, 11, 0xb2, 0x01, 8, 0x0a, 6],
            b"string",
        ]
        .concat();
        assert_eq!(bytes, expected);
    }

    #[test]
    fn long_values_have_long_lengths() {
        let mut message = Message::default();
        message.bytes(1, &[b'x'; 300]);
        assert_eq!(message.0[..3], [0x0a, 0xac, 0x02]);
    }
}
