//! What the scheduler does to the API: bindings, conditions, events, deletions of victims.

use std::sync::Arc;

use hansa_api::k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use hansa_api::k8s_openapi::api::events::v1::Event;
use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use hansa_api::k8s_openapi::jiff::Timestamp;
use hansa_client::kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use hansa_client::kube::{self, Client};
use hansa_client::message_of;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::framework::{Failure, Nominate};
use crate::preemption::Victim;

/// The longest note that an event may have, bytes.
const MAX_NOTE: usize = 1024;
/// Events that wait to be written; more are dropped, as decisions must not wait for them.
const EVENT_BUFFER: usize = 4096;
/// Events written at the same time.
const EVENT_WRITERS: usize = 4;

/// Carries actions out; cheap to clone.
#[derive(Clone)]
pub struct Effects {
    client: Client,
    events: mpsc::Sender<Event>,
    reporter: Arc<str>,
}

impl Effects {
    /// Effects through `client`; events are written in the background under the scheduler's name.
    pub fn new(client: Client, reporter: &str) -> Effects {
        let (events, queued) = mpsc::channel(EVENT_BUFFER);
        tokio::spawn(write_events(client.clone(), queued));
        Effects { client, events, reporter: reporter.into() }
    }

    /// Binds the pod to the node.
    ///
    /// # Errors
    /// The server refused, or did not answer.
    pub async fn bind(&self, pod: &Pod, node: &str) -> Result<(), kube::Error> {
        let (namespace, name) = key(pod);
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(name.into()),
                namespace: Some(namespace.into()),
                uid: pod.metadata.uid.clone(),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                kind: Some("Node".into()),
                name: Some(node.into()),
                ..ObjectReference::default()
            },
        };
        let body = serde_json::to_vec(&binding).map_err(kube::Error::SerdeError)?;
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/binding");
        let request = http::Request::post(path).header("content-type", "application/json");
        let request = request.body(body).map_err(kube::Error::HttpError)?;
        self.client.request::<Value>(request).await?;
        let note = format!("Successfully assigned {namespace}/{name} to {node}");
        self.event(pod, "Normal", "Scheduled", "Binding", note);
        Ok(())
    }

    /// Tells the user why the pod has no node, and makes room if victims were found.
    ///
    /// # Errors
    /// The pod's status could not be written; victims are left alone then.
    pub async fn fail(&self, failure: &Failure) -> Result<(), kube::Error> {
        let Failure { pod, message, victims, .. } = failure;
        // A pod that says so already has its event: retries would only pile up copies of it.
        if let Some(patch) = status_patch(failure, Timestamp::now()) {
            self.event(pod, "Warning", "FailedScheduling", "Scheduling", message.clone());
            let (namespace, name) = key(pod);
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
            pods.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
        }
        for victim in victims {
            if let Err(error) = self.evict(pod, victim, failure).await {
                let (namespace, name) = key(&victim.pod);
                tracing::warn!(%namespace, %name, %error, "could not preempt");
            }
        }
        Ok(())
    }

    async fn evict(&self, by: &Pod, victim: &Victim, why: &Failure) -> Result<(), kube::Error> {
        let (namespace, name) = key(&victim.pod);
        if victim.pod.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let patch = Patch::Strategic(disruption_patch(Timestamp::now()));
        pods.patch_status(name, &PatchParams::default(), &patch).await?;
        let this_one = Preconditions { uid: Some(victim.uid.to_string()), resource_version: None };
        pods.delete(name, &DeleteParams::default().preconditions(this_one)).await?;
        let by = by.metadata.uid.as_deref().unwrap_or_default();
        let node = match &why.nomination {
            Nominate::Set(node) => node,
            Nominate::Keep | Nominate::Clear => "its node",
        };
        let note = format!("Preempted by pod {by} on node {node}");
        self.event(&victim.pod, "Normal", "Preempted", "Preempting", note);
        Ok(())
    }

    /// Says that a binding failed.
    pub fn bind_failed(&self, pod: &Pod, error: &kube::Error) {
        let note = format!("Binding rejected: {}", message_of(error));
        self.event(pod, "Warning", "FailedScheduling", "Scheduling", note);
    }

    fn event(&self, pod: &Pod, kind: &str, reason: &str, action: &str, note: String) {
        let event = event(&self.reporter, pod, [kind, reason, action], note, Timestamp::now());
        if self.events.try_send(event).is_err() {
            tracing::debug!(reason, "too many events, one was dropped");
        }
    }
}

