//! Prometheus metrics of every process. The values of labels are limited: never the id of a run, item, prompt or user.

mod api;
mod labels;
mod limits;
mod pools;
mod time;

use std::sync::LazyLock;

use prometheus::{
    CounterVec, Error, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
};
use sqlx::PgPool;

pub use self::{
    api::ApiMetrics,
    labels::{ModelLabels, Names},
    limits::LimitMetrics,
    time::TimeMetrics,
};
use self::{labels::LABELS, pools::Pools};

/// Maximum number of providers, and of models, with series of their own; the others share one.
const MOST_PROVIDERS: usize = 50;
const MOST_MODELS: usize = 100;

/// Buckets of the duration of model calls, in seconds (OpenTelemetry's `GenAI` conventions).
const CALL_BUCKETS: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];
/// Buckets of the duration of requests to our own API, in seconds.
const REQUEST_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Buckets of token counts (OpenTelemetry's `GenAI` conventions).
const TOKEN_BUCKETS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
/// Buckets of the duration of scorers, in seconds: most take microseconds.
const SCORER_BUCKETS: &[f64] = &[0.000_01, 0.000_1, 0.001, 0.01, 0.1, 1.0, 10.0];
/// One micro-dollar, in dollars.
const DOLLARS_PER_MICROUSD: f64 = 1e-6;

/// The metrics of this process.
pub static METRICS: LazyLock<Metrics> =
    LazyLock::new(|| Metrics::new().expect("the names and labels of metrics are constants"));

/// Every metric, by name.
pub struct Metrics {
    registry: Registry,
    pools: Pools,
    /// Limits the names of providers.
    pub providers: Names,
    models: Names,
    /// Metrics of the API.
    pub api: ApiMetrics,
    /// Finished evaluations, by state, provider and model.
    pub evaluations: IntCounterVec,
    /// Cost of evaluations, by provider and model; without unknown costs.
    pub cost: CounterVec,
    /// Tokens of an evaluation, by provider, model and type (`input`, `output`).
    pub tokens: HistogramVec,
    /// Durations of scorers, by scorer.
    pub scorer_duration: HistogramVec,
    /// Results that were dropped because their lease was lost.
    pub fenced_results: IntCounter,
    /// Lookups in the response cache, by outcome (`hit` or `miss`).
    pub cache_lookups: IntCounterVec,
    /// Model calls by provider and outcome (`ok` or the kind of error).
    pub calls: IntCounterVec,
    /// Repeated calls, by provider and kind of the failure.
    pub retries: IntCounterVec,
    /// Model call durations by provider and model.
    pub call_duration: HistogramVec,
    /// Time to the first token, by provider and model.
    pub first_token: HistogramVec,
    /// Calls in flight, by provider and model.
    pub calls_running: IntGaugeVec,
    /// The governor's current limit on concurrent calls, by provider and model.
    pub call_limit: IntGaugeVec,
    /// Metrics of what delays calls.
    pub limits: LimitMetrics,
    /// Shards that this process works on.
    pub shards_running: IntGauge,
    /// Time to record a batch.
    pub record_duration: Histogram,
    /// Repairs by housekeeping, by kind.
    pub mended: IntCounterVec,
    /// Metrics of housekeeping.
    pub housekeeping: HousekeepingMetrics,
    /// The backlog in the database, as last seen by the scheduler.
    pub backlog: BacklogMetrics,
    /// Metrics of scheduled work.
    pub time: TimeMetrics,
}

/// Metrics of the housekeeping of this process.
pub struct HousekeepingMetrics {
    /// Durations of rounds of housekeeping.
    pub duration: Histogram,
    /// Rounds of housekeeping that failed.
    pub failures: IntCounter,
    /// When housekeeping last succeeded, in seconds since 1970.
    pub last_success: LateGauge,
}

/// Metrics of the waiting and running work of the whole bank. Every scheduler reports the same values, so queries take
/// the maximum.
pub struct BacklogMetrics {
    /// Shards by state (`available`, `running`).
    pub shards: IntGaugeVec,
    /// Age of the oldest shard that a worker could claim, in seconds.
    pub oldest_shard: LateGauge,
    /// Runs that have not ended, by state.
    pub runs: IntGaugeVec,
    /// Evaluations that open runs still need.
    pub evaluations: LateIntGauge,
    /// Size of the database in bytes.
    pub database_bytes: LateIntGauge,
    /// Age of the oldest open transaction, in seconds.
    pub oldest_transaction: LateGauge,
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
            pools: new.keep(Pools::new()?)?,
            providers: Names::new(MOST_PROVIDERS),
            models: Names::new(MOST_MODELS),
            api: ApiMetrics::new(&new)?,
            evaluations: new.counters(
                "opb_evaluations_total",
                "Evaluations done",
                &["state", "provider", "model"],
            )?,
            cost: new.keep(CounterVec::new(
                Opts::new("opb_cost_dollars_total", "Known costs of evaluations"),
                &["provider", "model"],
            )?)?,
            tokens: new.histograms(
                "gen_ai_client_token_usage",
                "Tokens of an evaluation",
                TOKEN_BUCKETS,
                &["provider", "model", "type"],
            )?,
            scorer_duration: new.histograms(
                "opb_scorer_duration_seconds",
                "Durations of scorers",
                SCORER_BUCKETS,
                &["scorer"],
            )?,
            fenced_results: new.keep(IntCounter::new(
                "opb_fenced_results_total",
                "Results dropped because their lease was lost",
            )?)?,
            cache_lookups: new.counters(
                "opb_cache_lookups_total",
                "Answers looked up in the cache",
                &["outcome"],
            )?,
            calls: new.counters(
                "opb_model_calls_total",
                "Model calls",
                &["provider", "outcome"],
            )?,
            retries: new.counters(
                "opb_model_retries_total",
                "Model calls that are made again",
                &["provider", "kind"],
            )?,
            call_duration: new.histograms(
                "gen_ai_client_operation_duration_seconds",
                "Model call durations",
                CALL_BUCKETS,
                &["provider", "model"],
            )?,
            first_token: new.histograms(
                "opb_time_to_first_token_seconds",
                "Time to the first piece of text",
                CALL_BUCKETS,
                &["provider", "model"],
            )?,
            calls_running: new.gauges(
                "opb_model_calls_running",
                "Model calls that are running now",
                &["provider", "model"],
            )?,
            call_limit: new.gauges(
                "opb_model_calls_limit",
                "Model calls that the governor allows at once",
                &["provider", "model"],
            )?,
            limits: LimitMetrics::new(&new)?,
            shards_running: new.keep(IntGauge::new(
                "opb_shards_running",
                "Shards that this process works on",
            )?)?,
            record_duration: new.histogram(
                "opb_record_duration_seconds",
                "Time to record a batch of results",
            )?,
            mended: new.counters("opb_mended_total", "What housekeeping mended", &["kind"])?,
            housekeeping: HousekeepingMetrics::new(&new)?,
            backlog: BacklogMetrics::new(&new)?,
            time: TimeMetrics::new(&new)?,
            registry: new.0,
        })
    }

    /// The labels of metrics about a model.
    #[must_use]
    pub fn model(&self, provider: &str, model: &str) -> ModelLabels {
        ModelLabels::new(&self.providers, &self.models, provider, model)
    }

    /// Adds a cost.
    pub fn add_cost(&self, labels: &ModelLabels, cost_microusd: i64) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "one evaluation costs far less than 2^53"
        )]
        let dollars = cost_microusd.max(0) as f64 * DOLLARS_PER_MICROUSD;
        self.cost.with_label_values(&labels.both()).inc_by(dollars);
    }

    /// Reports the connections of a pool until it is closed.
    /// It replaces an earlier pool with the same name.
    pub fn watch_pool(&self, name: &str, pool: &PgPool) {
        self.pools.watch(name, pool);
    }

    /// Counts a read from the primary because the replica could not be used.
    pub fn count_replica_fallback(&self) {
        self.pools.replica_fallbacks.inc();
    }

    /// All metrics in Prometheus's text format.
    #[must_use]
    pub fn text(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_default()
    }
}

