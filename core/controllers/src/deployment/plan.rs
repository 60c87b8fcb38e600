//! What a Deployment does next, as a plain function of it and its ReplicaSets.
//!
//! Rules as published in the Deployment documentation: at most `maxSurge` pods over the wish, at
//! least the wish less `maxUnavailable` serving, scaling in the middle of a rollout in proportion.

use std::collections::BTreeMap;
use std::sync::Arc;

use hansa_api::k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, ReplicaSet, ReplicaSetSpec,
};
use hansa_api::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::template;
use crate::owned::name_of;

/// The revision of a Deployment, and of the ReplicaSet that runs it.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Annotations to write.
pub(super) type Annotations = BTreeMap<String, String>;

/// A step.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Create the ReplicaSet of the present template.
    Create(Box<ReplicaSet>),
    /// Give a ReplicaSet another size.
    Scale {
        /// Its name.
        set: String,
        /// Its size now.
        from: i32,
        /// Its size to be.
        to: i32,
        /// What it notes of the Deployment's size.
        annotations: Annotations,
    },
    /// Write annotations of a ReplicaSet.
    Annotate {
        /// Its name.
        set: String,
        /// The annotations that differ.
        annotations: Annotations,
    },
    /// Note the revision on the Deployment.
    SetRevision(String),
    /// Forget an old ReplicaSet.
    DeleteSet(String),
}

/// A Deployment's ReplicaSets, sorted out.
pub(super) struct View<'a> {
    /// The one that runs the present template.
    pub(super) new: Option<&'a Arc<ReplicaSet>>,
    /// The others, oldest first.
    pub(super) old: Vec<&'a Arc<ReplicaSet>>,
}

impl<'a> View<'a> {
    /// Sorts out; of several sets with the present template the oldest counts, as upstream does.
    pub(super) fn new(deployment: &Deployment, sets: &'a [Arc<ReplicaSet>]) -> Self {
        let mut sorted: Vec<_> = sets.iter().collect();
        sorted.sort_by_key(|set| {
            let created = set.metadata.creation_timestamp.as_ref().map(|time| time.0);
            (created, set.metadata.name.clone())
        });
        let new = sorted.iter().position(|set| template::runs(set, deployment));
        let new = new.map(|index| sorted.remove(index));
        Self { new, old: sorted }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &'a Arc<ReplicaSet>> {
        self.new.into_iter().chain(self.old.iter().copied())
    }

    fn pods(&self) -> i32 {
        self.all().map(|set| size(set)).sum()
    }

    fn active_old(&self) -> impl Iterator<Item = &'a Arc<ReplicaSet>> {
        self.old.iter().copied().filter(|set| size(set) > 0)
    }
}

/// The pods that a ReplicaSet wants.
pub(super) fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// The pods of a ReplicaSet that serve.
pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

/// The pods that a ReplicaSet has.
pub(super) fn actual(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

/// A Deployment's size and the bounds of its rollouts, in pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) wanted: i32,
    pub(super) surge: i32,
    pub(super) unavailable: i32,
}

impl Bounds {
    /// Percentages are of the wish: the surge is rounded up, the unavailable down; if both come out
    /// as zero, one may be unavailable, or nothing would ever move.
    pub(super) fn of(spec: &DeploymentSpec) -> Self {
        let wanted = spec.replicas.unwrap_or(1);
        if is_recreate(spec) {
            return Self { wanted, surge: 0, unavailable: wanted };
        }
        let rolling = spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        let quarter = IntOrString::String("25%".into());
        let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref()).unwrap_or(&quarter);
        let unavailable =
            rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).unwrap_or(&quarter);
        let surge = resolve(surge, wanted, true);
        let mut unavailable = resolve(unavailable, wanted, false).min(wanted);
        if surge == 0 && unavailable == 0 {
            unavailable = 1;
        }
        Self { wanted, surge, unavailable }
    }

    fn most(self) -> i32 {
        if self.wanted == 0 { 0 } else { self.wanted + self.surge }
    }

    fn least_available(self) -> i32 {
        self.wanted - self.unavailable
    }
}

