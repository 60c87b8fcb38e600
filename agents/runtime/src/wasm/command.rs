//! A component that exports `wasi:cli/run`, run to completion.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::CommandPre;

use super::guest::{Guest, GuestSpec};
use crate::backend::Usage;
use crate::record::Exit;

/// Runs to completion, or until told to stop: a component takes no signals, so stopping is
/// ending it (exit code 143, as for a process that dies of SIGTERM).
pub async fn run(pre: CommandPre<Guest>, spec: GuestSpec, stop: CancellationToken) -> Exit {
    let usage = spec.usage().clone();
    let running = Timed { inner: Box::pin(call(pre, &spec)), usage };
    tokio::select! {
        ended = running => ended,
        () = stop.cancelled() => Exit::error(143, "stopped"),
    }
}

async fn call(pre: CommandPre<Guest>, spec: &GuestSpec) -> Exit {
    match run_once(pre, spec).await {
        Ok(Ok(())) => Exit::code(0),
        Ok(Err(())) => Exit::code(1),
        Err(error) => exit_of(&error, spec),
    }
}

async fn run_once(pre: CommandPre<Guest>, spec: &GuestSpec) -> wasmtime::Result<Result<(), ()>> {
    let mut store = spec.store(pre.engine())?;
    let command = pre.instantiate_async(&mut store).await?;
    command.wasi_cli_run().call_run(&mut store).await
}

/// `exit(n)` is no failure of the runtime; anything else is a trap: 134, as for an abort.
fn exit_of(error: &wasmtime::Error, spec: &GuestSpec) -> Exit {
    if let Some(I32Exit(code)) = error.downcast_ref::<I32Exit>() {
        return Exit::code(*code);
    }
    let message = format!("the component trapped: {error:#}");
    spec.complain(&message);
    Exit::error(134, message)
}

/// Counts the time spent in a future as processor time.
pub struct Timed<F> {
    /// What is timed.
    pub inner: Pin<Box<F>>,
    /// Where it is counted.
    pub usage: Arc<Usage>,
}

impl<F: Future> Future for Timed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let from = Instant::now();
        let polled = self.inner.as_mut().poll(context);
        let nanos = u64::try_from(from.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.usage.cpu_nanos.fetch_add(nanos, Ordering::Relaxed);
        polled
    }
}
