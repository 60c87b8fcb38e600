//! The client of a CRI runtime's socket: the calls a kubelet makes, with errors in one shape.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use k8s_cri::v1 as cri;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::names;
use crate::observed::{self, Observed};

/// A call that has no time of its own ends after this.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Longest answer, bytes: a list of thousands of containers.
const MOST_BYTES: usize = 16 << 20;

/// Why a runtime call failed. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum CriError {
    /// The endpoint is no unix socket.
    #[error("use the CRI endpoint {0:?}: want a path or unix:// and a path")]
    BadEndpoint(String),
    /// The runtime said no, or is not there.
    #[error("{call}: {}", status.message())]
    Call {
        /// What was asked.
        call: &'static str,
        /// What it answered.
        status: Box<Status>,
    },
    /// The runtime did not answer in time.
    #[error("{0}: no answer in time")]
    Timeout(&'static str),
}

impl CriError {
    /// What the runtime itself said.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            CriError::Call { status, .. } => status.message().to_string(),
            other => other.to_string(),
        }
    }

    /// Whether the runtime does not know what was asked about.
    #[must_use]
    pub fn not_found(&self) -> bool {
        matches!(self, CriError::Call { status, .. } if status.code() == Code::NotFound)
    }

    /// Whether the runtime has no such call.
    #[must_use]
    pub fn unimplemented(&self) -> bool {
        matches!(self, CriError::Call { status, .. } if status.code() == Code::Unimplemented)
    }
}

type Result<T> = std::result::Result<T, CriError>;

/// A runtime. Cheap to clone; connects when first used, and again when the runtime came back.
#[derive(Debug, Clone)]
pub struct Cri {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

async fn timed<T>(
    call: &'static str,
    timeout: Duration,
    answer: impl Future<Output = std::result::Result<tonic::Response<T>, Status>>,
) -> Result<T> {
    match tokio::time::timeout(timeout, answer).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(CriError::Call { call, status: Box::new(status) }),
        Err(_) => Err(CriError::Timeout(call)),
    }
}

impl Cri {
    /// A client of the runtime behind `endpoint`.
    ///
    /// # Errors
    /// The endpoint is no unix socket.
    pub fn new(endpoint: &str) -> Result<Self> {
        let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
        if !path.starts_with('/') {
            return Err(CriError::BadEndpoint(endpoint.to_string()));
        }
        let path = PathBuf::from(path);
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://cri");
        let channel = endpoint.connect_with_connector_lazy(connector);
        let runtime = RuntimeServiceClient::new(channel.clone());
        let images = ImageServiceClient::new(channel);
        Ok(Self {
            runtime: runtime.max_decoding_message_size(MOST_BYTES),
            images: images.max_decoding_message_size(MOST_BYTES),
        })
    }

    /// The runtime's name and version.
    ///
    /// # Errors
    /// The runtime is not there.
    pub async fn version(&self) -> Result<cri::VersionResponse> {
        let request = cri::VersionRequest { version: "0.1.0".to_string() };
        timed("Version", TIMEOUT, self.runtime.clone().version(request)).await
    }

    /// The runtime's conditions.
    ///
    /// # Errors
    /// The runtime is not there.
    pub async fn status(&self) -> Result<Vec<cri::RuntimeCondition>> {
        let request = cri::StatusRequest { verbose: false };
        let answer = timed("Status", TIMEOUT, self.runtime.clone().status(request)).await?;
        Ok(answer.status.unwrap_or_default().conditions)
    }

    /// Tells the runtime the node's pod CIDR.
    ///
    /// # Errors
    /// The runtime says no.
    pub async fn set_pod_cidr(&self, cidr: &str) -> Result<()> {
        let network_config = Some(cri::NetworkConfig { pod_cidr: cidr.to_string() });
        let runtime_config = Some(cri::RuntimeConfig { network_config });
        let request = cri::UpdateRuntimeConfigRequest { runtime_config };
        let mut client = self.runtime.clone();
        timed("UpdateRuntimeConfig", TIMEOUT, client.update_runtime_config(request)).await?;
        Ok(())
    }

    /// All sandboxes.
    ///
    /// # Errors
    /// The runtime says no.
    pub async fn sandboxes(&self, pod_uid: Option<&str>) -> Result<Vec<cri::PodSandbox>> {
        let label_selector = uid_selector(pod_uid);
        let filter = Some(cri::PodSandboxFilter { label_selector, ..Default::default() });
        let request = cri::ListPodSandboxRequest { filter };
        let mut client = self.runtime.clone();
        Ok(timed("ListPodSandbox", TIMEOUT, client.list_pod_sandbox(request)).await?.items)
    }

    /// All containers.
    ///
    /// # Errors
    /// The runtime says no.
    pub async fn containers(&self, pod_uid: Option<&str>) -> Result<Vec<cri::Container>> {
        self.containers_labelled(uid_selector(pod_uid)).await
    }

