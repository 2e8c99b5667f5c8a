//! Kinds of providers, and the settings that some kinds need beyond a base URL and a credential.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use url::Url;
use utoipa::ToSchema;

use crate::{Error, Result, template::JsonTemplate};

/// Headers that the worker sets itself, or that would change how a request is transferred.
const OWN_HEADERS: [&str; 8] = [
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
];
/// Maximum size of a request template, in bytes of JSON.
const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// The API of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "provider_kind", rename_all = "snake_case")]
pub enum ProviderKind {
    /// The chat completions API of `OpenAI`, which many servers implement.
    Openai,
    /// The responses API of `OpenAI`.
    OpenaiResponses,
    /// The messages API of Anthropic.
    Anthropic,
    /// The `generateContent` API of Google's Gemini models.
    Gemini,
    /// `OpenAI`'s models on Azure, where a model is the name of a deployment.
    AzureOpenai,
    /// The `converse` API of Amazon Bedrock.
    Bedrock,
    /// Any other API with JSON requests and responses, described by the provider's settings.
    Http,
    /// Responds with the last message of the user: offline, free of charge.
    Echo,
    /// The built-in simulation: offline, deterministic, free of charge.
    Simulated,
}

impl ProviderKind {
    /// Whether calls go to a remote model.
    #[must_use]
    pub fn is_remote(self) -> bool {
        !matches!(self, Self::Echo | Self::Simulated)
    }
}

/// Settings of Azure.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureSettings {
    /// The version of the API, as in `api-version`.
    #[serde(default = "azure_version")]
    pub api_version: String,
}

/// Settings of Bedrock.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BedrockSettings {
    /// The region that requests are signed for, such as `eu-central-1`.
    pub region: String,
}

/// Settings of a provider of the kind `http`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// The body of a request: a JSON value whose strings are templates.
    pub request: Value,
    /// The JSON pointer to the text of a response, such as `/choices/0/message/content`.
    pub text: String,
    /// The JSON pointer to the number of input tokens.
    pub input_tokens: Option<String>,
    /// The JSON pointer to the number of output tokens.
    pub output_tokens: Option<String>,
    /// The JSON pointer to the finish reason.
    pub finish_reason: Option<String>,
    /// The header of the credential; absent: `authorization`.
    pub credential_header: Option<String>,
    /// The prefix of the credential in its header; absent: `Bearer ` if `credential_header` is absent too, else none.
    pub credential_prefix: Option<String>,
}

/// Parses the settings of a kind. Stored settings are valid.
///
/// # Errors
/// [`Error::Invalid`] that names the field below `settings`.
pub fn read_settings<T: DeserializeOwned>(settings: &Map<String, Value>) -> Result<T> {
    T::deserialize(settings).map_err(|error| Error::invalid("settings", error.to_string()))
}

/// Validates the settings of a new or changed provider.
pub(super) fn check_settings(
    kind: ProviderKind,
    base_url: Option<&str>,
    settings: &Map<String, Value>,
) -> Result<()> {
    match kind {
        ProviderKind::AzureOpenai => check_azure(&read_settings(settings)?),
        ProviderKind::Bedrock => check_bedrock(base_url, &read_settings(settings)?),
        ProviderKind::Http => check_http(&read_settings(settings)?),
        _ => match settings.keys().next() {
            None => Ok(()),
            Some(name) => Err(Error::invalid(
                format!("settings.{name}"),
                "is unknown: providers of this kind have no settings",
            )),
        },
    }
}

fn check_azure(settings: &AzureSettings) -> Result<()> {
    let is_version = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let version = &settings.api_version;
    if version.is_empty() || version.len() > 40 || !version.chars().all(is_version) {
        return Err(Error::invalid(
            "settings.api_version",
            "must be a version such as 2024-10-21",
        ));
    }
    Ok(())
}

fn check_bedrock(base_url: Option<&str>, settings: &BedrockSettings) -> Result<()> {
    let region = &settings.region;
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if region.is_empty() || region.len() > 40 || !region.chars().all(is_name) {
        let message = "must be the name of a region, such as eu-central-1";
        return Err(Error::invalid("settings.region", message));
    }
    let host = base_url.and_then(|url| Some(Url::parse(url).ok()?.host_str()?.to_owned()));
    let elsewhere = |host: &String| {
        host.ends_with(".amazonaws.com") && !host.split('.').any(|part| part == region)
    };
    if host.as_ref().is_some_and(elsewhere) {
        let message = "is not the region of `base_url`; change both";
        return Err(Error::invalid("settings.region", message));
    }
    Ok(())
}

