//! Which group version is served by whom: made from the APIServices, replaced as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::backend::Backend;

/// What is served elsewhere at one moment.
#[derive(Clone, Default)]
pub(crate) struct Routes {
    backends: BTreeMap<(String, String), Arc<Backend>>,
    /// Goes up with every change, of a document too.
    pub(crate) generation: u64,
}

impl Routes {
    /// The routes that these APIServices ask for. A backend whose specification did not change is
    /// kept, with what is known of it.
    pub(super) fn next(&self, services: &[Arc<Value>], make: impl Fn(&Value) -> Backend) -> Self {
        let remote = services.iter().filter(|one| one["spec"]["service"].is_object());
        let backends = remote.map(|service| {
            let key = key_of(service);
            let known = self.backends.get(&key).filter(|known| known.is_of(service));
            let backend = match known {
                Some(known) => known.with_status(service),
                None => make(service),
            };
            (key, Arc::new(backend))
        });
        Self { backends: backends.collect(), generation: self.generation + 1 }
    }

    /// The same routes under a new generation.
    pub(super) fn touched(&self) -> Self {
        Self { generation: self.generation + 1, ..self.clone() }
    }

    /// Who serves `/apis/GROUP/VERSION` and everything below it.
    pub(crate) fn backend(&self, path: &str) -> Option<&Arc<Backend>> {
        if self.backends.is_empty() {
            return None;
        }
        let mut parts = path.strip_prefix("/apis/")?.splitn(3, '/');
        self.of(parts.next()?, parts.next()?)
    }

    /// Who serves a group version.
    pub(crate) fn of(&self, group: &str, version: &str) -> Option<&Arc<Backend>> {
        self.backends.get(&(group.to_string(), version.to_string()))
    }

    /// Everybody else who serves something.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.backends.values()
    }
}

fn key_of(service: &Value) -> (String, String) {
    let text = |name: &str| service["spec"][name].as_str().unwrap_or_default().to_string();
    (text("group"), text("version"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(version: &str, status: &str, port: u16) -> Arc<Value> {
        Arc::new(json!({"metadata": {"name": format!("{version}.ex.org")}, "spec": {
            "group": "ex.org", "version": version, "insecureSkipTLSVerify": true,
            "groupPriorityMinimum": 100, "versionPriority": 10,
            "service": {"namespace": "a", "name": "api", "port": port}},
            "status": {"conditions": [{"type": "Available", "status": status}]}}))
    }

    #[test]
    fn paths_below_a_group_version_lead_to_its_server() {
        let make = |service: &Value| Backend::new(service, None);
        let local = Arc::new(json!({"spec": {"group": "apps", "version": "v1"}}));
        let first = Routes::default().next(&[service("v1", "False", 443), local], make);
        for path in ["/apis/ex.org/v1", "/apis/ex.org/v1/", "/apis/ex.org/v1/toys/a"] {
            assert_eq!(first.backend(path).unwrap().name, "v1.ex.org", "{path}");
        }
        for path in ["/apis/ex.org", "/apis/ex.org/v2", "/apis/apps/v1", "/api/v1", "/"] {
            assert!(first.backend(path).is_none(), "{path}");
        }
        assert!(!first.of("ex.org", "v1").unwrap().available);
        let refuse = |_: &Value| -> Backend { panic!("the specification did not change") };
        let second = first.next(&[service("v1", "True", 443)], refuse);
        assert!(second.of("ex.org", "v1").unwrap().available);
        assert!(second.next(&[], refuse).backend("/apis/ex.org/v1").is_none());
        let moved = second.next(&[service("v1", "True", 8443)], make);
        assert_eq!(moved.of("ex.org", "v1").unwrap().service.port, 8443);
    }
}