async fn write_events(client: Client, queued: mpsc::Receiver<Event>) {
    use futures::StreamExt;
    let events = futures::stream::unfold(queued, |mut queued| async move {
        queued.recv().await.map(|event| (event, queued))
    });
    events.for_each_concurrent(EVENT_WRITERS, |event| write_event(&client, event)).await;
}

async fn write_event(client: &Client, event: Event) {
    let namespace = event.metadata.namespace.as_deref().unwrap_or("default");
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    if let Err(error) = api.create(&PostParams::default(), &event).await {
        tracing::debug!(%error, "could not write an event");
    }
}

fn event(reporter: &str, pod: &Pod, what: [&str; 3], mut note: String, now: Timestamp) -> Event {
    let [kind, reason, action] = what;
    let (namespace, name) = key(pod);
    let end = (0..=MAX_NOTE.min(note.len())).rev().find(|at| note.is_char_boundary(*at));
    note.truncate(end.unwrap_or(0));
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:x}", now.as_nanosecond())),
            namespace: Some(namespace.into()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        type_: Some(kind.into()),
        reason: Some(reason.into()),
        action: Some(action.into()),
        note: Some(note),
        regarding: Some(ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            name: Some(name.into()),
            namespace: Some(namespace.into()),
            uid: pod.metadata.uid.clone(),
            resource_version: pod.metadata.resource_version.clone(),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(reporter.into()),
        reporting_instance: Some(reporter.into()),
        ..Event::default()
    }
}

/// The PodScheduled condition and the nomination; none if the pod says that already.
fn status_patch(failure: &Failure, now: Timestamp) -> Option<Value> {
    let status = failure.pod.status.as_ref();
    let nominated = status.and_then(|s| s.nominated_node_name.as_deref()).unwrap_or_default();
    let nominate = match &failure.nomination {
        Nominate::Keep => nominated,
        Nominate::Set(node) => node,
        Nominate::Clear => "",
    };
    let known = status.and_then(|s| s.conditions.as_ref()).into_iter().flatten();
    let same = known.into_iter().any(|c| {
        c.type_ == "PodScheduled"
            && c.status == "False"
            && c.reason.as_deref() == Some(failure.reason)
            && c.message.as_deref() == Some(&failure.message)
    });
    if same && nominate == nominated {
        return None;
    }
    let mut patch = json!({ "status": { "conditions": [{
        "type": "PodScheduled",
        "status": "False",
        "reason": failure.reason,
        "message": failure.message,
        "lastProbeTime": null,
        "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    }]}});
    if nominate != nominated {
        patch["status"]["nominatedNodeName"] =
            if nominate.is_empty() { Value::Null } else { nominate.into() };
    }
    Some(patch)
}

/// The condition that tells a victim's controller why it goes (KEP-3329).
fn disruption_patch(now: Timestamp) -> Value {
    json!({ "status": { "conditions": [{
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": "default-scheduler: preempting to accommodate a higher priority pod",
        "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    }]}})
}

fn key(pod: &Pod) -> (&str, &str) {
    let meta = &pod.metadata;
    (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(status: Value) -> Failure {
        let pod = json!({ "metadata": { "name": "p", "namespace": "ns" }, "status": status });
        Failure {
            uid: "u".into(),
            pod: Arc::new(serde_json::from_value(pod).unwrap()),
            reason: "Unschedulable",
            message: "no nodes available to schedule pods".into(),
            nomination: Nominate::Keep,
            victims: Vec::new(),
        }
    }

    #[test]
    fn a_pod_that_already_says_so_is_not_written_again() {
        let first = status_patch(&failure(json!({})), Timestamp::UNIX_EPOCH).expect("it is new");
        assert_eq!(first["status"]["conditions"][0]["reason"], "Unschedulable");
        let again = failure(first["status"].clone());
        assert_eq!(status_patch(&again, Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn a_nomination_is_written_and_taken_back() {
        let mut nominated = failure(json!({ "nominatedNodeName": "old" }));
        nominated.nomination = Nominate::Set("n1".into());
        let patch = status_patch(&nominated, Timestamp::UNIX_EPOCH).expect("it changed");
        assert_eq!(patch["status"]["nominatedNodeName"], "n1");
        nominated.nomination = Nominate::Clear;
        let patch = status_patch(&nominated, Timestamp::UNIX_EPOCH).expect("it changed");
        assert_eq!(patch["status"]["nominatedNodeName"], Value::Null);
    }

    #[test]
    fn long_notes_are_cut_at_a_character() {
        let pod = Pod::default();
        let long = "ä".repeat(MAX_NOTE);
        let event = event("s", &pod, ["Normal", "r", "a"], long, Timestamp::UNIX_EPOCH);
        assert_eq!(event.note.map(|note| note.len()), Some(MAX_NOTE));
    }
}
