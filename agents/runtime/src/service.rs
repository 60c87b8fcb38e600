//! The CRI services over a [`Backend`] and the [`Book`]. One method per call: look up, do, answer.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_cri::v1 as cri;
use k8s_cri::v1::image_service_server::ImageService;
use k8s_cri::v1::runtime_service_server::RuntimeService;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::backend::{Backend, BackendError, Start, Usage};
use crate::book::{Book, BookError};
use crate::images::{ImageError, ImageRecord};
use crate::logs::LogFile;
use crate::record::{ContainerRecord, Exit, Phase, new_id, now_nanos};

type Answer<T> = Result<Response<T>, Status>;

/// How long a killed container may take to be gone before the answer is given anyway.
const KILL_GRACE: Duration = Duration::from_secs(5);

/// A container that runs.
#[derive(Debug, Clone)]
struct Running {
    stop: CancellationToken,
    kill: CancellationToken,
    done: watch::Receiver<bool>,
    log: Arc<LogFile>,
    usage: Arc<Usage>,
}

/// Both CRI services of one runtime.
pub struct Service<B> {
    backend: B,
    book: Arc<Mutex<Book>>,
    running: Arc<Mutex<HashMap<String, Running>>>,
}

impl<B: Backend> Service<B> {
    /// A service with these books.
    pub fn new(backend: B, book: Book) -> Self {
        Self {
            backend,
            book: Arc::new(Mutex::new(book)),
            running: Arc::default(),
        }
    }

    /// The runtime's name.
    pub fn name(&self) -> &'static str {
        self.backend.name()
    }

    /// Kills every container, without waiting.
    pub fn kill_all(&self) {
        for running in self.running.lock().values() {
            running.kill.cancel();
        }
    }

    fn running(&self, id: &str) -> Option<Running> {
        self.running.lock().get(id).cloned()
    }

    fn find_image(&self, name: &str) -> Result<ImageRecord, Status> {
        let found = self.backend.find_image(name).map_err(image_status)?;
        found.ok_or_else(|| {
            let text = format!(
                "image {name:?} not found: import it first, the {} runtime pulls from no registry",
                self.name()
            );
            Status::not_found(text)
        })
    }

    /// Runs the started container's future to its end and writes down how it ended.
    fn watch_over(
        &self,
        id: String,
        start: Start,
        exit: futures::future::BoxFuture<'static, Exit>,
    ) {
        let kill = CancellationToken::new();
        let (tell_done, done) = watch::channel(false);
        let Start {
            log, stop, usage, ..
        } = start;
        let entry = Running {
            stop,
            kill: kill.clone(),
            done,
            log,
            usage,
        };
        self.running.lock().insert(id.clone(), entry);
        let (book, running) = (self.book.clone(), self.running.clone());
        let started_at = now_nanos();
        tokio::spawn(async move {
            let exit = tokio::select! {
                exit = exit => exit,
                () = kill.cancelled() => Exit::error(137, "killed"),
            };
            let phase = Phase::Exited {
                started_at,
                finished_at: now_nanos(),
                exit,
            };
            if let Err(error) = book.lock().set_phase(&id, phase) {
                tracing::error!(%error, container = id, "could not record the container's end");
            }
            running.lock().remove(&id);
            let _ = tell_done.send(true);
        });
    }

    /// Asks a container to end, waits, then kills. Gone or unknown is fine.
    async fn stop(&self, id: &str, grace: Duration) {
        let Some(mut running) = self.running(id) else {
            return;
        };
        running.stop.cancel();
        let late = tokio::time::timeout(grace, running.done.wait_for(|done| *done))
            .await
            .is_err();
        if late {
            running.kill.cancel();
            let _ = tokio::time::timeout(KILL_GRACE, running.done.wait_for(|done| *done)).await;
        }
    }

    async fn stop_all_of(&self, sandbox_id: &str) {
        let containers = self.book.lock().containers_of(sandbox_id);
        let stops = containers
            .iter()
            .map(|container| self.stop(&container.id, Duration::ZERO));
        futures::future::join_all(stops).await;
    }

    fn new_container(
        &self,
        request: cri::CreateContainerRequest,
    ) -> Result<ContainerRecord, Status> {
        let config = request
            .config
            .ok_or(BookError::Missing("container config"))?;
        if config.metadata.is_none() {
            return Err(BookError::Missing("container metadata").into());
        }
        let image_name = config
            .image
            .as_ref()
            .map_or("", |image| image.image.as_str());
        let image = self.find_image(image_name)?;
        let book = self.book.lock();
        let sandbox = book.sandbox(&request.pod_sandbox_id)?;
        let log_file = log_file(&sandbox.config.log_directory, &config.log_path);
        Ok(ContainerRecord {
            id: new_id(),
            sandbox_id: sandbox.id.clone(),
            config,
            image_ref: image.repo_digest(),
            image_id: image.id(),
            log_file,
            phase: Phase::Created,
            created_at: now_nanos(),
        })
    }

    fn new_start(&self, id: &str) -> Result<Start, Status> {
        let book = self.book.lock();
        let container = book.container(id)?.clone();
        if container.phase != Phase::Created {
            let text = format!("failed to start container {id:?}: it was started before");
            return Err(Status::failed_precondition(text));
        }
        let sandbox = book.sandbox(&container.sandbox_id)?.clone();
        let log = LogFile::open(container.log_file.as_deref()).map_err(|error| {
            Status::internal(format!("failed to open the container log: {error}"))
        })?;
        let (stop, usage) = (CancellationToken::new(), Arc::default());
        Ok(Start {
            sandbox,
            container,
            log: Arc::new(log),
            stop,
            usage,
        })
    }

    fn stats_of(&self, container: &ContainerRecord) -> cri::ContainerStats {
        let running = self.running(&container.id);
        let (cpu_nanos, memory) = running
            .map(|running| running.usage.read())
            .unwrap_or_default();
        let timestamp = now_nanos();
        let value = |value| Some(cri::UInt64Value { value });
        cri::ContainerStats {
            attributes: Some(container.attributes()),
            cpu: Some(cri::CpuUsage {
                timestamp,
                usage_core_nano_seconds: value(cpu_nanos),
                usage_nano_cores: None,
            }),
            memory: Some(cri::MemoryUsage {
                timestamp,
                working_set_bytes: value(memory),
                usage_bytes: value(memory),
                rss_bytes: value(memory),
                ..Default::default()
            }),
            writable_layer: None,
            swap: None,
        }
    }

    fn pod_stats_of(&self, id: &str) -> Result<cri::PodSandboxStats, Status> {
        let book = self.book.lock();
        let sandbox = book.sandbox(id)?.clone();
        let containers = book.containers_of(id);
        drop(book);
        let containers = containers
            .iter()
            .map(|container| self.stats_of(container))
            .collect();
        Ok(cri::PodSandboxStats {
            attributes: Some(cri::PodSandboxAttributes {
                id: sandbox.id,
                metadata: sandbox.config.metadata,
                labels: sandbox.config.labels,
                annotations: sandbox.config.annotations,
            }),
            linux: Some(cri::LinuxPodSandboxStats {
                containers,
                ..Default::default()
            }),
            windows: None,
        })
    }

    fn unavailable(&self, verb: &str) -> Status {
        Status::unimplemented(self.backend.no_streaming(verb))
    }
}

