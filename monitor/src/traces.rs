//! Traces: what happened, when, and for how long, told to a collector that speaks OpenTelemetry's protocol (OTLP).
//!
//! Off until an address is set; then no span is made and nothing runs. What leaves the process are the spans whose target
//! is [`EXPORTED_SPANS`], with the attributes that are written where they are made: never a prompt, an answer, a query
//! string or a credential, and never a line of the log. Exporting must never block or fail work: what does not fit into a
//! bounded queue is dropped.

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

/// How long the end of a process waits for the last spans to be taken.
const LAST_EXPORT: Duration = Duration::from_secs(3);

/// The exporting of a process; nothing, when it is off.
#[must_use = "what is not exported at the end is lost"]
pub struct Traces(Option<SdkTracerProvider>);

impl TraceSettings {
    /// Starts the log, and exporting beside it if an address is set. `service` is the process's name, unless the operator
    /// gave another. Has to be called inside the runtime.
    ///
    /// # Errors
    /// A setting is wrong.
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
    /// Exports what is left, and waits for that a few seconds at most.
    pub async fn end(self) {
        let Some(provider) = self.0 else {
            return;
        };
        let ended =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_EXPORT));
        if let Ok(Err(error)) = ended.await {
            tracing::warn!(%error, "the last traces were not exported");
        }
    }
}

/// Makes a span, which nothing has entered yet, part of the caller's trace, if the headers name one (`traceparent`).
pub fn continue_from(span: &Span, headers: &HeaderMap) {
    if span.is_disabled() {
        return;
    }
    let caller = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    if caller.span().span_context().is_valid() {
        // Refused only after the span was entered.
        let _ = span.set_parent(caller);
    }
}

/// The id of a span's trace, for the log; nothing, when traces are off.
#[must_use]
pub fn trace_id(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let id = context.span().span_context().trace_id();
    Some(id.to_string())
}