impl HousekeepingMetrics {
    fn new(new: &New) -> prometheus::Result<Self> {
        Ok(Self {
            duration: new.histogram(
                "opb_housekeeping_duration_seconds",
                "Durations of rounds of housekeeping",
            )?,
            failures: new.keep(IntCounter::new(
                "opb_housekeeping_failures_total",
                "Rounds of housekeeping that failed",
            )?)?,
            last_success: new.late_gauge(
                "opb_housekeeping_last_success_timestamp_seconds",
                "When housekeeping last went well",
            )?,
        })
    }
}

impl BacklogMetrics {
    fn new(new: &New) -> prometheus::Result<Self> {
        Ok(Self {
            shards: new.gauges("opb_queue_shards", "Shards in the queue", &["state"])?,
            oldest_shard: new.late_gauge(
                "opb_queue_oldest_age_seconds",
                "Age of the oldest shard that a worker could take",
            )?,
            runs: new.gauges("opb_runs_open", "Runs that have not ended", &["state"])?,
            evaluations: new.late_int_gauge(
                "opb_evaluations_open",
                "Evaluations that open runs still lack",
            )?,
            database_bytes: new
                .late_int_gauge("opb_database_size_bytes", "Size of the database")?,
            oldest_transaction: new.late_gauge(
                "opb_database_oldest_transaction_seconds",
                "Age of the oldest open transaction",
            )?,
        })
    }
}

