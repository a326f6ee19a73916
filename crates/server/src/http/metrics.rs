//! `/metrics` in the Prometheus text format. Labels come from closed sets: routes, classes of status, names of loops.

use std::sync::{Mutex, PoisonError, atomic::AtomicU64};

use axum::http::StatusCode;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Most loops that are told apart; the rest is one.
const LOOPS: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Loop {
    r#loop: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    method: &'static str,
    route: &'static str,
    status: &'static str,
}

/// What is counted while the process runs, and what is set at each scrape.
pub struct Metrics {
    registry: Registry,
    answers: Family<Answer, Counter>,
    runs: Family<Loop, Counter>,
    items: Family<Loop, Counter>,
    seconds: Family<Loop, Counter<f64, AtomicU64>>,
    failures: Family<Loop, Counter>,
    loops: Mutex<Vec<&'static str>>,
    gauges: Gauges,
}

/// What stands in the database, as of a scrape.
#[derive(Default)]
struct Gauges {
    secrets: Gauge,
    targets: Gauge,
    open_incidents: Gauge,
    outbox_waiting: Gauge,
    outbox_stuck: Gauge,
    sealed: Gauge,
    clock_believed: Gauge,
    last_sweep: Gauge,
}

/// The values of a scrape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) counts: super::read::Counts,
    pub(crate) sealed: bool,
    pub(crate) clock_believed: bool,
    /// Unix seconds; 0 where none ever ended.
    pub(crate) last_sweep: i64,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    /// Counters at zero.
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix("perennial");
        let (answers, runs, items): (Family<Answer, Counter>, Family<Loop, Counter>, Family<Loop, Counter>) = Default::default();
        let seconds: Family<Loop, Counter<f64, AtomicU64>> = Family::default();
        let failures: Family<Loop, Counter> = Family::default();
        let g = Gauges::default();
        registry.register("http_requests", "Requests answered, by route and class of status", answers.clone());
        registry.register("loop_runs", "Rounds that a loop finished", runs.clone());
        registry.register("loop_items", "Subjects that a loop worked on", items.clone());
        registry.register("loop_busy_seconds", "Seconds that a loop worked", seconds.clone());
        registry.register("loop_failures", "Rounds of a loop that failed", failures.clone());
        registry.register("secrets", "Secrets that are not retired", g.secrets.clone());
        registry.register("targets", "Targets that are not retired", g.targets.clone());
        registry.register("open_incidents", "Incidents that are open", g.open_incidents.clone());
        registry.register("outbox_waiting", "Messages that wait to be delivered", g.outbox_waiting.clone());
        registry.register("outbox_stuck", "Waiting messages that failed many times", g.outbox_stuck.clone());
        registry.register("sealed", "1 while the store cannot use its keys", g.sealed.clone());
        registry.register("clock_believed", "1 while the clock is believed", g.clock_believed.clone());
        registry.register("last_sweep_timestamp_seconds", "When the last sweep over everything ended, 0 if none did", g.last_sweep.clone());
        Metrics { registry, answers, runs, items, seconds, failures, loops: Mutex::default(), gauges: g }
    }

    /// A loop finished a round: it worked on `n` subjects for `seconds`.
    pub fn loop_done(&self, name: &'static str, n: usize, seconds: f64) {
        let label = self.loop_label(name);
        self.runs.get_or_create(&label).inc();
        self.items.get_or_create(&label).inc_by(n as u64);
        self.seconds.get_or_create(&label).inc_by(seconds.max(0.0));
    }

    /// A round of a loop failed.
    pub fn loop_failed(&self, name: &'static str) {
        self.failures.get_or_create(&self.loop_label(name)).inc();
    }

    fn loop_label(&self, name: &'static str) -> Loop {
        let mut known = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(&name) {
            return Loop { r#loop: name };
        }
        if known.len() >= LOOPS {
            return Loop { r#loop: "other" };
        }
        known.push(name);
        Loop { r#loop: name }
    }

    pub(crate) fn answered(&self, method: &'static str, route: &'static str, status: StatusCode) {
        let status = match status.as_u16() {
            ..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        self.answers.get_or_create(&Answer { method, route, status }).inc();
    }

    pub(crate) fn encode(&self, now: &Standing) -> Result<String, std::fmt::Error> {
        let g = &self.gauges;
        g.secrets.set(now.counts.secrets);
        g.targets.set(now.counts.targets);
        g.open_incidents.set(now.counts.open_incidents);
        g.outbox_waiting.set(now.counts.outbox_waiting);
        g.outbox_stuck.set(now.counts.outbox_stuck);
        g.sealed.set(now.sealed.into());
        g.clock_believed.set(now.clock_believed.into());
        g.last_sweep.set(now.last_sweep);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_as_promised() {
        let metrics = Metrics::new();
        metrics.loop_done("observe", 3, 0.5);
        metrics.loop_done("observe", 4, 0.25);
        metrics.loop_failed("observe");
        metrics.answered("GET", "/v1/status", StatusCode::NOT_FOUND);
        let text = metrics.encode(&Standing { sealed: true, last_sweep: 7, ..Standing::default() }).unwrap();
        let values: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
        insta::assert_snapshot!(values.join("\n"), @r#"
        perennial_http_requests_total{method="GET",route="/v1/status",status="4xx"} 1
        perennial_loop_runs_total{loop="observe"} 2
        perennial_loop_items_total{loop="observe"} 7
        perennial_loop_busy_seconds_total{loop="observe"} 0.75
        perennial_loop_failures_total{loop="observe"} 1
        perennial_secrets 0
        perennial_targets 0
        perennial_open_incidents 0
        perennial_outbox_waiting 0
        perennial_outbox_stuck 0
        perennial_sealed 1
        perennial_clock_believed 0
        perennial_last_sweep_timestamp_seconds 7
        "#);
    }
}
