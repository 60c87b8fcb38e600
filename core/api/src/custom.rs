//! Typed structs for custom kinds.

/// Makes a struct with `metadata: ObjectMeta` a Kubernetes kind, so that typed clients take it.
///
/// ```ignore
/// custom_kind!(Plugin, "plugins.hansa.dev", "v1alpha1", "Plugin", "plugins", ClusterResourceScope);
/// ```
///
/// The struct must be `Serialize` and `Deserialize` without its `apiVersion` and `kind`: the macro's
/// twin attributes are `#[serde(rename_all = "camelCase")]` on the struct and the two constant
/// fields written by [`TypeMeta`](super::custom::TypeMeta).
#[macro_export]
macro_rules! custom_kind {
    ($ty:ty, $group:literal, $version:literal, $kind:literal, $plural:literal, $scope:ident) => {
        impl $crate::k8s_openapi::Resource for $ty {
            const API_VERSION: &'static str = concat!($group, "/", $version);
            const GROUP: &'static str = $group;
            const KIND: &'static str = $kind;
            const VERSION: &'static str = $version;
            const URL_PATH_SEGMENT: &'static str = $plural;
            type Scope = $crate::k8s_openapi::$scope;
        }
        impl $crate::k8s_openapi::Metadata for $ty {
            type Ty = $crate::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
            fn metadata(&self) -> &Self::Ty {
                &self.metadata
            }
            fn metadata_mut(&mut self) -> &mut Self::Ty {
                &mut self.metadata
            }
        }
        impl $crate::custom::Kind for $ty {}
    };
}

/// A custom kind's `apiVersion` and `kind`, flattened into its struct so that it is written out.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TypeMeta {
    /// `group/version`.
    pub api_version: String,
    /// The kind's name.
    pub kind: String,
}

/// What [`custom_kind!`](crate::custom_kind) gives a struct besides the kind's constants.
pub trait Kind: k8s_openapi::Resource {
    /// The type meta that every object of this kind carries.
    fn type_meta() -> TypeMeta {
        TypeMeta { api_version: Self::API_VERSION.into(), kind: Self::KIND.into() }
    }
}
