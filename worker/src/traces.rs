//! Trace export of a worker: a span for each shard, linked to the submission of its run, with a child span for each
//! call, by the semantic conventions for generative AI.
//!
//! Traces must never contain prompts or responses. While traces are off, no spans are created.

use opb_core::{
    models::ProviderKind,
    runs::{RunModel, ShardLease},
};
use opb_monitor::traces::{self, EXPORTED_SPANS};
use tracing::{Instrument as _, Span, field::Empty, instrument::Instrumented};

use uuid::Uuid;

use crate::providers::{CallError, Completion};

/// The exported span of the work on a shard, and the span for its log lines.
#[derive(Clone)]
pub(crate) struct ShardTrace {
    exported: Span,
    logged: Span,
}

impl ShardTrace {
    /// Starts the spans of a shard.
    pub(crate) fn begin(lease: &ShardLease) -> Self {
        let exported = tracing::info_span!(
            target: EXPORTED_SPANS,
            parent: None,
            "shard",
            otel.kind = "consumer",
            otel.status_code = Empty,
            error.type = Empty,
            opb.run.id = %lease.run_id,
            opb.shard.id = %lease.shard_id,
            opb.shard.evaluations = i64::from(lease.range.size),
            opb.shard.outcome = Empty,
            opb.request.id = Empty,
        );
        if exported.is_disabled() {
            return Self {
                exported,
                logged: Span::none(),
            };
        }
        traces::link_to_run(&exported, lease.run_id);
        let logged = tracing::info_span!(
            "shard",
            run.id = %lease.run_id,
            shard.id = %lease.shard_id,
            request.id = Empty,
            trace_id = traces::trace_id(&exported)
        );
        Self { exported, logged }
    }

    /// Records the request that submitted the run.
    pub(crate) fn of_request(&self, request_id: Option<Uuid>) {
        if let Some(id) = request_id {
            self.exported
                .record("opb.request.id", tracing::field::display(id));
            self.logged
                .record("request.id", tracing::field::display(id));
        }
    }

    /// Runs work inside the spans.
    pub(crate) fn around<F: Future>(&self, work: F) -> Instrumented<Instrumented<F>> {
        work.instrument(self.logged.clone())
            .instrument(self.exported.clone())
    }

    /// Ends the spans with the outcome of the shard; `None` if the work failed.
    pub(crate) fn end(self, outcome: Option<&'static str>) {
        if let Some(outcome) = outcome {
            self.exported.record("opb.shard.outcome", outcome);
        } else {
            self.exported.record("otel.status_code", "ERROR");
            self.exported.record("error.type", "internal");
        }
    }
}

/// The names of a model in traces.
pub(crate) struct ModelNames {
    model: String,
    /// The operator's name for the provider.
    provider: String,
    /// The provider's name in the conventions, else the operator's.
    vendor: String,
}

impl ModelNames {
    /// Returns the names of a run's model.
    pub(crate) fn new(model: &RunModel) -> Self {
        let provider = model.provider.name.as_str();
        let vendor = match (model.provider.kind, provider) {
            (ProviderKind::Anthropic, _) => "anthropic",
            (ProviderKind::AzureOpenai, _) => "azure.ai.openai",
            (ProviderKind::Bedrock, _) => "aws.bedrock",
            (ProviderKind::Gemini, _) => "gcp.gemini",
            (ProviderKind::OpenaiResponses, _) => "openai",
            (ProviderKind::Openai, "mistral") => "mistral_ai",
            (_, name) => name,
        };
        Self {
            model: model.name.clone(),
            provider: provider.to_owned(),
            vendor: vendor.to_owned(),
        }
    }
}

/// Starts the span of one attempt of a call.
pub(crate) fn begin_call(names: &ModelNames, attempt: u32) -> Span {
    tracing::info_span!(
        target: EXPORTED_SPANS,
        "call",
        otel.kind = "client",
        otel.name = format!("chat {}", names.model),
        otel.status_code = Empty,
        error.type = Empty,
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = names.vendor,
        gen_ai.request.model = names.model,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        opb.provider.name = names.provider,
        opb.call.attempt = i64::from(attempt) + 1,
    )
}

/// Ends the span of an attempt.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the span ends when it is dropped"
)]
pub(crate) fn end_call(span: Span, result: &Result<Completion, CallError>) {
    if span.is_disabled() {
        return;
    }
    match result {
        Ok(completion) => {
            let tokens = [
                ("gen_ai.usage.input_tokens", completion.input_tokens),
                ("gen_ai.usage.output_tokens", completion.output_tokens),
            ];
            for (field, count) in tokens {
                if let Some(count) = count {
                    span.record(field, i64::from(count));
                }
            }
        }
        Err(error) => {
            span.record("otel.status_code", "ERROR");
            span.record("error.type", error.kind.name());
        }
    }
}
