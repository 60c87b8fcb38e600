//! Namespaces on their way out: everything in them is deleted, then the namespace itself.

use std::time::Duration;

use hansa_api::k8s_openapi::api::core::v1::Namespace;
use hansa_client::kube::api::{DeleteParams, DynamicObject, ListParams};
use hansa_client::kube::{Api, Client, Error};
use hansa_client::{ObjectKey, Requeue, Workqueue, run_workers};

use crate::Context;
use crate::resources::{Kinds, Served, discover};
use crate::wiring::enqueue_self;

const FINALIZER: &str = "kubernetes";
/// Between looks at what is left.
const AGAIN: Duration = Duration::from_millis(500);

/// Why a namespace is not gone yet.
#[derive(Debug, thiserror::Error)]
enum NamespaceError {
    #[error("ask the server")]
    Api(#[from] Error),
    #[error("build the request")]
    Request(#[from] http::Error),
    #[error("encode the namespace")]
    Encode(#[from] serde_json::Error),
}

pub(crate) async fn run(context: Context) {
    let namespaces = context.informers.of::<Namespace>();
    namespaces.synced().await;
    let queue = Workqueue::new();
    enqueue_self(&namespaces, &queue);
    run_workers(queue, 4, context.stop.clone(), |key: ObjectKey| {
        let namespace = namespaces.get_key(&key);
        let client = context.client.clone();
        async move {
            match namespace.as_deref().filter(|namespace| is_ours_to_empty(namespace)) {
                Some(namespace) => empty(&client, namespace).await,
                None => Ok::<_, NamespaceError>(Requeue::Done),
            }
        }
    })
    .await;
}

fn is_ours_to_empty(namespace: &Namespace) -> bool {
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_deref());
    namespace.metadata.deletion_timestamp.is_some()
        && finalizers.unwrap_or_default().iter().any(|finalizer| finalizer == FINALIZER)
}

/// Deletes what is there; the namespace goes when nothing is left.
async fn empty(client: &Client, namespace: &Namespace) -> Result<Requeue, NamespaceError> {
    let name = crate::owned::name_of(&namespace.metadata);
    let kinds = discover(client).await?;
    let mut left = false;
    for served in deletable(&kinds) {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), name, &served.resource);
        left |= delete_all(&api, served).await?;
    }
    if left {
        return Ok(Requeue::After(AGAIN));
    }
    finalize(client, namespace).await?;
    Ok(Requeue::Done)
}

/// What can be in a namespace. Pods come first, so that nothing runs while its configuration goes.
fn deletable(kinds: &Kinds) -> Vec<&Served> {
    let usable = |served: &&Served| served.namespaced && served.supports(&["list", "delete"]);
    let mut all: Vec<_> = kinds.values().filter(usable).collect();
    all.sort_by_key(|served| served.resource.plural != "pods");
    all
}

/// Asks for the deletion of all objects of a kind and answers whether any is still there.
async fn delete_all(api: &Api<DynamicObject>, served: &Served) -> Result<bool, Error> {
    let present = api.list(&ListParams::default().limit(500)).await?;
    if present.items.is_empty() {
        return Ok(false);
    }
    let background = DeleteParams::background();
    if served.supports(&["deletecollection"]) {
        api.delete_collection(&background, &ListParams::default()).await?;
    } else {
        for object in &present.items {
            let name = crate::owned::name_of(&object.metadata);
            match api.delete(name, &background).await {
                Err(Error::Api(status)) if status.is_not_found() => {}
                outcome => drop(outcome?),
            }
        }
    }
    Ok(!api.list(&ListParams::default().limit(1)).await?.items.is_empty())
}

/// Drops our finalizer through the `finalize` subresource.
async fn finalize(client: &Client, namespace: &Namespace) -> Result<(), NamespaceError> {
    let mut emptied = namespace.clone();
    let spec = emptied.spec.get_or_insert_default();
    spec.finalizers.get_or_insert_default().retain(|finalizer| finalizer != FINALIZER);
    let name = crate::owned::name_of(&namespace.metadata);
    let request = http::Request::put(format!("/api/v1/namespaces/{name}/finalize"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(&emptied)?)?;
    match client.request::<serde_json::Value>(request).await {
        Err(Error::Api(status)) if status.is_not_found() => Ok(()),
        outcome => Ok(outcome.map(drop)?),
    }
}

#[cfg(test)]
mod tests {
    use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use hansa_api::k8s_openapi::jiff::Timestamp;

    use super::*;

    #[test]
    fn only_a_deleted_namespace_with_our_finalizer_is_emptied() {
        let mut namespace = Namespace::default();
        namespace.spec.get_or_insert_default().finalizers = Some(vec![FINALIZER.into()]);
        assert!(!is_ours_to_empty(&namespace));
        namespace.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        assert!(is_ours_to_empty(&namespace));
        namespace.spec.get_or_insert_default().finalizers = Some(vec!["team/audit".into()]);
        assert!(!is_ours_to_empty(&namespace));
    }
}
