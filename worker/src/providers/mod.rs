//! Providers: the only code that calls models. Each speaks one API; none of them repeats a call.

mod answer;
mod anthropic;
mod auth;
mod bedrock;
mod chat;
#[cfg(test)]
mod contract_tests;
mod echo;
mod events;
mod faults;
mod gemini;
#[cfg(test)]
mod guard_tests;
mod halves;
mod http;
mod lenient;
mod logprobs;
mod openai;
mod parameters;
mod rate_headers;
mod remote;
mod responses;
mod room;
mod simulated;
mod templated;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::future::BoxFuture;
use opb_core::{
    models::{Price, ProviderKind, Tokens, cost_microusd, missing_key, operator_key_variable},
    runs::{Logprobs, RunModel},
    sealing::MasterKey,
    template::Message,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;
use secrecy::SecretString;

use crate::settings::WorkerSettings;

pub(crate) use http::{HttpClient, ResponseObserver};
pub(crate) use rate_headers::{Announced, Left};

/// Maximum length of an answer of a provider without cost, in tokens of four characters: an item may expect megabytes, and
/// pretending to write them would take minutes.
pub(crate) const MAX_TOKENS: u32 = 8_000;

/// A model that can be asked.
pub(crate) trait Provider: Send + Sync {
    /// Asks once. `attempt` counts the calls that were made for the same evaluation before.
    fn complete<'a>(
        &'a self,
        request: &'a CompletionRequest<'a>,
        attempt: u32,
    ) -> BoxFuture<'a, Result<Completion, CallError>>;

    /// Bytes of a request that may cost tokens, where they are more than the messages and the parameters.
    fn paid_bytes(&self, _messages: &[Message]) -> Option<usize> {
        None
    }
}

/// What a model is asked.
pub(crate) struct CompletionRequest<'a> {
    /// The rendered messages.
    pub(crate) messages: &'a [Message],
    /// Which repeat this is; providers that take a seed add it.
    pub(crate) repeat: i16,
    /// For the simulation only: what no real model may ever see.
    pub(crate) answer: AnswerHint<'a>,
}

/// What the simulation needs to pretend: it never leaves the process.
pub(crate) struct AnswerHint<'a> {
    /// The right answer.
    pub(crate) expected: Option<&'a str>,
    /// The item, so that prompts about one item share its difficulty.
    pub(crate) item: &'a str,
    /// The run's seed.
    pub(crate) seed: i64,
}

/// What a model answered.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Completion {
    /// The text. Calls of tools are its last line: a JSON list of `{"name": …, "arguments": …}`.
    pub(crate) text: String,
    /// Why it stopped, in the provider's word; `refusal` when it said that it will not answer.
    pub(crate) finish_reason: Option<String>,
    /// Tokens of the prompt, as the provider counted them.
    pub(crate) input_tokens: Option<i32>,
    /// Those of them that it had in its cache.
    pub(crate) cached_input_tokens: Option<i32>,
    /// Tokens of the answer, as the provider counted them.
    pub(crate) output_tokens: Option<i32>,
    /// Those of them that were spent on reasoning.
    pub(crate) reasoning_tokens: Option<i32>,
    /// True when something was counted that no known price covers: then the cost is unknown.
    pub(crate) surcharged: bool,
    /// How likely its tokens were, if the provider was asked for that and says.
    pub(crate) logprobs: Option<Logprobs>,
    /// From the request to the first piece of text, when it was streamed.
    pub(crate) first_token_after: Option<Duration>,
    /// From the request to the last byte.
    pub(crate) latency: Duration,
}

impl Completion {
    /// What it cost, in micro-dollars; nothing when the provider did not count, or counted what has no price.
    pub(crate) fn cost_microusd(&self, price: Price) -> Option<i64> {
        // What costs nothing costs nothing, counted or not.
        if price.is_free() {
            return Some(0);
        }
        if self.surcharged {
            return None;
        }
        let tokens = Tokens {
            input: self.input_tokens?.into(),
            cached_input: self.cached_input_tokens.unwrap_or(0).into(),
            output: self.output_tokens?.into(),
            reasoning: self.reasoning_tokens.unwrap_or(0).into(),
        };
        Some(cost_microusd(price, tokens))
    }
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CallError {
    /// The kind of failure.
    pub(crate) kind: CallErrorKind,
    /// What happened, without credentials and addresses.
    pub(crate) message: String,
    /// How long the provider asked to wait.
    pub(crate) retry_after: Option<Duration>,
}

/// The kinds of failures. Their names are stored with evaluations and are labels of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallErrorKind {
    /// 429: not so fast.
    RateLimit,
    /// 503 or 529: too much for everybody.
    Overloaded,
    /// Another 5xx, 408 or 409.
    Server,
    /// No connection.
    Connect,
    /// No server listens at an address that has never answered: most probably it is wrong, or the server is not started. To
    /// others the same as no connection.
    Absent,
    /// No connection is made, because the policy for outbound connections forbids it. To others the same as no
    /// connection.
    Forbidden,
    /// The connection broke, or the answer ended too early.
    Read,
    /// Too long, or silent for too long.
    Timeout,
    /// An answer that is none.
    Protocol,
    /// An answer larger than the bound.
    TooLarge,
    /// The account is used up: waiting does not help.
    Quota,
    /// 401 or 403: the credential is wrong.
    Credential,
    /// Another 4xx, or an unexpected status: asking again cannot help.
    Refused,
    /// The request could not be made at all.
    Request,
}

