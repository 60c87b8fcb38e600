//! Counters under the names that dashboards for kube-scheduler expect.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::queue::Depth;

/// What is counted; shared between the scheduler and whoever serves `/metrics`.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Attempts that found a node.
    pub scheduled: AtomicU64,
    /// Attempts that found none.
    pub unschedulable: AtomicU64,
    /// Attempts that failed otherwise.
    pub errors: AtomicU64,
    /// Preemptions that were tried.
    pub preemptions: AtomicU64,
    /// Pods that had to go for others.
    pub victims: AtomicU64,
    attempt_nanos: AtomicU64,
    pending: [AtomicU64; 4],
}

impl Metrics {
    /// Counts one.
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds the time that an attempt took.
    pub fn attempt(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.attempt_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Notes how many pods wait where.
    pub fn pending(&self, depth: Depth) {
        let depths = [depth.active, depth.backoff, depth.unschedulable, depth.gated];
        for (gauge, value) in self.pending.iter().zip(depths) {
            gauge.store(value as u64, Ordering::Relaxed);
        }
    }

    /// The text exposition format.
    pub fn render(&self) -> String {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut out = String::new();
        let mut line = |text: std::fmt::Arguments| _ = writeln!(out, "{text}");
        line(format_args!("# TYPE scheduler_schedule_attempts_total counter"));
        let results = [&self.scheduled, &self.unschedulable, &self.errors];
        for (result, counter) in ["scheduled", "unschedulable", "error"].iter().zip(results) {
            let labels = format!("profile=\"default-scheduler\",result=\"{result}\"");
            let value = read(counter);
            line(format_args!("scheduler_schedule_attempts_total{{{labels}}} {value}"));
        }
        line(format_args!("# TYPE scheduler_scheduling_attempt_duration_seconds summary"));
        let secs = Duration::from_nanos(read(&self.attempt_nanos)).as_secs_f64();
        let attempts: u64 = results.iter().map(|counter| read(counter)).sum();
        line(format_args!("scheduler_scheduling_attempt_duration_seconds_sum {secs}"));
        line(format_args!("scheduler_scheduling_attempt_duration_seconds_count {attempts}"));
        line(format_args!("# TYPE scheduler_preemption_attempts_total counter"));
        line(format_args!("scheduler_preemption_attempts_total {}", read(&self.preemptions)));
        line(format_args!("# TYPE scheduler_preemption_victims summary"));
        line(format_args!("scheduler_preemption_victims_sum {}", read(&self.victims)));
        line(format_args!("# TYPE scheduler_pending_pods gauge"));
        for (queue, gauge) in
            ["active", "backoff", "unschedulable", "gated"].iter().zip(&self.pending)
        {
            let value = read(gauge);
            line(format_args!("scheduler_pending_pods{{queue=\"{queue}\"}} {value}"));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_upstreams_names() {
        let metrics = Metrics::default();
        Metrics::count(&metrics.unschedulable);
        metrics.pending(Depth { gated: 2, ..Depth::default() });
        let text = metrics.render();
        assert!(text.contains("result=\"unschedulable\"} 1"), "{text}");
        assert!(text.contains("scheduler_pending_pods{queue=\"gated\"} 2"), "{text}");
    }
}
