//! A decision with its reasons, as it is stored with the binding and printed by `explain`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::kinds::TargetCluster;

/// Why a binding is where it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Decision {
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The digest of everything that went into it: unchanged inputs are not decided again.
    pub inputs: String,
    /// `Success`, `NoClusterFit`, `Unschedulable` or `SchedulerError`.
    pub outcome: String,
    /// What `outcome` means here.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The affinity group that was used, if the placement has several.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub affinity: String,
    /// How replicas were divided.
    pub strategy: String,
    /// How many there were to divide.
    pub replicas: i32,
    /// Where the replicas were before, if this decision moved them and changed nothing else.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub moved_from: Vec<TargetCluster>,
    /// The component that judged the clusters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<DecidedBy>,
    /// What was found out about each cluster.
    pub clusters: Vec<ClusterVerdict>,
}

/// A component that decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DecidedBy {
    /// Its name.
    pub name: String,
    /// The digest of its bytes.
    pub digest: String,
    /// Which load of it.
    pub generation: u64,
}

/// What was found out about one cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterVerdict {
    /// The cluster.
    pub name: String,
    /// What each filter said, in the order in which they were asked.
    pub filters: Vec<FilterVerdict>,
    /// What each scorer gave, 0 to 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<Score>,
    /// Its weight in the division.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<i64>,
    /// How many more replicas it had room for, if it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available: Option<i64>,
    /// Whether it was chosen.
    pub chosen: bool,
    /// The replicas that it got.
    pub replicas: i32,
}

impl ClusterVerdict {
    /// Whether every filter let it pass.
    pub fn fits(&self) -> bool {
        self.filters.iter().all(|f| f.passed)
    }

    /// The sum of its scores.
    pub fn score(&self) -> i64 {
        self.scores.iter().map(|s| i64::from(s.points)).sum()
    }

    /// Records a filter's word.
    pub fn judge(&mut self, filter: &str, objection: Option<String>) {
        self.filters.push(FilterVerdict {
            filter: filter.into(),
            passed: objection.is_none(),
            reason: objection.unwrap_or_default(),
        });
    }
}

/// What one filter said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FilterVerdict {
    /// The filter.
    pub filter: String,
    /// Whether it let the cluster pass.
    pub passed: bool,
    /// Why not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What one scorer gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Score {
    /// The scorer.
    pub scorer: String,
    /// 0 to 100.
    pub points: u8,
}
