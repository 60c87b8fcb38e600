//! The labels of a namespace: which level is enforced, and of which pods warn.

use std::fmt;

use hansa_api::field::FieldError;
use hansa_api::meta::Fields;

const PREFIX: &str = "pod-security.kubernetes.io/";
const BAD_LEVEL: &str = "must be one of privileged, baseline, restricted";
const BAD_VERSION: &str = "must be \"latest\" or \"v1.x\"";

/// A Pod Security Standard, laxest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "privileged" => Some(Self::Privileged),
            "baseline" => Some(Self::Baseline),
            "restricted" => Some(Self::Restricted),
            _ => None,
        }
    }
}

/// A level as of a minor version of Kubernetes; `None` is the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LevelVersion {
    pub(super) level: Level,
    pub(super) version: Option<u32>,
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version {
            None => write!(f, "{level}:latest"),
            Some(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

/// What a namespace asks for. Audit labels are read for their errors; there is no audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) enforce: LevelVersion,
    pub(super) warn: LevelVersion,
}

impl Policy {
    /// Reads labels; what cannot be read is the strictest where it is enforced, and the laxest
    /// where it only warns.
    pub(super) fn of(labels: Option<&Fields>) -> (Self, Vec<FieldError>) {
        let mut reader = Reader { labels, errors: Vec::new() };
        let enforced = reader.level("enforce");
        let version = reader.version("enforce-version");
        let enforce = LevelVersion {
            level: enforced.map_or(Level::Privileged, |level| level.unwrap_or(Level::Restricted)),
            version,
        };
        reader.level("audit");
        reader.version("audit-version");
        let warned = reader.level("warn");
        let mut warn = LevelVersion {
            level: warned.flatten().unwrap_or(Level::Privileged),
            version: reader.version("warn-version"),
        };
        if warned.is_none() && enforced.flatten().is_some() && enforce.level > warn.level {
            warn.level = enforce.level;
            if !reader.has("warn-version") {
                warn.version = enforce.version;
            }
        }
        (Self { enforce, warn }, reader.errors)
    }

    pub(super) fn is_privileged(&self) -> bool {
        self.enforce.level == Level::Privileged && self.warn.level == Level::Privileged
    }
}

struct Reader<'a> {
    labels: Option<&'a Fields>,
    errors: Vec<FieldError>,
}

impl<'a> Reader<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        self.labels?.get(&format!("{PREFIX}{name}"))?.as_str()
    }

    fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    fn refuse(&mut self, name: &str, text: &str, why: &str) {
        let path = format!("metadata.labels[{PREFIX}{name}]");
        self.errors.push(FieldError::invalid(path, text, why));
    }

    /// The outer `None` is no label, the inner one a label that cannot be read.
    fn level(&mut self, name: &str) -> Option<Option<Level>> {
        let text = self.text(name)?;
        let level = Level::parse(text);
        if level.is_none() {
            self.refuse(name, text, BAD_LEVEL);
        }
        Some(level)
    }

    fn version(&mut self, name: &str) -> Option<u32> {
        let text = self.text(name).filter(|text| *text != "latest")?;
        let minor = text.strip_prefix("v1.").filter(|minor| {
            minor.bytes().all(|byte| byte.is_ascii_digit())
                && (*minor == "0" || !minor.starts_with('0'))
        });
        let minor = minor.and_then(|minor| minor.parse().ok());
        if minor.is_none() {
            self.refuse(name, text, BAD_VERSION);
        }
        minor
    }
}
