//! The hub as the controllers see it: informers, bindings of both scopes as one, writes.

use std::sync::Arc;

use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use hansa_client::kube::api::{
    Api, DeleteParams, DynamicObject, PostParams, Preconditions, PropagationPolicy as Cascade,
};
use hansa_client::kube::{Client, Resource};
use hansa_client::{Informer, Informers, ObjectKey};
use hansa_federation_api::kinds::{
    Cluster, ClusterOverridePolicy, ClusterPropagationPolicy, ClusterResourceBinding,
    ObjectReference, OverridePolicy, PropagationPolicy, PropagationSpec, ResourceBinding,
    ResourceBindingSpec, ResourceBindingStatus, Work,
};
use hansa_federation_api::matching::PolicyKey;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::diff::{Part, write};
use crate::error::{Error, Result, found};
use crate::kinds::{Kinds, Served};

/// How long a reconcile waits for a kind's first list before it is tried again.
const FIRST_LIST: std::time::Duration = std::time::Duration::from_secs(5);

/// The hub.
pub struct Hub {
    /// To read and write.
    pub client: Client,
    /// To watch.
    pub informers: Informers,
    /// What the hub serves.
    pub kinds: Kinds,
    /// Members.
    pub clusters: Informer<Cluster>,
    /// Works of all members.
    pub works: Informer<Work>,
    /// Bindings of namespaced templates.
    pub bindings: Informer<ResourceBinding>,
    /// Bindings of cluster-scoped templates.
    pub cluster_bindings: Informer<ClusterResourceBinding>,
    /// Policies of namespaces.
    pub policies: Informer<PropagationPolicy>,
    /// Cluster-wide policies.
    pub cluster_policies: Informer<ClusterPropagationPolicy>,
    /// Overrides of namespaces.
    pub overrides: Informer<OverridePolicy>,
    /// Cluster-wide overrides.
    pub cluster_overrides: Informer<ClusterOverridePolicy>,
}

/// A binding of either scope; the key's namespace is empty for cluster-scoped ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    /// Which one.
    pub key: ObjectKey,
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// What is bound.
    pub spec: ResourceBindingSpec,
    /// What came of it.
    pub status: ResourceBindingStatus,
}

impl Binding {
    /// The uid.
    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// An annotation, empty if absent.
    pub fn annotation(&self, name: &str) -> &str {
        let annotations = self.metadata.annotations.as_ref();
        annotations.and_then(|a| a.get(name)).map_or("", |v| v)
    }

    /// Whether it is on its way out.
    pub fn is_deleting(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }
}

macro_rules! conversions {
    ($kind:ident) => {
        impl From<&$kind> for Binding {
            fn from(of: &$kind) -> Self {
                Self {
                    key: ObjectKey::of(of),
                    metadata: of.metadata.clone(),
                    spec: of.spec.clone(),
                    status: of.status.clone(),
                }
            }
        }
        impl From<&Binding> for $kind {
            fn from(of: &Binding) -> Self {
                let mut object = Self::new(&of.key.name, of.spec.clone());
                object.metadata = of.metadata.clone();
                object.status = of.status.clone();
                object
            }
        }
    };
}
conversions!(ResourceBinding);
conversions!(ClusterResourceBinding);

impl Hub {
    /// Starts to watch the federation's kinds, which must exist.
    pub fn new(client: Client, stop: CancellationToken) -> Self {
        let informers = Informers::new(client.clone(), stop);
        Self {
            kinds: Kinds::new(client.clone()),
            clusters: informers.of(),
            works: informers.of(),
            bindings: informers.of(),
            cluster_bindings: informers.of(),
            policies: informers.of(),
            cluster_policies: informers.of(),
            overrides: informers.of(),
            cluster_overrides: informers.of(),
            informers,
            client,
        }
    }

    /// Returns once the first lists of everything are in: nothing is decided on a partial view.
    pub async fn synced(&self) {
        self.clusters.synced().await;
        self.works.synced().await;
        self.bindings.synced().await;
        self.cluster_bindings.synced().await;
        self.policies.synced().await;
        self.cluster_policies.synced().await;
        self.overrides.synced().await;
        self.cluster_overrides.synced().await;
    }

    /// A binding, as last seen.
    pub fn binding(&self, key: &ObjectKey) -> Option<Binding> {
        if key.namespace.is_empty() {
            return self.cluster_bindings.get_key(key).map(|b| Binding::from(&*b));
        }
        self.bindings.get_key(key).map(|b| Binding::from(&*b))
    }

    /// A binding, as the API server has it now.
    pub async fn live_binding(&self, key: &ObjectKey) -> Result<Option<Binding>> {
        let binding = if key.namespace.is_empty() {
            let api: Api<ClusterResourceBinding> = Api::all(self.client.clone());
            api.get_opt(&key.name).await.map(|b| b.map(|b| Binding::from(&b)))
        } else {
            let api: Api<ResourceBinding> = Api::namespaced(self.client.clone(), &key.namespace);
            api.get_opt(&key.name).await.map(|b| b.map(|b| Binding::from(&b)))
        };
        binding.map_err(Error::Hub)
    }

    /// The keys of all bindings.
    pub fn binding_keys(&self) -> Vec<ObjectKey> {
        let of_namespaced = self.bindings.list().into_iter().map(|b| ObjectKey::of(&*b));
        let others = self.cluster_bindings.list().into_iter().map(|b| ObjectKey::of(&*b));
        of_namespaced.chain(others).collect()
    }

