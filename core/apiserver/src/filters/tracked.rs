//! Bodies of watches and streams: counted while open, ended when the server stops.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::body::{Body, BoxError};
use crate::metrics::LongRunning;

struct Tracked {
    inner: Body,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    _open: LongRunning,
}

/// Wraps a body that may go on for as long as the client likes.
pub(super) fn track(inner: Body, open: LongRunning, stop: CancellationToken) -> Body {
    Tracked { inner, stop: Box::pin(stop.cancelled_owned()), _open: open }.boxed_unsync()
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.stop.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // A body that may be cut short must not promise its length.
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use crate::request_info::RequestInfo;

    #[tokio::test]
    async fn an_endless_body_ends_when_the_server_stops() {
        let metrics = Metrics::default();
        let endless = http_body_util::StreamBody::new(futures::stream::pending::<
            Result<Frame<Bytes>, BoxError>,
        >());
        let stop = CancellationToken::new();
        let open = metrics.long_running(&RequestInfo::default());
        let body = track(endless.boxed_unsync(), open, stop.clone());
        stop.cancel();
        assert!(body.collect().await.unwrap().to_bytes().is_empty());
    }
}
