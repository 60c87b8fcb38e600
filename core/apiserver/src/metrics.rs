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
const BUCKETS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
    10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
];
/// Upper bounds of the histogram of answers' sizes in bytes, upstream's.
const SIZES: [f64; 7] = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// No more label sets than this: names in paths must not fill the memory.
const MAX_SERIES: usize = 5_000;

/// What is counted of an answered request besides what it was about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observation {
    /// The HTTP status.
    pub code: u16,
    /// How long it took.
    pub took: Duration,
    /// How many bytes the answer has, where that is known.
    pub size: Option<u64>,
    /// Whether nothing was to be stored.
    pub dry_run: bool,
    /// Whether it was a server-side apply.
    pub apply: bool,
}

/// What a request was about, as labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    dry_run: &'static str,
    code: u16,
}

/// Counts of values below bounds; the sum is kept in millionths.
struct Histogram<const N: usize> {
    buckets: [AtomicU64; N],
    count: AtomicU64,
    micros: AtomicU64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        let buckets = std::array::from_fn(|_| AtomicU64::new(0));
        Self { buckets, count: AtomicU64::new(0), micros: AtomicU64::new(0) }
    }
}

impl<const N: usize> Histogram<N> {
    fn observe(&self, bounds: &[f64; N], value: f64, micros: u64) {
        if let Some(at) = bounds.iter().position(|bound| value <= *bound) {
            self.buckets[at].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

struct Series {
    labels: Labels,
    duration: Histogram<{ BUCKETS.len() }>,
    size: Histogram<{ SIZES.len() }>,
}

impl Series {
    fn observe(&self, seen: &Observation) {
        let micros = u64::try_from(seen.took.as_micros()).unwrap_or(u64::MAX);
        self.duration.observe(&BUCKETS, seen.took.as_secs_f64(), micros);
        if let Some(size) = seen.size.filter(|_| self.labels.reads()) {
            self.size.observe(&SIZES, size as f64, size.saturating_mul(1_000_000));
        }
    }
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
    /// Connections that never got through their TLS handshake.
    pub handshake_errors: AtomicU64,
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
            handshake_errors: AtomicU64::new(0),
            started: epoch.as_secs_f64(),
        }
    }
}

impl Metrics {
    /// Counts a finished request.
    pub fn observe(&self, info: &RequestInfo, seen: Observation) {
        if let Some(series) = self.series(info, &seen) {
            series.observe(&seen);
        }
    }

    fn series(&self, info: &RequestInfo, seen: &Observation) -> Option<Arc<Series>> {
        let key = self.key(info, seen);
        if let Some(known) = self.series.read().get(&key) {
            return Some(known.clone());
        }
        let mut all = self.series.write();
        if all.len() >= MAX_SERIES {
            return None;
        }
        let fresh = || {
            let (duration, size) = Default::default();
            Arc::new(Series { labels: labels(info, seen), duration, size })
        };
        Some(all.entry(key).or_insert_with(fresh).clone())
    }

    fn key(&self, info: &RequestInfo, seen: &Observation) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        (&info.verb, &info.api_group, &info.api_version).hash(&mut hasher);
        (&info.resource, &info.subresource, info.scope()).hash(&mut hasher);
        (seen.code, seen.dry_run, seen.apply).hash(&mut hasher);
        hasher.finish()
    }

    /// Counts a watch or stream until the guard is dropped.
    pub fn long_running(&self, info: &RequestInfo) -> LongRunning {
        let nothing = Observation::default();
        let key = self.key(info, &nothing);
        let mut all = self.long_running.write();
        let fresh = || Arc::new((labels(info, &nothing), AtomicI64::new(0)));
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
        for (labels, series) in merged(&all) {
            let parts: Vec<_> = series.iter().map(|one| &one.duration).collect();
            render_histogram(out, name, &labels, &BUCKETS, &parts);
        }
        let name = "apiserver_response_sizes";
        header(out, name, "histogram", "Response size in bytes.");
        let read: Vec<_> = all.iter().filter(|one| one.labels.reads()).cloned().collect();
        for (labels, series) in merged(&read) {
            let parts: Vec<_> = series.iter().map(|one| &one.size).collect();
            let labels = labels.replacen(",dry_run=\"\"", "", 1);
            render_histogram(out, name, &labels, &SIZES, &parts);
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
            let labels = gauge.0.render().replacen(",dry_run=\"\"", "", 1);
            line(out, name, &labels, gauge.1.load(Ordering::Relaxed));
        }
        let name = "apiserver_tls_handshake_errors_total";
        header(out, name, "counter", "Connections whose TLS handshake failed.");
        let _ = writeln!(out, "{name} {}", self.handshake_errors.load(Ordering::Relaxed));
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
            "component=\"apiserver\",dry_run=\"{}\",group=\"{}\",resource=\"{}\",scope=\"{}\",\
             subresource=\"{}\",verb=\"{}\",version=\"{}\"",
            self.dry_run,
            self.group,
            self.resource,
            self.scope,
            self.subresource,
            self.verb,
            self.version
        )
    }

    /// Whether the size of its answers is counted.
    fn reads(&self) -> bool {
        matches!(self.verb.as_str(), "GET" | "LIST")
    }
}

fn labels(info: &RequestInfo, seen: &Observation) -> Labels {
    let clean = |text: &str| -> String {
        text.chars().filter(|char| char.is_ascii_alphanumeric() || "-._/".contains(*char)).collect()
    };
    Labels {
        verb: metric_verb(info, seen.apply).to_string(),
        group: clean(&info.api_group),
        version: clean(&info.api_version),
        resource: clean(&info.resource),
        subresource: clean(&info.subresource),
        scope: info.scope(),
        dry_run: if seen.dry_run { "All" } else { "" },
        code: seen.code,
    }
}

