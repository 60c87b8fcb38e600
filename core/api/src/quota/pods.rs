//! What a pod uses: itself, and what its containers ask for until it has ended.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Amounts, add, amounts, chooses, one};
use crate::meta::{self, int_at, list_at, str_at};
use crate::pod_resources::{self, Counting};
use crate::time;

const COUNT: &str = "count/pods";
const REQUESTS: &str = "requests.";
const HUGE: &str = "hugepages-";
const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// Entries that make it a pod's duty to say how much it wants.
const DEMANDED: [&str; 6] =
    ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];

pub(super) fn measures(name: &str) -> bool {
    let plain = name.strip_prefix(REQUESTS).or_else(|| name.strip_prefix("limits."));
    let huge = name.strip_prefix(REQUESTS).unwrap_or(name).starts_with(HUGE);
    matches!(name, COUNT | "pods")
        || COMPUTE.contains(&plain.unwrap_or(name))
        || huge
        || name.strip_prefix(REQUESTS).is_some_and(is_extended)
}

/// Whether a resource is neither Kubernetes' own nor without a domain, or a device class.
fn is_extended(resource: &str) -> bool {
    let native = !resource.contains('/') || resource.contains("kubernetes.io/");
    !native || resource.starts_with("deviceclass.resource.kubernetes.io/")
}

pub(super) fn usage(pod: &Value, now: Timestamp) -> Amounts {
    let mut used = Amounts::from([(COUNT.to_string(), one())]);
    if !is_over(pod, now) {
        let requests = pod_resources::requests(pod, Counting::WithStatus);
        let limits = pod_resources::limits(pod, Counting::WithStatus);
        add(&mut used, &compute(&requests, &limits));
    }
    used
}

/// Requests and limits under the names that quotas have for them.
fn compute(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut used = Amounts::from([("pods".to_string(), one())]);
    for (name, amount) in requests {
        if COMPUTE.contains(&name.as_str()) || name.starts_with(HUGE) {
            used.insert(name.clone(), *amount);
            used.insert(format!("{REQUESTS}{name}"), *amount);
        } else if is_extended(name) {
            used.insert(format!("{REQUESTS}{name}"), *amount);
        }
    }
    let limited = limits.iter().filter(|(name, _)| COMPUTE.contains(&name.as_str()));
    used.extend(limited.map(|(name, amount)| (format!("limits.{name}"), *amount)));
    used
}

/// Whether it has ended, or should have by now.
fn is_over(pod: &Value, now: Timestamp) -> bool {
    let ended = matches!(str_at(pod, &["status", "phase"]), "Succeeded" | "Failed");
    let grace = meta::deletion_grace_period_seconds(pod);
    let due = meta::deletion_timestamp(pod).and_then(time::parse).zip(grace);
    ended || due.is_some_and(|(due, grace)| now > due + SignedDuration::from_secs(grace))
}

/// `cpu for: a,b; memory for: a`, if containers leave out what a quota demands.
pub(super) fn missing<'a>(names: impl Iterator<Item = &'a str>, pod: &Value) -> Option<String> {
    if meta::at(pod, &["spec", "resources"]).is_some_and(pod_resources::is_set) {
        return None;
    }
    let demanded: BTreeSet<_> = names.filter(|name| DEMANDED.contains(name)).collect();
    let lists = ["containers", "initContainers"];
    let containers: Vec<_> = lists.iter().flat_map(|list| list_at(pod, &["spec", list])).collect();
    let silent = |name: &str| {
        let silent = containers.iter().filter(|container| !says(container, name));
        silent.map(|container| str_at(container, &["name"])).collect::<BTreeSet<_>>()
    };
    let lines: Vec<_> = demanded
        .into_iter()
        .map(|name| (name, silent(name)))
        .filter(|(_, silent)| !silent.is_empty())
        .map(|(name, silent)| {
            format!("{name} for: {}", silent.into_iter().collect::<Vec<_>>().join(","))
        })
        .collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

fn says(container: &Value, name: &str) -> bool {
    let of = |list: &str| amounts(container, &["resources", list]);
    compute(&of("requests"), &of("limits")).contains_key(name)
}

pub(super) fn in_scope(scope: &Value, pod: &Value) -> bool {
    let terminating = int_at(pod, &["spec", "activeDeadlineSeconds"]).is_some_and(|at| at >= 0);
    match str_at(scope, &["scopeName"]) {
        "Terminating" => terminating,
        "NotTerminating" => !terminating,
        "BestEffort" => pod_resources::is_best_effort(pod),
        "NotBestEffort" => !pod_resources::is_best_effort(pod),
        "PriorityClass" => {
            let class = str_at(pod, &["spec", "priorityClassName"]);
            chooses(scope, Some(class).filter(|class| !class.is_empty()))
        }
        "CrossNamespacePodAffinity" => looks_across(pod),
        _ => false,
    }
}

/// Whether its affinity speaks of pods in other namespaces.
fn looks_across(pod: &Value) -> bool {
    let across = |term: &Value| {
        !list_at(term, &["namespaces"]).is_empty()
            || meta::at(term, &["namespaceSelector"]).is_some()
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let affinity = &pod["spec"]["affinity"][kind];
        let required = list_at(affinity, &["requiredDuringSchedulingIgnoredDuringExecution"]);
        let preferred = list_at(affinity, &["preferredDuringSchedulingIgnoredDuringExecution"]);
        required.iter().any(across) || preferred.iter().any(|one| across(&one["podAffinityTerm"]))
    })
}