impl CallError {
    /// A failure without a wish to wait.
    pub(crate) fn new(kind: CallErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after: None,
        }
    }
}

impl CallErrorKind {
    /// True when the provider may have answered in part, and may want to be paid for that.
    pub(crate) fn may_be_paid(self) -> bool {
        matches!(
            self,
            Self::Read | Self::Timeout | Self::Protocol | Self::TooLarge
        )
    }

    /// The name that is stored.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RateLimit => "rate_limit",
            Self::Overloaded => "overloaded",
            Self::Server => "server",
            Self::Connect | Self::Absent | Self::Forbidden => "connect",
            Self::Read => "read",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::TooLarge => "too_large",
            Self::Quota => "quota",
            Self::Credential => "credential",
            Self::Refused => "refused",
            Self::Request => "request",
        }
    }

    /// True when a provider that is down makes calls fail like this.
    pub(crate) fn is_silence(self) -> bool {
        matches!(
            self,
            Self::Overloaded | Self::Server | Self::Connect | Self::Read | Self::Timeout
        )
    }

    /// True when the provider has more to do than it can. One that keeps silent usually has.
    pub(crate) fn is_overload(self) -> bool {
        matches!(self, Self::Overloaded | Self::Timeout)
    }

    /// True when what was asked cannot be the reason.
    pub(crate) fn is_blameless(self) -> bool {
        matches!(self, Self::Overloaded | Self::Connect)
    }

    /// True when asking again may help.
    pub(crate) fn may_pass(self) -> bool {
        match self {
            Self::RateLimit
            | Self::Overloaded
            | Self::Server
            | Self::Connect
            | Self::Read
            | Self::Timeout
            | Self::Protocol => true,
            Self::Absent
            | Self::Forbidden
            | Self::TooLarge
            | Self::Quota
            | Self::Credential
            | Self::Refused
            | Self::Request => false,
        }
    }
}

/// The provider of a run's model.
///
/// # Errors
/// The model cannot be asked: its credential does not open, or a parameter is wrong.
pub(crate) fn provider(
    model: &RunModel,
    http: &HttpClient,
    master_key: &MasterKey,
    settings: &WorkerSettings,
) -> anyhow::Result<Arc<dyn Provider>> {
    let kind = model.provider.kind;
    if kind == ProviderKind::Simulated {
        return Ok(Arc::new(simulated::Simulated::new(model, settings)?));
    }
    let remote = match kind {
        ProviderKind::Openai => openai::openai,
        ProviderKind::AzureOpenai => openai::azure,
        ProviderKind::OpenaiResponses => responses::responses,
        ProviderKind::Anthropic => anthropic::anthropic,
        ProviderKind::Gemini => gemini::gemini,
        ProviderKind::Bedrock => bedrock::bedrock,
        ProviderKind::Http => templated::templated,
        ProviderKind::Echo | ProviderKind::Simulated => return Ok(Arc::new(echo::Echo)),
    };
    let credential = credential(model, master_key, settings)?;
    Ok(Arc::new(remote(model, http.clone(), credential)?))
}

fn credential(
    model: &RunModel,
    master_key: &MasterKey,
    settings: &WorkerSettings,
) -> anyhow::Result<Option<SecretString>> {
    let provider = &model.provider;
    if let Some(sealed) = &provider.sealed_credential {
        return Ok(Some(master_key.open(sealed, provider.id.as_bytes())?));
    }
    // The operator's own keys go to the presets that they are for, wherever an administrator moved a provider.
    let (name, kind) = (&provider.name, provider.kind);
    let base_url = provider.base_url.as_deref();
    let key = operator_key_variable(name, kind, base_url)
        .and_then(|variable| settings.operator_keys.of(variable));
    match (key, missing_key(name, kind, base_url)) {
        (None, Some(message)) => Err(anyhow::anyhow!(message)),
        (key, _) => Ok(key.cloned()),
    }
}

/// The address of a model's provider, without a slash at its end.
fn base_url(model: &RunModel) -> anyhow::Result<&str> {
    model
        .provider
        .base_url
        .as_deref()
        .context("the provider has no base URL")
}

/// The address that a model is asked at.
fn endpoint(url: &str) -> anyhow::Result<Url> {
    Url::parse(url).context("the provider's base URL does not lead to an address")
}

/// A name as one segment of a path.
///
/// # Errors
/// It is `.` or `..`, which take a segment away however they are written.
fn segment(name: &str) -> anyhow::Result<String> {
    anyhow::ensure!(
        !matches!(name, "." | ".."),
        "the name of a model must not be `.` or `..`"
    );
    Ok(utf8_percent_encode(name, UNRESERVED).to_string())
}

/// Everything but what a URL may hold anywhere.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
