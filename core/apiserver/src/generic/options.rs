//! The query parameters of requests, read once into typed options.

use hansa_api::field::FieldError;
use hansa_api::gvk::GroupVersionKind;
use hansa_api::selector::{FieldSelector, Selector};
use hansa_api::status::{ApiError, Reason};

use super::filter::Filter;
use crate::request_info::{is_true, query_pairs};

const MATCH: &str = "resourceVersionMatch";
const EXACT: &str = "Exact";
const NOT_OLDER: &str = "NotOlderThan";
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
    /// When a watch ends; at once if it is negative.
    pub timeout_seconds: Option<i64>,
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
        other => {
            let error = FieldError::not_supported("dryRun", serde_json::json!([other]), &["All"]);
            Err(invalid(kind, &[error]))
        }
    }
}

fn invalid(kind: &str, errors: &[FieldError]) -> ApiError {
    ApiError::invalid(&GroupVersionKind::new("meta.k8s.io", "v1", kind), "", errors)
}

impl ListOptions {
    /// Reads the options of a list or watch in `namespace`.
    ///
    /// # Errors
    /// 400 for what cannot be read, 422 for parameters that may not stand together.
    pub fn parse(query: &Query, namespace: &str, watch: bool) -> Result<Self, ApiError> {
        let labels = Selector::parse(query.text("labelSelector"))
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        let fields = FieldSelector::parse(query.text("fieldSelector"))
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        let asked = Asked::read(query)?;
        asked.check(watch)?;
        Ok(Self {
            filter: Filter { namespace: namespace.to_string(), labels, fields },
            limit: usize::try_from(asked.limit).unwrap_or(0),
            continue_token: asked.continue_token.to_string(),
            freshness: asked.freshness(watch)?,
            bookmarks: query.flag("allowWatchBookmarks").unwrap_or(false),
            send_initial_events: asked.initial_events(watch),
            timeout_seconds: asked.timeout_seconds.filter(|seconds| *seconds != 0),
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

/// The parameters that say which state is meant, as they came.
struct Asked<'a> {
    version: &'a str,
    matching: &'a str,
    continue_token: &'a str,
    limit: i64,
    initial: Option<bool>,
    timeout_seconds: Option<i64>,
}

impl<'a> Asked<'a> {
    fn read(query: &'a Query) -> Result<Self, ApiError> {
        Ok(Self {
            version: query.text("resourceVersion"),
            matching: query.text("resourceVersionMatch"),
            continue_token: query.text("continue"),
            limit: query.number("limit")?.unwrap_or(0),
            initial: query.flag("sendInitialEvents"),
            timeout_seconds: query.number("timeoutSeconds")?,
        })
    }

    /// Upstream's rules on what may stand together.
    fn check(&self, watch: bool) -> Result<(), ApiError> {
        let errors = if watch { self.watch_errors() } else { self.list_errors() };
        if errors.is_empty() { Ok(()) } else { Err(invalid("ListOptions", &errors)) }
    }

    fn list_errors(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if !self.matching.is_empty() {
            if self.version.is_empty() {
                errors.push(on_match("is forbidden unless resourceVersion is provided"));
            }
            if !self.continue_token.is_empty() {
                errors.push(on_match("is forbidden when continue is provided"));
            }
            if !matches!(self.matching, EXACT | NOT_OLDER) {
                let known = [EXACT, NOT_OLDER, ""];
                errors.push(FieldError::not_supported(MATCH, self.matching, &known));
            }
            if self.matching == EXACT && self.version == "0" {
                errors.push(on_match("\"exact\" is forbidden for resourceVersion \"0\""));
            }
        }
        if self.initial.is_some() {
            let why = "sendInitialEvents is forbidden for list";
            errors.push(FieldError::forbidden("sendInitialEvents", why));
        }
        errors
    }

    fn watch_errors(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.initial.is_some() && self.matching != NOT_OLDER {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.push(FieldError::forbidden(MATCH, why));
        }
        if !self.matching.is_empty() {
            if self.initial.is_none() {
                errors
                    .push(on_match("is forbidden for watch unless sendInitialEvents is provided"));
            }
            if self.matching != NOT_OLDER {
                errors.push(FieldError::not_supported(MATCH, self.matching, &[NOT_OLDER]));
            }
            if !self.continue_token.is_empty() {
                errors.push(on_match("is forbidden when continue is provided"));
            }
        }
        errors
    }

    fn freshness(&self, watch: bool) -> Result<Freshness, ApiError> {
        let version = match self.version {
            "" => return Ok(Freshness::Consistent),
            "0" => return Ok(Freshness::Any),
            text => version_parameter(text).map_err(|error| match watch {
                true => unreadable_version(&error),
                false => ApiError::bad_request(format!("invalid resource version: {error}")),
            })?,
        };
        // A page at a version is that version's page, unless newer ones are welcome.
        let paged = self.matching.is_empty() && self.limit > 0;
        let exact = !watch && self.continue_token.is_empty() && (self.matching == EXACT || paged);
        Ok(if exact { Freshness::Exact(version) } else { Freshness::NotOlderThan(version) })
    }

    /// A watch from no version in particular begins with what is there, and says where that ends.
    fn initial_events(&self, watch: bool) -> Option<bool> {
        let anywhere = watch && self.matching.is_empty() && matches!(self.version, "" | "0");
        self.initial.or(anywhere.then_some(true))
    }
}

fn on_match(why: &str) -> FieldError {
    FieldError::forbidden(MATCH, format!("{MATCH} {why}"))
}

/// The parameter `resourceVersion` as a number, or what is wrong with it.
pub fn version_parameter(text: &str) -> Result<u64, FieldError> {
    text.parse().map_err(|_| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let why = if digits { "value out of range" } else { "invalid syntax" };
        let why = format!("strconv.ParseUint: parsing {text:?}: {why}");
        FieldError::invalid("resourceVersion", text, why)
    })
}

/// Gets and watches of an unreadable version, to which upstream gives no reason.
pub fn unreadable_version(error: &FieldError) -> ApiError {
    ApiError { code: 500, ..ApiError::new(Reason::Unknown, error.to_string()) }
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
                let known = ["", "Ignore", "Strict", "Warn"];
                let error = FieldError::not_supported("fieldValidation", other, &known);
                return Err(invalid(kind, &[error]));
            }
        };
        let named = query.text("fieldManager");
        check_manager(named).map_err(|error| invalid(kind, &[error]))?;
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
            return Err(invalid(kind, &[error]));
        }
        if !applies && query.flag("force").is_some() {
            let why = "may not be specified for non-apply patch";
            return Err(invalid(kind, &[FieldError::forbidden("force", why)]));
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
            other => {
                let known = ["Foreground", "Background", "Orphan", "nil"];
                let error = FieldError::not_supported("propagationPolicy", other, &known);
                Err(invalid("DeleteOptions", &[error]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str, watch: bool) -> Result<ListOptions, ApiError> {
        ListOptions::parse(&Query::parse(query), "", watch)
    }

    #[test]
    fn resource_versions_say_how_fresh() {
        let cases = [
            ("", Freshness::Consistent),
            ("resourceVersion=0", Freshness::Any),
            ("resourceVersion=0&limit=5", Freshness::Any),
            ("resourceVersion=0&resourceVersionMatch=NotOlderThan", Freshness::Any),
            ("resourceVersion=7", Freshness::NotOlderThan(7)),
            ("resourceVersion=7&limit=5", Freshness::Exact(7)),
            (
                "resourceVersion=7&limit=5&resourceVersionMatch=NotOlderThan",
                Freshness::NotOlderThan(7),
            ),
            ("resourceVersion=7&resourceVersionMatch=Exact", Freshness::Exact(7)),
        ];
        for (query, expected) in cases {
            assert_eq!(read(query, false).unwrap().freshness, expected, "{query}");
        }
    }

    #[test]
    fn a_watch_from_anywhere_begins_with_what_is_there() {
        for (query, initial) in [
            ("", Some(true)),
            ("resourceVersion=0", Some(true)),
            ("resourceVersion=7", None),
            ("sendInitialEvents=false&resourceVersionMatch=NotOlderThan", Some(false)),
        ] {
            assert_eq!(read(query, true).unwrap().send_initial_events, initial, "{query}");
        }
    }

    #[test]
    fn odd_parameters_are_refused() {
        let cases = [
            (
                "resourceVersion=x",
                400,
                "invalid resource version: resourceVersion: Invalid value: \
                \"x\": strconv.ParseUint: parsing \"x\": invalid syntax",
            ),
            ("resourceVersion=99999999999999999999", 400, "value out of range"),
            ("limit=many", 400, "parsing \"many\""),
            ("labelSelector=a+in", 400, "unable to parse requirement"),
            (
                "resourceVersionMatch=Exact",
                422,
                "resourceVersionMatch: Forbidden: \
                resourceVersionMatch is forbidden unless resourceVersion is provided",
            ),
            (
                "resourceVersion=1&resourceVersionMatch=Old",
                422,
                "Unsupported value: \"Old\": supported values: \"Exact\", \"NotOlderThan\", \"\"",
            ),
            ("resourceVersion=0&resourceVersionMatch=Exact", 422, "\"exact\" is forbidden"),
            ("resourceVersion=1&resourceVersionMatch=Exact&continue=x", 422, "when continue is"),
            ("sendInitialEvents=true", 422, "sendInitialEvents is forbidden for list"),
        ];
        for (query, code, text) in cases {
            let error = read(query, false).unwrap_err();
            assert_eq!(error.code, code, "{query}: {error}");
            assert!(error.message.contains(text), "{query}: {error}");
        }
    }

    #[test]
    fn odd_parameters_of_watches_are_refused() {
        let cases = [
            ("sendInitialEvents=true", "sendInitialEvents requires setting resourceVersionMatch"),
            ("sendInitialEvents=false&resourceVersionMatch=Exact", "supported values: \"NotOlder"),
            ("resourceVersionMatch=NotOlderThan", "for watch unless sendInitialEvents is provided"),
        ];
        for (query, text) in cases {
            let error = read(query, true).unwrap_err();
            assert_eq!(error.code, 422, "{query}: {error}");
            assert!(error.message.contains(text), "{query}: {error}");
        }
        let error = read("resourceVersion=x", true).unwrap_err();
        assert_eq!((error.code, error.reason), (500, Reason::Unknown));
        assert!(error.message.starts_with("resourceVersion: Invalid value: \"x\""));
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