    /// Makes a binding.
    pub async fn create_binding(&self, binding: &Binding) -> Result<()> {
        let params = PostParams::default();
        if binding.key.namespace.is_empty() {
            let api: Api<ClusterResourceBinding> = Api::all(self.client.clone());
            return api.create(&params, &binding.into()).await.map(drop).map_err(Error::Hub);
        }
        let api = Api::<ResourceBinding>::namespaced(self.client.clone(), &binding.key.namespace);
        api.create(&params, &binding.into()).await.map(drop).map_err(Error::Hub)
    }

    /// Writes what changed of a binding, if anything did; returns what the hub now holds.
    pub async fn write_binding(&self, old: &Binding, new: &Binding, part: Part) -> Result<Binding> {
        let written = if old.key.namespace.is_empty() {
            let api: Api<ClusterResourceBinding> = Api::all(self.client.clone());
            let written = write(&api, &old.into(), &new.into(), part).await;
            written.map(|b| b.map(|b| Binding::from(&b)))
        } else {
            let api = Api::<ResourceBinding>::namespaced(self.client.clone(), &old.key.namespace);
            let written = write(&api, &old.into(), &new.into(), part).await;
            written.map(|b| b.map(|b| Binding::from(&b)))
        };
        Ok(written.map_err(Error::Hub)?.unwrap_or_else(|| new.clone()))
    }

    /// Deletes a binding if it is still this very one.
    pub async fn delete_binding(&self, binding: &Binding) -> Result<()> {
        let params = exactly(&binding.metadata);
        let gone = if binding.key.namespace.is_empty() {
            let api: Api<ClusterResourceBinding> = Api::all(self.client.clone());
            found(api.delete(&binding.key.name, &params).await).map(drop)
        } else {
            let namespace = &binding.key.namespace;
            let api: Api<ResourceBinding> = Api::namespaced(self.client.clone(), namespace);
            found(api.delete(&binding.key.name, &params).await).map(drop)
        };
        gone.map_err(Error::Hub)
    }

    /// Every propagation policy that could concern a namespace, with its key.
    pub fn policies_for(&self, namespace: &str) -> Vec<(PolicyKey, PropagationSpec)> {
        let mut all = Vec::new();
        for policy in self.policies.list_in(namespace) {
            let name = policy.metadata.name.clone().unwrap_or_default();
            let key = PolicyKey { namespace: Some(namespace.into()), name };
            all.push((key, policy.spec.clone()));
        }
        for policy in self.cluster_policies.list() {
            let name = policy.metadata.name.clone().unwrap_or_default();
            all.push((PolicyKey { namespace: None, name }, policy.spec.clone()));
        }
        all
    }

    /// The resource of a kind on the hub.
    pub async fn resolve(&self, api_version: &str, kind: &str) -> Result<Served> {
        self.kinds.resolve(api_version, kind).await.map_err(|error| match error {
            Error::Member(error) => Error::Hub(error),
            other => other,
        })
    }

    /// A template as last seen, whole.
    pub async fn template(&self, reference: &ObjectReference) -> Result<Option<Value>> {
        let served = self.resolve(&reference.api_version, &reference.kind).await?;
        let informer = self.informers.dynamic(&served.resource);
        let synced = tokio::time::timeout(FIRST_LIST, informer.synced()).await;
        synced.map_err(|_| Error::Unusable(format!("failed to list {}", reference.kind)))?;
        let object = informer.get(&reference.namespace, &reference.name);
        object.map(|o| whole(&o, &served)).transpose()
    }

    /// An API for one kind known only at run time.
    pub fn dynamic(&self, served: &Served, namespace: &str) -> Api<DynamicObject> {
        dynamic(&self.client, served, namespace)
    }

    /// An API for the Works of one member.
    pub fn works_in(&self, namespace: &str) -> Api<Work> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Members that are not on their way out.
    pub fn staying_clusters(&self) -> Vec<Arc<Cluster>> {
        self.clusters.list().into_iter().filter(|c| !c.is_leaving()).collect()
    }
}

/// An API for one kind known only at run time.
pub fn dynamic(client: &Client, served: &Served, namespace: &str) -> Api<DynamicObject> {
    if served.namespaced {
        return Api::namespaced_with(client.clone(), namespace, &served.resource);
    }
    Api::all_with(client.clone(), &served.resource)
}

/// A dynamic object as one document, with its kind even if it came in a list without.
pub fn whole(object: &DynamicObject, served: &Served) -> Result<Value> {
    let mut value = serde_json::to_value(object)?;
    value["apiVersion"] = served.resource.api_version.clone().into();
    value["kind"] = served.resource.kind.clone().into();
    Ok(value)
}

/// Deletes in the background, and only the very object that was seen.
pub fn exactly(metadata: &ObjectMeta) -> DeleteParams {
    DeleteParams {
        propagation_policy: Some(Cascade::Background),
        preconditions: Some(Preconditions { uid: metadata.uid.clone(), resource_version: None }),
        ..DeleteParams::default()
    }
}

/// An object's name.
pub fn name_of<K: Resource>(object: &K) -> &str {
    object.meta().name.as_deref().unwrap_or_default()
}
