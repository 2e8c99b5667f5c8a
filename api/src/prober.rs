//! Checks a provider: whether its address answers, and which models it lists. No model is called.
//!
//! Only administrators use it, and they set the address themselves, so its findings are reported in detail. The
//! connection is guarded by the outbound policy, responses are limited in time and size, and no credential is
//! returned.

use std::{io, sync::Arc, time::Duration};

use anyhow::Context as _;
use opb_core::{
    models::{AskableProvider, AzureSettings, ProviderKind, read_settings},
    outbound::OutboundPolicy,
};
use opb_outbound::{Forbidden, Guarded, Lookup, SystemLookup};
use reqwest::{RequestBuilder, Response, StatusCode, Url, header::CONTENT_TYPE};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Timeout of a provider's response.
const PATIENCE: Duration = Duration::from_secs(5);
/// Maximum number of bytes that are read of a list of models.
const MAX_LIST_BYTES: usize = 8 * 1024 * 1024;
/// Maximum number of models that are named.
const NAMED: usize = 10;
/// Maximum length of a model's name that is shown, in characters.
const MAX_NAME_CHARS: usize = 200;

/// The result of checking a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProviderCheck {
    /// The provider's name.
    #[schema(example = "ollama")]
    pub provider: String,
    /// The outcome, for programs.
    pub outcome: CheckOutcome,
    /// The outcome, and what to do about it.
    #[schema(example = "answers and lists 2 models")]
    pub message: String,
    /// Number of models that the provider lists; null when it has no list.
    pub model_count: Option<usize>,
    /// The names of the first ten models.
    pub models: Vec<String>,
}

/// The outcome of checking a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    /// It lists its models, or is built in.
    Ready,
    /// It answers, but has no list of models.
    NoModelList,
    /// It answers; only the workers have the key, so it was not tried.
    KeyNotTried,
    /// It needs a key, and none is stored.
    NoKey,
    /// It refused the key.
    KeyRefused,
    /// It answers with an error.
    Failing,
    /// Nothing answers at its address.
    Unreachable,
    /// The outbound policy forbids its address.
    NotAllowed,
    /// Something other than a model server answers at its address.
    NotAProvider,
}

impl CheckOutcome {
    /// True when nothing known prevents calls to its models.
    #[must_use]
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Ready | Self::NoModelList | Self::KeyNotTried)
    }
}

/// The key of a provider, as far as this process knows it.
pub(crate) enum Key {
    /// The key is known here.
    Known(SecretString),
    /// Only the workers have it.
    WithWorkers,
    /// There is none, and the provider is not known to need one.
    None,
    /// There is none, but the provider needs one; the message says so.
    Missing(String),
}

/// Checks providers.
pub(crate) struct Prober {
    http: Guarded,
}

impl Prober {
    /// A prober that connects where the policy allows it.
    ///
    /// # Errors
    /// The TLS roots of the system cannot be read.
    pub(crate) fn new(policy: &Arc<OutboundPolicy>) -> anyhow::Result<Self> {
        let lookup: Arc<dyn Lookup> = Arc::new(SystemLookup);
        let http = Guarded::new(Arc::clone(policy), &lookup, |builder| {
            builder.timeout(PATIENCE).pool_max_idle_per_host(0)
        })
        .context("the HTTP client for checks of providers cannot start")?;
        Ok(Self { http })
    }

    /// Checks a provider. Every finding, errors included, becomes a [`ProviderCheck`].
    pub(crate) async fn check(&self, provider: &AskableProvider, key: Key) -> ProviderCheck {
        let found = self.ask(provider, key).await;
        let (outcome, message, models) = found.unwrap_or_else(|found| (found.0, found.1, None));
        let models: Option<Vec<String>> = models;
        ProviderCheck {
            provider: provider.name.clone(),
            outcome,
            message,
            model_count: models.as_ref().map(Vec::len),
            models: models.unwrap_or_default().into_iter().take(NAMED).collect(),
        }
    }

    async fn ask(
        &self,
        provider: &AskableProvider,
        key: Key,
    ) -> Result<(CheckOutcome, String, Option<Vec<String>>), CheckFailure> {
        let Some(base_url) = provider.base_url.as_deref() else {
            let message = "is built into the workers and needs no address".to_owned();
            return Ok((CheckOutcome::Ready, message, None));
        };
        if let Key::Missing(message) = key {
            return Err(CheckFailure(CheckOutcome::NoKey, message));
        }
        let request = self.request(provider, base_url, &key)?;
        let request = request.build().map_err(|_| {
            let message = format!("`{base_url}` is not a valid address");
            CheckFailure(CheckOutcome::Unreachable, message)
        })?;
        let client = self.http.client(request.url()).map_err(|_| not_allowed())?;
        let response = client.execute(request).await;
        let response = response.map_err(|error| no_answer(base_url, &error))?;
        self.read(provider, base_url, key, response).await
    }

