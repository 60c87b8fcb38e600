//! What names, labels, ports, addresses and paths may look like, with upstream's words for what is
//! wrong.
//!
//! Every check returns the complaints; none means that the value is fine.

pub use crate::address::{legacy_cidr as cidr, legacy_ip as ip, parse_cidr};

/// Longest DNS label.
pub const LABEL_MAX: usize = 63;
/// Longest DNS subdomain.
pub const SUBDOMAIN_MAX: usize = 253;

const QUALIFIED_FMT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_MSG: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must \
                             start and end with an alphanumeric character";
const QUALIFIED_EXAMPLES: &[&str] = &["MyName", "my.name", "123-abc"];

/// `must be no more than N characters`.
pub fn max_len(length: usize) -> String {
    format!("must be no more than {length} characters")
}

/// What labels' keys and values are told instead.
fn max_bytes(length: usize) -> String {
    format!("must be no more than {length} bytes")
}

/// `must be between LOW and HIGH, inclusive`.
pub fn inclusive_range(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

fn regex_error(message: &str, pattern: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{message} (regex used for validation is '{pattern}')");
    }
    let quoted: Vec<_> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{message} (e.g. {}regex used for validation is '{pattern}')", quoted.join(" or "))
}

fn is_lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// `[a-z0-9]([-a-z0-9]*[a-z0-9])?`.
fn matches_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends =
        bytes.first().is_some_and(|b| is_lower(*b)) && bytes.last().is_some_and(|b| is_lower(*b));
    ends && bytes.iter().all(|b| is_lower(*b) || *b == b'-')
}

/// [`QUALIFIED_FMT`].
fn matches_qualified(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric);
    ends && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

fn checked(too_long: Option<usize>, mismatch: Option<String>) -> Vec<String> {
    too_long.map(max_len).into_iter().chain(mismatch).collect()
}

fn over(text: &str, max: usize) -> Option<usize> {
    (text.len() > max).then_some(max)
}

/// A lowercase RFC 1123 label: namespaces, container names.
pub fn dns1123_label(text: &str) -> Vec<String> {
    if !matches_label(text) && text.contains('.') && text.split('.').all(matches_label) {
        return checked(over(text, LABEL_MAX), Some("must not contain dots".into()));
    }
    let mismatch = (!matches_label(text)).then(|| {
        regex_error(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
             and must start and end with an alphanumeric character",
            "[a-z0-9]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "123-abc"],
        )
    });
    checked(over(text, LABEL_MAX), mismatch)
}

/// A lowercase RFC 1123 subdomain: most objects' names.
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    let mismatch = (!text.split('.').all(matches_label)).then(|| {
        regex_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
             '-' or '.', and must start and end with an alphanumeric character",
            r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
            &["example.com"],
        )
    });
    checked(over(text, SUBDOMAIN_MAX), mismatch)
}

/// A subdomain with underscores in its labels: where DNS searches.
pub fn dns1123_subdomain_with_underscore(text: &str) -> Vec<String> {
    let is_label = |label: &str| {
        let rest = label.strip_prefix('_').unwrap_or(label);
        matches_label(&rest.replace('_', "-"))
    };
    let matches = text.split('.').all(is_label);
    let mismatch = (!matches).then(|| {
        regex_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
             '_', '-' or '.', and must start and end with an alphanumeric character",
            r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*",
            &["example.com"],
        )
    });
    checked(over(text, SUBDOMAIN_MAX), mismatch)
}

/// `*.` and a subdomain.
pub fn wildcard_dns1123_subdomain(text: &str) -> Vec<String> {
    let rest = text.strip_prefix("*.");
    let matches = rest.is_some_and(|rest| rest.split('.').all(matches_label));
    let mismatch = (!matches).then(|| {
        regex_error(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS \
             subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and \
             end with an alphanumeric character",
            r"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
            &["*.example.com"],
        )
    });
    checked(over(text, SUBDOMAIN_MAX), mismatch)
}