fn resolve(value: &IntOrString, of: i32, round_up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let hundredths = percent * i64::from(of);
            let whole = if round_up { (hundredths + 99) / 100 } else { hundredths / 100 };
            i32::try_from(whole).unwrap_or(i32::MAX)
        }
    }
}

fn is_recreate(spec: &DeploymentSpec) -> bool {
    let kind = spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
    kind == Some("Recreate")
}

/// The next steps; none where nothing is to be done or something has to happen first.
pub(super) fn plan(deployment: &Deployment, view: &View<'_>) -> Vec<Action> {
    let Some(spec) = &deployment.spec else {
        return Vec::new();
    };
    let bounds = Bounds::of(spec);
    if spec.paused == Some(true) || was_scaled(view, bounds) {
        let mut actions = scale_in_proportion(view, bounds);
        if spec.paused == Some(true) {
            actions.extend(clean_up(spec, view));
        }
        return actions;
    }
    let mut actions = revise(deployment, view);
    match view.new {
        None if is_recreate(spec) && old_pods_remain(view) => {
            actions = view.active_old().map(|set| scale(set, 0, bounds)).collect();
        }
        None => actions.push(Action::Create(Box::new(new_set(deployment, spec, view, bounds)))),
        Some(new) if is_recreate(spec) => actions.extend(recreate(new, view, bounds)),
        Some(new) => actions.extend(roll(new, view, bounds)),
    }
    if is_complete(deployment, view) {
        actions.extend(clean_up(spec, view));
    }
    actions
}

/// The next step of a rolling update: grow the new set first, else shrink the old ones.
fn roll(new: &Arc<ReplicaSet>, view: &View<'_>, bounds: Bounds) -> Vec<Action> {
    let to = new_size(new, view, bounds);
    if to != size(new) {
        return vec![scale(new, to, bounds)];
    }
    shrink_old(new, view, bounds)
}

fn new_size(new: &ReplicaSet, view: &View<'_>, bounds: Bounds) -> i32 {
    let now = size(new);
    if now >= bounds.wanted {
        return bounds.wanted;
    }
    let room = (bounds.wanted + bounds.surge - view.pods()).max(0);
    now + room.min(bounds.wanted - now)
}

/// Old pods that do not serve go first; those that do, as far as enough others serve.
fn shrink_old(new: &ReplicaSet, view: &View<'_>, bounds: Bounds) -> Vec<Action> {
    let new_unavailable = (size(new) - available(new)).max(0);
    let mut may_go = view.pods() - bounds.least_available() - new_unavailable;
    let mut sizes: Vec<i32> = view.old.iter().map(|set| size(set)).collect();
    for (set, left) in view.old.iter().zip(&mut sizes) {
        let broken = (*left - available(set)).clamp(0, may_go.max(0));
        *left -= broken;
        may_go -= broken;
    }
    let serving: i32 = view.all().map(|set| available(set)).sum();
    let mut spare = (serving - bounds.least_available()).max(0).min(may_go.max(0));
    for left in &mut sizes {
        let go = spare.min(*left);
        *left -= go;
        spare -= go;
    }
    let changed = view.old.iter().zip(sizes).filter(|(set, to)| size(set) != *to);
    changed.map(|(set, to)| scale(set, to, bounds)).collect()
}

fn recreate(new: &Arc<ReplicaSet>, view: &View<'_>, bounds: Bounds) -> Vec<Action> {
    let going: Vec<_> = view.active_old().map(|set| scale(set, 0, bounds)).collect();
    if !going.is_empty() {
        return going;
    }
    if old_pods_remain(view) || size(new) == bounds.wanted {
        return Vec::new();
    }
    vec![scale(new, bounds.wanted, bounds)]
}