    /// Containers with all of these labels.
    ///
    /// # Errors
    /// The runtime says no.
    pub async fn containers_labelled(
        &self,
        label_selector: HashMap<String, String>,
    ) -> Result<Vec<cri::Container>> {
        let filter = Some(cri::ContainerFilter { label_selector, ..Default::default() });
        let request = cri::ListContainersRequest { filter };
        let mut client = self.runtime.clone();
        Ok(timed("ListContainers", TIMEOUT, client.list_containers(request)).await?.containers)
    }

    /// Everything about one pod. What goes away meanwhile is left out.
    ///
    /// # Errors
    /// The runtime says no.
    pub async fn observe(&self, pod_uid: &str) -> Result<Observed> {
        let mut seen = Observed::default();
        for item in self.sandboxes(Some(pod_uid)).await? {
            match self.sandbox_status(&item.id).await {
                Ok(status) => seen.sandboxes.push(observed::sandbox(status)),
                Err(error) if error.not_found() => {}
                Err(error) => return Err(error),
            }
        }
        for item in self.containers(Some(pod_uid)).await? {
            match self.container_status(&item.id).await {
                Ok(status) => {
                    seen.containers.push(observed::container(&item.pod_sandbox_id, status));
                }
                Err(error) if error.not_found() => {}
                Err(error) => return Err(error),
            }
        }
        seen.sandboxes.sort_by_key(|sandbox| std::cmp::Reverse(sandbox.attempt));
        seen.containers.sort_by_key(|container| std::cmp::Reverse(container.attempt));
        Ok(seen)
    }

    /// One sandbox's status.
    ///
    /// # Errors
    /// The runtime says no.
    pub async fn sandbox_status(&self, id: &str) -> Result<cri::PodSandboxStatus> {
        let request =
            cri::PodSandboxStatusRequest { pod_sandbox_id: id.to_string(), verbose: false };
        let mut client = self.runtime.clone();
        let answer = timed("PodSandboxStatus", TIMEOUT, client.pod_sandbox_status(request)).await?;
        Ok(answer.status.unwrap_or_default())
    }

    /// One container's status.
    ///
    /// # Errors
    /// The runtime says no.
    pub async fn container_status(&self, id: &str) -> Result<cri::ContainerStatus> {
        let request = cri::ContainerStatusRequest { container_id: id.to_string(), verbose: false };
        let mut client = self.runtime.clone();
        let answer = timed("ContainerStatus", TIMEOUT, client.container_status(request)).await?;
        Ok(answer.status.unwrap_or_default())
    }

    /// Makes a sandbox; the answer is its ID.
    ///
    /// # Errors
    /// The runtime says no.
    pub async fn run_sandbox(
        &self,
        config: cri::PodSandboxConfig,
        handler: &str,
    ) -> Result<String> {
        let runtime_handler = handler.to_string();
        let request = cri::RunPodSandboxRequest { config: Some(config), runtime_handler };
        let mut client = self.runtime.clone();
        let long = TIMEOUT * 2;
        Ok(timed("RunPodSandbox", long, client.run_pod_sandbox(request)).await?.pod_sandbox_id)
    }

    /// Stops a sandbox and all in it. One that is gone is fine.
    ///
    /// # Errors
    /// The runtime says no.
    pub async fn stop_sandbox(&self, id: &str) -> Result<()> {
        let request = cri::StopPodSandboxRequest { pod_sandbox_id: id.to_string() };
        let mut client = self.runtime.clone();
        gone_is_fine(timed("StopPodSandbox", TIMEOUT, client.stop_pod_sandbox(request)).await)
    }

