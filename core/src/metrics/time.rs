//! What happens because time passes: ticks of schedules, and what webhooks are told.

use prometheus::{Histogram, HistogramOpts, IntCounterVec};

use super::New;

/// Bounds of how late a tick is settled, in seconds; jitter and catching up are in it.
const DELAY_BUCKETS: &[f64] = &[
    1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0,
];

/// What happens because time passes.
pub struct TimeMetrics {
    /// Ticks of schedules, by what became of them (`submitted`, `refused`, `skipped`).
    pub firings: IntCounterVec,
    /// How long after its time a tick was settled.
    pub firing_delay: Histogram,
    /// Attempts to tell webhooks, by outcome (`ok`, `refused`, `no_answer`, `not_sent`).
    pub webhook_attempts: IntCounterVec,
}

impl TimeMetrics {
    pub(super) fn new(new: &New) -> prometheus::Result<Self> {
        let delay = HistogramOpts::new(
            "opb_firing_delay_seconds",
            "How long after its time a tick of a schedule was settled, jitter included",
        );
        Ok(Self {
            firings: new.counters(
                "opb_firings_total",
                "Ticks of schedules, by what became of them",
                &["state"],
            )?,
            firing_delay: new.keep(Histogram::with_opts(delay.buckets(DELAY_BUCKETS.to_vec()))?)?,
            webhook_attempts: new.counters(
                "opb_webhook_attempts_total",
                "Attempts to tell webhooks, by outcome",
                &["outcome"],
            )?,
        })
    }
}
