//! Named formats: `format.dns1123Label().validate(text)`.

use base64::Engine;
use hansa_api::names;

use super::{Entry, no_overload};
use crate::eval::Evaluated;
use crate::meter::Meter;
use crate::value::Value;

/// Checks a text; what is wrong with it.
type Check = fn(&str) -> Vec<String>;

const FORMATS: &[(&str, Check)] = &[
    ("dns1123Label", names::dns1123_label),
    ("dns1123Subdomain", names::dns1123_subdomain),
    ("dns1035Label", names::dns1035_label),
    ("qualifiedName", names::qualified_name),
    ("dns1123LabelPrefix", |text| names::dns1123_label(&masked(text))),
    ("dns1123SubdomainPrefix", |text| names::dns1123_subdomain(&masked(text))),
    ("dns1035LabelPrefix", |text| names::dns1035_label(&masked(text))),
    ("labelValue", names::label_value),
    ("uri", |text| unless(super::named("isURL").is_some() && is_uri(text), "invalid URI")),
    ("uuid", |text| unless(is_uuid(text), "does not match the UUID format")),
    ("byte", |text| {
        let decoded = base64::engine::general_purpose::STANDARD.decode(text);
        unless(decoded.is_ok(), "invalid base64")
    }),
    ("date", |text| {
        unless(text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(), "invalid date")
    }),
    ("datetime", |text| unless(hansa_api::time::parse(text).is_some(), "invalid datetime")),
];

pub(crate) const TABLE: &[Entry] = &[
    ("format.dns1123Label", |_, _| Ok(Value::Format("dns1123Label"))),
    ("format.dns1123Subdomain", |_, _| Ok(Value::Format("dns1123Subdomain"))),
    ("format.dns1035Label", |_, _| Ok(Value::Format("dns1035Label"))),
    ("format.qualifiedName", |_, _| Ok(Value::Format("qualifiedName"))),
    ("format.dns1123LabelPrefix", |_, _| Ok(Value::Format("dns1123LabelPrefix"))),
    ("format.dns1123SubdomainPrefix", |_, _| Ok(Value::Format("dns1123SubdomainPrefix"))),
    ("format.dns1035LabelPrefix", |_, _| Ok(Value::Format("dns1035LabelPrefix"))),
    ("format.labelValue", |_, _| Ok(Value::Format("labelValue"))),
    ("format.uri", |_, _| Ok(Value::Format("uri"))),
    ("format.uuid", |_, _| Ok(Value::Format("uuid"))),
    ("format.byte", |_, _| Ok(Value::Format("byte"))),
    ("format.date", |_, _| Ok(Value::Format("date"))),
    ("format.datetime", |_, _| Ok(Value::Format("datetime"))),
    ("format.named", |args, _| match args {
        [Value::String(name)] => {
            let found = FORMATS.iter().find(|(known, _)| *known == &**name);
            Ok(Value::maybe(found.map(|(name, _)| Value::Format(name))))
        }
        _ => no_overload(),
    }),
    ("validate", validate),
];

fn validate(args: &[Value], _: &mut Meter) -> Evaluated {
    let [Value::Format(name), Value::String(text)] = args else { return no_overload() };
    let check = FORMATS.iter().find(|(known, _)| known == name).map(|(_, check)| check);
    let wrong = check.map(|check| check(text)).unwrap_or_default();
    let found = (!wrong.is_empty()).then(|| Value::texts(wrong.iter().map(String::as_str)));
    Ok(Value::maybe(found))
}

/// A prefix may end in a dash, because something follows it.
fn masked(text: &str) -> String {
    match text.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => format!("{rest}a"),
        _ => text.to_string(),
    }
}

fn unless(valid: bool, why: &str) -> Vec<String> {
    if valid { Vec::new() } else { vec![why.to_string()] }
}

fn is_uri(text: &str) -> bool {
    text.contains(':') || text.starts_with('/')
}

fn is_uuid(text: &str) -> bool {
    let digits = text.bytes().filter(|byte| *byte != b'-');
    digits.clone().count() == 32 && digits.into_iter().all(|byte| byte.is_ascii_hexdigit())
}
