//! Layered configuration: defaults, then a file, then `HANSA_…` variables. Flags come on top, at the
//! caller, which alone knows which were given.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why the configuration could not be read.
#[derive(Debug, thiserror::Error)]
#[error("failed to read the configuration: {0}")]
pub struct ConfigError(#[from] ::config::ConfigError);

/// Reads `T`: its defaults, overridden by `file` (YAML or JSON by its ending), overridden by the
/// environment variables `PREFIX_KEY`, with `__` between the levels of nested keys.
///
/// Keys are snake or kebab case: the environment's keys arrive in lower case.
///
/// # Errors
/// A file that is missing or malformed, an unknown type, a value of a wrong type.
pub fn layered<T>(defaults: &T, file: Option<&Path>, prefix: &str) -> Result<T, ConfigError>
where
    T: Serialize + DeserializeOwned,
{
    let environment = ::config::Environment::with_prefix(prefix)
        .prefix_separator("_")
        .separator("__")
        .try_parsing(true);
    let mut builder = ::config::Config::builder().add_source(::config::Config::try_from(defaults)?);
    if let Some(file) = file {
        builder = builder.add_source(::config::File::from(file));
    }
    Ok(builder.add_source(environment).build()?.try_deserialize()?)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        region: String,
        nodes: u32,
    }

    #[test]
    fn a_file_overrides_defaults_and_keeps_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hansa.yaml");
        std::fs::write(&file, "nodes: 3\n").unwrap();
        let defaults = Sample { region: "eu-west".into(), nodes: 1 };
        let read = layered(&defaults, Some(&file), "HANSA_TEST_UNSET").unwrap();
        assert_eq!(read, Sample { region: "eu-west".into(), nodes: 3 });
    }

    #[test]
    fn a_malformed_file_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hansa.yaml");
        std::fs::write(&file, "nodes: [").unwrap();
        let defaults = Sample { region: String::new(), nodes: 1 };
        let error = layered(&defaults, Some(&file), "HANSA_TEST_UNSET").unwrap_err();
        assert!(error.to_string().contains("hansa.yaml"), "{error}");
    }
}
