//! The settings document of a plugin.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// A settings document as the host sent it: JSON, or nothing. It is parsed when it is read, so that
/// a plugin without settings carries no parser.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings(Vec<u8>);

impl Settings {
    /// A document; empty bytes are no document.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The document as `T`; no document, and `null`, give the default. Give `T`
    /// `deny_unknown_fields`, so that a typo is refused when the plugin is loaded.
    ///
    /// # Errors
    /// A text for people if the document is no JSON or does not fit.
    pub fn read<T: DeserializeOwned + Default>(&self) -> Result<T, String> {
        match self.stripped().as_slice() {
            b"" | b"null" => Ok(T::default()),
            _ => serde_json::from_slice(&self.0).map_err(|error| error.to_string()),
        }
    }

    /// Accepts no settings, or an empty object.
    ///
    /// # Errors
    /// A text for people if there are any.
    pub fn none(&self) -> Result<(), String> {
        match self.stripped().as_slice() {
            b"" | b"null" | b"{}" => Ok(()),
            _ => {
                let given = String::from_utf8_lossy(&self.0);
                Err(format!("this plugin has no settings, got {given}"))
            }
        }
    }

    /// The bytes without white space: enough to tell nothing from something.
    fn stripped(&self) -> Vec<u8> {
        self.0.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect()
    }
}

impl From<Value> for Settings {
    fn from(value: Value) -> Self {
        Self(value.to_string().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        Settings::new(text.into())
    }

    #[test]
    fn nothing_is_no_settings_and_anything_else_is_refused_by_who_has_none() {
        for nothing in ["", "null", "{}", " { }\n"] {
            assert_eq!(settings(nothing).none(), Ok(()), "{nothing:?}");
        }
        for something in ["{\"a\":1}", "[]", "{"] {
            assert!(settings(something).none().is_err(), "{something:?}");
        }
    }

    #[test]
    fn no_document_reads_as_the_default_and_a_broken_one_as_an_error() {
        assert_eq!(
            (settings("").read(), settings("null").read(), settings("7").read()),
            (Ok(0u8), Ok(0), Ok(7))
        );
        assert!(settings("{").read::<u8>().is_err());
        assert_eq!(Settings::from(serde_json::json!(3)).read(), Ok(3u8));
    }
}