    /// The request for the list of models or, where there is none, for the base URL.
    fn request(
        &self,
        provider: &AskableProvider,
        base_url: &str,
        key: &Key,
    ) -> Result<RequestBuilder, CheckFailure> {
        let key = match key {
            Key::Known(key) => Some(key.expose_secret()),
            _ => None,
        };
        let with = |path: &str, header: &str| {
            let request = self.http.get(format!("{base_url}{path}"));
            match (key, header) {
                (Some(key), "authorization") => request.bearer_auth(key),
                (Some(key), header) => request.header(header, sensitive(key)),
                (None, _) => request,
            }
        };
        Ok(match provider.kind {
            ProviderKind::Anthropic => {
                with("/models?limit=1000", "x-api-key").header("anthropic-version", "2023-06-01")
            }
            ProviderKind::Gemini => with("/models?pageSize=1000", "x-goog-api-key"),
            ProviderKind::AzureOpenai if base_url.ends_with("/openai/v1") => {
                with("/models", "api-key")
            }
            ProviderKind::AzureOpenai => {
                let settings: AzureSettings = read_settings(&provider.settings)
                    .map_err(|error| CheckFailure(CheckOutcome::Failing, error.to_string()))?;
                let path = format!("/openai/models?api-version={}", settings.api_version);
                with(&path, "api-key")
            }
            // Their credentials sign requests, or are sent as the settings say; they are not tried here.
            ProviderKind::Bedrock | ProviderKind::Http => self.http.get(base_url),
            _ => with("/models", "authorization"),
        })
    }

    async fn read(
        &self,
        provider: &AskableProvider,
        base_url: &str,
        key: Key,
        response: Response,
    ) -> Result<(CheckOutcome, String, Option<Vec<String>>), CheckFailure> {
        let status = response.status();
        let is_problem = content_type(&response).starts_with("application/problem+json");
        if matches!(provider.kind, ProviderKind::Bedrock | ProviderKind::Http) {
            let message = format!(
                "answers at {base_url} (HTTP {}), but has no list of models; its key was not tried",
                status.as_u16()
            );
            return Ok((CheckOutcome::NoModelList, message, None));
        }
        let secret = match &key {
            Key::Known(secret) => Some(secret.clone()),
            _ => None,
        };
        let body = read_body(response).await;
        if is_problem && said(&body, "/code").as_deref() == Some("no_route") {
            let message = format!(
                "an OpenPromptBank answers at {base_url}, not a server of models: correct --base-url (vLLM uses port 8000, too)"
            );
            return Err(CheckFailure(CheckOutcome::NotAProvider, message));
        }
        match status.as_u16() {
            200..=299 => Ok(listed(provider, &body, secret.as_ref())),
            401 | 403 => Err(refused(provider, &key, &body, secret.as_ref())),
            404 | 405 | 501 => {
                let hint = if provider.kind == ProviderKind::Openai && has_no_path(base_url) {
                    "; does its address end with /v1?"
                } else {
                    ""
                };
                let message = format!(
                    "answers at {base_url}, but has no list of models (HTTP {}){hint}",
                    status.as_u16()
                );
                Ok((CheckOutcome::NoModelList, message, None))
            }
            300..=399 => {
                let message = format!(
                    "redirects (HTTP {}), and redirects are not followed: set its final address",
                    status.as_u16()
                );
                Err(CheckFailure(CheckOutcome::Failing, message))
            }
            number => {
                let message = format!(
                    "answers at {base_url} with HTTP {number}{}",
                    reason(status, &body, secret.as_ref())
                );
                Err(CheckFailure(CheckOutcome::Failing, message))
            }
        }
    }
}

/// A finding that prevents the use of the provider.
struct CheckFailure(CheckOutcome, String);

