//! Objects for tests.

use crate::kinds::{ApiEnablement, ApiEnablementResource, Cluster, ClusterSpec};

/// A ready cluster that serves Deployments, labelled with its own name.
pub(crate) fn cluster(name: &str, provider: &str, region: &str, zones: &[&str]) -> Cluster {
    let spec = ClusterSpec {
        provider: provider.into(),
        region: region.into(),
        zones: zones.iter().map(|z| (*z).to_owned()).collect(),
        ..Default::default()
    };
    let mut cluster = Cluster::new(name, spec);
    cluster.metadata.labels = Some([("name".to_owned(), name.to_owned())].into());
    cluster.status.api_enablements = vec![ApiEnablement {
        group_version: "apps/v1".into(),
        resources: vec![ApiEnablementResource {
            name: "deployments".into(),
            kind: "Deployment".into(),
        }],
    }];
    cluster
}
