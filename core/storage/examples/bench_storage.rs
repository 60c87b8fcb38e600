//! Measures the embedded engine: durable puts per second at 1, 16 and 64 writers, reads, recovery.
//!
//! Run with `--release`. The first argument names a directory on the disk to measure; a temporary
//! one is made in it. Prints one line per figure, as `name value unit`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hansa_storage::embedded::{Engine, Options};
use hansa_storage::{Error, Expect, RangeQuery, Storage};

/// About the size of a Pod as it is stored.
const VALUE_BYTES: usize = 2048;
/// How long each number of writers is measured.
const SPAN: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parent = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(parent)?;
    let engine = Arc::new(Engine::open(dir.path(), Options::default())?);
    for writers in [1, 16, 64] {
        puts(&engine, writers).await?;
    }
    watched_puts(&engine).await?;
    ranges(&engine).await?;
    drop(engine);
    recovery(dir.path())?;
    Ok(())
}

/// Durable puts of new keys, each answered before the writer's next.
async fn puts(engine: &Arc<Engine>, writers: usize) -> Result<(), Error> {
    let begin = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| tokio::spawn(write_for(engine.clone(), format!("{writers}/{writer}"))))
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.expect("writers do not panic")?);
    }
    let rate = latencies.len() as f64 / begin.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let at = |per_mille: usize| latencies[(latencies.len() - 1) * per_mille / 1000].as_micros();
    println!("storage.put.{writers} {rate:.0} puts/s");
    println!("storage.put.{writers}.p50 {} us", at(500));
    println!("storage.put.{writers}.p99 {} us", at(990));
    Ok(())
}

async fn write_for(engine: Arc<Engine>, name: String) -> Result<Vec<Duration>, Error> {
    let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
    let (begin, mut latencies) = (Instant::now(), Vec::new());
    while begin.elapsed() < SPAN {
        let key = format!("/registry/pods/{name}/{}", latencies.len());
        let start = Instant::now();
        engine.put(key.as_bytes(), value.clone(), Expect::Absent, 0).await?;
        latencies.push(start.elapsed());
    }
    Ok(latencies)
}

/// The same with a thousand watchers that all see every put.
async fn watched_puts(engine: &Arc<Engine>) -> Result<(), Error> {
    use futures::StreamExt;
    let seen = Arc::new(AtomicUsize::new(0));
    let mut watchers = Vec::new();
    for _ in 0..1000 {
        let (mut watch, seen) = (engine.watch(b"/registry/pods/", None).await?, seen.clone());
        watchers.push(tokio::spawn(async move {
            while let Some(Ok(_)) = watch.next().await {
                seen.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let begin = Instant::now();
    let latencies = write_for(engine.clone(), "watched".into()).await?;
    let span = begin.elapsed().as_secs_f64();
    println!("storage.put.1.watched {:.0} puts/s", latencies.len() as f64 / span);
    println!("storage.events {:.0} events/s", seen.load(Ordering::Relaxed) as f64 / span);
    watchers.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(())
}

async fn ranges(engine: &Engine) -> Result<(), Error> {
    let begin = Instant::now();
    let found = engine.range(RangeQuery::default()).await?.kvs.len();
    println!("storage.range {:.0} keys/ms", found as f64 / begin.elapsed().as_secs_f64() / 1000.0);
    println!("storage.keys {found} keys");
    println!("storage.size {} MiB", engine.size_bytes().await? >> 20);
    Ok(())
}

fn recovery(dir: &Path) -> Result<(), Error> {
    let begin = Instant::now();
    let engine = Engine::open(dir, Options::default())?;
    println!("storage.open {} ms", begin.elapsed().as_millis());
    drop(engine);
    Ok(())
}
