//! The last decisions, kept in memory for `explain`: who decided what, with which digest.

use std::collections::VecDeque;
use std::sync::Arc;

use hansa_extension::Identity;
use parking_lot::Mutex;

/// How many decisions are kept.
const KEPT: usize = 2048;

/// One attempt to place a pod.
#[derive(Clone, Debug)]
pub struct Record {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The node that was chosen, if one was.
    pub node: Option<String>,
    /// What each scoring plugin gave the chosen node: name, weight, score.
    pub scores: Vec<(String, u32, u8)>,
    /// Why there is no node; empty if there is one.
    pub message: String,
    /// Who decided, with digests.
    pub deciders: Arc<[Identity]>,
}

/// The last decisions, oldest first; a cheap handle to clone.
#[derive(Clone, Debug, Default)]
pub struct DecisionLog(Arc<Mutex<VecDeque<Record>>>);

impl DecisionLog {
    /// Adds a decision, forgetting the oldest if there are too many.
    pub fn push(&self, record: Record) {
        let mut records = self.0.lock();
        if records.len() == KEPT {
            records.pop_front();
        }
        records.push_back(record);
    }

    /// The last decision about a pod.
    pub fn last(&self, namespace: &str, name: &str) -> Option<Record> {
        let records = self.0.lock();
        records.iter().rev().find(|r| r.namespace == namespace && r.name == name).cloned()
    }

    /// Every decision that is kept, oldest first.
    pub fn all(&self) -> Vec<Record> {
        self.0.lock().iter().cloned().collect()
    }
}
