//! `cargo xtask bench`: measurements of a real cluster over TLS, on the machine at hand.
//!
//! The client load runs on the same processors as the server, so a figure is worth comparing only
//! with another of the same run. Nothing here is asserted.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use hansa_client::kube::config::{KubeConfigOptions, Kubeconfig};
use hansa_client::kube::{Client, Config};
use hansa_tests::{Cluster, Options};

mod admission;
mod creates;
mod league;
mod scheduling;
mod swap;
mod watches;

const ALL: [&str; 7] = ["up", "creates", "admission", "watches", "scheduling", "swap", "league"];

fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|name| !ALL.contains(&name.as_str())) {
        eprintln!("bench: unknown measurement {unknown}; there are {}", ALL.join(", "));
        return ExitCode::from(2);
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|given| given == name);
    let runtime = tokio::runtime::Runtime::new().expect("an async runtime can be had");
    if is_wanted("up") {
        up();
    }
    if is_wanted("creates") {
        runtime.block_on(creates::run());
    }
    if is_wanted("admission") {
        runtime.block_on(admission::run());
    }
    if is_wanted("watches") {
        runtime.block_on(watches::run());
    }
    if is_wanted("scheduling") {
        runtime.block_on(scheduling::run());
    }
    if is_wanted("swap") {
        runtime.block_on(swap::under_load());
    }
    if is_wanted("league") {
        runtime.block_on(league::run());
    }
    ExitCode::SUCCESS
}

/// One line of a report.
pub fn report(what: &str, value: f64, unit: &str) {
    println!("{what:<58} {value:>12.1} {unit}");
}

/// A fresh member cluster; `nodes` 0 is one without any.
pub fn start(name: &'static str, runtime: &'static str, hub: bool) -> Cluster {
    Cluster::start(&Options { name, runtime, nodes: 1, hub })
}

/// A client over TLS, as kubectl would connect.
pub async fn client(cluster: &Cluster) -> Client {
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig()).expect("the kubeconfig is there");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .expect("the kubeconfig is ours");
    Client::try_from(config).expect("a client can be built")
}

/// Start to ready, first and second time, and the memory of the idle process.
fn up() {
    let begun = Instant::now();
    let mut cluster = start("bench-up", "wasm", false);
    report(
        "hansa up to ready, first start (keys, compiling guests)",
        millis(begun.elapsed()),
        "ms",
    );
    cluster.kill();
    let begun = Instant::now();
    cluster.restart();
    report("hansa up to ready, started before", millis(begun.elapsed()), "ms");
    std::thread::sleep(Duration::from_secs(20));
    report("idle memory of the whole cluster after 20 s (RSS)", resident_mib(&cluster), "MiB");
    report("CPU of the idle cluster over 20 s", idle_cpu(&cluster), "% of a core");
}

/// A duration in milliseconds.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Resident memory of the cluster's process.
pub fn resident_mib(cluster: &Cluster) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", cluster.pid()));
    let status = status.unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// Processor time that the cluster's process has used, seconds.
pub fn cpu_secs(cluster: &Cluster) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", cluster.pid())).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<f64> =
        after_name.split_whitespace().skip(11).take(2).filter_map(|f| f.parse().ok()).collect();
    fields.iter().sum::<f64>() / 100.0
}

fn idle_cpu(cluster: &Cluster) -> f64 {
    let before = cpu_secs(cluster);
    std::thread::sleep(Duration::from_secs(20));
    (cpu_secs(cluster) - before) / 20.0 * 100.0
}

/// The value below which `share` of the samples lie.
pub fn percentile(samples: &mut [Duration], share: f64) -> Duration {
    samples.sort_unstable();
    // A share of a vector's length: exact enough far beyond any number of samples here.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let index = ((samples.len() as f64) * share) as usize;
    samples.get(index.min(samples.len().saturating_sub(1))).copied().unwrap_or_default()
}
