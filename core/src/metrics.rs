//! Prometheus metrics of every process. Labels are bounded: never an id of a run, item, prompt or user.

use std::sync::LazyLock;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, core::Collector,
};

/// Bounds of durations of model calls, in seconds (OpenTelemetry's `GenAI` conventions).
const CALL_BUCKETS: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];
/// Bounds of durations of requests to our own API, in seconds.
const REQUEST_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The metrics of this process.
pub static METRICS: LazyLock<Metrics> =
    LazyLock::new(|| Metrics::new().expect("the names and labels of metrics are constants"));

/// Every metric, by name.
pub struct Metrics {
    registry: Registry,
    /// HTTP requests by route, method and status.
    pub http_requests: IntCounterVec,
    /// HTTP request durations by route and method.
    pub http_duration: HistogramVec,
    /// Evaluations recorded, by state and provider.
    pub evaluations: IntCounterVec,
    /// Results that were dropped because their lease was lost.
    pub fenced_results: IntCounter,
    /// Model calls by provider and outcome (`ok` or the kind of error).
    pub calls: IntCounterVec,
    /// Model call durations by provider.
    pub call_duration: HistogramVec,
    /// Time to the first piece of text by provider.
    pub first_token: HistogramVec,
    /// Calls that are running now, by provider.
    pub calls_running: IntGaugeVec,
    /// What the governor allows now, by provider.
    pub call_limit: IntGaugeVec,
    /// Shards that this process works on.
    pub shards_running: IntGauge,
    /// Time to record a batch.
    pub record_duration: Histogram,
    /// What housekeeping mended, by kind.
    pub mended: IntCounterVec,
}

impl Metrics {
    fn new() -> prometheus::Result<Self> {
        let new = New(Registry::new());
        #[cfg(target_os = "linux")]
        new.0.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        let version = Opts::new("opb_build_info", "Always 1; the version is a label")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        new.keep(IntGauge::with_opts(version)?)?.set(1);
        Ok(Self {
            http_requests: new.counters(
                "opb_http_requests_total",
                "HTTP requests",
                &["method", "route", "status"],
            )?,
            http_duration: new.histograms(
                "opb_http_request_duration_seconds",
                "HTTP request durations",
                REQUEST_BUCKETS,
                &["method", "route"],
            )?,
            evaluations: new.counters(
                "opb_evaluations_total",
                "Evaluations recorded",
                &["state", "provider"],
            )?,
            fenced_results: new.keep(IntCounter::new(
                "opb_fenced_results_total",
                "Results dropped because their lease was lost",
            )?)?,
            calls: new.counters(
                "opb_model_calls_total",
                "Model calls",
                &["provider", "outcome"],
            )?,
            call_duration: new.histograms(
                "gen_ai_client_operation_duration_seconds",
                "Model call durations",
                CALL_BUCKETS,
                &["provider"],
            )?,
            first_token: new.histograms(
                "opb_time_to_first_token_seconds",
                "Time to the first piece of text",
                CALL_BUCKETS,
                &["provider"],
            )?,
            calls_running: new.gauges(
                "opb_model_calls_running",
                "Model calls that are running now",
                &["provider"],
            )?,
            call_limit: new.gauges(
                "opb_model_calls_limit",
                "Model calls that the governor allows at once",
                &["provider"],
            )?,
            shards_running: new.keep(IntGauge::new(
                "opb_shards_running",
                "Shards that this process works on",
            )?)?,
            record_duration: new.keep(Histogram::with_opts(
                HistogramOpts::new(
                    "opb_record_duration_seconds",
                    "Time to record a batch of results",
                )
                .buckets(REQUEST_BUCKETS.to_vec()),
            )?)?,
            mended: new.counters("opb_mended_total", "What housekeeping mended", &["kind"])?,
            registry: new.0,
        })
    }

    /// All metrics in Prometheus' text format.
    #[must_use]
    pub fn text(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_default()
    }
}

/// Makes metrics and registers them.
struct New(Registry);

impl New {
    fn keep<M: Collector + Clone + 'static>(&self, metric: M) -> prometheus::Result<M> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        self.keep(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.keep(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
        labels: &[&str],
    ) -> prometheus::Result<HistogramVec> {
        self.keep(HistogramVec::new(
            HistogramOpts::new(name, help).buckets(buckets.to_vec()),
            labels,
        )?)
    }
}
