//! The event recorder: what happened to an object is told once, and counted when it happens again.
//!
//! Events are the same only if their notes are, too: a Deployment's scalings are one event each.
//! Many that differ in their notes only become one in the end, as in upstream's aggregator, so that
//! nobody fills the store with them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event as ApiEvent, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::events::{Event, EventType, Reporter};
use kube::{Client, Error};
use parking_lot::Mutex;
use serde_json::json;

/// How long an event is remembered after it was last told.
const MEMORY: Duration = Duration::from_secs(10 * 60);
/// Most events that are remembered.
const MOST: usize = 4096;
/// How many notes of otherwise same events are told before the next ones are combined.
const NOTES: usize = 10;
/// Longest note that the API takes, in bytes.
const NOTE_MAX: usize = 1024;

/// Tells events of one component; clones share what was told.
#[derive(Clone)]
pub struct Recorder {
    client: Client,
    reporter: Reporter,
    told: Arc<Mutex<Correlator>>,
}

impl Recorder {
    /// A recorder that remembers nothing yet.
    pub fn new(client: Client, reporter: Reporter) -> Self {
        Self { client, reporter, told: Arc::default() }
    }

    /// Tells an event about an object; those of cluster-scoped objects are in `default`.
    ///
    /// # Errors
    /// If the API server refuses it or does not answer.
    pub async fn publish(&self, event: &Event, about: &ObjectReference) -> Result<(), Error> {
        let namespace = about.namespace.as_deref().unwrap_or("default");
        let events = Api::<ApiEvent>::namespaced(self.client.clone(), namespace);
        let now = Timestamp::now();
        let telling = self.told.lock().correlate(event, about, now);
        let again = match telling {
            Telling::New { name, note } => {
                return self.create(&events, event, about, name, note).await;
            }
            Telling::Again(again) => again,
        };
        let patch = json!({
            "count": again.count, "lastTimestamp": Time(now), "message": again.note,
        });
        match events.patch(&again.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Err(Error::Api(status)) if status.is_not_found() => {
                // It ran out of its time: it is new once more.
                let name = self.told.lock().renamed(&again.key, about, now);
                self.create(&events, event, about, name, again.note).await
            }
            done => done.map(drop),
        }
    }

    async fn create(
        &self,
        events: &Api<ApiEvent>,
        event: &Event,
        about: &ObjectReference,
        name: String,
        note: String,
    ) -> Result<(), Error> {
        let now = Time(Timestamp::now());
        let Reporter { controller, instance } = &self.reporter;
        let event = ApiEvent {
            metadata: ObjectMeta { name: Some(name), ..ObjectMeta::default() },
            action: Some(event.action.clone()),
            count: Some(1),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            involved_object: about.clone(),
            message: Some(note),
            reason: Some(event.reason.clone()),
            related: event.secondary.clone(),
            reporting_component: Some(controller.clone()),
            reporting_instance: instance.clone(),
            source: Some(EventSource {
                component: Some(controller.clone()),
                host: instance.clone(),
            }),
            type_: Some(type_name(event.type_).into()),
            ..ApiEvent::default()
        };
        events.create(&PostParams::default(), &event).await.map(drop)
    }
}

/// How an event is to be told.
#[derive(Debug, PartialEq, Eq)]
enum Telling {
    New { name: String, note: String },
    Again(Again),
}

/// One that was told before.
#[derive(Debug, PartialEq, Eq)]
struct Again {
    key: String,
    name: String,
    note: String,
    count: i32,
}

/// What was told: pure, so that it needs neither clock nor server.
#[derive(Default)]
struct Correlator {
    told: HashMap<String, Told>,
}

struct Told {
    name: String,
    /// The same event, whatever its note.
    family: String,
    count: i32,
    last: Timestamp,
}

impl Correlator {
    fn correlate(&mut self, event: &Event, about: &ObjectReference, now: Timestamp) -> Telling {
        self.forget(now);
        let family = family(event, about);
        let mut note = shortened(event.note.as_deref().unwrap_or_default());
        let mut key = format!("{family}\0{note}");
        let relatives = self.told.values().filter(|told| told.family == family).count();
        if !self.told.contains_key(&key) && relatives >= NOTES {
            note = shortened(&format!("(combined from similar events): {note}"));
            key = format!("{family}\0\0");
        }
        if let Some(told) = self.told.get_mut(&key) {
            (told.count, told.last) = (told.count.saturating_add(1), now);
            return Telling::Again(Again { name: told.name.clone(), count: told.count, key, note });
        }
        let name = name(about, now);
        self.told.insert(key, Told { name: name.clone(), family, count: 1, last: now });
        Telling::New { name, note }
    }

