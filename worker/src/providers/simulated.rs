//! The simulated provider: deterministic, offline, free of charge. Its results are labelled wherever they are shown.
//!
//! It takes as long as the model that it simulates, and simulates faults on request.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::{FutureExt as _, future::BoxFuture};
use opb_core::runs::RunModel;
use serde::Deserialize;
use serde_json::Value;

use super::{
    CallError, CallErrorKind, Completion, CompletionRequest, HttpClient, MAX_TOKENS, Provider,
};
use crate::simulation::{self, Fault, FaultPlan, SimulatedModel, find_model, stable_hash};

/// Maximum duration of a simulated silence.
const MAX_SILENCE: Duration = Duration::from_mins(1);

/// A simulated model.
pub(crate) struct Simulated {
    model: &'static SimulatedModel,
    faults: FaultPlan,
    waits: bool,
    max_tokens: u32,
    /// Returns the time limit of a call, the same as for real models.
    call_timeout: Box<dyn Fn() -> Duration + Send + Sync>,
}

/// The parameters of simulated models.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// The fraction of calls that fail, 0 to 1.
    #[serde(default)]
    fault_rate: f64,
    /// The kinds of faults; absent: all.
    faults: Option<Vec<String>>,
    /// Whether it takes as long as the model that it simulates.
    #[serde(default = "yes")]
    latency: bool,
    max_tokens: Option<u32>,
    /// Accepted, so that the same parameters work for real and simulated models; has no effect.
    #[serde(rename = "temperature")]
    _temperature: Option<f64>,
}

impl Simulated {
    /// Prepares a model for many calls.
    ///
    /// # Errors
    /// There is no such model, or a parameter is invalid.
    pub(crate) fn new(model: &RunModel, http: HttpClient) -> anyhow::Result<Self> {
        let parameters: Parameters =
            serde_json::from_value(Value::Object(model.parameters.clone()))
                .context("the parameters of the simulated model are wrong")?;
        let kinds = match parameters.faults {
            None => Fault::ALL.to_vec(),
            Some(names) => names
                .iter()
                .map(|name| name.parse())
                .collect::<Result<_, _>>()?,
        };
        Ok(Self {
            model: find_model(&model.name)
                .with_context(|| format!("there is no simulated model `{}`", model.name))?,
            faults: FaultPlan {
                rate: parameters.fault_rate,
                kinds,
                seed: 0,
            },
            waits: parameters.latency,
            max_tokens: parameters.max_tokens.unwrap_or(MAX_TOKENS).min(MAX_TOKENS),
            call_timeout: Box::new(move || http.call_timeout()),
        })
    }

    async fn pretend(
        &self,
        request: &CompletionRequest<'_>,
        attempt: u32,
    ) -> Result<Completion, CallError> {
        let started = Instant::now();
        let prompt: Vec<_> = request
            .messages
            .iter()
            .map(|message| message.content.shown())
            .collect();
        let prompt = prompt.join("\n");
        let seed = request
            .answer
            .seed
            .wrapping_add(i64::from(request.repeat))
            .cast_unsigned();
        let draw = stable_hash(format!("{seed} {attempt} {} {prompt}", self.model.name).as_bytes());
        if let Some(fault) = self.faults.pick(draw) {
            return Err(self.fail(fault).await);
        }
        let reply = simulation::reply(
            self.model,
            &simulation::Request {
                prompt: &prompt,
                expected: request.answer.expected,
                item: Some(request.answer.item),
                seed,
                json: false,
                max_tokens: Some(self.max_tokens),
            },
        );
        let mut first_token_after = Duration::ZERO;
        if self.waits {
            let limit = (self.call_timeout)();
            if reply.total > limit {
                tokio::time::sleep(limit).await;
                let message = format!(
                    "the simulated answer did not end within {} s, the time limit of a call",
                    limit.as_secs()
                );
                return Err(CallError::new(CallErrorKind::Timeout, message));
            }
            tokio::time::sleep(reply.first_token_after).await;
            first_token_after = started.elapsed();
            tokio::time::sleep(reply.total.saturating_sub(reply.first_token_after)).await;
        }
        Ok(Completion {
            text: reply.text,
            finish_reason: Some(if reply.cut { "length" } else { "stop" }.to_owned()),
            input_tokens: i32::try_from(reply.prompt_tokens).ok(),
            output_tokens: i32::try_from(reply.completion_tokens).ok(),
            first_token_after: Some(first_token_after),
            latency: started.elapsed(),
            ..Completion::default()
        })
    }

    /// The error that a caller sees for a fault. Silence lasts until the caller's timeout, up to a bound.
    async fn fail(&self, fault: Fault) -> CallError {
        let (kind, message) = match fault {
            Fault::RateLimitWithRetryAfter | Fault::RateLimit => {
                (CallErrorKind::RateLimit, "the provider answered 429")
            }
            Fault::ServerError => (CallErrorKind::Server, "the provider answered 500"),
            Fault::Overloaded => (CallErrorKind::Overloaded, "the provider answered 503"),
            Fault::Hang | Fault::SlowStream => {
                tokio::time::sleep((self.call_timeout)().min(MAX_SILENCE)).await;
                (
                    CallErrorKind::Timeout,
                    "the provider did not respond in time",
                )
            }
            Fault::TruncatedJson => (CallErrorKind::Read, "the answer ended too early"),
            Fault::Garbage => (
                CallErrorKind::Protocol,
                "the answer is not a chat completion",
            ),
            Fault::HugeBody => (CallErrorKind::TooLarge, "the answer is too large"),
            Fault::Reset => (CallErrorKind::Read, "the connection was reset"),
        };
        let mut error = CallError::new(kind, format!("simulated fault `{fault}`: {message}"));
        if fault == Fault::RateLimitWithRetryAfter {
            error.retry_after = Some(Duration::from_millis(50));
        }
        error
    }
}

impl Provider for Simulated {
    fn complete<'a>(
        &'a self,
        request: &'a CompletionRequest<'a>,
        attempt: u32,
    ) -> BoxFuture<'a, Result<Completion, CallError>> {
        self.pretend(request, attempt).boxed()
    }
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use opb_core::template::{Message, Role};

    use super::*;
    use crate::providers::AnswerHint;

    async fn ask(call: Duration, waits: bool) -> Result<Completion, CallError> {
        let simulated = Simulated {
            model: find_model("strong").unwrap(),
            faults: FaultPlan {
                rate: 0.0,
                kinds: Vec::new(),
                seed: 0,
            },
            waits,
            max_tokens: MAX_TOKENS,
            call_timeout: Box::new(move || call),
        };
        let messages = [Message {
            role: Role::User,
            content: "What?".into(),
        }];
        let expected = "A".repeat(2_000_000);
        let answer = AnswerHint {
            expected: Some(&expected),
            item: "one",
            seed: 1,
        };
        let request = CompletionRequest {
            messages: &messages,
            repeat: 0,
            answer,
        };
        simulated.pretend(&request, 0).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_answer_is_cut_and_one_that_takes_too_long_is_given_up() {
        let answer = ask(Duration::from_hours(1), true).await.unwrap();
        assert_eq!(answer.finish_reason.as_deref(), Some("length"));
        assert_eq!(answer.output_tokens, Some(8_000));
        assert!(answer.text.len() <= 32_000);
        let late = ask(Duration::from_secs(1), true).await.unwrap_err();
        assert_eq!(late.kind, CallErrorKind::Timeout);
        // A response without a delay is not late.
        assert!(ask(Duration::from_secs(1), false).await.is_ok());
    }
}
