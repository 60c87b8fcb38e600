//! URLs, absolute or at least with an absolute path, as Go's `ParseRequestURI` takes them.

use std::sync::Arc;

use super::{Entry, fail, no_overload};
use crate::eval::Evaluated;
use crate::value::Value;

/// A URL in its parts.
#[derive(Clone, Debug)]
pub struct Url {
    text: String,
    scheme: String,
    host: String,
    path: String,
    query: String,
}

pub(crate) const TABLE: &[Entry] = &[
    ("url", |args, _| match args {
        [Value::String(text)] => match Url::parse(text) {
            Some(url) => Ok(Value::Url(Arc::new(url))),
            None => fail(format!(
                "URL parse error during conversion from string: parse {text:?}: invalid URI for request"
            )),
        },
        _ => no_overload(),
    }),
    ("isURL", |args, _| match args {
        [Value::String(text)] => Ok(Value::Bool(Url::parse(text).is_some())),
        _ => no_overload(),
    }),
    ("getScheme", |args, _| text(args, |url| url.scheme.clone())),
    ("getHost", |args, _| text(args, |url| url.host.clone())),
    ("getHostname", |args, _| text(args, |url| url.host_and_port().0)),
    ("getPort", |args, _| text(args, |url| url.host_and_port().1)),
    ("getEscapedPath", |args, _| text(args, |url| url.path.clone())),
    ("getQuery", |args, _| match args {
        [Value::Url(url)] => Ok(url.query_map()),
        _ => no_overload(),
    }),
];

fn text(args: &[Value], read: impl Fn(&Url) -> String) -> Evaluated {
    match args {
        [Value::Url(url)] => Ok(Value::text(&read(url))),
        _ => no_overload(),
    }
}

impl Url {
    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn parse(text: &str) -> Option<Self> {
        let odd = |letter: char| letter.is_control() || letter == ' ' || letter == '#';
        if text.is_empty() || text.contains(odd) || !escapes_are_whole(text) {
            return None;
        }
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_lowercase(), rest),
            _ if text.starts_with('/') => (String::new(), text),
            _ => return None,
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, path) = match rest.strip_prefix("//") {
            Some(after) => {
                let (host, path) = after.split_at(after.find('/').unwrap_or(after.len()));
                (host.rsplit_once('@').map_or(host, |(_, host)| host), path)
            }
            None if rest.starts_with('/') => ("", rest),
            None => return None,
        };
        let url = Self {
            text: text.to_string(),
            scheme,
            host: host.to_string(),
            path: path.to_string(),
            query: query.to_string(),
        };
        url.port_is_valid().then_some(url)
    }

    fn host_and_port(&self) -> (String, String) {
        let end = self.host.rfind(']').map_or(0, |at| at + 1);
        let (host, port) = match self.host[end..].rfind(':') {
            Some(at) => (&self.host[..end + at], &self.host[end + at + 1..]),
            None => (self.host.as_str(), ""),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        (host.to_string(), port.to_string())
    }

    fn port_is_valid(&self) -> bool {
        self.host_and_port().1.bytes().all(|digit| digit.is_ascii_digit())
    }

    fn query_map(&self) -> Value {
        let mut found: Vec<(Arc<str>, Vec<Value>)> = Vec::new();
        for pair in self.query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (unescape(name), Value::text(&unescape(value)));
            match found.iter_mut().find(|(known, _)| **known == *name) {
                Some((_, values)) => values.push(value),
                None => found.push((name.into(), vec![value])),
            }
        }
        Value::map(found.into_iter().map(|(name, values)| (name, Value::list(values))), false)
    }
}

fn is_scheme(text: &str) -> bool {
    let fits = |letter: u8| letter.is_ascii_alphanumeric() || matches!(letter, b'+' | b'-' | b'.');
    text.starts_with(|letter: char| letter.is_ascii_alphabetic()) && text.bytes().all(fits)
}

fn escapes_are_whole(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

fn unescape(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = [bytes.next().unwrap_or(b'0'), bytes.next().unwrap_or(b'0')];
                let text = String::from_utf8_lossy(&digits).into_owned();
                out.push(u8::from_str_radix(&text, 16).unwrap_or(b'?'));
            }
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
