//! How far a namespace's emptying is, as its conditions tell it.

use std::collections::BTreeMap;

use hansa_api::k8s_openapi::api::core::v1::NamespaceCondition;
use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use hansa_api::k8s_openapi::jiff::Timestamp;

/// What one look at a namespace found.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Group versions whose API servers do not answer.
    pub(super) silent: Vec<String>,
    /// Why something could not be deleted.
    pub(super) failures: Vec<String>,
    /// How many objects are left, by `plural.group`.
    pub(super) left: BTreeMap<String, i64>,
    /// How many objects wait for a finalizer, by its name.
    pub(super) finalizers: BTreeMap<String, i64>,
}

/// A condition: its type, and reason and message while nothing is wrong.
type Healthy = (&'static str, &'static str, &'static str);

const DISCOVERY: Healthy = (
    "NamespaceDeletionDiscoveryFailure",
    "ResourcesDiscovered",
    "All resources successfully discovered",
);
const PARSING: Healthy = (
    "NamespaceDeletionGroupVersionParsingFailure",
    "ParsedGroupVersions",
    "All legacy kube types successfully parsed",
);
const DELETION: Healthy = (
    "NamespaceDeletionContentFailure",
    "ContentDeleted",
    "All content successfully deleted, may be waiting on finalization",
);
const CONTENT: Healthy =
    ("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed");
const FINALIZERS: Healthy = (
    "NamespaceFinalizersRemaining",
    "ContentHasNoFinalizers",
    "All content-preserving finalizers finished",
);

impl Progress {
    /// Whether the namespace can go.
    pub(super) fn is_done(&self) -> bool {
        self.silent.is_empty() && self.failures.is_empty() && self.left.is_empty()
    }

    /// What went wrong, for the log; none if things only take their time.
    pub(super) fn trouble(&self) -> Option<String> {
        let trouble = [self.discovery(), self.deletion()].into_iter().flatten();
        let texts: Vec<_> = trouble.map(|(_, message)| message).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    fn discovery(&self) -> Option<(&'static str, String)> {
        let stale =
            |version: &String| format!("{version}: stale GroupVersion discovery: {version}");
        let all: Vec<_> = self.silent.iter().map(stale).collect();
        let message = format!(
            "Discovery failed for some groups, {} failing: unable to retrieve the complete list of \
             server APIs: {}",
            all.len(),
            all.join(", ")
        );
        (!all.is_empty()).then_some(("DiscoveryFailed", message))
    }

    fn deletion(&self) -> Option<(&'static str, String)> {
        let mut all = self.failures.clone();
        all.sort();
        let message = format!(
            "Failed to delete all resource types, {} remaining: {}",
            all.len(),
            all.join(", ")
        );
        (!all.is_empty()).then_some(("ContentDeletionFailed", message))
    }

    fn content(&self) -> Option<(&'static str, String)> {
        let each =
            |(kind, count): (&String, &i64)| format!("{kind} has {count} resource instances");
        let all: Vec<_> = self.left.iter().map(each).collect();
        let message = format!("Some resources are remaining: {}", all.join(", "));
        (!all.is_empty()).then_some(("SomeResourcesRemain", message))
    }

    fn waiting(&self) -> Option<(&'static str, String)> {
        let each = |(name, count): (&String, &i64)| format!("{name} in {count} resource instances");
        let all: Vec<_> = self.finalizers.iter().map(each).collect();
        let message =
            format!("Some content in the namespace has finalizers remaining: {}", all.join(", "));
        (!all.is_empty()).then_some(("SomeFinalizersRemain", message))
    }

    /// The conditions after this look, the others as they were; `None` if they say so already.
    pub(super) fn conditions(
        &self,
        before: &[NamespaceCondition],
        now: Timestamp,
    ) -> Option<Vec<NamespaceCondition>> {
        let mut after = before.to_vec();
        let found = [
            (DISCOVERY, self.discovery()),
            (PARSING, None),
            (DELETION, self.deletion()),
            (CONTENT, self.content()),
            (FINALIZERS, self.waiting()),
        ];
        for (healthy, trouble) in found {
            set(&mut after, condition(healthy, trouble, now));
        }
        (after != before).then_some(after)
    }
}

fn condition(
    (kind, reason, message): Healthy,
    trouble: Option<(&'static str, String)>,
    now: Timestamp,
) -> NamespaceCondition {
    let status = if trouble.is_some() { "True" } else { "False" };
    let (reason, message) = trouble.unwrap_or_else(|| (reason, message.to_owned()));
    NamespaceCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_transition_time: Some(Time(now)),
    }
}

/// A condition that keeps its status keeps its time, too.
fn set(all: &mut Vec<NamespaceCondition>, mut condition: NamespaceCondition) {
    match all.iter_mut().find(|old| old.type_ == condition.type_) {
        None => all.push(condition),
        Some(old) => {
            if old.status == condition.status {
                condition.last_transition_time = old.last_transition_time.take();
            }
            *old = condition;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn find<'a>(all: &'a [NamespaceCondition], kind: &str) -> &'a NamespaceCondition {
        all.iter().find(|condition| condition.type_ == kind).unwrap()
    }

    #[test]
    fn conditions_name_what_is_left_and_keep_their_times() {
        let mut progress = Progress::default();
        progress.left.insert("pods.".into(), 2);
        progress.finalizers.insert("a.io/b".into(), 1);
        assert!(!progress.is_done() && progress.trouble().is_none());
        let first = progress.conditions(&[], at(1)).unwrap();
        let content = find(&first, "NamespaceContentRemaining");
        let message = content.message.as_deref();
        assert_eq!(content.status, "True");
        assert_eq!(message, Some("Some resources are remaining: pods. has 2 resource instances"));
        let deletion = find(&first, "NamespaceDeletionContentFailure");
        assert_eq!(
            (&*deletion.status, deletion.reason.as_deref()),
            ("False", Some("ContentDeleted"))
        );
        assert_eq!(progress.conditions(&first, at(2)), None, "nothing new, nothing to write");
        progress.left.insert("pods.".into(), 1);
        let second = progress.conditions(&first, at(3)).unwrap();
        let content = find(&second, "NamespaceContentRemaining");
        assert_eq!(content.last_transition_time, Some(Time(at(1))), "still True");
        let done = Progress::default();
        let third = done.conditions(&second, at(4)).unwrap();
        let content = find(&third, "NamespaceContentRemaining");
        assert_eq!(content.last_transition_time, Some(Time(at(4))));
        assert_eq!((third.len(), done.is_done()), (5, true));
    }

    #[test]
    fn a_silent_api_server_keeps_the_namespace() {
        let progress = Progress { silent: vec!["a.io/v1".into()], ..Progress::default() };
        assert!(!progress.is_done());
        let conditions = progress.conditions(&[], at(1)).unwrap();
        let discovery = find(&conditions, "NamespaceDeletionDiscoveryFailure");
        assert_eq!(
            discovery.message.as_deref(),
            Some(
                "Discovery failed for some groups, 1 failing: unable to retrieve the complete list \
                 of server APIs: a.io/v1: stale GroupVersion discovery: a.io/v1"
            )
        );
    }
}
