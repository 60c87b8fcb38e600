//! The version that clients see.

use serde_json::{Value, json};

/// Kubernetes' minor version that the API is of.
pub const MINOR: u32 = 36;

/// What `/version` answers.
pub fn document() -> Value {
    json!({
        "major": "1",
        "minor": MINOR.to_string(),
        "gitVersion": git_version(),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, platform_arch()),
    })
}

/// Such as `v1.36.0+hansa.0.1.0`.
pub fn git_version() -> String {
    format!("v1.{MINOR}.0+hansa.{}", env!("CARGO_PKG_VERSION"))
}

fn platform_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
