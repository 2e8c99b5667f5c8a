//! Whether spans for export are made at all. Each test is a process of its own.

use opb_monitor::traces::{EXPORTED_SPANS, TraceSettings};
use opb_settings::{LogFormat, LogSettings};

/// Everything is logged, so nothing else keeps a span from being made.
fn is_made(endpoint: Option<&str>) -> bool {
    let log = LogSettings {
        log: "trace".into(),
        log_format: LogFormat::Text,
    };
    let settings = TraceSettings {
        traces_endpoint: endpoint.map(Into::into),
        ..TraceSettings::default()
    };
    let _traces = settings.start(&log, "test").unwrap();
    let span = tracing::info_span!(target: EXPORTED_SPANS, "span");
    !span.is_disabled()
}

#[tokio::test]
async fn without_an_address_no_span_is_made() {
    assert!(!is_made(None));
}

#[tokio::test]
async fn with_an_address_spans_are_made() {
    assert!(is_made(Some("http://127.0.0.1:1")));
}