/// The log's path: none if either part is missing.
fn log_file(directory: &str, path: &str) -> Option<PathBuf> {
    let given = !directory.is_empty() && !path.is_empty();
    given.then(|| Path::new(directory).join(path))
}

/// An error with all its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = format!("failed to {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

fn image_status(error: ImageError) -> Status {
    match error {
        ImageError::BadReference(_) => Status::invalid_argument(chain(&error)),
        _ => Status::internal(chain(&error)),
    }
}

impl From<BookError> for Status {
    fn from(error: BookError) -> Self {
        let text = chain(&error);
        match error {
            BookError::NoSandbox(_) | BookError::NoContainer(_) => Status::not_found(text),
            BookError::SandboxExists(_) => Status::already_exists(text),
            BookError::Missing(_) => Status::invalid_argument(text),
            BookError::Address(_) => Status::failed_precondition(text),
            BookError::Io { .. } => Status::internal(text),
        }
    }
}

impl From<BackendError> for Status {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::BadImage { .. } => Status::invalid_argument(chain(&error)),
            BackendError::Start { .. } => Status::unknown(chain(&error)),
        }
    }
}

#[async_trait]
impl<B: Backend> RuntimeService for Service<B> {
    type GetContainerEventsStream =
        tokio_stream::Empty<Result<cri::ContainerEventResponse, Status>>;

    async fn version(&self, _: Request<cri::VersionRequest>) -> Answer<cri::VersionResponse> {
        Ok(Response::new(cri::VersionResponse {
            version: "0.1.0".to_string(),
            runtime_name: self.name().to_string(),
            runtime_version: env!("CARGO_PKG_VERSION").to_string(),
            runtime_api_version: "v1".to_string(),
        }))
    }

