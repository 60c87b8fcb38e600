//! The `hollow` runtime: containers that are instantly running and do nothing, thousands of them.

use std::path::PathBuf;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::backend::{Backend, BackendError, Start};
use crate::book::Book;
use crate::images::{ImageError, ImageRecord};
use crate::record::{ContainerRecord, Exit};
use crate::server::{ServeError, serve};

/// What a hollow runtime needs.
#[derive(Debug, Clone)]
pub struct HollowConfig {
    /// Where to listen.
    pub socket: PathBuf,
}

/// Serves CRI on a socket until `stop`. Nothing is kept on disk.
///
/// # Errors
/// The socket cannot be had.
pub async fn serve_hollow(config: HollowConfig, stop: CancellationToken) -> Result<(), ServeError> {
    let HollowConfig { socket } = config;
    serve(&socket, Hollow, Book::default(), stop).await
}

/// Every image is there, every container runs until it is stopped.
#[derive(Debug)]
pub struct Hollow;

#[async_trait]
impl Backend for Hollow {
    fn name(&self) -> &'static str {
        "hansa-hollow"
    }

    fn find_image(&self, name: &str) -> Result<Option<ImageRecord>, ImageError> {
        Ok(Some(ImageRecord {
            reference: name.to_string(),
            digest: "0".repeat(64),
            size: 0,
            imported_secs: 0,
        }))
    }

    fn list_images(&self) -> Result<Vec<ImageRecord>, ImageError> {
        Ok(Vec::new())
    }

    fn remove_image(&self, _: &str) -> Result<(), ImageError> {
        Ok(())
    }

    fn image_usage(&self) -> (String, u64) {
        ("/".to_string(), 0)
    }

    async fn prepare(&self, _: &ContainerRecord) -> Result<(), BackendError> {
        Ok(())
    }

    async fn start(&self, start: Start) -> Result<BoxFuture<'static, Exit>, BackendError> {
        let stop = start.stop;
        Ok(async move { stop.cancelled_owned().await }.map(|()| Exit::code(0)).boxed())
    }

    fn no_streaming(&self, verb: &str) -> String {
        format!("the hollow runtime has no {verb}: its containers only pretend to run")
    }
}
