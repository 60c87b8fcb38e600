//! The query parameters of requests, read once into typed options.

use hansa_api::field::FieldError;
use hansa_api::gvk::GroupVersionKind;
use hansa_api::selector::{FieldSelector, Selector};
use hansa_api::status::ApiError;

use super::filter::Filter;
use crate::request_info::{is_true, query_pairs};

/// The longest name of a field manager, in bytes.
const MANAGER_MAX: usize = 128;

/// How old a list or an initial state may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// As new as the store: no resourceVersion was given.
    Consistent,
    /// Whatever is at hand: resourceVersion 0.
    Any,
    /// This or newer.
    NotOlderThan(u64),
    /// Exactly this.
    Exact(u64),
}

/// Options of list, watch and deletecollection.
#[derive(Clone, Debug)]
pub struct ListOptions {
    /// What is selected.
    pub filter: Filter,
    /// Page size; 0 is no limit.
    pub limit: usize,
    /// The continue token, empty on the first page.
    pub continue_token: String,
    /// How old the answer may be; for watches, where to start.
    pub freshness: Freshness,
    /// Whether to send bookmarks.
    pub bookmarks: bool,
    /// Whether a watch begins with what is there; `None` leaves it to the resourceVersion.
    pub send_initial_events: Option<bool>,
    /// When a watch ends.
    pub timeout_seconds: Option<u64>,
}

/// What the server does with fields that it does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them and warn; the default.
    #[default]
    Warn,
    /// Refuse the object.
    Strict,
}

/// Options of create, update and patch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Whether to stop before writing.
    pub dry_run: bool,
    /// Who manages the fields written.
    pub field_manager: String,
    /// What to do with unknown fields.
    pub field_validation: FieldValidation,
    /// Whether a server-side apply takes fields over.
    pub force: bool,
}

/// What becomes of the dependents of a deleted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They stay.
    Orphan,
    /// The garbage collector deletes them afterwards.
    Background,
    /// The garbage collector deletes them first.
    Foreground,
}

/// Options of delete and deletecollection (meta/v1 `DeleteOptions`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Whether to stop before writing.
    pub dry_run: bool,
    /// Seconds to wait for a graceful end.
    pub grace_period_seconds: Option<i64>,
    /// What becomes of dependents.
    pub propagation: Option<Propagation>,
    /// Only if the object has this uid.
    pub uid: Option<String>,
    /// Only if the object is at this resourceVersion.
    pub resource_version: Option<String>,
}

/// The parameters of a query, first value each.
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Splits a query string.
    pub fn parse(query: &str) -> Self {
        Self(query_pairs(query).collect())
    }

    /// The first value of a parameter, empty if it is absent.
    pub fn text(&self, key: &str) -> &str {
        self.0.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value.as_str())
    }

    /// A boolean parameter, `None` if it is absent.
    pub fn flag(&self, key: &str) -> Option<bool> {
        let found = self.0.iter().find(|(name, _)| name == key)?;
        Some(is_true(&found.1))
    }

    /// A number, `None` if it is absent or empty.
    pub fn number<T: std::str::FromStr>(&self, key: &str) -> Result<Option<T>, ApiError> {
        match self.text(key) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
            }),
        }
    }

    /// Whether `dryRun=All` is set; any other value is an error.
    pub fn dry_run(&self, kind: &str) -> Result<bool, ApiError> {
        let values = self.0.iter().filter(|(name, _)| name == "dryRun").map(|(_, value)| value);
        let mut all = false;
        for value in values.filter(|value| !value.is_empty()) {
            dry_run_value(kind, value)?;
            all = true;
        }
        Ok(all)
    }
}

/// Accepts `All` and nothing else.
pub fn dry_run_value(kind: &str, value: &str) -> Result<(), ApiError> {
    match value {
        "All" => Ok(()),
        other => Err(invalid(
            kind,
            FieldError::not_supported("dryRun", serde_json::json!([other]), &["All"]),
        )),
    }
}

fn invalid(kind: &str, error: FieldError) -> ApiError {
    ApiError::invalid(&GroupVersionKind::new("meta.k8s.io", "v1", kind), "", &[error])
}

fn forbidden(field: &str, why: &str) -> ApiError {
    invalid("ListOptions", FieldError::forbidden(field, why))
}

