//! What keeps calls to models back: limits that administrators declare, and models that do not answer.

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

use super::{CALL_BUCKETS, New};

/// What keeps calls back.
pub struct LimitMetrics {
    /// 1 while calls are stopped because the model does not answer, by provider and model.
    pub breaker_open: IntGaugeVec,
    /// Waits for declared limits, by provider.
    pub wait: HistogramVec,
    /// What was taken of declared limits, by provider and kind (`requests`, `tokens`, `microusd`).
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