    /// Removes a sandbox and all in it. One that is gone is fine.
    ///
    /// # Errors
    /// The runtime says no.
    pub async fn remove_sandbox(&self, id: &str) -> Result<()> {
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id.to_string() };
        let mut client = self.runtime.clone();
        gone_is_fine(timed("RemovePodSandbox", TIMEOUT, client.remove_pod_sandbox(request)).await)
    }

    /// Makes a container; the answer is its ID.
    ///
    /// # Errors
    /// The runtime says no.
    pub async fn create_container(
        &self,
        sandbox_id: &str,
        config: cri::ContainerConfig,
        sandbox_config: cri::PodSandboxConfig,
    ) -> Result<String> {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox_id.to_string(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        let mut client = self.runtime.clone();
        Ok(timed("CreateContainer", TIMEOUT, client.create_container(request)).await?.container_id)
    }

    /// Starts a container.
    ///
    /// # Errors
    /// The runtime says no.
    pub async fn start_container(&self, id: &str) -> Result<()> {
        let request = cri::StartContainerRequest { container_id: id.to_string() };
        timed("StartContainer", TIMEOUT, self.runtime.clone().start_container(request)).await?;
        Ok(())
    }

    /// Stops a container: asks, waits `grace_secs`, kills. One that is gone is fine.
    ///
    /// # Errors
    /// The runtime says no.
    pub async fn stop_container(&self, id: &str, grace_secs: i64) -> Result<()> {
        let request =
            cri::StopContainerRequest { container_id: id.to_string(), timeout: grace_secs };
        let grace = Duration::from_secs(u64::try_from(grace_secs).unwrap_or(0));
        let mut client = self.runtime.clone();
        gone_is_fine(timed("StopContainer", TIMEOUT + grace, client.stop_container(request)).await)
    }

    /// Removes a container. One that is gone is fine.
    ///
    /// # Errors
    /// The runtime says no.
    pub async fn remove_container(&self, id: &str) -> Result<()> {
        let request = cri::RemoveContainerRequest { container_id: id.to_string() };
        let mut client = self.runtime.clone();
        gone_is_fine(timed("RemoveContainer", TIMEOUT, client.remove_container(request)).await)
    }

    /// Runs a command in a container and waits for it: its exit code and output.
    ///
    /// # Errors
    /// The runtime says no, or the command takes longer than `timeout`.
    pub async fn exec_sync(
        &self,
        id: &str,
        cmd: &[String],
        timeout: Duration,
    ) -> Result<cri::ExecSyncResponse> {
        let request = cri::ExecSyncRequest {
            container_id: id.to_string(),
            cmd: cmd.to_vec(),
            timeout: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        };
        let patience = timeout + Duration::from_secs(5);
        timed("ExecSync", patience, self.runtime.clone().exec_sync(request)).await
    }

    /// The URL at which the runtime streams a command.
    ///
    /// # Errors
    /// The runtime says no.
    pub async fn exec(&self, request: cri::ExecRequest) -> Result<String> {
        Ok(timed("Exec", TIMEOUT, self.runtime.clone().exec(request)).await?.url)
    }

    /// The URL at which the runtime streams a container's own input and output.
    ///
    /// # Errors
    /// The runtime says no.
    pub async fn attach(&self, request: cri::AttachRequest) -> Result<String> {
        Ok(timed("Attach", TIMEOUT, self.runtime.clone().attach(request)).await?.url)
    }

    /// The URL at which the runtime forwards a pod's ports.
    ///
    /// # Errors
    /// The runtime says no.
    pub async fn port_forward(&self, sandbox_id: &str, port: Vec<i32>) -> Result<String> {
        let request = cri::PortForwardRequest { pod_sandbox_id: sandbox_id.to_string(), port };
        Ok(timed("PortForward", TIMEOUT, self.runtime.clone().port_forward(request)).await?.url)
    }

    /// What containers use.
    ///
    /// # Errors
    /// The runtime says no.
    pub async fn stats(&self) -> Result<Vec<cri::ContainerStats>> {
        let request = cri::ListContainerStatsRequest::default();
        let mut client = self.runtime.clone();
        Ok(timed("ListContainerStats", TIMEOUT, client.list_container_stats(request)).await?.stats)
    }

    /// The image that a reference means, if the runtime has it.
    ///
    /// # Errors
    /// The runtime says no.
    pub async fn image(&self, name: &str) -> Result<Option<cri::Image>> {
        let request = cri::ImageStatusRequest { image: Some(image_spec(name)), verbose: false };
        Ok(timed("ImageStatus", TIMEOUT, self.images.clone().image_status(request)).await?.image)
    }

    /// All images the runtime has.
    ///
    /// # Errors
    /// The runtime says no.
    pub async fn images(&self) -> Result<Vec<cri::Image>> {
        let request = cri::ListImagesRequest::default();
        Ok(timed("ListImages", TIMEOUT, self.images.clone().list_images(request)).await?.images)
    }

    /// Pulls an image; the answer is its reference for a container.
    ///
    /// # Errors
    /// The runtime says no. There is no timeout but an hour's.
    pub async fn pull(&self, name: &str, auth: Option<cri::AuthConfig>) -> Result<String> {
        let image = Some(image_spec(name));
        let request = cri::PullImageRequest { image, auth, sandbox_config: None };
        let hour = Duration::from_secs(3600);
        Ok(timed("PullImage", hour, self.images.clone().pull_image(request)).await?.image_ref)
    }
}

fn gone_is_fine<T>(answer: Result<T>) -> Result<()> {
    match answer {
        Err(error) if !error.not_found() => Err(error),
        _ => Ok(()),
    }
}

fn uid_selector(pod_uid: Option<&str>) -> HashMap<String, String> {
    pod_uid.map(|uid| (names::POD_UID.to_string(), uid.to_string())).into_iter().collect()
}

fn image_spec(name: &str) -> cri::ImageSpec {
    cri::ImageSpec { image: name.to_string(), ..Default::default() }
}
