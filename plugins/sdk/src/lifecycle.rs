//! The exports that every world has.

/// Implements `hansa:core/lifecycle` for `Component` around a `PLACE` and a policy type.
#[doc(hidden)]
#[macro_export]
macro_rules! lifecycle_exports {
    ($bindings:ident, $policy:ty, $($policy_trait:tt)+) => {
        use $bindings::hansa::core::types::{Code, Failure};

        impl lifecycle::Guest for Component {
            fn describe() -> lifecycle::Descriptor {
                lifecycle::Descriptor {
                    name: <$policy as $($policy_trait)+>::NAME.into(),
                    version: env!("CARGO_PKG_VERSION").into(),
                    settings_schema: Vec::new(),
                    state_schema: 0,
                }
            }
            fn validate_settings(settings: Vec<u8>) -> Result<Vec<String>, Vec<String>> {
                let settings = $crate::Settings::new(settings);
                let made = <$policy as $($policy_trait)+>::configure(&settings);
                made.map(|_| Vec::new()).map_err(|error| vec![error])
            }
            fn configure(settings: Vec<u8>) -> Result<(), Failure> {
                $crate::host::log_panics();
                let done = PLACE.with(|place| place.configure(settings));
                done.map_err(|message| Failure {
                    code: Code::Invalid,
                    message,
                    retry_after_ms: 0,
                    ext: Vec::new(),
                })
            }
        }
    };
}