fn old_pods_remain(view: &View<'_>) -> bool {
    view.old.iter().any(|set| size(set) > 0 || actual(set) > 0)
}

/// Whether the Deployment's own size changed since the sets were last sized.
fn was_scaled(view: &View<'_>, bounds: Bounds) -> bool {
    let mut active = view.all().filter(|set| size(set) > 0);
    active
        .any(|set| annotation(set, DESIRED).is_some_and(|seen| *seen != bounds.wanted.to_string()))
}

/// A single set takes the whole change; several share it by their sizes, larger ones first.
fn scale_in_proportion(view: &View<'_>, bounds: Bounds) -> Vec<Action> {
    let active: Vec<_> = view.all().filter(|set| size(set) > 0).collect();
    let lone = match active.as_slice() {
        [] => view.new,
        [only] => Some(*only),
        _ => None,
    };
    if let Some(set) = lone {
        let noted = annotation(set, DESIRED) == Some(&bounds.wanted.to_string());
        let due = size(set) != bounds.wanted || !noted;
        return due.then(|| scale(set, bounds.wanted, bounds)).into_iter().collect();
    }
    if let Some(new) = view.new.filter(|new| is_saturated(new, bounds)) {
        let old = view.active_old().filter(|set| !Arc::ptr_eq(set, new));
        return old.map(|set| scale(set, 0, bounds)).collect();
    }
    share(&active, bounds)
}

fn is_saturated(set: &ReplicaSet, bounds: Bounds) -> bool {
    size(set) == bounds.wanted
        && available(set) == bounds.wanted
        && annotation(set, DESIRED) == Some(&bounds.wanted.to_string())
}

fn share(active: &[&Arc<ReplicaSet>], bounds: Bounds) -> Vec<Action> {
    let total: i32 = active.iter().map(|set| size(set)).sum();
    let change = bounds.most() - total;
    let mut by_size = active.to_vec();
    by_size
        .sort_by_key(|set| std::cmp::Reverse((size(set), set.metadata.creation_timestamp.clone())));
    let mut open = change;
    let mut sizes: Vec<i32> = Vec::new();
    for set in &by_size {
        let part = f64::from(size(set)) * f64::from(bounds.most()) / f64::from(total.max(1));
        // Rounded to whole pods: replica counts are far below what an i32 holds.
        #[allow(clippy::cast_possible_truncation)]
        let part = part.round() as i32 - size(set);
        let part =
            if change >= 0 { part.clamp(0, open.max(0)) } else { part.clamp(open.min(0), 0) };
        open -= part;
        sizes.push((size(set) + part).max(0));
    }
    if let Some(first) = sizes.first_mut() {
        *first = (*first + open).max(0);
    }
    by_size.iter().zip(sizes).map(|(set, to)| scale(set, to, bounds)).collect()
}

fn scale(set: &ReplicaSet, to: i32, bounds: Bounds) -> Action {
    Action::Scale {
        set: name_of(&set.metadata).to_owned(),
        from: size(set),
        to,
        annotations: size_annotations(bounds),
    }
}

fn size_annotations(bounds: Bounds) -> Annotations {
    Annotations::from([
        (DESIRED.to_owned(), bounds.wanted.to_string()),
        (MAX.to_owned(), (bounds.wanted + bounds.surge).to_string()),
    ])
}

fn annotation<'a>(set: &'a ReplicaSet, key: &str) -> Option<&'a String> {
    set.metadata.annotations.as_ref()?.get(key)
}

