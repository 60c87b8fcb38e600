//! What the runtime says about one pod, in the kubelet's own words.

use jiff::Timestamp;
use k8s_cri::v1 as cri;

use crate::names;

/// A pod's sandboxes and containers, newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// Newest attempt first.
    pub sandboxes: Vec<Sandbox>,
    /// Newest attempt first.
    pub containers: Vec<Container>,
}

/// One sandbox of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Sandbox {
    /// The runtime's ID.
    pub id: String,
    /// Counts a pod's sandboxes from 0.
    pub attempt: u32,
    /// Whether its network stands.
    pub ready: bool,
    /// The pod's addresses; none on the host's network.
    pub addresses: Vec<String>,
}

/// One container of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// The runtime's ID.
    pub id: String,
    /// Its name in the pod.
    pub name: String,
    /// The sandbox it is in.
    pub sandbox_id: String,
    /// How often the container was started before.
    pub attempt: u32,
    /// The image as asked for.
    pub image: String,
    /// The image as found.
    pub image_ref: String,
    /// Where it writes its output.
    pub log_path: String,
    /// How far it got.
    pub state: State,
}

/// How far a container got.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Made but not started: the start failed, or the kubelet died between the two.
    Created,
    /// Runs.
    Running {
        /// Since when.
        started: Timestamp,
    },
    /// Ended.
    Exited(Exited),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Exited {
    /// When it started; `None` if it never did.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Timestamp,
    /// Its exit code.
    pub code: i32,
    /// One word.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl Observed {
    /// The newest sandbox.
    #[must_use]
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first()
    }

    /// The newest container of this name.
    #[must_use]
    pub fn latest(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// The newest container of this name in this sandbox.
    #[must_use]
    pub fn latest_in(&self, sandbox_id: &str, name: &str) -> Option<&Container> {
        let mut all = self.containers.iter();
        all.find(|container| container.name == name && container.sandbox_id == sandbox_id)
    }

    /// All containers that run.
    pub fn running(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|container| container.running())
    }
}

impl Container {
    /// Whether it runs.
    #[must_use]
    pub fn running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }
}

/// Reads a sandbox's status.
#[must_use]
pub fn sandbox(status: cri::PodSandboxStatus) -> Sandbox {
    let network = status.network.unwrap_or_default();
    let first = (!network.ip.is_empty()).then_some(network.ip);
    let more = network.additional_ips.into_iter().map(|ip| ip.ip);
    Sandbox {
        id: status.id,
        attempt: status.metadata.map_or(0, |metadata| metadata.attempt),
        ready: status.state == cri::PodSandboxState::SandboxReady as i32,
        addresses: first.into_iter().chain(more).collect(),
    }
}

/// Reads a container's status.
#[must_use]
pub fn container(sandbox_id: &str, status: cri::ContainerStatus) -> Container {
    let metadata = status.metadata.clone().unwrap_or_default();
    let attempt = status.annotations.get(names::RESTART_COUNT).and_then(|text| text.parse().ok());
    Container {
        name: status.labels.get(names::CONTAINER_NAME).cloned().unwrap_or(metadata.name),
        sandbox_id: sandbox_id.to_string(),
        attempt: attempt.unwrap_or(metadata.attempt),
        image: image_of(&status),
        image_ref: status.image_ref.clone(),
        log_path: status.log_path.clone(),
        state: state_of(&status),
        id: status.id,
    }
}

fn image_of(status: &cri::ContainerStatus) -> String {
    let image = status.image.as_ref();
    let asked =
        image.map(|image| image.user_specified_image.clone()).filter(|name| !name.is_empty());
    asked.or_else(|| image.map(|image| image.image.clone())).unwrap_or_default()
}

fn state_of(status: &cri::ContainerStatus) -> State {
    match status.state() {
        cri::ContainerState::ContainerCreated => State::Created,
        cri::ContainerState::ContainerRunning => {
            State::Running { started: time(status.started_at).unwrap_or(Timestamp::UNIX_EPOCH) }
        }
        cri::ContainerState::ContainerExited | cri::ContainerState::ContainerUnknown => {
            State::Exited(Exited {
                started: time(status.started_at),
                finished: time(status.finished_at).unwrap_or(Timestamp::UNIX_EPOCH),
                code: status.exit_code,
                reason: status.reason.clone(),
                message: status.message.clone(),
            })
        }
    }
}

/// CRI's nanoseconds since 1970; zero and less mean never. Cut to seconds: the API has no more.
fn time(nanos: i64) -> Option<Timestamp> {
    if nanos <= 0 {
        return None;
    }
    Timestamp::from_second(nanos / 1_000_000_000).ok()
}