fn check_http(settings: &HttpSettings) -> Result<()> {
    if settings.request.to_string().len() > MAX_REQUEST_BYTES {
        let message = format!("must have at most {MAX_REQUEST_BYTES} bytes");
        return Err(Error::invalid("settings.request", message));
    }
    let template = JsonTemplate::compile(&settings.request).map_err(|error| {
        Error::invalid(format!("settings.request{}", error.path), error.message)
    })?;
    let names = template.variables();
    if let Some(name) = names
        .iter()
        .find(|name| !HTTP_NAMES.contains(&name.as_str()))
    {
        let message = format!(
            "uses the unknown name `{name}`; there are: {}",
            HTTP_NAMES.join(", ")
        );
        return Err(Error::invalid("settings.request", message));
    }
    if !names.contains("messages") && !names.contains("prompt") {
        let message =
            "must hold {{ messages }} or {{ prompt }}, or the model would never see the prompt";
        return Err(Error::invalid("settings.request", message));
    }
    for (name, pointer) in [
        ("text", Some(&settings.text)),
        ("input_tokens", settings.input_tokens.as_ref()),
        ("output_tokens", settings.output_tokens.as_ref()),
        ("finish_reason", settings.finish_reason.as_ref()),
    ] {
        if pointer.is_some_and(|pointer| !pointer.starts_with('/') || pointer.len() > 1_000) {
            let message = "must be a JSON pointer such as /choices/0/message/content";
            return Err(Error::invalid(format!("settings.{name}"), message));
        }
    }
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if let Some(header) = &settings.credential_header {
        let name = header.to_ascii_lowercase();
        if name.is_empty()
            || name.len() > 100
            || !name.chars().all(is_token)
            || OWN_HEADERS.contains(&name.as_str())
        {
            let message =
                "must be the name of a header that is not set otherwise, such as x-api-key";
            return Err(Error::invalid("settings.credential_header", message));
        }
    }
    let prefix = settings.credential_prefix.as_deref().unwrap_or_default();
    if prefix.len() > 100 || !prefix.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        let message = "must have at most 100 printable ASCII characters";
        return Err(Error::invalid("settings.credential_prefix", message));
    }
    Ok(())
}

/// The names that a request template may use.
const HTTP_NAMES: [&str; 4] = ["messages", "model", "parameters", "prompt"];

fn azure_version() -> String {
    "2024-10-21".to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn wrong_settings_name_their_field() {
        let check = |kind, settings: Value, expect: &str| {
            let settings = settings.as_object().cloned().unwrap();
            let url = Some("https://bedrock-runtime.eu-central-1.amazonaws.com");
            let found = match check_settings(kind, url, &settings) {
                Ok(()) => "fine".to_owned(),
                Err(Error::Invalid(fields)) => format!("{}: {}", fields[0].path, fields[0].message),
                Err(error) => panic!("{error}"),
            };
            assert!(found.starts_with(expect), "{settings:?}: {found}");
        };
        check(ProviderKind::Openai, json!({}), "fine");
        check(
            ProviderKind::Openai,
            json!({"a": 1}),
            "settings.a: is unknown",
        );
        check(ProviderKind::AzureOpenai, json!({}), "fine");
        let version = json!({"api_version": "a&b=c"});
        check(
            ProviderKind::AzureOpenai,
            version,
            "settings.api_version: must be",
        );
        check(
            ProviderKind::AzureOpenai,
            json!({"version": "1"}),
            "settings: unknown field `version`",
        );
        check(
            ProviderKind::Bedrock,
            json!({}),
            "settings: missing field `region`",
        );
        check(
            ProviderKind::Bedrock,
            json!({"region": "eu-central-1"}),
            "fine",
        );
        check(
            ProviderKind::Bedrock,
            json!({"region": "us-east-1"}),
            "settings.region: is not the region",
        );
        check(
            ProviderKind::Bedrock,
            json!({"region": "a b"}),
            "settings.region: must be",
        );
        let http = |change: Value| {
            let mut settings = json!({"request": {"input": "{{ prompt }}"}, "text": "/text"});
            settings
                .as_object_mut()
                .unwrap()
                .extend(change.as_object().cloned().unwrap());
            settings
        };
        check(ProviderKind::Http, http(json!({})), "fine");
        check(
            ProviderKind::Http,
            http(json!({"request": {"a": "b"}})),
            "settings.request: must hold",
        );
        check(
            ProviderKind::Http,
            http(json!({"request": ["{{ key }}{{ prompt }}"]})),
            "settings.request: uses the unknown name `key`",
        );
        check(
            ProviderKind::Http,
            http(json!({"request": {"a": ["{{ prompt"]}})),
            "settings.request/a/0: ",
        );
        check(
            ProviderKind::Http,
            http(json!({"text": "text"})),
            "settings.text: must be a JSON pointer",
        );
        for header in ["Host", "content-length", "a b", "a\r\nb", ""] {
            check(
                ProviderKind::Http,
                http(json!({"credential_header": header})),
                "settings.credential_header: must be",
            );
        }
        check(
            ProviderKind::Http,
            http(json!({"credential_header": "x-api-key"})),
            "fine",
        );
        check(
            ProviderKind::Http,
            http(json!({"credential_prefix": "a\nb"})),
            "settings.credential_prefix: must have",
        );
    }
}
