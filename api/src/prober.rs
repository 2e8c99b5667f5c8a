//! Asks a provider's address whether it is there, and which models it has. No model is called.
//!
//! Only administrators come here, who set the address themselves: what is found is said in detail. The connection is
//! guarded like every other, an answer is bounded in time and size, and no credential comes back.

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

/// How long a provider may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most that is read of a list of models, in bytes.
const MAX_LIST_BYTES: usize = 8 * 1024 * 1024;
/// How many models are named.
const NAMED: usize = 10;
/// The longest name of a model that is shown, in characters.
const MAX_NAME_CHARS: usize = 200;

/// What was found at a provider's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProviderCheck {
    /// The provider's name.
    #[schema(example = "ollama")]
    pub provider: String,
    /// What was found, for programs.
    pub outcome: CheckOutcome,
    /// What was found, and what to do about it.
    #[schema(example = "answers and lists 2 models")]
    pub message: String,
    /// How many models it lists; null when it has no list.
    pub model_count: Option<usize>,
    /// The names of the first ten.
    pub models: Vec<String>,
}

/// What was found at a provider's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    /// It lists its models, or is built in.
    Ready,
    /// It answers, but has no list of models.
    NoModelList,
    /// It answers; the key is with the workers, and was not tried from here.
    KeyNotTried,
    /// It has no key and needs one.
    NoKey,
    /// It refused the key.
    KeyRefused,
    /// It answers with an error.
    Failing,
    /// Nothing answers at its address.
    Unreachable,
    /// This server may not connect to its address.
    NotAllowed,
    /// Something else than a server of models answers there.
    NotAProvider,
}

impl CheckOutcome {
    /// True when nothing speaks against calling its models.
    #[must_use]
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Ready | Self::NoModelList | Self::KeyNotTried)
    }
}

/// A key for a provider.
pub(crate) enum Key {
    /// It is known here.
    Known(SecretString),
    /// Only the workers have it.
    WithWorkers,
    /// There is none, and none is known to be needed.
    None,
    /// There is none, which is what the message says.
    Missing(String),
}

/// Asks providers.
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

    /// Asks a provider. Whatever is found, it is an answer.
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
    ) -> Result<(CheckOutcome, String, Option<Vec<String>>), Found> {
        let Some(base_url) = provider.base_url.as_deref() else {
            let message = "is built into the workers and needs no address".to_owned();
            return Ok((CheckOutcome::Ready, message, None));
        };
        if let Key::Missing(message) = key {
            return Err(Found(CheckOutcome::NoKey, message));
        }
        let request = self.request(provider, base_url, &key)?;
        let request = request.build().map_err(|_| {
            let message = format!("`{base_url}` does not lead to an address");
            Found(CheckOutcome::Unreachable, message)
        })?;
        let client = self.http.client(request.url()).map_err(|_| not_allowed())?;
        let response = client.execute(request).await;
        let response = response.map_err(|error| no_answer(base_url, &error))?;
        self.read(provider, base_url, key, response).await
    }

    /// The request that asks for the list of models, or, where there is none, for anything at all.
    fn request(
        &self,
        provider: &AskableProvider,
        base_url: &str,
        key: &Key,
    ) -> Result<RequestBuilder, Found> {
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
                    .map_err(|error| Found(CheckOutcome::Failing, error.to_string()))?;
                let path = format!("/openai/models?api-version={}", settings.api_version);
                with(&path, "api-key")
            }
            // Their credentials sign requests, or go where the settings say: they are not tried here.
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
    ) -> Result<(CheckOutcome, String, Option<Vec<String>>), Found> {
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
                "an OpenPromptBank answers at {base_url}, not a server of models: correct --base-url (the port of vLLM is 8000, too)"
            );
            return Err(Found(CheckOutcome::NotAProvider, message));
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
                    "redirects (HTTP {}), which is never followed: give its final address",
                    status.as_u16()
                );
                Err(Found(CheckOutcome::Failing, message))
            }
            number => {
                let message = format!(
                    "answers at {base_url} with HTTP {number}{}",
                    reason(status, &body, secret.as_ref())
                );
                Err(Found(CheckOutcome::Failing, message))
            }
        }
    }
}

/// What was found that speaks against the provider.
struct Found(CheckOutcome, String);

/// A header that no log shows. What cannot be a header makes the request fail to build.
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

/// The names in a list of models: `{"data": [{"id": …}]}` of OpenAI and most others, `{"models": [{"name": …}]}` of Gemini
/// and Ollama, or a bare list.
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
) -> Found {
    let name = &provider.name;
    match key {
        Key::Known(_) => Found(
            CheckOutcome::KeyRefused,
            format!(
                "refused the key{}: give another with opb provider set-key {name}",
                reason(StatusCode::UNAUTHORIZED, body, secret)
            ),
        ),
        Key::WithWorkers => Found(
            CheckOutcome::KeyNotTried,
            "answers and wants a key; the workers have one, which was not tried from here"
                .to_owned(),
        ),
        _ => Found(
            CheckOutcome::NoKey,
            format!("wants a key, and none is stored: opb provider set-key {name}"),
        ),
    }
}

fn not_allowed() -> Found {
    let message = "is at an address that this server may not call; its operator can allow it with --allow-outbound";
    Found(CheckOutcome::NotAllowed, message.to_owned())
}

/// Why there is no answer.
fn no_answer(base_url: &str, error: &reqwest::Error) -> Found {
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
        "the host name is not known".to_owned()
    } else {
        causes(error)
            .last()
            .map_or_else(String::new, ToString::to_string)
    };
    let message = format!("nothing answers at {base_url}: {why}");
    Found(CheckOutcome::Unreachable, message)
}

/// An error and everything that caused it.
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

/// The body, as far as it comes in time and is not too large.
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

/// What the provider said about an error, short, and without the key.
fn reason(status: StatusCode, body: &[u8], secret: Option<&SecretString>) -> String {
    let text = ["/error/message", "/message", "/error", "/detail"]
        .iter()
        .find_map(|pointer| said(body, pointer));
    let Some(text) = text.or_else(|| status.canonical_reason().map(str::to_owned)) else {
        return String::new();
    };
    // Cleaned first: what is taken out afterwards would put the halves of a key together.
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
