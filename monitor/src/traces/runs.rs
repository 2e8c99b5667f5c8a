//! The `submit run` span, which joins the trace of a request with the traces of a run's shards.
//!
//! Its ids are derived from the run's id, so every worker can link to it without storing or passing anything, and the
//! link survives the loss of a worker or of the queue. Each shard has its own trace, because a run can be far larger
//! than what a trace store accepts as one trace.

use std::cell::Cell;

use opentelemetry::{
    Context, KeyValue, global,
    trace::{
        Link, Span as _, SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceFlags, TraceId,
        TraceState, Tracer as _,
    },
};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use uuid::Uuid;

/// The attribute that holds the run's id.
const RUN_ID: &str = "opb.run.id";

thread_local! {
    /// The run whose span is being created.
    static RUN: Cell<Option<Uuid>> = const { Cell::new(None) };
}

/// Exports a `submit run` span, as part of the current request's trace. Does nothing when traces are off or the
/// request is not sampled.
pub fn run_submitted(run_id: Uuid) {
    let current = Context::current();
    let request = current.span();
    let mut links = Vec::new();
    if current.has_active_span() {
        if !request.is_recording() {
            return;
        }
        request.set_attribute(KeyValue::new(RUN_ID, run_id.to_string()));
        links.push(Link::with_context(request.span_context().clone()));
    }
    let tracer = global::tracer("openpromptbank");
    let builder = tracer
        .span_builder("submit run")
        .with_kind(SpanKind::Producer)
        .with_attributes([KeyValue::new(RUN_ID, run_id.to_string())])
        .with_links(links);
    RUN.set(Some(run_id));
    builder.start_with_context(&tracer, &Context::new()).end();
    RUN.set(None);
}

/// Links a span to the run's `submit run` span.
pub fn link_to_run(span: &Span, run_id: Uuid) {
    span.add_link(SpanContext::new(
        trace_id(run_id),
        span_id(run_id),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    ));
}

fn trace_id(run_id: Uuid) -> TraceId {
    TraceId::from(run_id.as_u128())
}

/// The second half of a UUID is nearly all random, and never zero.
fn span_id(run_id: Uuid) -> SpanId {
    SpanId::from(run_id.as_u64_pair().1)
}

/// Generates random ids, except for the `submit run` span.
#[derive(Debug, Default)]
pub(super) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        RUN.get().map_or_else(|| self.0.new_trace_id(), trace_id)
    }

    fn new_span_id(&self) -> SpanId {
        RUN.get().map_or_else(|| self.0.new_span_id(), span_id)
    }
}
