//! Providers: the only code that calls models. Each implements one API; none of them retries a call.

mod answer;
mod anthropic;
mod auth;
mod bedrock;
mod chat;
mod connections;
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

pub(crate) use self::http::{HttpClient, ResponseObserver};
pub(crate) use rate_headers::{Announced, Left};

/// Maximum length of a response of a free provider, in tokens of four characters: an item may expect megabytes, and
/// simulating that would take minutes.
pub(crate) const MAX_TOKENS: u32 = 8_000;

/// A model that can be called.
pub(crate) trait Provider: Send + Sync {
    /// Makes one call. `attempt` is the number of earlier calls for the same evaluation.
    fn complete<'a>(
        &'a self,
        request: &'a CompletionRequest<'a>,
        attempt: u32,
    ) -> BoxFuture<'a, Result<Completion, CallError>>;

    /// Bytes of a request that may cost tokens, if more than the messages and the parameters.
    fn paid_bytes(&self, _messages: &[Message]) -> Option<usize> {
        None
    }
}

/// A request to a model.
pub(crate) struct CompletionRequest<'a> {
    /// The rendered messages.
    pub(crate) messages: &'a [Message],
    /// The repeat; added to the seed by providers that accept one.
    pub(crate) repeat: i16,
    /// For the simulation only: data that must never be sent to a real model.
    pub(crate) answer: AnswerHint<'a>,
}

/// The data that the simulation needs; it never leaves the process.
pub(crate) struct AnswerHint<'a> {
    /// The expected response.
    pub(crate) expected: Option<&'a str>,
    /// The item's id, so that all prompts share the difficulty of an item.
    pub(crate) item: &'a str,
    /// The run's seed.
    pub(crate) seed: i64,
}

/// The response of a model.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Completion {
    /// The text. Its last line contains the tool calls: a JSON list of `{"name": …, "arguments": …}`.
    pub(crate) text: String,
    /// Why it stopped, in the provider's own term; `refusal` if the model refused to answer.
    pub(crate) finish_reason: Option<String>,
    /// Number of input tokens, as reported by the provider.
    pub(crate) input_tokens: Option<i32>,
    /// The part of them that the provider read from its cache.
    pub(crate) cached_input_tokens: Option<i32>,
    /// Number of output tokens, as reported by the provider.
    pub(crate) output_tokens: Option<i32>,
    /// The part of them spent on reasoning.
    pub(crate) reasoning_tokens: Option<i32>,
    /// Whether something was used that no known price covers: then the cost is unknown.
    pub(crate) surcharged: bool,
    /// The log probabilities of its tokens, if requested and provided.
    pub(crate) logprobs: Option<Logprobs>,
    /// Time from the request to the first piece of text, if streamed.
    pub(crate) first_token_after: Option<Duration>,
    /// Time from the request to the last byte.
    pub(crate) latency: Duration,
}

impl Completion {
    /// The cost in micro-dollars; `None` if the provider reported no usage, or used something without a known price.
    pub(crate) fn cost_microusd(&self, price: Price) -> Option<i64> {
        // A free call costs nothing, with or without reported usage.
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

/// A failed call.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CallError {
    /// The kind of failure.
    pub(crate) kind: CallErrorKind,
    /// The error message, without credentials and addresses.
    pub(crate) message: String,
    /// The pause requested by the provider.
    pub(crate) retry_after: Option<Duration>,
}

/// The kinds of failures. Their names are stored with evaluations and used as labels of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallErrorKind {
    /// 429: rate limited.
    RateLimit,
    /// 503 or 529: the provider is overloaded.
    Overloaded,
    /// Another 5xx, 408 or 409.
    Server,
    /// No connection.
    Connect,
    /// No server listens at an address that has never responded: the address is probably wrong, or the server is not
    /// started. Reported as a failed connection.
    Absent,
    /// The policy for outbound connections forbids the connection. Reported as a failed connection.
    Forbidden,
    /// The connection broke, or the response ended too early.
    Read,
    /// No response began in time.
    Timeout,
    /// A response began and did not end in time, so the provider is not down. Reported as a timeout.
    Unfinished,
    /// An invalid response.
    Protocol,
    /// A response that exceeds the size limit.
    TooLarge,
    /// The account's quota is used up: waiting does not help.
    Quota,
    /// 401 or 403: the credential is invalid.
    Credential,
    /// Another 4xx, or an unexpected status: a retry cannot help.
    Refused,
    /// The request could not be created.
    Request,
}

