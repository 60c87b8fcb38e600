//! Who changed an object in the first round of mutation, and so who looks again in the second.
//!
//! Policies and webhooks that ask for it (`reinvocationPolicy: IfNeeded`) are called once more if
//! others changed the object after them.

use std::collections::HashSet;

use serde_json::Value;

/// The memory of one sort of mutators during one request.
#[derive(Default)]
pub(super) struct Memory {
    /// Called before, and willing to be called again.
    willing: Vec<String>,
    /// To be called again: something changed after they were called.
    again: HashSet<String>,
    /// What the last of them left behind.
    left: Value,
    second: bool,
    /// Whether any of them changed the object.
    pub(super) changed: bool,
}

impl Memory {
    /// From here on it is the second round.
    pub(super) fn start_over(&mut self) {
        self.second = true;
    }

    /// They get the object; in the second round others may have changed it since.
    pub(super) fn enter(&mut self, obj: &Value) {
        if self.second && !self.willing.is_empty() && self.left != *obj {
            self.again.extend(self.willing.drain(..));
        }
    }

    /// Whether the second round does without this one.
    pub(super) fn skips(&self, id: &str) -> bool {
        self.second && !self.again.contains(id)
    }

    /// One of them was called.
    pub(super) fn called(&mut self, id: String, willing: bool, changed: bool) {
        if changed {
            self.again.extend(self.willing.drain(..));
            self.changed = true;
        }
        if willing {
            self.willing.push(id);
        }
    }

    /// They are done with the object.
    pub(super) fn leave(&mut self, obj: &Value) {
        if !self.willing.is_empty() {
            self.left = obj.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_willing_look_again_and_only_if_something_changed() {
        let mut memory = Memory::default();
        memory.enter(&json!(0));
        memory.called("a".into(), true, false);
        memory.called("b".into(), false, true);
        memory.called("c".into(), true, false);
        memory.leave(&json!(1));
        assert!(memory.changed);
        memory.start_over();
        memory.enter(&json!(1));
        assert_eq!(["a", "b", "c"].map(|id| memory.skips(id)), [false, true, true]);
        let mut other = Memory::default();
        other.called("c".into(), true, true);
        other.leave(&json!(1));
        other.start_over();
        other.enter(&json!(2));
        assert!(!other.skips("c"), "what others did after it counts too");
    }
}