    async fn run_pod_sandbox(
        &self,
        request: Request<cri::RunPodSandboxRequest>,
    ) -> Answer<cri::RunPodSandboxResponse> {
        let request = request.into_inner();
        let config = request.config.ok_or(BookError::Missing("sandbox config"))?;
        let sandbox = self
            .book
            .lock()
            .add_sandbox(config, request.runtime_handler)?;
        Ok(Response::new(cri::RunPodSandboxResponse {
            pod_sandbox_id: sandbox.id,
        }))
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<cri::StopPodSandboxRequest>,
    ) -> Answer<cri::StopPodSandboxResponse> {
        let id = request.into_inner().pod_sandbox_id;
        self.stop_all_of(&id).await;
        self.book.lock().stop_sandbox(&id)?;
        Ok(Response::new(cri::StopPodSandboxResponse {}))
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<cri::RemovePodSandboxRequest>,
    ) -> Answer<cri::RemovePodSandboxResponse> {
        let id = request.into_inner().pod_sandbox_id;
        self.stop_all_of(&id).await;
        self.book.lock().remove_sandbox(&id)?;
        Ok(Response::new(cri::RemovePodSandboxResponse {}))
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<cri::PodSandboxStatusRequest>,
    ) -> Answer<cri::PodSandboxStatusResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let book = self.book.lock();
        let status = book.sandbox(&id)?.to_status();
        Ok(Response::new(cri::PodSandboxStatusResponse {
            status: Some(status),
            info: HashMap::new(),
            containers_statuses: Vec::new(),
            timestamp: now_nanos(),
        }))
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<cri::ListPodSandboxRequest>,
    ) -> Answer<cri::ListPodSandboxResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let book = self.book.lock();
        let found = book
            .sandboxes()
            .into_iter()
            .filter(|sandbox| sandbox.matches(&filter));
        let items = found.map(|sandbox| sandbox.to_item()).collect();
        Ok(Response::new(cri::ListPodSandboxResponse { items }))
    }

    async fn create_container(
        &self,
        request: Request<cri::CreateContainerRequest>,
    ) -> Answer<cri::CreateContainerResponse> {
        let container = self.new_container(request.into_inner())?;
        self.backend.prepare(&container).await?;
        let container_id = container.id.clone();
        self.book.lock().add_container(container)?;
        Ok(Response::new(cri::CreateContainerResponse { container_id }))
    }

    async fn start_container(
        &self,
        request: Request<cri::StartContainerRequest>,
    ) -> Answer<cri::StartContainerResponse> {
        let id = request.into_inner().container_id;
        let start = self.new_start(&id)?;
        let kept = Start {
            sandbox: start.sandbox.clone(),
            container: start.container.clone(),
            log: start.log.clone(),
            stop: start.stop.clone(),
            usage: start.usage.clone(),
        };
        let exit = self.backend.start(start).await?;
        self.book.lock().set_phase(
            &id,
            Phase::Running {
                started_at: now_nanos(),
            },
        )?;
        self.watch_over(id, kept, exit);
        Ok(Response::new(cri::StartContainerResponse {}))
    }

    async fn stop_container(
        &self,
        request: Request<cri::StopContainerRequest>,
    ) -> Answer<cri::StopContainerResponse> {
        let request = request.into_inner();
        self.book.lock().container(&request.container_id)?;
        let grace = Duration::from_secs(u64::try_from(request.timeout).unwrap_or(0));
        self.stop(&request.container_id, grace).await;
        Ok(Response::new(cri::StopContainerResponse {}))
    }

    async fn remove_container(
        &self,
        request: Request<cri::RemoveContainerRequest>,
    ) -> Answer<cri::RemoveContainerResponse> {
        let id = request.into_inner().container_id;
        self.stop(&id, Duration::ZERO).await;
        self.book.lock().remove_container(&id)?;
        Ok(Response::new(cri::RemoveContainerResponse {}))
    }

    async fn list_containers(
        &self,
        request: Request<cri::ListContainersRequest>,
    ) -> Answer<cri::ListContainersResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let book = self.book.lock();
        let found = book
            .containers()
            .into_iter()
            .filter(|container| container.matches(&filter));
        let containers = found.map(ContainerRecord::to_item).collect();
        Ok(Response::new(cri::ListContainersResponse { containers }))
    }

    async fn container_status(
        &self,
        request: Request<cri::ContainerStatusRequest>,
    ) -> Answer<cri::ContainerStatusResponse> {
        let id = request.into_inner().container_id;
        let status = Some(self.book.lock().container(&id)?.to_status());
        Ok(Response::new(cri::ContainerStatusResponse {
            status,
            info: HashMap::new(),
        }))
    }

    async fn update_container_resources(
        &self,
        _: Request<cri::UpdateContainerResourcesRequest>,
    ) -> Answer<cri::UpdateContainerResourcesResponse> {
        let text = format!("the {} runtime sets limits at the start only", self.name());
        Err(Status::unimplemented(text))
    }

    async fn reopen_container_log(
        &self,
        request: Request<cri::ReopenContainerLogRequest>,
    ) -> Answer<cri::ReopenContainerLogResponse> {
        let id = request.into_inner().container_id;
        self.book.lock().container(&id)?;
        let running = self.running(&id).ok_or_else(|| {
            Status::failed_precondition(format!("container {id:?} is not running"))
        })?;
        running
            .log
            .reopen()
            .map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(cri::ReopenContainerLogResponse {}))
    }

    async fn exec_sync(&self, _: Request<cri::ExecSyncRequest>) -> Answer<cri::ExecSyncResponse> {
        Err(self.unavailable("exec"))
    }

    async fn exec(&self, _: Request<cri::ExecRequest>) -> Answer<cri::ExecResponse> {
        Err(self.unavailable("exec"))
    }

    async fn attach(&self, _: Request<cri::AttachRequest>) -> Answer<cri::AttachResponse> {
        Err(self.unavailable("attach"))
    }

    async fn port_forward(
        &self,
        _: Request<cri::PortForwardRequest>,
    ) -> Answer<cri::PortForwardResponse> {
        Err(self.unavailable("port-forward"))
    }

    async fn container_stats(
        &self,
        request: Request<cri::ContainerStatsRequest>,
    ) -> Answer<cri::ContainerStatsResponse> {
        let container = self
            .book
            .lock()
            .container(&request.into_inner().container_id)?
            .clone();
        let stats = Some(self.stats_of(&container));
        Ok(Response::new(cri::ContainerStatsResponse { stats }))
    }

    async fn list_container_stats(
        &self,
        request: Request<cri::ListContainerStatsRequest>,
    ) -> Answer<cri::ListContainerStatsResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let filter = cri::ContainerFilter {
            id: filter.id,
            state: None,
            pod_sandbox_id: filter.pod_sandbox_id,
            label_selector: filter.label_selector,
        };
        let containers: Vec<_> = {
            let book = self.book.lock();
            let found = book
                .containers()
                .into_iter()
                .filter(|found| found.matches(&filter));
            found.cloned().collect()
        };
        let stats = containers
            .iter()
            .map(|container| self.stats_of(container))
            .collect();
        Ok(Response::new(cri::ListContainerStatsResponse { stats }))
    }

    async fn pod_sandbox_stats(
        &self,
        request: Request<cri::PodSandboxStatsRequest>,
    ) -> Answer<cri::PodSandboxStatsResponse> {
        let stats = Some(self.pod_stats_of(&request.into_inner().pod_sandbox_id)?);
        Ok(Response::new(cri::PodSandboxStatsResponse { stats }))
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<cri::ListPodSandboxStatsRequest>,
    ) -> Answer<cri::ListPodSandboxStatsResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let filter = cri::PodSandboxFilter {
            id: filter.id,
            state: None,
            label_selector: filter.label_selector,
        };
        let ids: Vec<_> = {
            let book = self.book.lock();
            let found = book
                .sandboxes()
                .into_iter()
                .filter(|found| found.matches(&filter));
            found.map(|sandbox| sandbox.id.clone()).collect()
        };
        let stats = ids
            .iter()
            .filter_map(|id| self.pod_stats_of(id).ok())
            .collect();
        Ok(Response::new(cri::ListPodSandboxStatsResponse { stats }))
    }

    async fn update_runtime_config(
        &self,
        request: Request<cri::UpdateRuntimeConfigRequest>,
    ) -> Answer<cri::UpdateRuntimeConfigResponse> {
        let config = request.into_inner().runtime_config.unwrap_or_default();
        let cidr = config
            .network_config
            .map(|network| network.pod_cidr)
            .unwrap_or_default();
        if !cidr.is_empty() {
            self.book.lock().set_cidr(&cidr)?;
        }
        Ok(Response::new(cri::UpdateRuntimeConfigResponse {}))
    }

    async fn status(&self, _: Request<cri::StatusRequest>) -> Answer<cri::StatusResponse> {
        let network = self.book.lock().network_ready();
        let condition = |kind: &str, status: bool, reason: &str, message: &str| {
            let (reason, message) = if status { ("", "") } else { (reason, message) };
            cri::RuntimeCondition {
                r#type: kind.to_string(),
                status,
                reason: reason.to_string(),
                message: message.to_string(),
            }
        };
        let missing = "the node has no pod CIDR yet";
        let conditions = vec![
            condition("RuntimeReady", true, "", ""),
            condition("NetworkReady", network, "NetworkPluginNotReady", missing),
        ];
        Ok(Response::new(cri::StatusResponse {
            status: Some(cri::RuntimeStatus { conditions }),
            ..Default::default()
        }))
    }

    async fn checkpoint_container(
        &self,
        _: Request<cri::CheckpointContainerRequest>,
    ) -> Answer<cri::CheckpointContainerResponse> {
        Err(self.unavailable("checkpoint"))
    }

    async fn get_container_events(
        &self,
        _: Request<cri::GetEventsRequest>,
    ) -> Answer<Self::GetContainerEventsStream> {
        Err(Status::unimplemented(
            "container events are not offered: poll",
        ))
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<cri::ListMetricDescriptorsRequest>,
    ) -> Answer<cri::ListMetricDescriptorsResponse> {
        Ok(Response::new(cri::ListMetricDescriptorsResponse::default()))
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<cri::ListPodSandboxMetricsRequest>,
    ) -> Answer<cri::ListPodSandboxMetricsResponse> {
        Ok(Response::new(cri::ListPodSandboxMetricsResponse::default()))
    }

    async fn runtime_config(
        &self,
        _: Request<cri::RuntimeConfigRequest>,
    ) -> Answer<cri::RuntimeConfigResponse> {
        Ok(Response::new(cri::RuntimeConfigResponse::default()))
    }
}

