//! Names that a kubelet and others agree on: labels and annotations on sandboxes and containers
//! (so that `crictl` and collectors read ours as any kubelet's), and where things lie on disk.

use std::path::{Path, PathBuf};

use hansa_api::k8s_openapi::api::core::v1::Pod;

/// Label: the pod's name.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// Label: the pod's namespace.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Label: the pod's UID.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// Label: the container's name.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Annotation: how often the container was started before.
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// Annotation: the container's ports as JSON.
pub const PORTS: &str = "io.kubernetes.container.ports";
/// Annotation: where in the container its last words are.
pub const TERMINATION_MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
/// Annotation: whether the log stands in for missing last words.
pub const TERMINATION_MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
/// Annotation: how long the pod may take to end, seconds.
pub const GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";
/// Annotation on pods that came from a file on a node, which are not ours to run.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

/// The folders of one kubelet.
#[derive(Debug, Clone)]
pub struct Folders {
    root: PathBuf,
}

impl Folders {
    /// Folders under the kubelet's root.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    /// The root itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All pods.
    #[must_use]
    pub fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    /// One pod.
    #[must_use]
    pub fn pod(&self, uid: &str) -> PathBuf {
        self.pods().join(uid)
    }

    /// One volume of a pod; `plugin` such as `empty-dir`.
    #[must_use]
    pub fn volume(&self, uid: &str, plugin: &str, name: &str) -> PathBuf {
        let plugin = format!("kubernetes.io~{plugin}");
        self.pod(uid).join("volumes").join(plugin).join(name)
    }

    /// The pod's `/etc/hosts`.
    #[must_use]
    pub fn hosts(&self, uid: &str) -> PathBuf {
        self.pod(uid).join("etc-hosts")
    }

    /// Where a container leaves its last words.
    #[must_use]
    pub fn termination_log(&self, uid: &str, container: &str, attempt: u32) -> PathBuf {
        self.pod(uid).join("containers").join(container).join(attempt.to_string())
    }

    /// The folder of a pod's logs.
    #[must_use]
    pub fn logs(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.root.join("logs").join(format!("{namespace}_{name}_{uid}"))
    }
}

/// A container's log below its pod's folder.
#[must_use]
pub fn log_path(container: &str, attempt: u32) -> String {
    format!("{container}/{attempt}.log")
}

/// A pod's namespace, name and UID; missing parts are empty.
#[must_use]
pub fn identity(pod: &Pod) -> (&str, &str, &str) {
    let meta = &pod.metadata;
    (
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default(),
        meta.uid.as_deref().unwrap_or_default(),
    )
}
