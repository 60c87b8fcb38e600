//! The `wasm` runtime: containers are WASI 0.2 components.
//!
//! - [`engine`]: one engine for all, ahead-of-time compiled components cached by digest.
//! - [`guest`]: what a component instance sees: environment, files, output, limits.
//! - [`command`]: `wasi:cli/run`, run to completion.
//! - [`http`]: `wasi:http/incoming-handler`, served on the pod's address.

pub mod command;
pub mod engine;
pub mod guest;
pub mod http;
pub mod outgoing;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::backend::{Backend, BackendError, Start};
use crate::book::Book;
use crate::images::{ImageError, ImageRecord, ImageStore};
use crate::record::{ContainerRecord, Exit};
use crate::server::{ServeError, serve};
use engine::{Compiler, Program};
use guest::GuestSpec;

/// What a wasm runtime needs.
#[derive(Debug, Clone)]
pub struct WasmConfig {
    /// Where to listen.
    pub socket: PathBuf,
    /// Where images, compiled components and the books live.
    pub root_dir: PathBuf,
    /// The most linear memory of one instance without a limit of its own, bytes.
    pub default_memory_bytes: u64,
    /// How long one HTTP request may take, seconds.
    pub request_timeout_secs: u64,
}

impl WasmConfig {
    /// The defaults: 256 MiB per instance, 60 s per request.
    #[must_use]
    pub fn new(socket: PathBuf, root_dir: PathBuf) -> Self {
        Self { socket, root_dir, default_memory_bytes: 256 << 20, request_timeout_secs: 60 }
    }
}

/// Serves CRI on a socket until `stop`. Containers that ran when the process last ended are
/// reported as exited.
///
/// # Errors
/// The socket or the folder cannot be had.
pub async fn serve_wasm(config: WasmConfig, stop: CancellationToken) -> Result<(), ServeError> {
    let book = Book::load(&config.root_dir.join("state"))?;
    let compiler = Compiler::new(&config.root_dir.join("compiled"))
        .map_err(|error| ServeError::Engine(format!("{error:#}")))?;
    let socket = config.socket.clone();
    let images = ImageStore::new(&config.root_dir);
    let wasm = Wasm { images, compiler: Arc::new(compiler), config };
    serve(&socket, wasm, book, stop).await
}

/// Runs components.
pub struct Wasm {
    images: ImageStore,
    compiler: Arc<Compiler>,
    config: WasmConfig,
}

impl Wasm {
    async fn program(&self, container: &ContainerRecord) -> Result<Program, BackendError> {
        let digest = container.image_id.trim_start_matches("sha256:").to_string();
        let (compiler, blob) = (self.compiler.clone(), self.images.blob(&digest));
        let compiled = tokio::task::spawn_blocking(move || compiler.load(&digest, &blob)).await;
        let bad = |why: String| {
            let image = container.config.image.as_ref();
            let image = image.map(|image| image.image.clone()).unwrap_or_default();
            BackendError::BadImage { image, why }
        };
        let compiled = compiled.map_err(|error| bad(format!("the compiler stopped: {error}")))?;
        compiled.map_err(|error| bad(format!("{error:#}")))
    }
}

#[async_trait]
impl Backend for Wasm {
    fn name(&self) -> &'static str {
        "hansa-wasm"
    }

    fn find_image(&self, name: &str) -> Result<Option<ImageRecord>, ImageError> {
        self.images.find(name)
    }

    fn list_images(&self) -> Result<Vec<ImageRecord>, ImageError> {
        self.images.list()
    }

    fn remove_image(&self, name: &str) -> Result<(), ImageError> {
        self.images.remove(name)
    }

    fn image_usage(&self) -> (String, u64) {
        let used = self.images.used_bytes().unwrap_or(0);
        (self.config.root_dir.display().to_string(), used)
    }

    async fn prepare(&self, container: &ContainerRecord) -> Result<(), BackendError> {
        self.program(container).await.map(drop)
    }

    async fn start(&self, start: Start) -> Result<BoxFuture<'static, Exit>, BackendError> {
        let program = self.program(&start.container).await?;
        let name = start.name().to_string();
        let failed = |why: String| BackendError::Start { name: name.clone(), why };
        let spec = GuestSpec::new(&start, self.config.default_memory_bytes).map_err(failed)?;
        match program {
            Program::Command(pre) => Ok(command::run(pre, spec, start.stop).boxed()),
            Program::Proxy(pre) => {
                let timeout = std::time::Duration::from_secs(self.config.request_timeout_secs);
                let serving = http::listen(pre, spec, &start, timeout).await.map_err(failed)?;
                Ok(serving.run(start.stop).boxed())
            }
        }
    }

    fn no_streaming(&self, verb: &str) -> String {
        format!("the wasm runtime has no {verb}: a WASI component is not a process tree")
    }
}