fn to_image(image: ImageRecord) -> cri::Image {
    cri::Image {
        id: image.id(),
        repo_digests: vec![image.repo_digest()],
        size: image.size,
        repo_tags: vec![image.reference],
        ..Default::default()
    }
}

fn image_name(spec: Option<cri::ImageSpec>) -> String {
    spec.map(|spec| spec.image).unwrap_or_default()
}

#[async_trait]
impl<B: Backend> ImageService for Service<B> {
    async fn list_images(
        &self,
        request: Request<cri::ListImagesRequest>,
    ) -> Answer<cri::ListImagesResponse> {
        let name = image_name(request.into_inner().filter.and_then(|filter| filter.image));
        let images = if name.is_empty() {
            self.backend.list_images().map_err(image_status)?
        } else {
            self.backend
                .find_image(&name)
                .map_err(image_status)?
                .into_iter()
                .collect()
        };
        let images = images.into_iter().map(to_image).collect();
        Ok(Response::new(cri::ListImagesResponse { images }))
    }

    async fn image_status(
        &self,
        request: Request<cri::ImageStatusRequest>,
    ) -> Answer<cri::ImageStatusResponse> {
        let name = image_name(request.into_inner().image);
        let image = self
            .backend
            .find_image(&name)
            .map_err(image_status)?
            .map(to_image);
        Ok(Response::new(cri::ImageStatusResponse {
            image,
            info: HashMap::new(),
        }))
    }

