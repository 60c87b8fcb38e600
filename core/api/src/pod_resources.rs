//! What a pod asks for in all, and its quality of service, as plain functions.

use serde_json::Value;

use crate::meta::{self, list_at, str_at};
use crate::quota::{Amounts, add, amounts};

/// What counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// The spec alone, without the runtime's overhead.
    SpecOnly,
    /// What the node has given counts too where it is more, and the overhead.
    WithStatus,
}

/// What a pod requests: its containers' sum, or what its init containers need if that is more, or
/// what the pod itself says.
pub fn requests(pod: &Value, counting: Counting) -> Amounts {
    total(pod, "requests", counting)
}

/// A pod's limits, counted as [`requests`] are.
pub fn limits(pod: &Value, counting: Counting) -> Amounts {
    total(pod, "limits", counting)
}

/// Whether a `resources` names any amount that a pod as a whole can have.
pub fn is_set(resources: &Value) -> bool {
    ["requests", "limits"]
        .iter()
        .any(|list| amounts(resources, &[list]).keys().any(|name| is_pod_level(name)))
}

fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

fn total(pod: &Value, list: &str, counting: Counting) -> Amounts {
    let mut sum = Amounts::new();
    for container in list_at(pod, &["spec", "containers"]) {
        add(&mut sum, &of_container(pod, container, "containerStatuses", list, counting));
    }
    let (mut sidecars, mut starting) = (Amounts::new(), Amounts::new());
    for container in list_at(pod, &["spec", "initContainers"]) {
        let own = of_container(pod, container, "initContainerStatuses", list, counting);
        let mut now = sidecars.clone();
        add(&mut now, &own);
        if str_at(container, &["restartPolicy"]) == "Always" {
            add(&mut sum, &own);
            sidecars = now.clone();
        }
        raise(&mut starting, &now);
    }
    raise(&mut sum, &starting);
    let whole = amounts(pod, &["spec", "resources", list]);
    sum.extend(whole.into_iter().filter(|(name, _)| is_pod_level(name)));
    if counting == Counting::WithStatus {
        add_overhead(&mut sum, pod, list);
    }
    sum
}

fn raise(into: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let known = into.entry(name.clone()).or_insert(*amount);
        *known = (*known).max(*amount);
    }
}

/// Overhead is requested in any case, and limited only where there is a limit.
fn add_overhead(sum: &mut Amounts, pod: &Value, list: &str) {
    let mut overhead = amounts(pod, &["spec", "overhead"]);
    if list == "limits" {
        overhead.retain(|name, _| sum.get(name).is_some_and(|limit| !limit.is_zero()));
    }
    add(sum, &overhead);
}

fn of_container(
    pod: &Value,
    container: &Value,
    statuses: &str,
    list: &str,
    counting: Counting,
) -> Amounts {
    let asked = amounts(container, &["resources", list]);
    if counting == Counting::SpecOnly {
        return asked;
    }
    let statuses = list_at(pod, &["status", statuses]);
    let Some(status) = statuses.iter().find(|status| status["name"] == container["name"]) else {
        return asked;
    };
    let mut given = amounts(status, &["resources", list]);
    if list == "requests" {
        raise(&mut given, &amounts(status, &["allocatedResources"]));
    }
    if given.is_empty() {
        return asked;
    }
    if !is_infeasible(pod) {
        raise(&mut given, &asked);
    }
    given
}

/// Whether the node has said that it can never give what is asked for.
fn is_infeasible(pod: &Value) -> bool {
    let conditions = list_at(pod, &["status", "conditions"]);
    conditions.iter().any(|one| one["type"] == "PodResizePending" && one["reason"] == "Infeasible")
}

/// Whether nothing in the pod asks for CPU or memory.
pub fn is_best_effort(pod: &Value) -> bool {
    let lists = ["containers", "initContainers"];
    let containers = lists.iter().flat_map(|list| list_at(pod, &["spec", list]));
    let own = meta::at(pod, &["spec", "resources"]);
    let all = containers.filter_map(|one| meta::at(one, &["resources"])).chain(own);
    !all.into_iter().any(|resources| {
        ["requests", "limits"].iter().any(|list| {
            let amounts = amounts(resources, &[list]);
            ["cpu", "memory"].iter().any(|name| amounts.get(*name).is_some_and(|a| !a.is_zero()))
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(amounts: &Amounts, name: &str) -> String {
        amounts.get(name).map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn init_containers_sidecars_and_the_pod_itself_count() {
        let cpu = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let mut pod = json!({"spec": {
            "containers": [{"name": "a", "resources": cpu("100m")}, {"name": "b", "resources": cpu("200m")}],
            "initContainers": [
                {"name": "s", "restartPolicy": "Always", "resources": cpu("50m")},
                {"name": "i", "resources": cpu("1")},
            ],
            "overhead": {"cpu": "10m"},
        }});
        assert_eq!(text(&requests(&pod, Counting::SpecOnly), "cpu"), "1050m");
        assert_eq!(text(&requests(&pod, Counting::WithStatus), "cpu"), "1060m");
        assert!(limits(&pod, Counting::WithStatus).is_empty());
        pod["spec"]["resources"] = cpu("2");
        assert_eq!(text(&requests(&pod, Counting::SpecOnly), "cpu"), "2");
        assert!(!is_best_effort(&pod));
    }

    #[test]
    fn what_a_node_gave_counts_where_it_is_more() {
        let mut pod = json!({
            "spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}]},
            "status": {"containerStatuses": [
                {"name": "a", "resources": {"requests": {"cpu": "3"}}}]},
        });
        assert_eq!(text(&requests(&pod, Counting::WithStatus), "cpu"), "3");
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "9".into();
        assert_eq!(text(&requests(&pod, Counting::WithStatus), "cpu"), "9");
        pod["status"]["conditions"] = json!([{"type": "PodResizePending", "reason": "Infeasible"}]);
        assert_eq!(text(&requests(&pod, Counting::WithStatus), "cpu"), "3");
    }
}
