//! What a runtime must know besides keeping books: which images there are, and what it means to
//! run a container.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::images::{ImageError, ImageRecord};
use crate::logs::LogFile;
use crate::record::{ContainerRecord, Exit, SandboxRecord};

/// Why a container could not be made or started. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The image cannot be run as it is.
    #[error("use image {image}: {why}")]
    BadImage {
        /// The image's reference.
        image: String,
        /// What is wrong, for the person who made it.
        why: String,
    },
    /// The container cannot be started here and now.
    #[error("start container {name}: {why}")]
    Start {
        /// The container's name.
        name: String,
        /// What is in the way.
        why: String,
    },
}

/// All that is needed to start a container.
#[derive(Debug)]
pub struct Start {
    /// Its sandbox.
    pub sandbox: SandboxRecord,
    /// The container.
    pub container: ContainerRecord,
    /// Where its output goes.
    pub log: Arc<LogFile>,
    /// Cancelled when it should end in good order.
    pub stop: CancellationToken,
    /// Where its usage is counted.
    pub usage: Arc<Usage>,
}

impl Start {
    /// The address the container serves on: the pod's, or loopback on the host's network.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.sandbox.address.unwrap_or(Ipv4Addr::LOCALHOST)
    }

    /// The container's name in its pod.
    #[must_use]
    pub fn name(&self) -> &str {
        self.container.config.metadata.as_ref().map_or("", |metadata| &metadata.name)
    }
}

/// What a container has used so far.
#[derive(Debug, Default)]
pub struct Usage {
    /// Processor time in nanoseconds.
    pub cpu_nanos: AtomicU64,
    /// Linear memory held now, bytes.
    pub memory_bytes: AtomicU64,
}

impl Usage {
    /// Both figures: processor nanoseconds, memory bytes.
    #[must_use]
    pub fn read(&self) -> (u64, u64) {
        (self.cpu_nanos.load(Ordering::Relaxed), self.memory_bytes.load(Ordering::Relaxed))
    }
}

/// One way of running containers.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// The runtime's name as CRI's Version shows it.
    fn name(&self) -> &'static str;

    /// The image a reference means; `None` if it would have to be pulled.
    ///
    /// # Errors
    /// The store cannot be read.
    fn find_image(&self, name: &str) -> Result<Option<ImageRecord>, ImageError>;

    /// All images.
    ///
    /// # Errors
    /// The store cannot be read.
    fn list_images(&self) -> Result<Vec<ImageRecord>, ImageError>;

    /// Removes an image; one that is not there is fine.
    ///
    /// # Errors
    /// The store cannot be written.
    fn remove_image(&self, name: &str) -> Result<(), ImageError>;

    /// Where images live and how many bytes they take.
    fn image_usage(&self) -> (String, u64);

    /// Checks that a container can be started later and does the slow part of it.
    ///
    /// # Errors
    /// The image is not one this backend can run.
    async fn prepare(&self, container: &ContainerRecord) -> Result<(), BackendError>;

    /// Starts a container. The future ends when the container has; dropping it kills.
    ///
    /// # Errors
    /// The container cannot be started.
    async fn start(&self, start: Start) -> Result<BoxFuture<'static, Exit>, BackendError>;

    /// Why there is no exec, attach or port-forward.
    fn no_streaming(&self, verb: &str) -> String;
}
