//! Who owns whom, over all kinds, and what follows from it. Pure: changes in, verdicts out.

use std::collections::{HashMap, HashSet};

use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// Set by a deletion with propagationPolicy Foreground.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// Set by a deletion with propagationPolicy Orphan.
pub(super) const ORPHAN: &str = "orphan";

/// An object, as far as its ownership goes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Object {
    /// `group/Kind`.
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    /// The resourceVersion that was seen: what is done about the object is done to that state.
    pub(super) version: String,
    pub(super) owners: Vec<OwnerReference>,
    pub(super) deleting: bool,
    pub(super) finalizers: Vec<String>,
}

impl Object {
    /// From an object's metadata.
    pub(super) fn new(kind: String, meta: &ObjectMeta) -> Self {
        Self {
            kind,
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            version: meta.resource_version.clone().unwrap_or_default(),
            owners: meta.owner_references.clone().unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
            finalizers: meta.finalizers.clone().unwrap_or_default(),
        }
    }

    fn has(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|present| present == finalizer)
    }

    /// Waits, in a foreground deletion, for its dependents to go.
    pub(super) fn waits_for_dependents(&self) -> bool {
        self.deleting && self.has(FOREGROUND)
    }

    /// Keeps owners that are deleted in the foreground from going.
    fn blocks_any(&self) -> bool {
        self.owners.iter().any(|owner| owner.block_owner_deletion == Some(true))
    }

    /// Is to be deleted without its dependents.
    pub(super) fn orphans_dependents(&self) -> bool {
        self.deleting && self.has(ORPHAN)
    }
}

/// What is to be done about one object.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Nothing.
    Keep,
    /// Delete it, with this propagation policy.
    Delete(&'static str),
    /// Remove these owners' references (by uid); others still own it.
    Disown(Vec<String>),
    /// Let it block none of its owners any more: it is part of a circle that would wait for itself.
    Loosen,
    /// Release all dependents, then drop the orphan finalizer.
    Orphan(Vec<String>),
    /// Drop this finalizer: nothing blocks the object any more.
    Unblock(&'static str),
    /// See to these dependents first.
    Descend(Vec<String>),
}

/// How an owner stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// There, and staying.
    Solid,
    /// There, in a foreground deletion.
    Waiting,
    /// Not there, or another object by the same name.
    Absent,
}

/// The graph of all objects that were seen.
#[derive(Default)]
pub(super) struct Graph {
    objects: HashMap<String, Object>,
    dependents: HashMap<String, HashSet<String>>,
}

