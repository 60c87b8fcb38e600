//! Counters under upstream's names, as Prometheus text.
//!
//! A series is found by the hash of its labels, so that counting a request allocates nothing but
//! the first time a label set is seen.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt::Write;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use crate::request_info::RequestInfo;

/// Upper bounds of the latency histogram in seconds, upstream's.
const BUCKETS: [f64; 22] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
    10.0, 15.0, 20.0, 30.0, 45.0,
];
/// No more label sets than this: names in paths must not fill the memory.
const MAX_SERIES: usize = 5_000;

/// What a request was about, as labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    code: u16,
}

#[derive(Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

impl Histogram {
    fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        if let Some(at) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            self.buckets[at].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

struct Series {
    labels: Labels,
    duration: Histogram,
}

/// The apiserver's counters.
pub struct Metrics {
    hasher: RandomState,
    series: RwLock<HashMap<u64, Arc<Series>>>,
    long_running: RwLock<HashMap<u64, Arc<(Labels, AtomicI64)>>>,
    /// Requests being handled now that change something.
    pub mutating: AtomicI64,
    /// Requests being handled now that only read.
    pub read_only: AtomicI64,
    started: f64,
}

impl Default for Metrics {
    fn default() -> Self {
        let epoch = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        Self {
            hasher: RandomState::new(),
            series: RwLock::default(),
            long_running: RwLock::default(),
            mutating: AtomicI64::new(0),
            read_only: AtomicI64::new(0),
            started: epoch.as_secs_f64(),
        }
    }
}

impl Metrics {
    /// Counts a finished request.
    pub fn observe(&self, info: &RequestInfo, code: u16, took: Duration) {
        if let Some(series) = self.series(info, code) {
            series.duration.observe(took);
        }
    }

    fn series(&self, info: &RequestInfo, code: u16) -> Option<Arc<Series>> {
        let key = self.key(info, code);
        if let Some(known) = self.series.read().get(&key) {
            return Some(known.clone());
        }
        let mut all = self.series.write();
        if all.len() >= MAX_SERIES {
            return None;
        }
        let fresh =
            || Arc::new(Series { labels: labels(info, code), duration: Histogram::default() });
        Some(all.entry(key).or_insert_with(fresh).clone())
    }

    fn key(&self, info: &RequestInfo, code: u16) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        (&info.verb, &info.api_group, &info.api_version).hash(&mut hasher);
        (&info.resource, &info.subresource, info.scope(), code).hash(&mut hasher);
        hasher.finish()
    }

    /// Counts a watch or stream until the guard is dropped.
    pub fn long_running(&self, info: &RequestInfo) -> LongRunning {
        let key = self.key(info, 0);
        let mut all = self.long_running.write();
        let fresh = || Arc::new((labels(info, 0), AtomicI64::new(0)));
        let gauge = all.entry(key).or_insert_with(fresh).clone();
        gauge.1.fetch_add(1, Ordering::Relaxed);
        LongRunning(gauge)
    }

    /// Everything as Prometheus text; `extra` is appended as it is.
    pub fn render(&self, extra: &str) -> String {
        let mut out = String::with_capacity(16 << 10);
        self.render_requests(&mut out);
        self.render_gauges(&mut out);
        self.render_process(&mut out);
        out.push_str(extra);
        out
    }

    fn render_requests(&self, out: &mut String) {
        let mut all: Vec<_> = self.series.read().values().cloned().collect();
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        header(out, "apiserver_request_total", "counter", "Requests by verb, resource and code.");
        for series in &all {
            let (labels, code) = (series.labels.render(), series.labels.code);
            let count = series.duration.count.load(Ordering::Relaxed);
            line(out, "apiserver_request_total", &format!("{labels},code=\"{code}\""), count);
        }
        let name = "apiserver_request_duration_seconds";
        header(out, name, "histogram", "Response latency in seconds.");
        for (labels, histograms) in merged(&all) {
            render_histogram(out, name, &labels, &histograms);
        }
    }

    fn render_gauges(&self, out: &mut String) {
        let name = "apiserver_current_inflight_requests";
        header(out, name, "gauge", "Requests being handled now.");
        let read_only = self.read_only.load(Ordering::Relaxed);
        line(out, name, "request_kind=\"readOnly\"", read_only);
        line(out, name, "request_kind=\"mutating\"", self.mutating.load(Ordering::Relaxed));
        let name = "apiserver_longrunning_requests";
        header(out, name, "gauge", "Watches and streams open now.");
        for gauge in self.long_running.read().values() {
            line(out, name, &gauge.0.render(), gauge.1.load(Ordering::Relaxed));
        }
    }

    fn render_process(&self, out: &mut String) {
        header(out, "process_start_time_seconds", "gauge", "Start time since the epoch.");
        let _ = writeln!(out, "process_start_time_seconds {:.3}", self.started);
        if let Some(bytes) = resident_bytes() {
            header(out, "process_resident_memory_bytes", "gauge", "Resident memory.");
            let _ = writeln!(out, "process_resident_memory_bytes {bytes}");
        }
    }
}

