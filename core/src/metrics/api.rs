//! Metrics of the API.

use prometheus::{HistogramVec, IntCounter, IntCounterVec};

use super::{New, REQUEST_BUCKETS};

/// Metrics of the API.
pub struct ApiMetrics {
    /// HTTP requests by route, method and status.
    pub requests: IntCounterVec,
    /// HTTP request durations by route and method.
    pub duration: HistogramVec,
    /// Passwords hashed or checked. Each takes a core for tens of milliseconds.
    pub password_hashes: IntCounter,
}

impl ApiMetrics {
    pub(super) fn new(new: &New) -> prometheus::Result<Self> {
        Ok(Self {
            requests: new.counters(
                "opb_http_requests_total",
                "HTTP requests",
                &["method", "route", "status"],
            )?,
            duration: new.histograms(
                "opb_http_request_duration_seconds",
                "HTTP request durations",
                REQUEST_BUCKETS,
                &["method", "route"],
            )?,
            password_hashes: new.keep(IntCounter::new(
                "opb_password_hashes_total",
                "Passwords hashed or checked, each on a core of its own",
            )?)?,
        })
    }
}