impl ListOptions {
    /// Reads the options of a list or watch in `namespace`.
    pub fn parse(query: &Query, namespace: &str, watch: bool) -> Result<Self, ApiError> {
        let labels = Selector::parse(query.text("labelSelector"))
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        let fields = FieldSelector::parse(query.text("fieldSelector"))
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        let send_initial_events = query.flag("sendInitialEvents");
        check_match(query, watch, send_initial_events)?;
        let limit = query.number::<i64>("limit")?.unwrap_or(0);
        Ok(Self {
            filter: Filter { namespace: namespace.to_string(), labels, fields },
            limit: usize::try_from(limit).unwrap_or(0),
            continue_token: query.text("continue").to_string(),
            freshness: freshness(query)?,
            bookmarks: query.flag("allowWatchBookmarks").unwrap_or(false),
            send_initial_events,
            timeout_seconds: query.number::<u64>("timeoutSeconds")?.filter(|s| *s > 0),
        })
    }

    /// Everything in a namespace, as new as the store.
    pub fn all(namespace: &str) -> Self {
        Self {
            filter: Filter::all(namespace),
            limit: 0,
            continue_token: String::new(),
            freshness: Freshness::Consistent,
            bookmarks: false,
            send_initial_events: None,
            timeout_seconds: None,
        }
    }
}

