//! The CRI services over a [`Backend`] and the [`Book`]. One method per call: look up, do, answer.
//!
//! - [`runtime`]: sandboxes and containers.
//! - [`image`]: images, their status and their space.

mod image;
mod runtime;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_cri::v1 as cri;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status};

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
        Self { backend, book: Arc::new(Mutex::new(book)), running: Arc::default() }
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
        let Start { log, stop, usage, .. } = start;
        let entry = Running { stop, kill: kill.clone(), done, log, usage };
        self.running.lock().insert(id.clone(), entry);
        let (book, running) = (self.book.clone(), self.running.clone());
        let started_at = now_nanos();
        tokio::spawn(async move {
            let exit = tokio::select! {
                exit = exit => exit,
                () = kill.cancelled() => Exit::error(137, "killed"),
            };
            let phase = Phase::Exited { started_at, finished_at: now_nanos(), exit };
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
        let late = tokio::time::timeout(grace, running.done.wait_for(|done| *done)).await.is_err();
        if late {
            running.kill.cancel();
            let _ = tokio::time::timeout(KILL_GRACE, running.done.wait_for(|done| *done)).await;
        }
    }

    async fn stop_all_of(&self, sandbox_id: &str) {
        let containers = self.book.lock().containers_of(sandbox_id);
        let stops = containers.iter().map(|container| self.stop(&container.id, Duration::ZERO));
        futures::future::join_all(stops).await;
    }

    fn new_container(
        &self,
        request: cri::CreateContainerRequest,
    ) -> Result<ContainerRecord, Status> {
        let config = request.config.ok_or(BookError::Missing("container config"))?;
        if config.metadata.is_none() {
            return Err(BookError::Missing("container metadata").into());
        }
        let image_name = config.image.as_ref().map_or("", |image| image.image.as_str());
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
        Ok(Start { sandbox, container, log: Arc::new(log), stop, usage })
    }

    fn stats_of(&self, container: &ContainerRecord) -> cri::ContainerStats {
        let running = self.running(&container.id);
        let (cpu_nanos, memory) = running.map(|running| running.usage.read()).unwrap_or_default();
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
        let containers = containers.iter().map(|container| self.stats_of(container)).collect();
        Ok(cri::PodSandboxStats {
            attributes: Some(cri::PodSandboxAttributes {
                id: sandbox.id,
                metadata: sandbox.config.metadata,
                labels: sandbox.config.labels,
                annotations: sandbox.config.annotations,
            }),
            linux: Some(cri::LinuxPodSandboxStats { containers, ..Default::default() }),
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