fn revision_of(set: &ReplicaSet) -> i64 {
    annotation(set, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The present template's revision: one more than that of any other.
fn next_revision(view: &View<'_>) -> i64 {
    view.old.iter().map(|set| revision_of(set)).max().unwrap_or(0) + 1
}

/// Notes the revision where it is not noted yet, and copies the Deployment's annotations (such as
/// the change cause) to the set that runs it.
fn revise(deployment: &Deployment, view: &View<'_>) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut revision = next_revision(view);
    if let Some(new) = view.new {
        let noted = revision_of(new);
        let mut missing = missing_annotations(deployment, new);
        if noted < revision {
            if noted > 0 {
                let history = annotation(new, REVISION_HISTORY);
                let history = history.map_or(noted.to_string(), |past| format!("{past},{noted}"));
                missing.insert(REVISION_HISTORY.into(), history);
            }
            missing.insert(REVISION.into(), revision.to_string());
        } else {
            revision = noted;
        }
        if !missing.is_empty() {
            let set = name_of(&new.metadata).to_owned();
            actions.push(Action::Annotate { set, annotations: missing });
        }
    }
    let noted = deployment.metadata.annotations.as_ref().and_then(|all| all.get(REVISION));
    if noted != Some(&revision.to_string()) {
        actions.push(Action::SetRevision(revision.to_string()));
    }
    actions
}

fn copied_annotations(deployment: &Deployment) -> impl Iterator<Item = (&String, &String)> {
    let own = [REVISION, REVISION_HISTORY, DESIRED, MAX, LAST_APPLIED];
    let all = deployment.metadata.annotations.iter().flatten();
    all.filter(move |(key, _)| !own.contains(&key.as_str()))
}

fn missing_annotations(deployment: &Deployment, set: &ReplicaSet) -> Annotations {
    let missing =
        copied_annotations(deployment).filter(|(key, value)| annotation(set, key) != Some(*value));
    missing.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn new_set(
    deployment: &Deployment,
    spec: &DeploymentSpec,
    view: &View<'_>,
    bounds: Bounds,
) -> ReplicaSet {
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = template::hash(&spec.template, collisions.unwrap_or(0));
    let mut pod_template = spec.template.clone();
    let labels = pod_template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(template::HASH_LABEL.into(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector.clone();
    let wanted = selector.match_labels.get_or_insert_default();
    wanted.insert(template::HASH_LABEL.into(), hash.clone());

    let mut annotations = size_annotations(bounds);
    annotations.insert(REVISION.into(), next_revision(view).to_string());
    annotations
        .extend(copied_annotations(deployment).map(|(key, value)| (key.clone(), value.clone())));
    let mut set = ReplicaSet::default();
    set.metadata.name = Some(format!("{}-{hash}", name_of(&deployment.metadata)));
    set.metadata.namespace = deployment.metadata.namespace.clone();
    set.metadata.labels = Some(labels);
    set.metadata.annotations = Some(annotations);
    let room = (bounds.wanted + bounds.surge - view.pods()).clamp(0, bounds.wanted);
    set.spec = Some(ReplicaSetSpec {
        replicas: Some(room),
        min_ready_seconds: spec.min_ready_seconds,
        selector,
        template: Some(pod_template),
    });
    set
}

/// Whether the rollout is done: all pods are of the present template and serve.
pub(super) fn is_complete(deployment: &Deployment, view: &View<'_>) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let total: i32 = view.all().map(|set| actual(set)).sum();
    view.new.is_some_and(|new| {
        actual(new) == wanted && available(new) == wanted && total == wanted && size(new) == wanted
    })
}

/// Old sets beyond the history limit, oldest revisions first; never one that still has pods.
fn clean_up(spec: &DeploymentSpec, view: &View<'_>) -> Vec<Action> {
    let keep = usize::try_from(spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
    let stays = |set: &&&Arc<ReplicaSet>| set.metadata.deletion_timestamp.is_none();
    let kept: Vec<_> = view.old.iter().filter(stays).collect();
    let is_idle = |set: &&&&Arc<ReplicaSet>| size(set) == 0 && actual(set) == 0;
    let mut idle: Vec<_> = kept.iter().filter(is_idle).collect();
    idle.sort_by_key(|set| revision_of(set));
    let surplus = kept.len().saturating_sub(keep);
    let names = idle.into_iter().take(surplus).map(|set| name_of(&set.metadata).to_owned());
    names.map(Action::DeleteSet).collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