fn metric_verb(info: &RequestInfo, apply: bool) -> &'static str {
    if matches!(info.subresource.as_str(), "log" | "exec" | "portforward" | "attach" | "proxy") {
        return "CONNECT";
    }
    match info.verb.as_str() {
        "patch" if apply => "APPLY",
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
fn merged(all: &[Arc<Series>]) -> Vec<(String, Vec<&Series>)> {
    let mut merged: Vec<(String, Vec<&Series>)> = Vec::new();
    for series in all.iter().filter(|series| series.labels.verb != "WATCH") {
        let labels = series.labels.render();
        match merged.last_mut().filter(|(last, _)| *last == labels) {
            Some((_, own)) => own.push(series),
            None => merged.push((labels, vec![series])),
        }
    }
    merged
}

fn render_histogram<const N: usize>(
    out: &mut String,
    name: &str,
    labels: &str,
    bounds: &[f64; N],
    parts: &[&Histogram<N>],
) {
    let sum =
        |read: &dyn Fn(&Histogram<N>) -> u64| parts.iter().map(|part| read(part)).sum::<u64>();
    let mut below = 0;
    for (at, bound) in bounds.iter().enumerate() {
        below += sum(&|part| part.buckets[at].load(Ordering::Relaxed));
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
    }
    let count = sum(&|part| part.count.load(Ordering::Relaxed));
    let micros = sum(&|part| part.micros.load(Ordering::Relaxed));
    let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
    let _ = writeln!(out, "{name}_sum{{{labels}}} {}", micros as f64 / 1e6);
    let _ = writeln!(out, "{name}_count{{{labels}}} {count}");
}

/// What is known of one resource's objects and watchers.
#[derive(Clone, Debug)]
pub struct ResourceCount {
    /// Its group.
    pub group: String,
    /// Its version.
    pub version: String,
    /// Its plural.
    pub resource: String,
    /// How many objects there are.
    pub objects: usize,
    /// How many events its watchers were sent.
    pub events: u64,
}

impl ResourceCount {
    fn qualified(&self) -> String {
        match self.group.as_str() {
            "" => self.resource.clone(),
            group => format!("{}.{group}", self.resource),
        }
    }
}

/// Counts per resource as Prometheus text.
pub fn render_resources(counts: &[ResourceCount]) -> String {
    let mut out = String::new();
    let name = "apiserver_storage_objects";
    header(&mut out, name, "gauge", "Stored objects by resource.");
    for one in counts {
        line(&mut out, name, &format!("resource=\"{}\"", one.qualified()), one.objects);
    }
    let name = "apiserver_resource_objects";
    header(&mut out, name, "gauge", "Stored objects by group and resource.");
    for one in counts {
        let labels = format!("group=\"{}\",resource=\"{}\"", one.group, one.resource);
        line(&mut out, name, &labels, one.objects);
    }
    let name = "apiserver_watch_events_total";
    header(&mut out, name, "counter", "Events sent to watchers.");
    for one in counts.iter().filter(|one| one.events > 0) {
        let ResourceCount { group, version, resource, events, .. } = one;
        let labels = format!("group=\"{group}\",version=\"{version}\",resource=\"{resource}\"");
        line(&mut out, name, &labels, events);
    }
    out
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
        let seen = |code, millis| Observation {
            code,
            took: Duration::from_millis(millis),
            size: Some(2000),
            ..Observation::default()
        };
        metrics.observe(&pods, seen(200, 3));
        metrics.observe(&pods, seen(200, 30));
        metrics.observe(&pods, seen(403, 61_000));
        let text = metrics.render("");
        let labels = "component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"pods\",\
                      scope=\"namespace\",subresource=\"\",verb=\"LIST\",version=\"v1\"";
        let has = |line: String| assert!(text.lines().any(|own| own == line), "{line}\n{text}");
        has(format!("apiserver_request_total{{{labels},code=\"200\"}} 2"));
        has(format!("apiserver_request_total{{{labels},code=\"403\"}} 1"));
        has(format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"0.005\"}} 1"));
        has(format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"45\"}} 2"));
        has(format!("apiserver_request_duration_seconds_count{{{labels}}} 3"));
        let labels = labels.replace(",dry_run=\"\"", "");
        has(format!("apiserver_response_sizes_bucket{{{labels},le=\"1000\"}} 0"));
        has(format!("apiserver_response_sizes_bucket{{{labels},le=\"10000\"}} 3"));
        has(format!("apiserver_response_sizes_sum{{{labels}}} 6000"));
    }

    #[test]
    fn applies_dry_runs_and_connections_have_verbs_and_labels_of_their_own() {
        let metrics = Metrics::default();
        let one = RequestInfo::parse(
            &http::Method::PATCH,
            &"/api/v1/namespaces/a/pods/p".parse().unwrap(),
        );
        metrics.observe(&one, Observation { apply: true, dry_run: true, ..Default::default() });
        metrics.observe(&info("/api/v1/namespaces/a/pods/p/exec"), Observation::default());
        let text = metrics.render("");
        assert!(
            text.contains(
                "dry_run=\"All\",group=\"\",resource=\"pods\",scope=\"resource\",\
            subresource=\"\",verb=\"APPLY\""
            ),
            "{text}"
        );
        assert!(text.contains("subresource=\"exec\",verb=\"CONNECT\""), "{text}");
    }

    #[test]
    fn names_in_paths_cannot_fill_the_memory_or_break_the_text() {
        let metrics = Metrics::default();
        for number in 0..MAX_SERIES + 10 {
            let forged = format!("/api/v1/x{number}%22%0Aup");
            metrics.observe(&info(&forged), Observation { code: 404, ..Default::default() });
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
