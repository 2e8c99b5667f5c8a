//! Metrics of scheduled work: ticks of schedules, and messages to webhooks.

use prometheus::{Histogram, HistogramOpts, IntCounterVec};

use super::New;

/// Buckets of the delay after which a tick is settled, in seconds, including jitter and catching up.
const DELAY_BUCKETS: &[f64] = &[
    1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0,
];

/// Metrics of scheduled work.
pub struct TimeMetrics {
    /// Ticks of schedules, by outcome (`submitted`, `refused`, `skipped`).
    pub firings: IntCounterVec,
    /// Delay between the time of a tick and when it was settled.
    pub firing_delay: Histogram,
    /// Attempts to deliver messages to webhooks, by outcome (`ok`, `refused`, `no_answer`, `not_sent`).
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