/// A gauge that is hidden until it is set: in a process that never measures it, a 0 would be wrong, and would count in
/// sums and averages.
pub struct LateGauge(GaugeVec);

impl LateGauge {
    /// Sets the value, and shows the gauge from now on.
    pub fn set(&self, value: f64) {
        self.0.with_label_values::<&str>(&[]).set(value);
    }
}

/// A [`LateGauge`] of integers.
pub struct LateIntGauge(IntGaugeVec);

impl LateIntGauge {
    /// Sets the value, and shows the gauge from now on.
    pub fn set(&self, value: i64) {
        self.0.with_label_values::<&str>(&[]).set(value);
    }
}

/// Creates metrics and registers them.
struct New(Registry);

impl New {
    fn keep<M: Collector + Clone + 'static>(&self, metric: M) -> prometheus::Result<M> {
        let descriptions = metric.desc();
        let mut labels = descriptions.iter().flat_map(|desc| &desc.variable_labels);
        if let Some(label) = labels.find(|label| !LABELS.contains(&label.as_str())) {
            return Err(Error::Msg(format!(
                "the label {label} is not among the bounded ones"
            )));
        }
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

    fn late_gauge(&self, name: &str, help: &str) -> prometheus::Result<LateGauge> {
        let gauge = GaugeVec::new(Opts::new(name, help), &[])?;
        self.keep(gauge).map(LateGauge)
    }

    fn late_int_gauge(&self, name: &str, help: &str) -> prometheus::Result<LateIntGauge> {
        self.gauges(name, help, &[]).map(LateIntGauge)
    }

    fn histogram(&self, name: &str, help: &str) -> prometheus::Result<Histogram> {
        let opts = HistogramOpts::new(name, help).buckets(REQUEST_BUCKETS.to_vec());
        self.keep(Histogram::with_opts(opts)?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_that_nobody_set_is_not_shown() {
        let new = New(Registry::new());
        let size = new
            .late_int_gauge("opb_database_size_bytes", "Size")
            .unwrap();
        let age = new.late_gauge("opb_age_seconds", "Age").unwrap();
        let shown = || {
            TextEncoder::new()
                .encode_to_string(&new.0.gather())
                .unwrap()
        };
        assert_eq!(shown(), "");
        size.set(0);
        age.set(1.5);
        let text = shown();
        assert!(
            text.contains("opb_database_size_bytes 0") && text.contains("opb_age_seconds 1.5"),
            "{text}"
        );
    }

    #[test]
    fn a_metric_with_an_unbounded_label_cannot_be_made() {
        for label in ["run", "run_id", "item", "prompt", "user", "path"] {
            let new = New(Registry::new());
            assert!(
                new.counters("opb_test_total", "A test", &["kind", label])
                    .is_err(),
                "{label}"
            );
            assert!(new.counters("opb_test_total", "A test", &["kind"]).is_ok());
        }
    }

    #[test]
    fn every_metric_can_be_made() {
        let metrics = Metrics::new().unwrap();
        let labels = metrics.model("openai", "gpt-5-mini");
        metrics.add_cost(&labels, 1_500_000);
        let line = r#"opb_cost_dollars_total{model="gpt-5-mini",provider="openai"} 1.5"#;
        let text = metrics.text();
        assert!(text.lines().any(|found| found == line), "{text}");
    }
}
