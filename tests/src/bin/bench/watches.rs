//! 1,000 watchers of one kind, 1,000 events: every event to everybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use hansa_client::kube::api::{PostParams, WatchEvent, WatchParams};

use crate::{client, cpu_secs, creates, report, start};

const WATCHERS: usize = 1_000;
const EVENTS: usize = 1_000;
const CONNECTIONS: usize = 50;
const PATIENCE: Duration = Duration::from_secs(120);

/// Measures on a hub.
#[allow(clippy::cast_precision_loss)]
pub async fn run() {
    let cluster = start("bench-watches", "wasm", true);
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(client(&cluster).await);
    }
    let seen = Arc::new(AtomicUsize::new(0));
    let cut = Arc::new(AtomicUsize::new(0));
    for number in 0..WATCHERS {
        let api = creates::api(&clients[number % CONNECTIONS], "Pod");
        let stream = api.watch(&WatchParams::default(), "0").await.expect("the watch opens");
        let (seen, cut) = (seen.clone(), cut.clone());
        tokio::spawn(async move {
            let mut stream = std::pin::pin!(stream);
            while let Some(event) = stream.next().await {
                match event {
                    Ok(WatchEvent::Added(_)) => seen.fetch_add(1, Ordering::Relaxed),
                    Ok(_) => continue,
                    Err(_) => break,
                };
            }
            cut.fetch_add(1, Ordering::Relaxed);
        });
    }
    let writer = creates::api(&client(&cluster).await, "Pod");
    let (begun, cpu) = (Instant::now(), cpu_secs(&cluster));
    for number in 0..EVENTS {
        let pod = serde_json::from_value(creates::pod(&format!("w{number}"))).expect("a pod");
        writer.create(&PostParams::default(), &pod).await.expect("the create succeeds");
    }
    let wanted = WATCHERS * EVENTS;
    while seen.load(Ordering::Relaxed) < wanted && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (took, cpu) = (begun.elapsed().as_secs_f64(), cpu_secs(&cluster) - cpu);
    let seen = seen.load(Ordering::Relaxed);
    report("1,000 watchers x 1,000 events: delivered", seen as f64 / wanted as f64 * 100.0, "%");
    report("  watches cut", cut.load(Ordering::Relaxed) as f64, "");
    report("  took", took, "s");
    report("  events per CPU second of the server", seen as f64 / cpu.max(0.01), "per s");
}
