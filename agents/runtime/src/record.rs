//! What is remembered of a sandbox and of a container, and how CRI shows it.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use k8s_cri::v1 as cri;
use serde::{Deserialize, Serialize};

/// A pod's sandbox: its identity and its address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SandboxRecord {
    /// 64 hexadecimal digits.
    pub id: String,
    /// As the kubelet gave it.
    pub config: cri::PodSandboxConfig,
    /// The runtime handler asked for; empty for the default.
    pub handler: String,
    /// Ready until stopped.
    pub ready: bool,
    /// The pod's address; none on the host's network.
    pub address: Option<Ipv4Addr>,
    /// Nanoseconds since 1970.
    pub created_at: i64,
}

/// A container in a sandbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The sandbox it belongs to.
    pub sandbox_id: String,
    /// As the kubelet gave it.
    pub config: cri::ContainerConfig,
    /// The image's digest form, as CRI's `image_ref`.
    pub image_ref: String,
    /// The image's ID.
    pub image_id: String,
    /// Where its output goes; none if the kubelet wants none.
    pub log_file: Option<PathBuf>,
    /// How far it got.
    pub phase: Phase,
    /// Nanoseconds since 1970.
    pub created_at: i64,
}

/// How far a container got: Created → Running → Exited, never back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Made, not started.
    Created,
    /// Started, has not ended.
    Running {
        /// Nanoseconds since 1970.
        started_at: i64,
    },
    /// Ended, whether it ran or not.
    Exited {
        /// Nanoseconds since 1970; 0 if it never ran.
        started_at: i64,
        /// Nanoseconds since 1970.
        finished_at: i64,
        /// How it ended.
        exit: Exit,
    },
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// 0 is success; 137 killed; 143 asked to stop.
    pub code: i32,
    /// One CamelCase word: Completed, Error, OOMKilled, ContainerStatusUnknown.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl Exit {
    /// Ended by itself with a code.
    #[must_use]
    pub fn code(code: i32) -> Self {
        let reason = if code == 0 { "Completed" } else { "Error" };
        Self { code, reason: reason.to_string(), message: String::new() }
    }

    /// Ended by something that needs words.
    #[must_use]
    pub fn error(code: i32, message: impl Into<String>) -> Self {
        Self { code, reason: "Error".to_string(), message: message.into() }
    }
}

/// Nanoseconds since 1970, CRI's clock.
#[must_use]
pub fn now_nanos() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// A fresh sandbox or container ID.
#[must_use]
pub fn new_id() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

impl SandboxRecord {
    fn state(&self) -> cri::PodSandboxState {
        if self.ready {
            cri::PodSandboxState::SandboxReady
        } else {
            cri::PodSandboxState::SandboxNotready
        }
    }

    /// Whether the pod asked for the host's network.
    #[must_use]
    pub fn host_network(config: &cri::PodSandboxConfig) -> bool {
        let linux = config.linux.as_ref();
        let options = linux
            .and_then(|linux| linux.security_context.as_ref())
            .and_then(|context| context.namespace_options.as_ref());
        options.is_some_and(|options| options.network == cri::NamespaceMode::Node as i32)
    }

    /// The entry of ListPodSandbox.
    #[must_use]
    pub fn to_item(&self) -> cri::PodSandbox {
        cri::PodSandbox {
            id: self.id.clone(),
            metadata: self.config.metadata.clone(),
            state: self.state() as i32,
            created_at: self.created_at,
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            runtime_handler: self.handler.clone(),
        }
    }

    /// The answer of PodSandboxStatus.
    #[must_use]
    pub fn to_status(&self) -> cri::PodSandboxStatus {
        let ip = self.address.map(|address| address.to_string()).unwrap_or_default();
        cri::PodSandboxStatus {
            id: self.id.clone(),
            metadata: self.config.metadata.clone(),
            state: self.state() as i32,
            created_at: self.created_at,
            network: Some(cri::PodSandboxNetworkStatus { ip, additional_ips: Vec::new() }),
            linux: None,
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            runtime_handler: self.handler.clone(),
        }
    }

    /// Whether ListPodSandbox's filter lets it through.
    #[must_use]
    pub fn matches(&self, filter: &cri::PodSandboxFilter) -> bool {
        let state = filter.state.as_ref().is_none_or(|want| want.state == self.state() as i32);
        state
            && id_matches(&filter.id, &self.id)
            && labels_match(&filter.label_selector, &self.config.labels)
    }
}

