//! The federation's kinds, with the groups, fields and defaults that Karmada's users know.

mod binding;
mod cluster;
mod overrides;
mod placement;
mod policy;
mod work;

pub use binding::*;
pub use cluster::*;
pub use overrides::*;
pub use placement::*;
pub use policy::*;
pub use work::*;

/// Defines a kind with a spec and, if it has one, a status.
macro_rules! define_kind {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $api:literal / $version:literal, $plural:literal,
     $scope:ident, $spec:ty $(, $status:ty)?) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            /// The group version and the kind.
            #[serde(flatten)]
            pub types: hansa_api::custom::TypeMeta,
            /// Name, labels and the rest.
            #[serde(default)]
            pub metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            /// What is wanted.
            #[serde(default)]
            pub spec: $spec,
            $(
            /// What is.
            #[serde(default)]
            pub status: $status,
            )?
        }
        hansa_api::custom_kind!($name, $api, $version, $kind, $plural, $scope);
        impl $name {
            /// An object of this kind with a name and a spec; a namespace is set afterwards.
            pub fn new(name: &str, spec: $spec) -> Self {
                use hansa_api::custom::Kind;
                Self {
                    types: Self::type_meta(),
                    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                        name: Some(name.to_owned()),
                        ..Default::default()
                    },
                    spec,
                    $(status: <$status>::default(),)?
                }
            }
        }
    };
}
pub(crate) use define_kind;