    async fn pull_image(
        &self,
        request: Request<cri::PullImageRequest>,
    ) -> Answer<cri::PullImageResponse> {
        let image_ref = self
            .find_image(&image_name(request.into_inner().image))?
            .repo_digest();
        Ok(Response::new(cri::PullImageResponse { image_ref }))
    }

    async fn remove_image(
        &self,
        request: Request<cri::RemoveImageRequest>,
    ) -> Answer<cri::RemoveImageResponse> {
        let name = image_name(request.into_inner().image);
        self.backend.remove_image(&name).map_err(image_status)?;
        Ok(Response::new(cri::RemoveImageResponse {}))
    }

    async fn image_fs_info(
        &self,
        _: Request<cri::ImageFsInfoRequest>,
    ) -> Answer<cri::ImageFsInfoResponse> {
        let (mountpoint, used) = self.backend.image_usage();
        let usage = cri::FilesystemUsage {
            timestamp: now_nanos(),
            fs_id: Some(cri::FilesystemIdentifier { mountpoint }),
            used_bytes: Some(cri::UInt64Value { value: used }),
            inodes_used: Some(cri::UInt64Value { value: 0 }),
        };
        let image_filesystems = vec![usage];
        Ok(Response::new(cri::ImageFsInfoResponse {
            image_filesystems,
            container_filesystems: vec![],
        }))
    }
}