impl ContainerRecord {
    /// The state as CRI numbers it.
    #[must_use]
    pub fn state(&self) -> cri::ContainerState {
        match self.phase {
            Phase::Created => cri::ContainerState::ContainerCreated,
            Phase::Running { .. } => cri::ContainerState::ContainerRunning,
            Phase::Exited { .. } => cri::ContainerState::ContainerExited,
        }
    }

    /// The entry of ListContainers.
    #[must_use]
    pub fn to_item(&self) -> cri::Container {
        cri::Container {
            id: self.id.clone(),
            pod_sandbox_id: self.sandbox_id.clone(),
            metadata: self.config.metadata.clone(),
            image: self.config.image.clone(),
            image_ref: self.image_ref.clone(),
            state: self.state() as i32,
            created_at: self.created_at,
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            image_id: self.image_id.clone(),
        }
    }

    /// The answer of ContainerStatus.
    #[must_use]
    pub fn to_status(&self) -> cri::ContainerStatus {
        let (started_at, finished_at, exit) = match &self.phase {
            Phase::Created => (0, 0, None),
            Phase::Running { started_at } => (*started_at, 0, None),
            Phase::Exited { started_at, finished_at, exit } => {
                (*started_at, *finished_at, Some(exit.clone()))
            }
        };
        let exit = exit.unwrap_or(Exit { code: 0, reason: String::new(), message: String::new() });
        let log_file = self.log_file.as_ref();
        cri::ContainerStatus {
            id: self.id.clone(),
            metadata: self.config.metadata.clone(),
            state: self.state() as i32,
            created_at: self.created_at,
            started_at,
            finished_at,
            exit_code: exit.code,
            image: self.config.image.clone(),
            image_ref: self.image_ref.clone(),
            reason: exit.reason,
            message: exit.message,
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            mounts: self.config.mounts.clone(),
            log_path: log_file.map(|path| path.display().to_string()).unwrap_or_default(),
            resources: None,
            image_id: self.image_id.clone(),
            user: None,
        }
    }

    /// Whether ListContainers' filter lets it through.
    #[must_use]
    pub fn matches(&self, filter: &cri::ContainerFilter) -> bool {
        let state = filter.state.as_ref().is_none_or(|want| want.state == self.state() as i32);
        state
            && id_matches(&filter.id, &self.id)
            && id_matches(&filter.pod_sandbox_id, &self.sandbox_id)
            && labels_match(&filter.label_selector, &self.config.labels)
    }

    /// Who it is, for statistics.
    #[must_use]
    pub fn attributes(&self) -> cri::ContainerAttributes {
        cri::ContainerAttributes {
            id: self.id.clone(),
            metadata: self.config.metadata.clone(),
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
        }
    }
}

/// An empty filter matches all; otherwise a prefix of the ID does, as in other runtimes.
fn id_matches(filter: &str, id: &str) -> bool {
    id.starts_with(filter)
}

fn labels_match(want: &HashMap<String, String>, have: &HashMap<String, String>) -> bool {
    want.iter().all(|(key, value)| have.get(key) == Some(value))
}

#[cfg(test)]
pub(crate) fn sample_container(id: &str, sandbox_id: &str) -> ContainerRecord {
    ContainerRecord {
        id: id.to_string(),
        sandbox_id: sandbox_id.to_string(),
        config: cri::ContainerConfig::default(),
        image_ref: String::new(),
        image_id: String::new(),
        log_file: None,
        phase: Phase::Created,
        created_at: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_needs_every_part_to_match() {
        let mut record = sample_container("abcdef", "s1");
        record.config.labels.insert("app".to_string(), "web".to_string());
        let by_label = |value: &str| cri::ContainerFilter {
            pod_sandbox_id: "s1".to_string(),
            label_selector: [("app".to_string(), value.to_string())].into(),
            ..Default::default()
        };
        assert!(record.matches(&cri::ContainerFilter::default()));
        assert!(record.matches(&by_label("web")));
        assert!(!record.matches(&by_label("db")));
        let running = cri::ContainerState::ContainerRunning as i32;
        let state = Some(cri::ContainerStateValue { state: running });
        assert!(!record.matches(&cri::ContainerFilter { state, ..Default::default() }));
    }
}
