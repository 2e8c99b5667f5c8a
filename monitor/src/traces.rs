//! Traces: spans that are exported to a collector with OpenTelemetry's protocol (OTLP).
//!
//! Off until an endpoint is set; then no span is created and nothing runs. Only spans with the target
//! [`EXPORTED_SPANS`] leave the process, with the attributes that are set where they are created: never a prompt, a
//! model's answer, a query string, a credential or a log line. Exporting must never block or fail other work: what
//! does not fit into a bounded queue is dropped.

mod export;
mod runs;
mod settings;

use std::time::Duration;

use hyper::HeaderMap;
use opentelemetry::{
    global,
    propagation::TextMapPropagator as _,
    trace::{TraceContextExt as _, TracerProvider as _},
};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::{Span, level_filters::LevelFilter};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{Layer as _, filter::Targets};

pub use opb_settings::EXPORTED_SPANS;
use opb_settings::{Listener, LogSettings};
pub use runs::{link_to_run, run_submitted};
pub use settings::TraceSettings;

/// Maximum time that a process waits at shutdown for the last spans to be exported.
const LAST_EXPORT: Duration = Duration::from_secs(10);

/// The trace exporter of a process; `None` when traces are off.
#[must_use = "spans that are not exported at the end are lost"]
pub struct Traces(Option<SdkTracerProvider>);

impl TraceSettings {
    /// Starts the log, and the trace exporter if an endpoint is set. `service` is the process's name in traces,
    /// unless the operator set another. Must be called inside the runtime.
    ///
    /// # Errors
    /// A setting is invalid.
    pub fn start(&self, log: &LogSettings, service: &'static str) -> anyhow::Result<Traces> {
        let Some(provider) = self.provider(service)? else {
            log.start()?;
            return Ok(Traces(None));
        };
        let layer = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("openpromptbank"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(EXPORTED_SPANS, LevelFilter::INFO));
        let layer: Listener = Box::new(layer);
        log.start_beside(Some(layer))?;
        global::set_tracer_provider(provider.clone());
        Ok(Traces(Some(provider)))
    }
}

impl Traces {
    /// Exports the remaining spans; waits at most a few seconds.
    pub async fn end(self) {
        let Some(provider) = self.0 else {
            return;
        };
        let ended =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_EXPORT));
        if let Ok(Err(error)) = ended.await {
            tracing::warn!(%error, "could not export the last traces before shutdown");
        }
    }
}

/// Makes a span that has not been entered yet part of the caller's trace, if the headers name one (`traceparent`).
pub fn continue_from(span: &Span, headers: &HeaderMap) {
    if span.is_disabled() {
        return;
    }
    let caller = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    if caller.span().span_context().is_valid() {
        // Fails only after the span was entered.
        let _ = span.set_parent(caller);
    }
}

/// The id of a span's trace, for the log; `None` when traces are off.
#[must_use]
pub fn trace_id(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let id = context.span().span_context().trace_id();
    Some(id.to_string())
}
