//! What a pod asks of a node: the sum over its containers, as the API defines it (KEP-753 for
//! sidecars, KEP-2837 for requests of the whole pod).

use std::collections::BTreeMap;

use hansa_api::k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use hansa_api::k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::quantity;

/// CPU that a container without a request counts as when scoring, thousandths.
pub const DEFAULT_CPU_MILLI: i64 = 100;
/// Memory that a container without a request counts as when scoring, bytes.
pub const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// A pod's requests; whole units except `cpu`, which is in thousandths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// CPU, thousandths.
    pub cpu: i64,
    /// Memory, bytes.
    pub memory: i64,
    /// Ephemeral storage, bytes.
    pub ephemeral: i64,
    /// CPU where containers without a request count as the default, thousandths.
    pub nz_cpu: i64,
    /// Memory where containers without a request count as the default, bytes.
    pub nz_memory: i64,
    /// Extended resources and huge pages by name.
    pub ext: BTreeMap<String, i64>,
}

type List = BTreeMap<String, Quantity>;

impl Requests {
    /// The requests of `pod`: containers and sidecars together, at least what the neediest step of
    /// its initialisation takes, plus its overhead.
    pub fn of(pod: &Pod) -> Requests {
        let Some(spec) = &pod.spec else { return Requests::default() };
        let mut total = Requests::default();
        for container in &spec.containers {
            total.add(&container_requests(container));
        }
        total.raise_to_init(spec);
        total.override_by_pod_level(spec);
        if let Some(overhead) = &spec.overhead {
            total.add(&listed(overhead, 0, 0));
        }
        total
    }

    fn raise_to_init(&mut self, spec: &PodSpec) {
        let (mut sidecars, mut peak) = (Requests::default(), Requests::default());
        for container in spec.init_containers.iter().flatten() {
            let mut step = container_requests(container);
            if container.restart_policy.as_deref() == Some("Always") {
                self.add(&step);
                sidecars.add(&step);
                peak.max(&sidecars);
            } else {
                step.add(&sidecars);
                peak.max(&step);
            }
        }
        self.max(&peak);
    }

    fn override_by_pod_level(&mut self, spec: &PodSpec) {
        let pod_level = spec.resources.as_ref().and_then(|r| r.requests.as_ref());
        for (name, quantity) in pod_level.into_iter().flatten() {
            match name.as_str() {
                "cpu" => {
                    self.cpu = quantity::milli(quantity);
                    self.nz_cpu = self.cpu;
                }
                "memory" => {
                    self.memory = quantity::units(quantity);
                    self.nz_memory = self.memory;
                }
                name if name.starts_with("hugepages-") => {
                    self.ext.insert(name.into(), quantity::units(quantity));
                }
                _ => {}
            }
        }
    }

    fn add(&mut self, other: &Requests) {
        self.merge(other, |a, b| a.saturating_add(b));
    }

    fn max(&mut self, other: &Requests) {
        self.merge(other, std::cmp::Ord::max);
    }

    fn merge(&mut self, other: &Requests, with: impl Fn(i64, i64) -> i64) {
        self.cpu = with(self.cpu, other.cpu);
        self.memory = with(self.memory, other.memory);
        self.ephemeral = with(self.ephemeral, other.ephemeral);
        self.nz_cpu = with(self.nz_cpu, other.nz_cpu);
        self.nz_memory = with(self.nz_memory, other.nz_memory);
        for (name, value) in &other.ext {
            let mine = self.ext.entry(name.clone()).or_default();
            *mine = with(*mine, *value);
        }
    }
}

fn container_requests(container: &Container) -> Requests {
    let none = List::new();
    let requests = container.resources.as_ref().and_then(|r| r.requests.as_ref());
    listed(requests.unwrap_or(&none), DEFAULT_CPU_MILLI, DEFAULT_MEMORY)
}

/// A resource list as requests; what it does not name counts as the given defaults in `nz_*`.
fn listed(list: &List, default_cpu: i64, default_memory: i64) -> Requests {
    let mut requests =
        Requests { nz_cpu: default_cpu, nz_memory: default_memory, ..Requests::default() };
    for (name, quantity) in list {
        match name.as_str() {
            "cpu" => {
                requests.cpu = quantity::milli(quantity);
                requests.nz_cpu = requests.cpu;
            }
            "memory" => {
                requests.memory = quantity::units(quantity);
                requests.nz_memory = requests.memory;
            }
            "ephemeral-storage" => requests.ephemeral = quantity::units(quantity),
            _ => _ = requests.ext.insert(name.clone(), quantity::units(quantity)),
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn requests(spec: serde_json::Value) -> Requests {
        Requests::of(&serde_json::from_value(json!({ "spec": spec })).unwrap())
    }

    fn container(name: &str, cpu: &str) -> serde_json::Value {
        json!({ "name": name, "resources": { "requests": { "cpu": cpu } } })
    }

    #[test]
    fn init_containers_count_by_their_peak_and_sidecars_for_good() {
        let mut sidecar = container("sidecar", "1");
        sidecar["restartPolicy"] = json!("Always");
        let got = requests(json!({
            "initContainers": [container("first", "2"), sidecar, container("last", "3")],
            "containers": [container("main", "2")],
            "overhead": { "cpu": "250m" },
        }));
        assert_eq!(got.cpu, 4250, "the last init container runs beside the sidecar");
    }

    #[test]
    fn containers_without_requests_count_as_defaults_for_scoring_only() {
        let got = requests(json!({ "containers": [{ "name": "a" }, container("b", "50m")] }));
        assert_eq!((got.cpu, got.memory), (50, 0));
        assert_eq!((got.nz_cpu, got.nz_memory), (150, 2 * DEFAULT_MEMORY));
    }

    #[test]
    fn requests_of_the_pod_replace_the_sum() {
        let got = requests(json!({
            "resources": { "requests": { "cpu": "3" } },
            "containers": [container("a", "1"), container("b", "1")],
        }));
        assert_eq!(got.cpu, 3000);
    }

    #[test]
    fn extended_resources_are_kept_by_name() {
        let got = requests(json!({ "containers": [
            { "name": "a", "resources": { "requests": { "example.com/gpu": "2" } } },
            { "name": "b", "resources": { "requests": { "example.com/gpu": "1" } } },
        ]}));
        assert_eq!(got.ext, BTreeMap::from([("example.com/gpu".into(), 3)]));
    }
}