impl Graph {
    /// Notes an object; answers the uids that this concerns.
    pub(super) fn apply(&mut self, uid: &str, object: Object) -> Vec<String> {
        self.unlink(uid);
        for owner in &object.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.to_owned());
        }
        let mut concerned = vec![uid.to_owned()];
        // An owner that waits for its dependents may have been waiting for this one's change.
        concerned.extend(object.owners.iter().map(|owner| owner.uid.clone()));
        if object.waits_for_dependents() {
            concerned.extend(self.dependents_of(uid));
        }
        self.objects.insert(uid.to_owned(), object);
        concerned
    }

    /// Forgets an object; answers the uids that this concerns: its dependents and its owners.
    pub(super) fn remove(&mut self, uid: &str) -> Vec<String> {
        self.unlink(uid);
        let mut concerned: Vec<_> = self.dependents_of(uid);
        if let Some(object) = self.objects.remove(uid) {
            concerned.extend(object.owners.into_iter().map(|owner| owner.uid));
        }
        concerned
    }

    pub(super) fn get(&self, uid: &str) -> Option<&Object> {
        self.objects.get(uid)
    }

    /// The owners of an object that the graph does not hold: whether they are absent has to be asked.
    pub(super) fn unknown_owners(&self, uid: &str) -> Vec<OwnerReference> {
        let owners = self.objects.get(uid).map(|object| object.owners.as_slice());
        let unknown = owners.unwrap_or_default().iter();
        unknown.filter(|owner| !self.objects.contains_key(&owner.uid)).cloned().collect()
    }

    /// What is to be done about an object; `asked` is how its unknown owners were found to stand.
    pub(super) fn verdict(&self, uid: &str, asked: &HashMap<String, Owner>) -> Verdict {
        let Some(object) = self.objects.get(uid) else {
            return Verdict::Keep;
        };
        if object.orphans_dependents() {
            return Verdict::Orphan(self.dependents_of(uid));
        }
        if object.waits_for_dependents() {
            return self.foreground(uid, object);
        }
        if object.deleting || object.owners.is_empty() {
            return Verdict::Keep;
        }
        self.judge_owned(uid, object, asked)
    }

    /// Dependents that wait for theirs are seen to already; going on with them as well would go round
    /// and round in a circle.
    fn foreground(&self, uid: &str, object: &Object) -> Verdict {
        let dependents = self.dependents_of(uid);
        let blocks = |dependent: &String| {
            let owners = self.objects.get(dependent).map(|object| object.owners.as_slice());
            let mut owners = owners.unwrap_or_default().iter();
            owners.any(|owner| owner.uid == uid && owner.block_owner_deletion == Some(true))
        };
        match dependents.iter().any(blocks) {
            false => Verdict::Unblock(FOREGROUND),
            true if object.blocks_any() && self.is_in_a_circle(uid) => Verdict::Loosen,
            true => {
                let idle = |uid: &String| !self.waits_for_dependents(uid);
                Verdict::Descend(dependents.into_iter().filter(idle).collect())
            }
        }
    }

    fn judge_owned(&self, uid: &str, object: &Object, asked: &HashMap<String, Owner>) -> Verdict {
        let standing = |owner: &OwnerReference| match self.objects.get(&owner.uid) {
            Some(known) if known.waits_for_dependents() => Owner::Waiting,
            Some(_) => Owner::Solid,
            None => asked.get(&owner.uid).copied().unwrap_or(Owner::Solid),
        };
        let (solid, going): (Vec<_>, Vec<_>) =
            object.owners.iter().partition(|owner| standing(owner) == Owner::Solid);
        match (solid.is_empty(), going.is_empty()) {
            (_, true) => Verdict::Keep,
            (false, false) => {
                Verdict::Disown(going.into_iter().map(|owner| owner.uid.clone()).collect())
            }
            (true, false) => {
                let waiting = going.iter().any(|owner| standing(owner) == Owner::Waiting);
                match waiting && object.blocks_any() && self.is_in_a_circle(uid) {
                    true => Verdict::Loosen,
                    false => Verdict::Delete(self.policy(uid, object, waiting)),
                }
            }
        }
    }

    /// Whether an object is among the owners of its owners, all of them in foreground deletion.
    fn is_in_a_circle(&self, uid: &str) -> bool {
        let mut seen = HashSet::new();
        let mut above = vec![uid];
        while let Some(next) = above.pop() {
            let owners = self.objects.get(next).map(|object| object.owners.as_slice());
            for owner in owners.unwrap_or_default().iter().map(|owner| owner.uid.as_str()) {
                if owner == uid {
                    return true;
                }
                if self.waits_for_dependents(owner) && seen.insert(owner) {
                    above.push(owner);
                }
            }
        }
        false
    }

    fn waits_for_dependents(&self, uid: &str) -> bool {
        self.objects.get(uid).is_some_and(Object::waits_for_dependents)
    }

    /// A deletion goes on as it began: in the foreground below a foreground deletion.
    fn policy(&self, uid: &str, object: &Object, owner_waits: bool) -> &'static str {
        let has_dependents = self.dependents.get(uid).is_some_and(|all| !all.is_empty());
        match () {
            () if owner_waits && has_dependents => "Foreground",
            () if object.has(ORPHAN) => "Orphan",
            () if object.has(FOREGROUND) => "Foreground",
            () => "Background",
        }
    }

    pub(super) fn dependents_of(&self, uid: &str) -> Vec<String> {
        let mut all: Vec<_> = self.dependents.get(uid).into_iter().flatten().cloned().collect();
        all.sort();
        all
    }

    fn unlink(&mut self, uid: &str) {
        let owners = self.objects.get(uid).map(|object| object.owners.clone());
        for owner in owners.unwrap_or_default() {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(uid);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(owners: &[&str], finalizers: &[&str], deleting: bool) -> Object {
        let owners = owners.iter().map(|uid| OwnerReference {
            uid: (*uid).into(),
            block_owner_deletion: Some(true),
            ..OwnerReference::default()
        });
        Object {
            kind: "/Pod".into(),
            namespace: "default".into(),
            name: "x".into(),
            version: "1".into(),
            owners: owners.collect(),
            deleting,
            finalizers: finalizers.iter().map(|&finalizer| finalizer.to_owned()).collect(),
        }
    }

    fn asked(uid: &str, owner: Owner) -> HashMap<String, Owner> {
        HashMap::from([(uid.to_owned(), owner)])
    }

    #[test]
    fn an_object_goes_with_its_last_owner() {
        let mut graph = Graph::default();
        graph.apply("rs", object(&[], &[], false));
        graph.apply("pod", object(&["rs"], &[], false));
        assert_eq!(graph.verdict("pod", &HashMap::new()), Verdict::Keep);
        assert_eq!(graph.remove("rs"), ["pod"]);
        let gone = asked("rs", Owner::Absent);
        assert_eq!(graph.verdict("pod", &gone), Verdict::Delete("Background"));
        assert_eq!(graph.verdict("pod", &HashMap::new()), Verdict::Keep, "not on hearsay");
    }

    #[test]
    fn one_solid_owner_is_enough() {
        let mut graph = Graph::default();
        graph.apply("a", object(&[], &[], false));
        graph.apply("x", object(&["a", "b"], &[], false));
        let verdict = graph.verdict("x", &asked("b", Owner::Absent));
        assert_eq!(verdict, Verdict::Disown(vec!["b".into()]));
    }

    #[test]
    fn a_foreground_deletion_ends_from_below() {
        let mut graph = Graph::default();
        graph.apply("dep", object(&[], &[FOREGROUND], true));
        graph.apply("rs", object(&["dep"], &[], false));
        graph.apply("pod", object(&["rs"], &[], false));
        let none = HashMap::new();
        assert_eq!(graph.verdict("dep", &none), Verdict::Descend(vec!["rs".into()]));
        assert_eq!(graph.verdict("rs", &none), Verdict::Delete("Foreground"));
        graph.apply("rs", object(&["dep"], &[FOREGROUND], true));
        assert_eq!(graph.verdict("pod", &none), Verdict::Delete("Background"));
        graph.remove("pod");
        assert_eq!(graph.verdict("rs", &none), Verdict::Unblock(FOREGROUND));
        graph.remove("rs");
        assert_eq!(graph.verdict("dep", &none), Verdict::Unblock(FOREGROUND));
    }

    #[test]
    fn a_circle_does_not_wait_for_itself() {
        let mut graph = Graph::default();
        graph.apply("a", object(&["c"], &[FOREGROUND], true));
        graph.apply("b", object(&["a"], &[], false));
        graph.apply("c", object(&["b"], &[], false));
        let none = HashMap::new();
        assert_eq!(graph.verdict("b", &none), Verdict::Delete("Foreground"));
        graph.apply("b", object(&["a"], &[FOREGROUND], true));
        assert_eq!(graph.verdict("c", &none), Verdict::Loosen, "a waits for b, and b for c");
        let mut loose = object(&["b"], &[], false);
        loose.owners[0].block_owner_deletion = Some(false);
        graph.apply("c", loose);
        assert_eq!(graph.verdict("c", &none), Verdict::Delete("Foreground"));
        assert_eq!(graph.verdict("b", &none), Verdict::Unblock(FOREGROUND));
    }

    #[test]
    fn a_circle_that_waits_already_is_broken_and_not_run_round() {
        let mut graph = Graph::default();
        for (uid, owner) in [("a", "c"), ("b", "a"), ("c", "b")] {
            graph.apply(uid, object(&[owner], &[FOREGROUND], true));
        }
        let none = HashMap::new();
        for uid in ["a", "b", "c"] {
            assert_eq!(graph.verdict(uid, &none), Verdict::Loosen);
        }
        graph.apply("c", object(&["x"], &[FOREGROUND], true));
        assert_eq!(graph.verdict("b", &none), Verdict::Unblock(FOREGROUND));
        assert_eq!(graph.verdict("a", &none), Verdict::Descend(Vec::new()), "b comes by itself");
    }

    #[test]
    fn an_orphaning_deletion_releases_its_dependents() {
        let mut graph = Graph::default();
        graph.apply("rs", object(&[], &[ORPHAN], true));
        graph.apply("pod", object(&["rs"], &[], false));
        assert_eq!(graph.verdict("rs", &HashMap::new()), Verdict::Orphan(vec!["pod".into()]));
    }
}
