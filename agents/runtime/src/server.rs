//! A CRI server on a unix socket.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_cri::v1::image_service_server::ImageServiceServer;
use k8s_cri::v1::runtime_service_server::RuntimeServiceServer;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::book::{Book, BookError};
use crate::service::Service;

/// Why a runtime could not serve. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket cannot be had.
    #[error("listen on {socket}")]
    Listen {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another process answers on the socket.
    #[error("listen on {0}: another runtime answers there")]
    InUse(PathBuf),
    /// The books cannot be read.
    #[error(transparent)]
    Book(#[from] BookError),
    /// The WebAssembly engine cannot be set up.
    #[error("set up the WebAssembly engine: {0}")]
    Engine(String),
    /// The connection handling ended.
    #[error("serve CRI")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves `backend` with these books until `stop`, then kills what runs.
///
/// # Errors
/// The socket cannot be had, or serving fails.
pub async fn serve<B: Backend>(
    socket: &Path,
    backend: B,
    book: Book,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let listener = listen(socket)?;
    let service = Arc::new(Service::new(backend, book));
    tracing::info!(socket = %socket.display(), runtime = service.name(), "CRI runtime ready");
    let served = tonic::transport::Server::builder()
        .add_service(RuntimeServiceServer::from_arc(service.clone()))
        .add_service(ImageServiceServer::from_arc(service.clone()))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.cancelled_owned())
        .await;
    service.kill_all();
    let _ = std::fs::remove_file(socket);
    Ok(served?)
}

/// Binds the socket, in place of one that a dead process left.
fn listen(socket: &Path) -> Result<UnixListener, ServeError> {
    let fail = |source| ServeError::Listen { socket: socket.to_path_buf(), source };
    if let Some(dir) = socket.parent() {
        std::fs::create_dir_all(dir).map_err(fail)?;
    }
    if std::os::unix::net::UnixStream::connect(socket).is_ok() {
        return Err(ServeError::InUse(socket.to_path_buf()));
    }
    let _ = std::fs::remove_file(socket);
    UnixListener::bind(socket).map_err(fail)
}
