//! The pod lifecycle event generator: which pods changed in the runtime since the last look. It
//! only says whom to wake; workers look for themselves.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_cri::v1 as cri;

use crate::cri::{Cri, CriError};
use crate::names;

/// Remembers what the runtime's lists said of each pod.
#[derive(Debug, Default)]
pub struct Pleg {
    seen: HashMap<String, u64>,
}

/// A pod as its sandbox's labels describe it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// The pod's UID.
    pub uid: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
}

/// What a look at the runtime showed.
#[derive(Debug, Default)]
pub struct Relist {
    /// UIDs of pods that changed.
    pub changed: Vec<String>,
    /// All pods that have a sandbox or container.
    pub pods: BTreeSet<Found>,
}

impl Pleg {
    /// Looks at the runtime.
    ///
    /// # Errors
    /// The runtime says no.
    pub async fn relist(&mut self, cri: &Cri) -> Result<Relist, CriError> {
        let sandboxes = cri.sandboxes(None).await?;
        let containers = cri.containers(None).await?;
        Ok(self.compare(&sandboxes, &containers))
    }

    fn compare(&mut self, sandboxes: &[cri::PodSandbox], containers: &[cri::Container]) -> Relist {
        let mut prints: HashMap<String, u64> = HashMap::new();
        let mut pods = BTreeSet::new();
        let mut add = |labels: &HashMap<String, String>, id: &str, state: i32| {
            let Some(found) = found(labels) else { return };
            let mut hasher = DefaultHasher::new();
            (id, state).hash(&mut hasher);
            let print = prints.entry(found.uid.clone()).or_default();
            *print = print.wrapping_add(hasher.finish());
            pods.insert(found);
        };
        for item in sandboxes {
            add(&item.labels, &item.id, item.state);
        }
        for item in containers {
            add(&item.labels, &item.id, item.state);
        }
        let gone = self.seen.keys().filter(|uid| !prints.contains_key(*uid));
        let differs = prints.iter().filter(|(uid, print)| self.seen.get(*uid) != Some(print));
        let changed = differs.map(|(uid, _)| uid).chain(gone).cloned().collect();
        self.seen = prints;
        Relist { changed, pods }
    }
}

fn found(labels: &HashMap<String, String>) -> Option<Found> {
    let get = |key: &str| labels.get(key).cloned();
    Some(Found {
        uid: get(names::POD_UID)?,
        namespace: get(names::POD_NAMESPACE)?,
        name: get(names::POD_NAME)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(uid: &str, id: &str, state: i32) -> cri::Container {
        let labels = [(names::POD_UID, uid), (names::POD_NAMESPACE, "n"), (names::POD_NAME, uid)];
        let labels = labels.map(|(key, value)| (key.to_string(), value.to_string())).into();
        cri::Container { id: id.to_string(), state, labels, ..Default::default() }
    }

    #[test]
    fn only_pods_that_changed_are_woken() {
        let mut pleg = Pleg::default();
        let first = [container("a", "1", 1), container("b", "2", 1)];
        assert_eq!(pleg.compare(&[], &first).changed.len(), 2);
        assert!(pleg.compare(&[], &first).changed.is_empty());
        let next = [container("b", "2", 2)];
        let mut changed = pleg.compare(&[], &next).changed;
        changed.sort();
        assert_eq!(changed, ["a", "b"]);
        let foreign = cri::Container { id: "x".to_string(), ..Default::default() };
        assert!(pleg.compare(&[], &[foreign]).pods.is_empty(), "not a pod of Kubernetes");
    }
}