/// A DNS-1035 label: Services' names.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let starts = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    let mismatch = (!starts || !matches_label(text)).then(|| {
        regex_error(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start \
             with an alphabetic character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        )
    });
    checked(over(text, LABEL_MAX), mismatch)
}

/// A name with an optional subdomain before a slash: label keys, resource names, finalizers.
pub fn qualified_name(text: &str) -> Vec<String> {
    let (prefix, name) = match text.split('/').collect::<Vec<_>>()[..] {
        [name] => (None, name),
        [prefix, name] => (Some(prefix), name),
        _ => {
            let error = regex_error(QUALIFIED_MSG, QUALIFIED_FMT, QUALIFIED_EXAMPLES);
            return vec![format!(
                "a qualified name {error} with an optional DNS subdomain prefix and '/' \
                 (e.g. 'example.com/MyName')"
            )];
        }
    };
    let mut complaints = Vec::new();
    match prefix {
        Some("") => complaints.push("prefix part must be non-empty".to_owned()),
        Some(prefix) => {
            complaints.extend(dns1123_subdomain(prefix).iter().map(|e| format!("prefix part {e}")));
        }
        None => {}
    }
    if name.is_empty() {
        complaints.push("name part must be non-empty".into());
    } else if let Some(max) = over(name, LABEL_MAX) {
        complaints.push(format!("name part {}", max_bytes(max)));
    }
    if !matches_qualified(name) {
        let error = regex_error(QUALIFIED_MSG, QUALIFIED_FMT, QUALIFIED_EXAMPLES);
        complaints.push(format!("name part {error}"));
    }
    complaints
}

/// A label's value.
pub fn label_value(text: &str) -> Vec<String> {
    let mismatch = (!text.is_empty() && !matches_qualified(text)).then(|| {
        regex_error(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', \
             '_' or '.', and must start and end with an alphanumeric character",
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
            &["MyValue", "my_value", "12345"],
        )
    });
    over(text, LABEL_MAX).map(max_bytes).into_iter().chain(mismatch).collect()
}

/// A ConfigMap's or Secret's key.
pub fn config_map_key(text: &str) -> Vec<String> {
    let mut complaints: Vec<String> = over(text, SUBDOMAIN_MAX).map(max_len).into_iter().collect();
    let fits = |b: &u8| b.is_ascii_alphanumeric() || b"-._".contains(b);
    if text.is_empty() || !text.as_bytes().iter().all(fits) {
        complaints.push(regex_error(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    complaints.extend(dots(text));
    complaints
}

fn dots(text: &str) -> Option<String> {
    match text {
        "." => Some("must not be '.'".into()),
        ".." => Some("must not be '..'".into()),
        _ => text.starts_with("..").then(|| "must not start with '..'".into()),
    }
}

/// An environment variable's name: printable ASCII without `=` (KEP-4369).
pub fn env_var_name(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec!["must be non-empty".into()];
    }
    if text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=') {
        return Vec::new();
    }
    vec![
        "a valid environment variable name must consist only of printable ASCII characters other \
         than '='"
            .into(),
    ]
}

/// A port number.
pub fn port_number(port: i64) -> Vec<String> {
    match (1..=65535).contains(&port) {
        true => Vec::new(),
        false => vec![inclusive_range(1, 65535)],
    }
}

/// A port's name (RFC 6335).
pub fn port_name(text: &str) -> Vec<String> {
    let mut complaints: Vec<String> = over(text, 15).map(max_len).into_iter().collect();
    if text.is_empty() || !text.bytes().all(|b| is_lower(b) || b == b'-') {
        complaints
            .push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        complaints.push("must contain at least one letter (a-z)".into());
    }
    if text.contains("--") {
        complaints.push("must not contain consecutive hyphens".into());
    }
    if text.starts_with('-') || text.ends_with('-') {
        complaints.push("must not begin or end with a hyphen".into());
    }
    complaints
}

/// A percentage such as `25%`.
pub fn percent(text: &str) -> Vec<String> {
    let digits = text.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Vec::new();
    }
    vec![regex_error(
        "a valid percent string must be a numeric string followed by an ending '%'",
        "[0-9]+%",
        &["1%", "93%"],
    )]
}

