//! Namespaces on their way out: everything in them is deleted, pods before all else, then the
//! namespace itself. Its conditions say what is in the way.

mod conditions;

use std::time::Duration;

use conditions::Progress;
use hansa_api::k8s_openapi::api::core::v1::Namespace;
use hansa_api::k8s_openapi::jiff::Timestamp;
use hansa_client::kube::api::{
    DeleteParams, DynamicObject, ListParams, ObjectList, PartialObjectMeta, PostParams,
};
use hansa_client::kube::{Api, Client, Error};
use hansa_client::{ObjectKey, Requeue, Workqueue, run_workers};

use crate::Context;
use crate::resources::{Kinds, Served, discover};
use crate::wiring::enqueue_self;

const FINALIZER: &str = "kubernetes";
const PODS: &str = "pods.";
/// Between looks at what is left: at first, and at last.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// How many objects of a kind are looked at.
const PAGE: u32 = 500;

/// The metadata of some objects.
type Objects = ObjectList<PartialObjectMeta<DynamicObject>>;

/// Why a namespace is not gone yet.
#[derive(Debug, thiserror::Error)]
enum NamespaceError {
    #[error("ask the server: {0}")]
    Api(#[from] Error),
    #[error("build the request")]
    Request(#[from] http::Error),
    #[error("encode the namespace")]
    Encode(#[from] serde_json::Error),
    #[error("delete what is in it: {0}")]
    Content(String),
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
                Some(_) => reconcile(&client, &key.name).await,
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

/// Deletes what is there and says so; the namespace goes when nothing is left.
async fn reconcile(client: &Client, name: &str) -> Result<Requeue, NamespaceError> {
    let api: Api<Namespace> = Api::all(client.clone());
    let Some(namespace) = api.get_opt(name).await?.filter(is_ours_to_empty) else {
        return Ok(Requeue::Done);
    };
    let progress = empty(client, name).await?;
    let namespace = report(&api, namespace, &progress).await?;
    if progress.is_done() {
        finalize(client, &namespace).await?;
        return Ok(Requeue::Done);
    }
    match progress.trouble() {
        Some(trouble) => Err(NamespaceError::Content(trouble)),
        None => Ok(Requeue::After(pause(&namespace, Timestamp::now()))),
    }
}

/// What is long on its way is looked at less often.
fn pause(namespace: &Namespace, now: Timestamp) -> Duration {
    let since = namespace.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    let age = since.map(|since| now.duration_since(since).unsigned_abs()).unwrap_or_default();
    (age / 10).clamp(AGAIN.0, AGAIN.1)
}

/// Asks for the deletion of everything, except that nothing else goes while there are pods: nothing
/// should run without its configuration.
async fn empty(client: &Client, name: &str) -> Result<Progress, Error> {
    let found = discover(client).await?;
    let mut progress = Progress { silent: found.silent, ..Progress::default() };
    for served in deletable(&found.kinds) {
        if progress.left.contains_key(PODS) {
            break;
        }
        let api = Api::namespaced_with(client.clone(), name, &served.resource);
        match delete_all(&api, served).await {
            Ok(left) => note(&mut progress, name, served, &left, Timestamp::now()),
            Err(error) => progress.failures.push(text(error)),
        }
    }
    Ok(progress)
}

/// What can be in a namespace, pods first.
fn deletable(kinds: &Kinds) -> Vec<&Served> {
    let usable = |served: &&Served| served.namespaced && served.supports(&["list", "delete"]);
    let mut all: Vec<_> = kinds.values().filter(usable).collect();
    all.sort_by_key(|served| counted_as(served) != PODS);
    all
}

/// `deployments.apps`; of the core group `pods.`.
fn counted_as(served: &Served) -> String {
    format!("{}.{}", served.resource.plural, served.resource.group)
}

/// Asks for the deletion of all objects of a kind and answers what is still there.
async fn delete_all(api: &Api<DynamicObject>, served: &Served) -> Result<Objects, Error> {
    let page = ListParams::default().limit(PAGE);
    let present = api.list_metadata(&page).await?;
    if present.items.is_empty() {
        return Ok(present);
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
    api.list_metadata(&page).await
}

/// Counts what is left. What waits neither for a finalizer nor for its grace should not be there.
fn note(progress: &mut Progress, namespace: &str, served: &Served, left: &Objects, now: Timestamp) {
    if left.items.is_empty() {
        return;
    }
    let more = left.metadata.remaining_item_count.unwrap_or_default();
    let count = i64::try_from(left.items.len()).unwrap_or(i64::MAX).saturating_add(more);
    progress.left.insert(counted_as(served), count);
    let mut waits = false;
    for metadata in left.items.iter().map(|object| &object.metadata) {
        for finalizer in metadata.finalizers.iter().flatten() {
            *progress.finalizers.entry(finalizer.clone()).or_default() += 1;
            waits = true;
        }
        waits |= metadata.deletion_timestamp.as_ref().is_some_and(|until| until.0 > now);
    }
    if !waits {
        let resource = &served.resource;
        progress.failures.push(format!(
            "unexpected items still remain in namespace: {namespace} for gvr: {}/{}, Resource={}",
            resource.group, resource.version, resource.plural
        ));
    }
}

/// An error in the server's own words.
fn text(error: Error) -> String {
    match error {
        Error::Api(status) => status.message,
        error => error.to_string(),
    }
}

/// Writes the conditions if they changed; the namespace as it is then.
async fn report(
    api: &Api<Namespace>,
    mut namespace: Namespace,
    progress: &Progress,
) -> Result<Namespace, Error> {
    let status = namespace.status.get_or_insert_default();
    let before = status.conditions.take().unwrap_or_default();
    let Some(after) = progress.conditions(&before, Timestamp::now()) else {
        status.conditions = Some(before);
        return Ok(namespace);
    };
    status.conditions = Some(after);
    let name = crate::owned::name_of(&namespace.metadata).to_owned();
    api.replace_status(&name, &PostParams::default(), &namespace).await
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
    use serde_json::json;

    use super::*;

    fn pods(items: &serde_json::Value) -> (Served, Objects) {
        let resource = hansa_client::kube::core::ApiResource::erase::<
            hansa_api::k8s_openapi::api::core::v1::Pod,
        >(&());
        let list = json!({"metadata": {"remainingItemCount": 3}, "items": items});
        let served = Served { resource, namespaced: true, verbs: Vec::new() };
        (served, serde_json::from_value(list).unwrap())
    }

    #[test]
    fn what_waits_for_nothing_is_a_failure() {
        let now = Timestamp::from_second(100).unwrap();
        let look = |items: serde_json::Value| {
            let (served, left) = pods(&items);
            let mut progress = Progress::default();
            note(&mut progress, "a", &served, &left, now);
            progress
        };
        let held = look(json!([{"metadata": {"name": "a", "finalizers": ["a.io/b"]}}]));
        assert_eq!((held.left["pods."], held.finalizers["a.io/b"]), (4, 1));
        assert!(held.failures.is_empty());
        let graceful = json!([{"metadata": {"deletionTimestamp": "1970-01-01T00:02:00Z"}}]);
        assert!(look(graceful).failures.is_empty());
        let late = json!([{"metadata": {"deletionTimestamp": "1970-01-01T00:01:00Z"}}]);
        assert_eq!(
            look(late).failures,
            ["unexpected items still remain in namespace: a for gvr: /v1, Resource=pods"]
        );
    }

    #[test]
    fn what_takes_long_is_looked_at_less_often() {
        let mut namespace = Namespace::default();
        namespace.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        let after = |secs| pause(&namespace, Timestamp::from_second(secs).unwrap());
        assert_eq!(after(1), AGAIN.0);
        assert_eq!(after(60), Duration::from_secs(6));
        assert_eq!(after(86_400), AGAIN.1);
    }

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
