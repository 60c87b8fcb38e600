//! Users whom a front proxy vouches for: it shows its own certificate, and headers say for whom it
//! asks.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use super::Identity;
use crate::request_info::percent_decode;

/// The user's name.
pub const USER: HeaderName = HeaderName::from_static("x-remote-user");
/// The user's uid.
pub const UID: HeaderName = HeaderName::from_static("x-remote-uid");
/// One group per header.
pub const GROUP: HeaderName = HeaderName::from_static("x-remote-group");
/// What the rest of the header's name is the key of.
pub const EXTRA_PREFIX: &str = "x-remote-extra-";
const PREFIX: &str = "x-remote-";
/// The common names that a front proxy's certificate may have.
pub const ALLOWED_NAMES: [&str; 1] = ["front-proxy-client"];

/// The user in the headers, which are taken out; `None` if they name nobody.
pub fn take(headers: &mut HeaderMap) -> Option<Identity> {
    let all = |name: &HeaderName| -> Vec<String> {
        let values = headers.get_all(name).into_iter();
        let texts = values.filter_map(|value| value.to_str().ok());
        texts.filter(|text| !text.is_empty()).map(String::from).collect()
    };
    let first = |name: &HeaderName| all(name).into_iter().next();
    let name = first(&USER)?;
    let keys =
        headers.keys().filter_map(|name| Some((name, name.as_str().strip_prefix(EXTRA_PREFIX)?)));
    let extra = keys.map(|(name, key)| (percent_decode(key), all(name))).collect();
    let mut user =
        Identity { name, uid: first(&UID).unwrap_or_default(), groups: all(&GROUP), extra };
    user.add_authenticated_group();
    clear(headers);
    Some(user)
}

/// Tells a server behind this one who asks; what a client wrote there is dropped.
pub fn put(headers: &mut HeaderMap, user: &Identity) {
    clear(headers);
    add(headers, USER, &user.name);
    if !user.uid.is_empty() {
        add(headers, UID, &user.uid);
    }
    user.groups.iter().for_each(|group| add(headers, GROUP, group));
    for (key, values) in &user.extra {
        let name = HeaderName::try_from(format!("{EXTRA_PREFIX}{}", escaped(key)));
        let Ok(name) = name else { continue };
        values.iter().for_each(|value| add(headers, name.clone(), value));
    }
}

fn clear(headers: &mut HeaderMap) {
    let ours: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(PREFIX)).cloned().collect();
    ours.iter().for_each(|name| drop(headers.remove(name)));
}

fn add(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.append(name, value);
    }
}

/// A key as a part of a header's name: what may not stand there is percent-encoded.
fn escaped(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_is_told_and_cannot_be_forged() {
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-user", HeaderValue::from_static("root"));
        headers.insert("x-remote-group", HeaderValue::from_static("system:masters"));
        headers.insert("x-remote-extra-scopes", HeaderValue::from_static("all"));
        headers.insert("x-own", HeaderValue::from_static("1"));
        let mut ann = Identity::user("ann", &["dev", "ops"]);
        ann.extra.insert("example.org/scopes".into(), vec!["view".into()]);
        put(&mut headers, &ann);
        assert_eq!(headers["x-remote-extra-example.org%2fscopes"], "view");
        assert!(!headers.contains_key("x-remote-extra-scopes"));
        assert_eq!(take(&mut headers), Some(ann));
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-own"]);
        assert_eq!(take(&mut headers), None);
    }
}