    /// The event of this key is made anew.
    fn renamed(&mut self, key: &str, about: &ObjectReference, now: Timestamp) -> String {
        let name = name(about, now);
        if let Some(told) = self.told.get_mut(key) {
            (told.count, told.name) = (1, name.clone());
        }
        name
    }

    fn forget(&mut self, now: Timestamp) {
        self.told.retain(|_, told| now.duration_since(told.last).unsigned_abs() < MEMORY);
        if self.told.len() < MOST {
            return;
        }
        let oldest = self.told.iter().min_by_key(|(_, told)| told.last);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.told.remove(&key);
        }
    }
}

fn family(event: &Event, about: &ObjectReference) -> String {
    let parts = [
        Some(type_name(event.type_)),
        Some(&event.reason),
        Some(&event.action),
        about.kind.as_deref(),
        about.namespace.as_deref(),
        about.name.as_deref(),
        about.uid.as_deref(),
        about.field_path.as_deref(),
        event.secondary.as_ref().and_then(|secondary| secondary.uid.as_deref()),
    ];
    parts.map(Option::unwrap_or_default).join("\0")
}

fn type_name(kind: EventType) -> &'static str {
    match kind {
        EventType::Normal => "Normal",
        EventType::Warning => "Warning",
    }
}

fn name(about: &ObjectReference, now: Timestamp) -> String {
    format!("{}.{:x}", about.name.as_deref().unwrap_or("unknown"), now.as_nanosecond())
}

fn shortened(note: &str) -> String {
    let mut end = note.len().min(NOTE_MAX);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    note[..end].to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(note: &str) -> Event {
        Event {
            type_: EventType::Normal,
            reason: "Scaled".into(),
            note: Some(note.into()),
            action: "Scale".into(),
            secondary: None,
        }
    }

    fn about(name: &str, version: &str) -> ObjectReference {
        ObjectReference {
            name: Some(name.into()),
            resource_version: Some(version.into()),
            ..ObjectReference::default()
        }
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + secs).expect("it is in range")
    }

    #[test]
    fn the_same_is_counted_and_another_note_is_another_event() {
        let mut told = Correlator::default();
        let Telling::New { name, note } = told.correlate(&event("up"), &about("a", "1"), at(0))
        else {
            panic!("nothing was told before")
        };
        assert_eq!(note, "up");
        let again = told.correlate(&event("up"), &about("a", "2"), at(1));
        let Telling::Again(again) = again else { panic!("{again:?}") };
        assert_eq!((again.name, again.count), (name, 2));
        for (note, object) in [("down", "a"), ("up", "b")] {
            let other = told.correlate(&event(note), &about(object, "1"), at(2));
            assert!(matches!(other, Telling::New { .. }), "{note} {object}: {other:?}");
        }
        let later = told.correlate(&event("up"), &about("a", "1"), at(2000));
        assert!(matches!(later, Telling::New { .. }), "{later:?}");
    }

    #[test]
    fn many_notes_become_one_event() {
        let mut told = Correlator::default();
        let mut tell = |at_secs| {
            told.correlate(&event(&format!("try {at_secs}")), &about("a", "1"), at(at_secs))
        };
        for round in 0..10 {
            assert!(matches!(tell(round), Telling::New { .. }), "{round}");
        }
        let combined = "(combined from similar events): try 10";
        assert!(matches!(tell(10), Telling::New { note, .. } if note == combined));
        let Telling::Again(again) = tell(11) else { panic!("it was combined before") };
        assert_eq!(
            (again.note.as_str(), again.count),
            ("(combined from similar events): try 11", 2)
        );
    }

    #[test]
    fn memory_and_notes_have_bounds() {
        let mut told = Correlator::default();
        for round in 0..MOST + 10 {
            told.correlate(&event("x"), &about(&format!("o{round}"), "1"), at(0));
        }
        assert!(told.told.len() <= MOST, "{}", told.told.len());
        let long = told.correlate(&event(&"ä".repeat(NOTE_MAX)), &about("a", "1"), at(0));
        let Telling::New { note, .. } = long else { panic!("{long:?}") };
        assert_eq!(note.len(), NOTE_MAX);
    }
}