impl CallError {
    /// Creates an error without a requested pause.
    pub(crate) fn new(kind: CallErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after: None,
        }
    }
}

impl CallErrorKind {
    /// Whether the provider may have generated a part of the response, and may charge for it.
    pub(crate) fn may_be_paid(self) -> bool {
        matches!(
            self,
            Self::Read | Self::Timeout | Self::Unfinished | Self::Protocol | Self::TooLarge
        )
    }

    /// The stored name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RateLimit => "rate_limit",
            Self::Overloaded => "overloaded",
            Self::Server => "server",
            Self::Connect | Self::Absent | Self::Forbidden => "connect",
            Self::Read => "read",
            Self::Timeout | Self::Unfinished => "timeout",
            Self::Protocol => "protocol",
            Self::TooLarge => "too_large",
            Self::Quota => "quota",
            Self::Credential => "credential",
            Self::Refused => "refused",
            Self::Request => "request",
        }
    }

    /// Whether calls to a provider that is down fail like this.
    pub(crate) fn is_silence(self) -> bool {
        matches!(
            self,
            Self::Overloaded | Self::Server | Self::Connect | Self::Read | Self::Timeout
        )
    }

    /// Whether the provider is overloaded. Silent providers usually are.
    pub(crate) fn is_overload(self) -> bool {
        matches!(self, Self::Overloaded | Self::Timeout | Self::Unfinished)
    }

    /// Whether the content of the request cannot be the cause.
    pub(crate) fn is_blameless(self) -> bool {
        matches!(self, Self::Overloaded | Self::Connect)
    }

    /// Whether a retry may help.
    pub(crate) fn may_pass(self) -> bool {
        match self {
            Self::RateLimit
            | Self::Overloaded
            | Self::Server
            | Self::Connect
            | Self::Read
            | Self::Timeout
            | Self::Unfinished
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

/// Creates the provider of a run's model.
///
/// # Errors
/// The model cannot be called: its credential cannot be unsealed, or a parameter is invalid.
pub(crate) fn provider(
    model: &RunModel,
    http: &HttpClient,
    master_key: &MasterKey,
    settings: &WorkerSettings,
) -> anyhow::Result<Arc<dyn Provider>> {
    let kind = model.provider.kind;
    if kind == ProviderKind::Simulated {
        return Ok(Arc::new(simulated::Simulated::new(model, http.clone())?));
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
    // The operator's own credentials are only sent to the presets they belong to, even if an administrator changed a
    // provider's address.
    let (name, kind) = (&provider.name, provider.kind);
    let base_url = provider.base_url.as_deref();
    let key = operator_key_variable(name, kind, base_url)
        .and_then(|variable| settings.operator_keys.of(variable));
    match (key, missing_key(name, kind, base_url)) {
        (None, Some(message)) => Err(anyhow::anyhow!(message)),
        (key, _) => Ok(key.cloned()),
    }
}

/// The base URL of a model's provider, without a trailing slash.
fn base_url(model: &RunModel) -> anyhow::Result<&str> {
    model
        .provider
        .base_url
        .as_deref()
        .context("the provider has no base URL")
}

/// Parses the URL of a model's endpoint.
fn endpoint(url: &str) -> anyhow::Result<Url> {
    Url::parse(url).context("the provider's base URL does not lead to an address")
}

/// Encodes a name as one segment of a path.
///
/// # Errors
/// It is `.` or `..`, which remove a segment however they are encoded.
fn segment(name: &str) -> anyhow::Result<String> {
    anyhow::ensure!(
        !matches!(name, "." | ".."),
        "the name of a model must not be `.` or `..`"
    );
    Ok(utf8_percent_encode(name, UNRESERVED).to_string())
}

/// Everything except the unreserved characters of URLs.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