/// A header value that is not logged. Text that cannot be a header value makes building the request fail.
fn sensitive(text: &str) -> reqwest::header::HeaderValue {
    let mut value = reqwest::header::HeaderValue::try_from(text)
        .unwrap_or_else(|_| reqwest::header::HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

fn listed(
    provider: &AskableProvider,
    body: &[u8],
    secret: Option<&SecretString>,
) -> (CheckOutcome, String, Option<Vec<String>>) {
    let Some(mut models) = model_names(body) else {
        let message = "answers, but not with a list of models".to_owned();
        return (CheckOutcome::NoModelList, message, None);
    };
    models.retain(|name| {
        secret.is_none_or(|secret| !name.contains(secret.expose_secret()))
            && !name.chars().any(char::is_control)
            && name.chars().count() <= MAX_NAME_CHARS
    });
    let message = match (provider.kind, models.len()) {
        (ProviderKind::AzureOpenai, _) if !is_unversioned(provider) => {
            let message = "answers; models are called by the names of your deployments".to_owned();
            return (CheckOutcome::Ready, message, None);
        }
        (_, 0) => "answers, but has no models yet".to_owned(),
        (_, 1) => "answers and lists 1 model".to_owned(),
        (_, count) => format!("answers and lists {count} models"),
    };
    (CheckOutcome::Ready, message, Some(models))
}

fn is_unversioned(provider: &AskableProvider) -> bool {
    let base_url = provider.base_url.as_deref().unwrap_or_default();
    base_url.ends_with("/openai/v1")
}

/// The names in a list of models: `{"data": [{"id": …}]}` of OpenAI and most others, `{"models": [{"name": …}]}` of
/// Gemini and Ollama, or a bare list.
fn model_names(body: &[u8]) -> Option<Vec<String>> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let list = ["data", "models"]
        .iter()
        .find_map(|key| body.get(key))
        .unwrap_or(&body)
        .as_array()?;
    let name = |model: &Value| {
        let name = model
            .get("id")
            .or_else(|| model.get("name"))
            .or_else(|| model.get("model"))
            .unwrap_or(model)
            .as_str()?;
        Some(name.strip_prefix("models/").unwrap_or(name).to_owned())
    };
    Some(list.iter().filter_map(name).collect())
}

fn refused(
    provider: &AskableProvider,
    key: &Key,
    body: &[u8],
    secret: Option<&SecretString>,
) -> CheckFailure {
    let name = &provider.name;
    match key {
        Key::Known(_) => CheckFailure(
            CheckOutcome::KeyRefused,
            format!(
                "refused the key{}: set another with opb provider set-key {name}",
                reason(StatusCode::UNAUTHORIZED, body, secret)
            ),
        ),
        Key::WithWorkers => CheckFailure(
            CheckOutcome::KeyNotTried,
            "answers and needs a key; only the workers have it, so it was not tried".to_owned(),
        ),
        _ => CheckFailure(
            CheckOutcome::NoKey,
            format!("needs a key, and none is stored: opb provider set-key {name}"),
        ),
    }
}

fn not_allowed() -> CheckFailure {
    let message = "is at an address that this server may not call; its operator can allow it with --allow-outbound";
    CheckFailure(CheckOutcome::NotAllowed, message.to_owned())
}

/// Why the request got no response.
fn no_answer(base_url: &str, error: &reqwest::Error) -> CheckFailure {
    if causes(error).any(<dyn std::error::Error>::is::<Forbidden>) {
        return not_allowed();
    }
    let mut kinds =
        causes(error).filter_map(|cause| Some(cause.downcast_ref::<io::Error>()?.kind()));
    let why = if kinds.any(|kind| kind == io::ErrorKind::ConnectionRefused) {
        "connection refused; is the server started?".to_owned()
    } else if error.is_timeout() {
        format!("no answer within {} s", PATIENCE.as_secs())
    } else if causes(error).any(|cause| cause.to_string().contains("failed to lookup address")) {
        "unknown host name".to_owned()
    } else {
        causes(error)
            .last()
            .map_or_else(String::new, ToString::to_string)
    };
    let message = format!("nothing answers at {base_url}: {why}");
    CheckFailure(CheckOutcome::Unreachable, message)
}

/// An error and all its causes.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |cause| cause.source())
}

fn content_type(response: &Response) -> &str {
    let header = response.headers().get(CONTENT_TYPE);
    header
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// The body, as far as it arrives in time and within the size limit.
async fn read_body(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        if body.len() + piece.len() > MAX_LIST_BYTES {
            break;
        }
        body.extend_from_slice(&piece);
    }
    body
}

fn said(body: &[u8], pointer: &str) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    Some(body.pointer(pointer)?.as_str()?.to_owned())
}

/// The provider's error message, shortened and without the key.
fn reason(status: StatusCode, body: &[u8], secret: Option<&SecretString>) -> String {
    let text = ["/error/message", "/message", "/error", "/detail"]
        .iter()
        .find_map(|pointer| said(body, pointer));
    let Some(text) = text.or_else(|| status.canonical_reason().map(str::to_owned)) else {
        return String::new();
    };
    // Control characters are removed before the key: removing them afterwards could join the halves of a key.
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    let text = match secret.map(SecretString::expose_secret) {
        Some(secret) if !secret.is_empty() => text.replace(secret, "[removed]"),
        _ => text,
    };
    let text: String = text.chars().take(200).collect();
    format!(" ({})", text.trim_end_matches(['.', ' ']))
}

fn has_no_path(base_url: &str) -> bool {
    Url::parse(base_url).is_ok_and(|url| url.path() == "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_models_have_many_shapes() {
        let check = |body: &str, expect: Option<&[&str]>| {
            let found = model_names(body.as_bytes());
            let expect = expect.map(|names| names.iter().map(ToString::to_string).collect());
            assert_eq!(found, expect, "{body}");
        };
        check(
            r#"{"object":"list","data":[{"id":"a"},{"id":"b"}]}"#,
            Some(&["a", "b"]),
        );
        check(
            r#"{"models":[{"name":"models/gemini"}]}"#,
            Some(&["gemini"]),
        );
        check(r#"[{"id":"a"},"b"]"#, Some(&["a", "b"]));
        check(r#"{"data":[]}"#, Some(&[]));
        check(r#"{"data":null}"#, None);
        check("<html>", None);
    }
}
