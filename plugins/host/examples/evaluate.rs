//! What a decision over 5,000 nodes costs: the same logic native and as a guest.
//!
//! `cargo run --release -p hansa-plugin-host --example evaluate`, after `cargo xtask guests`.
//! Prints one line per figure: the best and the median of the samples.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hansa_extension::runtime::{PluginRuntime, World};
use hansa_extension::scheduler::{NodeRow, PluginSet, PodView, SchedulerPolicy, UsageRow, Want};
use hansa_extension::{ActiveSet, Identity};
use hansa_plugin_host::{Host, HostConfig, Shipped};
use hansa_plugin_sdk::native::scheduler_source;
use hansa_scheduler_resources_fit_logic::NodeResourcesFit;
use serde_json::Value;

const NODES: u32 = 5000;
const SAMPLES: usize = 301;
const GIB: i64 = 1 << 30;
const BOTH: Want = Want { filter: true, score: true, reasons: false };

fn main() -> anyhow::Result<()> {
    let host = Host::new(&HostConfig::default())?;
    let bytes = std::fs::read(guests().join("scheduler-resources-fit.wasm"))?;
    let ready = Instant::now();
    let first = install(&host, bytes.clone())?;
    line("load (compile)", ready.elapsed(), ready.elapsed());
    let native = scheduler_source::<NodeResourcesFit>(Value::Null.into(), 1)?;
    let native: Arc<ActiveSet<dyn SchedulerPolicy>> = Arc::new(ActiveSet::new(vec![native]));
    let (mut native, mut wasm) = (filled(native), filled(host.scheduler()));
    let pod = pod();
    let want = native.decide(&pod, BOTH)?;
    let have = wasm.decide(&pod, BOTH)?;
    assert_eq!((want.feasible, want.totals), (have.feasible, have.totals));
    for (name, set) in [("native", &mut native), ("wasm", &mut wasm)] {
        figures(name, set, &pod);
    }
    swaps(&host, &mut wasm, &pod, bytes, &first)
}

fn guests() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guests")
}

fn install(host: &Host, bytes: Vec<u8>) -> anyhow::Result<Identity> {
    let (name, world, config) = ("NodeResourcesFit", World::Scheduler, Value::Null);
    Ok(host.install(Shipped { name, world, bytes, config, weight: 1 })?.identity)
}

/// Nodes of three sizes, from empty to full.
fn filled(active: Arc<ActiveSet<dyn SchedulerPolicy>>) -> PluginSet {
    let mut set = PluginSet::new(active);
    for ix in 0..NODES {
        let name = set.mirror().sym(&format!("node-{ix}"));
        let (size, used) = (i64::from(ix % 3 + 1), i64::from(ix % 101));
        set.mirror().upsert(NodeRow {
            ix,
            name,
            cpu_milli: size * 4000,
            memory: size * 16 * GIB,
            pods: 110,
            used_cpu: size * 40 * used,
            used_memory: size * 16 * GIB * used / 100,
            used_pods: used,
            nz_cpu: size * 40 * used,
            nz_memory: size * 16 * GIB * used / 100,
            ..NodeRow::default()
        });
    }
    set
}

fn pod() -> PodView {
    let (cpu, memory) = (500, GIB);
    PodView { cpu, memory, nz_cpu: cpu, nz_memory: memory, ..PodView::default() }
}

fn figures(name: &str, set: &mut PluginSet, pod: &PodView) {
    let mut decide = |want| {
        sample(|| {
            black_box(set.decide(pod, want)).expect("the plugin decides");
        })
    };
    let (filter, both) = (decide(Want::FILTER), decide(BOTH));
    report(&format!("{name}: filter, 5000 nodes"), filter);
    report(&format!("{name}: filter + score, 5000 nodes"), both);
    let mut cpu = 0;
    let cycle = sample(|| {
        cpu += 1;
        set.mirror().update_usage(&UsageRow { ix: 7, cpu, pods: 1, ..UsageRow::default() });
        black_box(set.decide(pod, BOTH)).expect("the plugin decides");
    });
    report(&format!("{name}: one bind cycle (delta + filter + score)"), cycle);
}

/// From the call that activates another version to the end of its first decision.
fn swaps(
    host: &Host,
    set: &mut PluginSet,
    pod: &PodView,
    bytes: Vec<u8>,
    first: &Identity,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let other = Shipped {
        name: "NodeResourcesFit",
        world: World::Scheduler,
        bytes,
        config: serde_json::json!({}),
        weight: 2,
    };
    let second = host.install(other)?.identity;
    let mut turn = 0;
    let swap = sample(|| {
        turn += 1;
        let next = if turn % 2 == 0 { &second } else { first };
        runtime.block_on(host.activate(next)).expect("it is loaded");
        let decision = set.decide(pod, BOTH).expect("the plugin decides");
        assert_eq!(&decision.decided_by[0], next);
    });
    report("swap: activate + instantiate + replay 5000 nodes + decide", swap);
    Ok(())
}

fn sample(mut work: impl FnMut()) -> (Duration, Duration) {
    let mut times: Vec<Duration> = (0..SAMPLES)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    times.sort();
    (times[0], times[SAMPLES / 2])
}

fn report(what: &str, (best, median): (Duration, Duration)) {
    line(what, best, median);
}

fn line(what: &str, best: Duration, median: Duration) {
    let us = |time: Duration| time.as_nanos() as f64 / 1000.0;
    let per_node = best.as_nanos() as f64 / f64::from(NODES);
    let (best, median) = (us(best), us(median));
    println!("{what:<60} {best:>10.1} us best {median:>10.1} us median {per_node:>7.1} ns/node");
}