/// A name that becomes one segment of a URL: RBAC objects.
pub fn path_segment(text: &str) -> Vec<String> {
    if text == "." || text == ".." {
        return vec![format!("may not be '{text}'")];
    }
    let bad = ["/", "%"].into_iter().filter(|bad| text.contains(bad));
    bad.map(|bad| format!("may not contain '{bad}'")).collect()
}

/// The part of a URL behind the host.
pub fn http_path(text: &str) -> Vec<String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
    if !text.is_empty() && text.bytes().all(fits) {
        return Vec::new();
    }
    vec![regex_error("Invalid path", r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", &[])]
}

/// The reason of a condition.
pub fn condition_reason(text: &str) -> Vec<String> {
    let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    let bytes = text.as_bytes();
    let ends = bytes.first().is_some_and(u8::is_ascii_alphabetic) && bytes.last().is_some_and(word);
    if ends && bytes.iter().all(|b| word(b) || b",:".contains(b)) {
        return Vec::new();
    }
    vec![regex_error(
        "a condition reason must start with alphabetic character, optionally followed by a string \
         of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'",
        "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?",
        &["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"],
    )]
}

/// An IANA protocol-like `C` identifier.
pub fn c_identifier(text: &str) -> Vec<String> {
    let starts = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if starts && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Vec::new();
    }
    vec![regex_error(
        "a valid C identifier must start with alphabetic character or '_', followed by a string \
         of alphanumeric characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_subdomains() {
        assert!(dns1123_label("my-name").is_empty());
        assert!(dns1123_subdomain("a.b-c.example").is_empty());
        assert_eq!(
            dns1123_label("My_Name"),
            ["a lowercase RFC 1123 label must consist of lower case alphanumeric characters or \
              '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or \
              '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"]
        );
        assert_eq!(dns1123_label(&"a".repeat(64)), ["must be no more than 63 characters"]);
        for bad in ["", "-a", "a-", "a..b", ".a", "A"] {
            assert!(!dns1123_subdomain(bad).is_empty(), "{bad:?}");
        }
        assert!(!dns1035_label("1a").is_empty());
        assert!(wildcard_dns1123_subdomain("*.a.b").is_empty());
    }

    #[test]
    fn qualified_names() {
        for good in ["app", "app.kubernetes.io/name", "A_b.C"] {
            assert!(qualified_name(good).is_empty(), "{good:?}");
        }
        assert_eq!(qualified_name("/x"), ["prefix part must be non-empty"]);
        assert_eq!(qualified_name("a.b/")[0], "name part must be non-empty");
        assert!(qualified_name("a/b/c")[0].starts_with("a qualified name must consist of"));
        assert!(label_value("").is_empty());
        assert!(!label_value("-a").is_empty());
    }

    #[test]
    fn ports_addresses_and_keys() {
        assert_eq!(port_number(0), ["must be between 1 and 65535, inclusive"]);
        assert!(port_name("http-2").is_empty());
        assert_eq!(port_name("80"), ["must contain at least one letter (a-z)"]);
        assert_eq!(port_name("a--b"), ["must not contain consecutive hyphens"]);
        assert!(ip("2001:db8::1").is_empty() && !ip("10.0.0").is_empty());
        assert_eq!(parse_cidr("10.0.0.0/33"), None);
        assert_eq!(config_map_key(".."), ["must not be '..'"]);
        assert!(config_map_key("a/b")[0].contains("a valid config key"));
        assert!(!env_var_name("A=B").is_empty() && env_var_name("1.a-B").is_empty());
        assert_eq!(path_segment("a/b"), ["may not contain '/'"]);
        assert!(percent("25%").is_empty() && !percent("%").is_empty());
    }
}
