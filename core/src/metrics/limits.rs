//! Metrics of what delays calls to models: limits that administrators declare, and models that do not respond.

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

use super::{CALL_BUCKETS, New};

/// Metrics of what delays calls.
pub struct LimitMetrics {
    /// 1 while calls are stopped because the model does not respond, by provider and model.
    pub breaker_open: IntGaugeVec,
    /// Waits for declared limits, by provider.
    pub wait: HistogramVec,
    /// Amounts taken from declared limits, by provider and kind (`requests`, `tokens`, `microusd`).
    pub taken: IntCounterVec,
}

impl LimitMetrics {
    pub(super) fn new(new: &New) -> prometheus::Result<Self> {
        Ok(Self {
            breaker_open: new.gauges(
                "opb_breaker_open",
                "1 while calls are stopped because the model does not answer",
                &["provider", "model"],
            )?,
            wait: new.histograms(
                "opb_limit_wait_seconds",
                "How long calls waited for declared limits",
                CALL_BUCKETS,
                &["provider"],
            )?,
            taken: new.counters(
                "opb_limit_taken_total",
                "What was taken of declared limits",
                &["provider", "kind"],
            )?,
        })
    }
}
