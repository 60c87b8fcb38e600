//! What types and fields mean, in the words that the k8s-openapi crate carries.

use std::collections::HashMap;

use hansa_api::k8s_openapi::api as k8s;
use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use hansa_api::k8s_openapi::schemars::SchemaGenerator;
use hansa_api::k8s_openapi::schemars::generate::SchemaSettings;
use serde_json::Value;

/// Descriptions by full type name.
pub(super) struct Descriptions(HashMap<String, Described>);

#[derive(Default)]
struct Described {
    text: String,
    fields: HashMap<String, String>,
}

macro_rules! describe {
    ($generator:ident: $($kind:path),* $(,)?) => {
        $( let _ = $generator.subschema_for::<$kind>(); )*
    };
}

impl Descriptions {
    /// Reads them all; it takes some milliseconds and is not kept.
    pub(super) fn read() -> Self {
        let mut generator = SchemaSettings::draft07().into_generator();
        core_kinds(&mut generator);
        workload_kinds(&mut generator);
        other_kinds(&mut generator);
        let definitions = generator.take_definitions(false);
        Self(definitions.into_iter().map(|(name, schema)| (name, described(&schema))).collect())
    }

    /// None at all: where nobody reads them.
    pub(super) fn none() -> Self {
        Self(HashMap::new())
    }

    /// What a type is.
    pub(super) fn of_type(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|described| described.text.as_str()).filter(|text| !text.is_empty())
    }

    /// What a field of a type is.
    pub(super) fn of_field(&self, name: &str, field: &str) -> Option<&str> {
        self.0.get(name)?.fields.get(field).map(String::as_str)
    }
}

fn described(schema: &Value) -> Described {
    let text = |schema: &Value| schema["description"].as_str().map(String::from);
    let properties = schema["properties"].as_object().into_iter().flatten();
    let fields = properties.filter_map(|(name, schema)| Some((name.clone(), text(schema)?)));
    Described { text: text(schema).unwrap_or_default(), fields: fields.collect() }
}

fn core_kinds(generator: &mut SchemaGenerator) {
    describe!(generator:
        k8s::core::v1::Binding,
        k8s::core::v1::ComponentStatus,
        k8s::core::v1::ConfigMap,
        k8s::core::v1::Endpoints,
        k8s::core::v1::Event,
        k8s::core::v1::LimitRange,
        k8s::core::v1::Namespace,
        k8s::core::v1::Node,
        k8s::core::v1::PersistentVolume,
        k8s::core::v1::PersistentVolumeClaim,
        k8s::core::v1::Pod,
        k8s::core::v1::PodTemplate,
        k8s::core::v1::ReplicationController,
        k8s::core::v1::ResourceQuota,
        k8s::core::v1::Secret,
        k8s::core::v1::Service,
        k8s::core::v1::ServiceAccount,
        meta::DeleteOptions,
        meta::ListMeta,
        meta::Status,
    );
}

fn workload_kinds(generator: &mut SchemaGenerator) {
    describe!(generator:
        k8s::apps::v1::ControllerRevision,
        k8s::apps::v1::DaemonSet,
        k8s::apps::v1::Deployment,
        k8s::apps::v1::ReplicaSet,
        k8s::apps::v1::StatefulSet,
        k8s::autoscaling::v1::Scale,
        k8s::autoscaling::v2::HorizontalPodAutoscaler,
        k8s::batch::v1::CronJob,
        k8s::batch::v1::Job,
        k8s::policy::v1::Eviction,
        k8s::policy::v1::PodDisruptionBudget,
        k8s::scheduling::v1::PriorityClass,
    );
}

fn other_kinds(generator: &mut SchemaGenerator) {
    use hansa_api::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as crd;
    describe!(generator:
        crd::CustomResourceDefinition,
        k8s::authentication::v1::SelfSubjectReview,
        k8s::authentication::v1::TokenRequest,
        k8s::authentication::v1::TokenReview,
        k8s::authorization::v1::LocalSubjectAccessReview,
        k8s::authorization::v1::SelfSubjectAccessReview,
        k8s::authorization::v1::SelfSubjectRulesReview,
        k8s::authorization::v1::SubjectAccessReview,
        k8s::coordination::v1::Lease,
        k8s::discovery::v1::EndpointSlice,
        k8s::events::v1::Event,
        k8s::networking::v1::Ingress,
        k8s::networking::v1::IngressClass,
        k8s::networking::v1::NetworkPolicy,
        k8s::rbac::v1::ClusterRole,
        k8s::rbac::v1::ClusterRoleBinding,
        k8s::rbac::v1::Role,
        k8s::rbac::v1::RoleBinding,
        k8s::storage::v1::StorageClass,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explain_has_something_to_say() {
        let descriptions = Descriptions::read();
        assert!(descriptions.of_type("io.k8s.api.core.v1.Pod").unwrap().contains("containers"));
        let image = descriptions.of_field("io.k8s.api.core.v1.Container", "image").unwrap();
        assert!(image.contains("image"));
        assert_eq!(descriptions.of_field("io.k8s.api.core.v1.Container", "nope"), None);
    }
}