/// Upstream's rules on which of the three parameters may stand together.
fn check_match(query: &Query, watch: bool, initial: Option<bool>) -> Result<(), ApiError> {
    let (version, matching) = (query.text("resourceVersion"), query.text("resourceVersionMatch"));
    let field = "resourceVersionMatch";
    if initial.is_some() {
        if !watch {
            return Err(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        return match matching {
            "NotOlderThan" => Ok(()),
            _ => Err(forbidden(
                field,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            )),
        };
    }
    match matching {
        "" => Ok(()),
        _ if watch => Err(forbidden(
            field,
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        )),
        "NotOlderThan" | "Exact" if version.is_empty() => Err(forbidden(
            field,
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        )),
        "Exact" if version == "0" => Err(forbidden(
            field,
            "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        )),
        "NotOlderThan" | "Exact" => Ok(()),
        other => Err(invalid(
            "ListOptions",
            FieldError::not_supported(field, other, &["Exact", "NotOlderThan", ""]),
        )),
    }
}

fn freshness(query: &Query) -> Result<Freshness, ApiError> {
    let text = query.text("resourceVersion");
    let exact = query.text("resourceVersionMatch") == "Exact";
    match text {
        "" => Ok(Freshness::Consistent),
        "0" => Ok(Freshness::Any),
        text => match parse_version(text)? {
            version if exact => Ok(Freshness::Exact(version)),
            version => Ok(Freshness::NotOlderThan(version)),
        },
    }
}

/// A resourceVersion as a number; anything else is a 400 in upstream's words.
pub fn parse_version(text: &str) -> Result<u64, ApiError> {
    text.parse().map_err(|_| {
        ApiError::bad_request(format!(
            "invalid resource version: strconv.ParseUint: parsing {text:?}: invalid syntax"
        ))
    })
}

impl WriteOptions {
    /// Reads the options of a create, update or patch; `kind` names them in errors.
    pub fn parse(query: &Query, kind: &str, user_agent: &str) -> Result<Self, ApiError> {
        let field_validation = match query.text("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let known = ["", "Ignore", "Warn", "Strict"];
                let error = FieldError::not_supported("fieldValidation", other, &known);
                return Err(invalid(kind, error));
            }
        };
        let named = query.text("fieldManager");
        check_manager(named).map_err(|error| invalid(kind, error))?;
        let manager = if named.is_empty() { agent_name(user_agent) } else { named.to_string() };
        Ok(Self {
            dry_run: query.dry_run(kind)?,
            field_manager: manager,
            field_validation,
            force: query.flag("force").unwrap_or(false),
        })
    }

    /// Reads the options of a patch; `applies` says that it is a server-side apply.
    pub fn parse_patch(query: &Query, user_agent: &str, applies: bool) -> Result<Self, ApiError> {
        let kind = "PatchOptions";
        if applies && query.text("fieldManager").is_empty() {
            let error = FieldError::required("fieldManager", "is required for apply patch");
            return Err(invalid(kind, error));
        }
        if !applies && query.flag("force").is_some() {
            let why = "may not be specified for non-apply patch";
            return Err(invalid(kind, FieldError::forbidden("force", why)));
        }
        Self::parse(query, kind, user_agent)
    }
}

/// A field manager's name is short and printable.
fn check_manager(name: &str) -> Result<(), FieldError> {
    if name.len() > MANAGER_MAX {
        return Err(FieldError::too_long("fieldManager", MANAGER_MAX));
    }
    match name.char_indices().find(|(_, char)| char.is_control()) {
        Some((at, char)) => {
            let why = format!("invalid character U+{:04X} (at position {at})", u32::from(char));
            Err(FieldError::invalid("fieldManager", name, why))
        }
        None => Ok(()),
    }
}

/// What a user agent says before its first `/`, as far as it can name a field manager.
fn agent_name(user_agent: &str) -> String {
    let printable = user_agent.split('/').next().unwrap_or_default().chars();
    let mut name = String::new();
    for char in printable.filter(|char| !char.is_control()) {
        if name.len() + char.len_utf8() > MANAGER_MAX {
            break;
        }
        name.push(char);
    }
    name
}

impl Propagation {
    /// Reads `propagationPolicy`.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        match text {
            "Orphan" => Ok(Self::Orphan),
            "Background" => Ok(Self::Background),
            "Foreground" => Ok(Self::Foreground),
            other => Err(invalid(
                "DeleteOptions",
                FieldError::not_supported(
                    "propagationPolicy",
                    other,
                    &["Foreground", "Background", "Orphan", "nil"],
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(query: &str) -> Result<ListOptions, ApiError> {
        ListOptions::parse(&Query::parse(query), "", false)
    }

    #[test]
    fn resource_versions_say_how_fresh() {
        let cases = [
            ("", Freshness::Consistent),
            ("resourceVersion=0", Freshness::Any),
            ("resourceVersion=7", Freshness::NotOlderThan(7)),
            ("resourceVersion=7&resourceVersionMatch=Exact", Freshness::Exact(7)),
        ];
        for (query, expected) in cases {
            assert_eq!(list(query).unwrap().freshness, expected, "{query}");
        }
    }

    #[test]
    fn odd_parameters_are_refused() {
        let cases = [
            ("resourceVersion=x", 400, "invalid resource version"),
            ("limit=many", 400, "parsing \"many\""),
            ("labelSelector=a+in", 400, "unable to parse requirement"),
            ("resourceVersionMatch=Exact", 422, "unless resourceVersion is provided"),
            ("resourceVersion=1&resourceVersionMatch=Old", 422, "Unsupported value: \"Old\""),
            ("sendInitialEvents=true", 422, "forbidden for list"),
        ];
        for (query, code, text) in cases {
            let error = list(query).unwrap_err();
            assert_eq!(error.code, code, "{query}: {error}");
            assert!(error.message.contains(text), "{query}: {error}");
        }
    }

    #[test]
    fn write_options_know_their_values() {
        let parse =
            |query: &str| WriteOptions::parse(&Query::parse(query), "CreateOptions", "kubectl/v1");
        let options = parse("dryRun=All&fieldValidation=Strict").unwrap();
        assert!(options.dry_run && options.field_validation == FieldValidation::Strict);
        assert_eq!(options.field_manager, "kubectl");
        assert_eq!(parse("dryRun=Some").unwrap_err().code, 422);
        assert_eq!(parse("fieldValidation=Lax").unwrap_err().code, 422);
        let long = format!("fieldManager={}", "x".repeat(129));
        assert!(parse(&long).unwrap_err().message.contains("may not be more than 128 bytes"));
        let odd = parse("fieldManager=a%07b").unwrap_err();
        assert!(odd.message.contains("invalid character U+0007 (at position 1)"), "{odd}");
    }

    #[test]
    fn patches_are_applied_by_somebody_and_forced_only_then() {
        let parse =
            |query, applies| WriteOptions::parse_patch(&Query::parse(query), "kubectl/v1", applies);
        let error = parse("", true).unwrap_err();
        assert_eq!(
            error.message,
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required \
             for apply patch"
        );
        let error = parse("force=true", false).unwrap_err();
        assert!(
            error.message.ends_with("force: Forbidden: may not be specified for non-apply patch")
        );
        assert!(parse("fieldManager=me&force=true", true).unwrap().force);
        assert_eq!(parse("", false).unwrap().field_manager, "kubectl");
    }
}
