//! Between etcd's words and ours: keys with and without prefix, conditions, events, refusals.

use bytes::Bytes;
use etcd_client::{Compare, CompareOp, EventType, ResponseHeader};

use crate::{Event, Expect, KeyValue, Revision};

/// The keys that are ours, all of which begin with one prefix in etcd.
#[derive(Clone, Debug)]
pub(super) struct Keyspace {
    prefix: Bytes,
}

impl Keyspace {
    /// The keys that begin with `prefix`.
    pub(super) fn new(prefix: &[u8]) -> Self {
        Self { prefix: Bytes::copy_from_slice(prefix) }
    }

    /// The key in etcd. etcd has no empty key; the smallest one stands for it.
    pub(super) fn key(&self, key: &[u8]) -> Vec<u8> {
        match [&self.prefix[..], key].concat() {
            empty if empty.is_empty() => vec![0],
            key => key,
        }
    }

    /// First key and end of the keys under `prefix` from `start` on.
    pub(super) fn range(&self, prefix: &[u8], start: &[u8]) -> (Vec<u8>, Vec<u8>) {
        (self.key(start.max(prefix)), prefix_end(&[&self.prefix[..], prefix].concat()))
    }

    /// Our view of a key.
    pub(super) fn key_value(&self, kv: etcd_client::KeyValue) -> KeyValue {
        let create_revision = kv.create_revision() as Revision;
        let mod_revision = kv.mod_revision() as Revision;
        let (version, lease) = (kv.version() as u64, kv.lease());
        let (key, value) = kv.into_key_value();
        let key = Bytes::from(key).slice(self.prefix.len()..);
        KeyValue { key, value: value.into(), create_revision, mod_revision, version, lease }
    }

    /// Our view of an event.
    pub(super) fn event(&self, event: &etcd_client::Event) -> Option<Event> {
        let kv = event.kv()?.clone();
        let previous = event.prev_kv().map(|kv| self.key_value(kv.clone()));
        let revision = kv.mod_revision() as Revision;
        Some(match event.event_type() {
            EventType::Put => Event::Put { kv: self.key_value(kv), previous },
            EventType::Delete => {
                // Compacted away: etcd still tells the key.
                let previous = previous.unwrap_or_else(|| self.key_value(kv));
                Event::Delete { previous, revision }
            }
        })
    }

    /// The events of one message, those of one revision together.
    pub(super) fn by_revision(&self, events: &[etcd_client::Event]) -> Vec<(Revision, Vec<Event>)> {
        let mut groups: Vec<(Revision, Vec<Event>)> = Vec::new();
        for event in events.iter().filter_map(|event| self.event(event)) {
            let revision = revision_of(&event);
            match groups.last_mut() {
                Some((last, group)) if *last == revision => group.push(event),
                _ => groups.push((revision, vec![event])),
            }
        }
        groups
    }
}

fn revision_of(event: &Event) -> Revision {
    match event {
        Event::Put { kv, .. } => kv.mod_revision,
        Event::Delete { revision, .. } => *revision,
    }
}

/// The first key after all that begin with `prefix`; etcd reads a zero byte as "no end".
fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let kept = prefix.iter().rposition(|byte| *byte != 0xff);
    match kept {
        None => vec![0],
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end
        }
    }
}

/// What must hold for a put.
pub(super) fn put_condition(key: &[u8], expect: Expect) -> Vec<Compare> {
    match expect {
        Expect::Any => Vec::new(),
        Expect::Absent => vec![Compare::create_revision(key, CompareOp::Equal, 0)],
        Expect::Revision(revision) => at_revision(key, revision),
    }
}

/// What must hold for a delete, which needs something to delete.
pub(super) fn delete_condition(key: &[u8], expect: Expect) -> Vec<Compare> {
    match expect {
        Expect::Any => vec![exists(key)],
        Expect::Absent => vec![exists(key), Compare::create_revision(key, CompareOp::Equal, 0)],
        Expect::Revision(revision) => at_revision(key, revision),
    }
}

/// An absent key has revision 0 for etcd, so that it must be asked for beside.
fn at_revision(key: &[u8], revision: Revision) -> Vec<Compare> {
    vec![exists(key), Compare::mod_revision(key, CompareOp::Equal, revision as i64)]
}

fn exists(key: &[u8]) -> Compare {
    Compare::create_revision(key, CompareOp::Greater, 0)
}

/// The revision in an answer's header.
pub(super) fn revision(header: Option<&ResponseHeader>) -> Revision {
    header.map_or(0, |header| header.revision() as Revision)
}

/// Why etcd refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Compacted,
    Future,
    LeaseNotFound,
    Other,
}

/// Recognizes a refusal by etcd's messages, which are the same since 3.0.
pub(super) fn refusal(error: &etcd_client::Error) -> Refusal {
    let message = error.to_string();
    if message.contains("required revision has been compacted") {
        Refusal::Compacted
    } else if message.contains("required revision is a future revision") {
        Refusal::Future
    } else if message.contains("lease not found") {
        Refusal::LeaseNotFound
    } else {
        Refusal::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_where_the_prefix_ends() {
        let keys = Keyspace::new(b"/league");
        assert_eq!(keys.range(b"/a/", b"/a/b"), (b"/league/a/b".to_vec(), b"/league/a0".to_vec()));
        assert_eq!(keys.range(b"", b""), (b"/league".to_vec(), b"/leaguf".to_vec()));
        assert_eq!(keys.range(b"\xff", b"").1, b"/leaguf".to_vec());
        let all = Keyspace::new(b"");
        assert_eq!(all.range(b"", b""), (vec![0], vec![0]));
        assert_eq!(all.range(b"/b", b"/a").0, b"/b".to_vec());
    }
}
