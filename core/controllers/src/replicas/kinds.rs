//! The two kinds that replicate pods, in one shape.

use std::fmt::Debug;

use hansa_api::k8s_openapi::NamespaceResourceScope;
use hansa_api::k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use hansa_api::k8s_openapi::api::core::v1::{
    PodTemplateSpec, ReplicationController, ReplicationControllerStatus,
};
use hansa_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use hansa_client::kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What the controller needs of a kind that replicates pods.
pub(crate) trait Replicated:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Pods wanted.
    fn replicas(&self) -> usize;
    /// Which pods count; `None` selects nothing.
    fn selector(&self) -> Option<LabelSelector>;
    /// What a new pod looks like.
    fn template(&self) -> PodTemplateSpec;
    /// Seconds that a pod must serve before it is available.
    fn min_ready_secs(&self) -> i32;
    /// The status as it stands.
    fn counts(&self) -> Counts;
    /// The object with another status.
    fn with_counts(&self, counts: &Counts) -> Self;
}

/// A status, without what is particular to one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(super) replicas: i32,
    pub(super) fully_labeled: i32,
    pub(super) ready: i32,
    pub(super) available: i32,
    pub(super) terminating: i32,
    pub(super) observed_generation: i64,
    pub(super) failure: Option<Trouble>,
}

/// Why pods could not be created or deleted: what the condition ReplicaFailure says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) since: Option<Time>,
}

/// Reads and writes the condition ReplicaFailure among those of a kind.
macro_rules! conditions {
    ($name:ident, $condition:path) => {
        mod $name {
            use $condition as Condition;

            use super::Trouble;

            const REPLICA_FAILURE: &str = "ReplicaFailure";

            pub(super) fn failure(all: Option<&[Condition]>) -> Option<Trouble> {
                let holds = |one: &&Condition| one.type_ == REPLICA_FAILURE && one.status == "True";
                let found = all.unwrap_or_default().iter().find(holds)?;
                Some(Trouble {
                    reason: found.reason.clone().unwrap_or_default(),
                    message: found.message.clone().unwrap_or_default(),
                    since: found.last_transition_time.clone(),
                })
            }

            pub(super) fn with_failure(
                all: Option<Vec<Condition>>,
                failure: Option<&Trouble>,
            ) -> Option<Vec<Condition>> {
                let mut all = all.unwrap_or_default();
                all.retain(|one| one.type_ != REPLICA_FAILURE);
                all.extend(failure.map(|failure| Condition {
                    type_: REPLICA_FAILURE.into(),
                    status: "True".into(),
                    reason: Some(failure.reason.clone()),
                    message: Some(failure.message.clone()),
                    last_transition_time: failure.since.clone(),
                }));
                (!all.is_empty()).then_some(all)
            }
        }
    };
}

conditions!(set_conditions, hansa_api::k8s_openapi::api::apps::v1::ReplicaSetCondition);
conditions!(
    controller_conditions,
    hansa_api::k8s_openapi::api::core::v1::ReplicationControllerCondition
);

fn at_least_zero(count: Option<i32>, default: i32) -> usize {
    usize::try_from(count.unwrap_or(default)).unwrap_or(0)
}

impl Replicated for ReplicaSet {
    fn replicas(&self) -> usize {
        at_least_zero(self.spec.as_ref().and_then(|spec| spec.replicas), 1)
    }
    fn selector(&self) -> Option<LabelSelector> {
        self.spec.as_ref().map(|spec| spec.selector.clone())
    }
    fn template(&self) -> PodTemplateSpec {
        self.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default()
    }
    fn min_ready_secs(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }
    fn counts(&self) -> Counts {
        let status = self.status.clone().unwrap_or_default();
        Counts {
            replicas: status.replicas,
            fully_labeled: status.fully_labeled_replicas.unwrap_or(0),
            ready: status.ready_replicas.unwrap_or(0),
            available: status.available_replicas.unwrap_or(0),
            terminating: status.terminating_replicas.unwrap_or(0),
            observed_generation: status.observed_generation.unwrap_or(0),
            failure: set_conditions::failure(status.conditions.as_deref()),
        }
    }
    fn with_counts(&self, counts: &Counts) -> Self {
        let conditions = self.status.as_ref().and_then(|status| status.conditions.clone());
        let status = ReplicaSetStatus {
            replicas: counts.replicas,
            fully_labeled_replicas: Some(counts.fully_labeled),
            ready_replicas: Some(counts.ready),
            available_replicas: Some(counts.available),
            terminating_replicas: Some(counts.terminating),
            observed_generation: Some(counts.observed_generation),
            conditions: set_conditions::with_failure(conditions, counts.failure.as_ref()),
        };
        Self { status: Some(status), ..self.clone() }
    }
}

impl Replicated for ReplicationController {
    fn replicas(&self) -> usize {
        at_least_zero(self.spec.as_ref().and_then(|spec| spec.replicas), 1)
    }
    fn selector(&self) -> Option<LabelSelector> {
        let labels = self.spec.as_ref()?.selector.clone()?;
        (!labels.is_empty())
            .then_some(LabelSelector { match_labels: Some(labels), match_expressions: None })
    }
    fn template(&self) -> PodTemplateSpec {
        self.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default()
    }
    fn min_ready_secs(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }
    fn counts(&self) -> Counts {
        let status = self.status.clone().unwrap_or_default();
        Counts {
            replicas: status.replicas,
            fully_labeled: status.fully_labeled_replicas.unwrap_or(0),
            ready: status.ready_replicas.unwrap_or(0),
            available: status.available_replicas.unwrap_or(0),
            terminating: 0,
            observed_generation: status.observed_generation.unwrap_or(0),
            failure: controller_conditions::failure(status.conditions.as_deref()),
        }
    }
    fn with_counts(&self, counts: &Counts) -> Self {
        let conditions = self.status.as_ref().and_then(|status| status.conditions.clone());
        let status = ReplicationControllerStatus {
            replicas: counts.replicas,
            fully_labeled_replicas: Some(counts.fully_labeled),
            ready_replicas: Some(counts.ready),
            available_replicas: Some(counts.available),
            observed_generation: Some(counts.observed_generation),
            conditions: controller_conditions::with_failure(conditions, counts.failure.as_ref()),
        };
        Self { status: Some(status), ..self.clone() }
    }
}
