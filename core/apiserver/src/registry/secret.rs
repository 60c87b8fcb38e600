//! Secrets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hansa_api::field::FieldError;
use hansa_api::meta::{self, as_fields_mut, default_text, fields_mut, map_at, str_at};
use hansa_api::names;
use jiff::Timestamp;
use serde_json::Value;

use super::cells;
use super::check::{Check, entries};
use super::configmap::{MAX_BYTES, decoded_len, frozen};
use crate::generic::resource::{Resource, Str};
use crate::generic::strategy::{Column, Strategy};

/// What every PEM block begins with.
const PEM: &[u8] = b"-----BEGIN ";
const SERVICE_ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

pub(super) fn resource() -> Resource {
    Resource::new("", "v1", "Secret", "secrets").namespaced()
}

/// The strategy of Secrets.
pub(super) struct Secrets;

impl Strategy for Secrets {
    /// `stringData` is for writing only: it becomes `data`.
    fn default(&self, obj: &mut Value) {
        let fields = as_fields_mut(obj);
        default_text(fields, "type", "Opaque");
        let Some(Value::Object(plain)) = fields.remove("stringData") else { return };
        let data = fields_mut(obj, &["data"]);
        for (key, value) in plain {
            let encoded = STANDARD.encode(value.as_str().unwrap_or_default());
            data.insert(key, encoded.into());
        }
    }

    fn validate_create(&self, obj: &Value) -> Vec<FieldError> {
        Check::run(|check| validate(check, obj))
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        Check::run(|check| {
            check.immutable("type", obj.get("type"), old.get("type"));
            frozen(check, obj, old, &["data"]);
            validate(check, obj);
        })
    }

    fn warnings(&self, obj: &Value, _: Option<&Value>) -> Vec<String> {
        let tls = str_at(obj, &["type"]) == "kubernetes.io/tls";
        let lacks = |key: &str| {
            let bytes = STANDARD.decode(str_at(obj, &["data", key])).unwrap_or_default();
            !bytes.windows(PEM.len()).any(|part| part == PEM)
        };
        let missing = [("tls.crt", "certificate"), ("tls.key", "key")];
        let missing = missing.iter().find(|(key, _)| tls && lacks(key));
        let text =
            |(_, what): &(&str, &str)| format!("tls: failed to find any PEM data in {what} input");
        missing.map(text).into_iter().collect()
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Type", "What its keys mean."),
            Column::of("Data", "string", "How many keys it holds.", 0),
            Column::age(),
        ]
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let keys = map_at(obj, &["data"]).map_or(0, |data| data.len());
        vec![cells::name(obj), str_at(obj, &["type"]).into(), keys.into(), cells::age(obj, now)]
    }

    fn selectable_fields(&self) -> Vec<Str> {
        vec!["type".into()]
    }

    fn has_generation(&self, _: &Value) -> bool {
        false
    }
}

fn validate(check: &mut Check, obj: &Value) {
    let mut size = 0;
    for (key, value) in entries(obj, &["data"]) {
        check.text(&format!("data[{key}]"), key, names::config_map_key(key));
        size += value.as_str().map_or(0, decoded_len);
    }
    if size > MAX_BYTES {
        check.add(FieldError::too_long("data", MAX_BYTES));
    }
    let has = |key: &str| map_at(obj, &["data"]).is_some_and(|data| data.contains_key(key));
    let required: &[&str] = match str_at(obj, &["type"]) {
        "kubernetes.io/service-account-token" => {
            if meta::annotation(obj, SERVICE_ACCOUNT_NAME).is_none_or(str::is_empty) {
                check.required(&format!("metadata.annotations[{SERVICE_ACCOUNT_NAME}]"), "");
            }
            &[]
        }
        "kubernetes.io/basic-auth" => {
            if !has("username") && !has("password") {
                check.required("data[username]", "");
                check.required("data[password]", "");
            }
            &[]
        }
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/ssh-auth" => {
            if str_at(obj, &["data", "ssh-privatekey"]).is_empty() {
                check.required("data[ssh-privatekey]", "");
            }
            &[]
        }
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        _ => &[],
    };
    for key in required {
        let path = format!("data[{key}]");
        match map_at(obj, &["data"]).and_then(|data| data.get(*key)).and_then(Value::as_str) {
            None => check.required(&path, ""),
            Some(text) if key.starts_with(".docker") => docker_config(check, &path, text),
            Some(_) => {}
        }
    }
}

fn docker_config(check: &mut Check, path: &str, text: &str) {
    let bytes = STANDARD.decode(text).unwrap_or_default();
    if let Err(error) = serde_json::from_slice::<meta::Fields>(&bytes) {
        check.invalid(path, "<secret contents redacted>", &error.to_string());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::check::texts;

    #[test]
    fn plain_strings_become_data() {
        let mut obj = json!({"data": {"a": "eA=="}, "stringData": {"a": "y", "b": "z"}});
        Secrets.default(&mut obj);
        assert_eq!(obj, json!({"type": "Opaque", "data": {"a": "eQ==", "b": "eg=="}}));
    }

    #[test]
    fn types_have_rules() {
        let tls = json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}});
        assert_eq!(texts(&Secrets.validate_create(&tls)), ["data[tls.key]: Required value"]);
        let token = json!({"type": "kubernetes.io/service-account-token"});
        let expected = "metadata.annotations[kubernetes.io/service-account.name]: Required value";
        assert_eq!(texts(&Secrets.validate_create(&token)), [expected]);
        let ssh = json!({"type": "kubernetes.io/ssh-auth", "data": {"ssh-privatekey": ""}});
        let expected = "data[ssh-privatekey]: Required value";
        assert_eq!(texts(&Secrets.validate_create(&ssh)), [expected]);
        let warning = "tls: failed to find any PEM data in certificate input";
        assert_eq!(Secrets.warnings(&tls, None), [warning]);
        assert!(Secrets.warnings(&ssh, None).is_empty());
        let opaque = json!({"type": "Opaque"});
        let found = texts(&Secrets.validate_update(&tls, &opaque));
        let expected = r#"type: Invalid value: "kubernetes.io/tls": field is immutable"#;
        assert!(found.contains(&expected.to_owned()), "{found:?}");
    }
}
