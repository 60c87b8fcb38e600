//! The kinds that are served and the admission plugins, as other parts of the crate provide them.

use super::{Config, Error};
use crate::generic::catalog::Served;
use crate::generic::resource::Resource;
use crate::generic::strategy::Plain;
use crate::registry::{AddressRange, NODE_PORTS, Settings, table};

/// Every built-in kind.
pub(super) fn builtin(config: &Config) -> Result<Vec<Served>, Error> {
    let service_range = service_range(config)?;
    let mut all = vec![crate::crd::served()];
    all.extend(table(&Settings { service_range, node_ports: NODE_PORTS }));
    all.extend(questions().into_iter().map(|resource| Served::builtin(resource, Plain)));
    Ok(all)
}

/// The network of ClusterIPs.
pub(super) fn service_range(config: &Config) -> Result<AddressRange, Error> {
    let cidr = &config.service_cidr;
    AddressRange::parse(cidr).ok_or_else(|| Error::ServiceCidr(cidr.clone()))
}

/// Kinds that are answered and not stored.
fn questions() -> Vec<Resource> {
    let of = |group: &'static str, kind: &'static str, plural: &'static str| {
        Resource::new(group, "v1", kind, plural).verbs(&["create"])
    };
    let (authn, authz) = ("authentication.k8s.io", "authorization.k8s.io");
    vec![
        of("", "Binding", "bindings").namespaced(),
        of(authn, "SelfSubjectReview", "selfsubjectreviews"),
        of(authn, "TokenReview", "tokenreviews"),
        of(authz, "LocalSubjectAccessReview", "localsubjectaccessreviews").namespaced(),
        of(authz, "SelfSubjectAccessReview", "selfsubjectaccessreviews"),
        of(authz, "SelfSubjectRulesReview", "selfsubjectrulesreviews"),
        of(authz, "SubjectAccessReview", "subjectaccessreviews"),
    ]
}
