//! The settings document of a plugin.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// A settings document: any JSON; `null` where the host has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings(Value);

impl Settings {
    /// Reads a document; empty bytes are `null`.
    ///
    /// # Errors
    /// A text for people if the bytes are no JSON.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let value = serde_json::from_slice(bytes);
        value.map(Self).map_err(|error| format!("the settings are no JSON: {error}"))
    }

    /// The document as `T`; `null` gives the default. Give `T` `deny_unknown_fields`, so that a
    /// typo is refused when the plugin is loaded.
    ///
    /// # Errors
    /// A text for people if the document does not fit.
    pub fn read<T: DeserializeOwned + Default>(&self) -> Result<T, String> {
        if self.0.is_null() {
            return Ok(T::default());
        }
        serde_json::from_value(self.0.clone()).map_err(|error| error.to_string())
    }

    /// Accepts no settings, or an empty object.
    ///
    /// # Errors
    /// A text for people if there are any.
    pub fn none(&self) -> Result<(), String> {
        match &self.0 {
            Value::Null => Ok(()),
            Value::Object(map) if map.is_empty() => Ok(()),
            other => Err(format!("this plugin has no settings, got {other}")),
        }
    }
}

impl From<Value> for Settings {
    fn from(value: Value) -> Self {
        Self(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_are_no_settings_and_bad_bytes_are_an_error() {
        assert_eq!(Settings::parse(b"").unwrap().none(), Ok(()));
        assert_eq!(Settings::parse(b"{}").unwrap().none(), Ok(()));
        assert!(Settings::parse(b"{\"a\":1}").unwrap().none().is_err());
        assert!(Settings::parse(b"{").is_err());
        assert_eq!(Settings::parse(b"").unwrap().read::<u8>(), Ok(0));
    }
}