/// An open watch or stream; dropping it counts it as closed.
pub struct LongRunning(Arc<(Labels, AtomicI64)>);

impl Drop for LongRunning {
    fn drop(&mut self) {
        self.0.1.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Adds one to a gauge until dropped.
pub struct InFlight<'a>(&'a AtomicI64);

impl<'a> InFlight<'a> {
    /// Counts from now.
    pub fn new(gauge: &'a AtomicI64) -> Self {
        gauge.fetch_add(1, Ordering::Relaxed);
        Self(gauge)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Labels {
    fn render(&self) -> String {
        format!(
            "component=\"apiserver\",dry_run=\"\",group=\"{}\",resource=\"{}\",scope=\"{}\",\
             subresource=\"{}\",verb=\"{}\",version=\"{}\"",
            self.group, self.resource, self.scope, self.subresource, self.verb, self.version
        )
    }
}

fn labels(info: &RequestInfo, code: u16) -> Labels {
    let clean = |text: &str| -> String {
        text.chars().filter(|char| char.is_ascii_alphanumeric() || "-._/".contains(*char)).collect()
    };
    Labels {
        verb: metric_verb(&info.verb).to_string(),
        group: clean(&info.api_group),
        version: clean(&info.api_version),
        resource: clean(&info.resource),
        subresource: clean(&info.subresource),
        scope: info.scope(),
        code,
    }
}

fn metric_verb(verb: &str) -> &'static str {
    match verb {
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        "proxy" | "connect" => "CONNECT",
        _ => "other",
    }
}

/// Histograms that differ by code only are one.
fn merged(all: &[Arc<Series>]) -> Vec<(String, Vec<&Histogram>)> {
    let mut merged: Vec<(String, Vec<&Histogram>)> = Vec::new();
    for series in all.iter().filter(|series| series.labels.verb != "WATCH") {
        let labels = series.labels.render();
        match merged.last_mut().filter(|(last, _)| *last == labels) {
            Some((_, histograms)) => histograms.push(&series.duration),
            None => merged.push((labels, vec![&series.duration])),
        }
    }
    merged
}

fn render_histogram(out: &mut String, name: &str, labels: &str, parts: &[&Histogram]) {
    let sum = |read: &dyn Fn(&Histogram) -> u64| parts.iter().map(|part| read(part)).sum::<u64>();
    let mut below = 0;
    for (at, bound) in BUCKETS.iter().enumerate() {
        below += sum(&|part| part.buckets[at].load(Ordering::Relaxed));
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
    }
    let count = sum(&|part| part.count.load(Ordering::Relaxed));
    let micros = sum(&|part| part.micros.load(Ordering::Relaxed));
    let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
    let _ = writeln!(out, "{name}_sum{{{labels}}} {}", Duration::from_micros(micros).as_secs_f64());
    let _ = writeln!(out, "{name}_count{{{labels}}} {count}");
}

fn header(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(out: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    let _ = writeln!(out, "{name}{{{labels}}} {value}");
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(uri: &str) -> RequestInfo {
        RequestInfo::parse(&http::Method::GET, &uri.parse().unwrap())
    }

    #[test]
    fn requests_are_counted_by_code_and_timed_together() {
        let metrics = Metrics::default();
        let pods = info("/api/v1/namespaces/a/pods");
        metrics.observe(&pods, 200, Duration::from_millis(3));
        metrics.observe(&pods, 200, Duration::from_millis(30));
        metrics.observe(&pods, 403, Duration::from_secs(60));
        let text = metrics.render("");
        let labels = "component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"pods\",\
                      scope=\"namespace\",subresource=\"\",verb=\"LIST\",version=\"v1\"";
        let has = |line: String| assert!(text.lines().any(|own| own == line), "{line}\n{text}");
        has(format!("apiserver_request_total{{{labels},code=\"200\"}} 2"));
        has(format!("apiserver_request_total{{{labels},code=\"403\"}} 1"));
        has(format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"0.005\"}} 1"));
        has(format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"45\"}} 2"));
        has(format!("apiserver_request_duration_seconds_count{{{labels}}} 3"));
    }

    #[test]
    fn names_in_paths_cannot_fill_the_memory_or_break_the_text() {
        let metrics = Metrics::default();
        for number in 0..MAX_SERIES + 10 {
            let forged = format!("/api/v1/x{number}%22%0Aup");
            metrics.observe(&info(&forged), 404, Duration::ZERO);
        }
        assert_eq!(metrics.series.read().len(), MAX_SERIES);
        assert!(metrics.render("").contains("resource=\"x0up\""));
    }

    #[test]
    fn watches_are_counted_while_open() {
        let metrics = Metrics::default();
        let watch = info("/api/v1/pods?watch=1");
        let open = metrics.long_running(&watch);
        assert!(metrics.render("").contains("verb=\"WATCH\",version=\"v1\"} 1"));
        drop(open);
        assert!(metrics.render("").contains("verb=\"WATCH\",version=\"v1\"} 0"));
    }
}
