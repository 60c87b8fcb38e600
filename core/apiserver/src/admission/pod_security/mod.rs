//! PodSecurity: pods keep to the Pod Security Standard that their namespace's labels name.
//!
//! [`policy`] reads the labels, [`checks`] are the standard's controls, [`levels`] says which of
//! them a level has at a version. Workloads are warned of what their pods would be refused for.

mod checks;
mod levels;
mod policy;

use std::collections::BTreeMap;

use async_trait::async_trait;
use hansa_api::ApiError;
use hansa_api::gvk::GroupVersionKind;
use hansa_api::meta::{self, list_at};
use serde_json::Value;

use super::{forbidden, lookup};
use crate::generic::admit::{Admission, Attributes, Operation};
use levels::{Verdict, evaluate};
use policy::{Level, LevelVersion, Policy};

/// How many pods of a namespace are looked at when its level changes.
const PODS_MAX: usize = 3000;
/// Subresources of pods that do not change what runs.
const IGNORED: [&str; 8] =
    ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

pub(super) struct PodSecurity;

#[async_trait]
impl Admission for PodSecurity {
    fn concerns(&self, attrs: &Attributes<'_>) -> bool {
        let writes = matches!(attrs.operation, Operation::Create | Operation::Update);
        let pods = attrs.is("", "pods") && !IGNORED.contains(&attrs.ctx.subresource.as_str());
        let others = attrs.is("", "namespaces") || template(attrs).is_some();
        writes && (pods || (attrs.is_whole() && others))
    }

    async fn validate(&self, attrs: &Attributes<'_>, obj: Option<&Value>) -> Result<(), ApiError> {
        let Some(obj) = obj else { return Ok(()) };
        if attrs.is("", "namespaces") {
            return namespace(attrs, obj).await;
        }
        match template(attrs) {
            None => pod(attrs, obj).await,
            Some(path) => workload(attrs, meta::at(obj, path)).await,
        }
    }
}

/// Where a workload keeps its pod template.
fn template(attrs: &Attributes<'_>) -> Option<&'static [&'static str]> {
    match (&*attrs.resource.group, &*attrs.resource.plural) {
        ("", "podtemplates") => Some(&["template"]),
        ("batch", "cronjobs") => Some(&["spec", "jobTemplate", "spec", "template"]),
        ("", "replicationcontrollers")
        | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => Some(&["spec", "template"]),
        _ => None,
    }
}

async fn policy_of(attrs: &Attributes<'_>) -> Result<Option<Policy>, ApiError> {
    let namespace = lookup::find(attrs, "", "namespaces", "", &attrs.ctx.namespace).await?;
    Ok(namespace.map(|namespace| Policy::of(meta::labels(&namespace)).0))
}

async fn pod(attrs: &Attributes<'_>, pod: &Value) -> Result<(), ApiError> {
    let Some(policy) = policy_of(attrs).await? else {
        let why = format!("failed to lookup namespace {:?}", attrs.ctx.namespace);
        return Err(ApiError::internal(why));
    };
    let unchanged = attrs.old.is_some_and(|old| !is_significant(pod, old));
    if policy.is_privileged() || unchanged {
        return Ok(());
    }
    let verdict = evaluate(policy.enforce, pod);
    if !verdict.is_allowed() {
        let (level, details) = (policy.enforce, verdict.details());
        let why = format!("violates PodSecurity \"{level}\": {details}");
        return Err(forbidden(attrs, pod, why));
    }
    warn(attrs, policy.warn, &evaluate(policy.warn, pod));
    Ok(())
}

/// A workload is never refused; its pods will be.
async fn workload(attrs: &Attributes<'_>, template: Option<&Value>) -> Result<(), ApiError> {
    let (Some(template), Some(policy)) = (template, policy_of(attrs).await?) else { return Ok(()) };
    warn(attrs, policy.warn, &evaluate(policy.warn, template));
    Ok(())
}

fn warn(attrs: &Attributes<'_>, level: LevelVersion, verdict: &Verdict) {
    if !verdict.is_allowed() {
        let text = format!("would violate PodSecurity \"{level}\": {}", verdict.details());
        attrs.ctx.warnings.add(text);
    }
}

/// Whether containers came or went, or run another image.
fn is_significant(pod: &Value, old: &Value) -> bool {
    let list = |pod: &Value, name: &str| list_at(pod, &["spec", name]).to_vec();
    let changed = ["containers", "initContainers"].iter().any(|name| {
        let (new, old) = (list(pod, name), list(old, name));
        new.len() != old.len()
            || new.iter().zip(&old).any(|(new, old)| new["image"] != old["image"])
    });
    let before = list(old, "ephemeralContainers");
    let added = list(pod, "ephemeralContainers").into_iter().any(|new| {
        let old = before.iter().find(|old| old["name"] == new["name"]);
        old.is_none_or(|old| old["image"] != new["image"])
    });
    changed || added
}

/// A namespace's labels must be readable; a stricter level warns of the pods that break it.
async fn namespace(attrs: &Attributes<'_>, namespace: &Value) -> Result<(), ApiError> {
    let (new, errors) = Policy::of(meta::labels(namespace));
    let (old, before) = match attrs.old {
        Some(old) => Policy::of(meta::labels(old)),
        None => Policy::of(None),
    };
    if !errors.is_empty() && errors != before {
        let kind = GroupVersionKind::new("", "v1", "Namespace");
        return Err(ApiError::invalid(&kind, meta::name(namespace), &errors));
    }
    let (new, old) = (new.enforce, old.enforce);
    let laxer = new.version == old.version && new.level <= old.level;
    if attrs.operation == Operation::Create || new.level == Level::Privileged || laxer {
        return Ok(());
    }
    let pods = lookup::list(attrs, "", "pods", meta::name(namespace)).await?;
    let pods = prioritized(pods.iter().map(|pod| &**pod).collect());
    violations(meta::name(namespace), new, &pods).into_iter().for_each(|text| {
        attrs.ctx.warnings.add(text);
    });
    Ok(())
}

/// One pod of each controller before the others, which are most likely alike.
fn prioritized(pods: Vec<&Value>) -> Vec<&Value> {
    let mut seen = std::collections::HashSet::new();
    let first = |pod: &&Value| match meta::controller_of(pod) {
        Some(owner) => seen.insert(meta::str_at(owner, &["uid"]).to_owned()),
        None => true,
    };
    let (mut first, rest): (Vec<_>, Vec<_>) = pods.into_iter().partition(first);
    first.extend(rest);
    first
}

fn violations(namespace: &str, level: LevelVersion, pods: &[&Value]) -> Vec<String> {
    let mut found: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pod in pods.iter().take(PODS_MAX) {
        let verdict = evaluate(level, pod);
        if !verdict.is_allowed() {
            found.entry(verdict.reasons()).or_default().push(meta::name(pod));
        }
    }
    let mut warnings = Vec::new();
    if pods.len() > PODS_MAX {
        let all = pods.len();
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {PODS_MAX} of {all} \
             existing pods"
        ));
    }
    if !found.is_empty() {
        warnings.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \
             \"{level}\""
        ));
    }
    let mut lines: Vec<_> = found.into_iter().map(|(why, pods)| line(&why, &pods)).collect();
    lines.sort();
    warnings.extend(lines);
    warnings
}

fn line(why: &str, pods: &[&str]) -> String {
    let first = pods.iter().min().copied().unwrap_or_default();
    match pods.len() {
        1 => format!("{first}: {why}"),
        2 => format!("{first} (and 1 other pod): {why}"),
        many => format!("{first} (and {} other pods): {why}", many - 1),
    }
}

#[cfg(test)]
mod tests;
