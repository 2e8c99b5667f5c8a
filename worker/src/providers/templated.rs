//! Any API with JSON requests and responses, as described by its provider's settings.

use opb_core::{
    models::{HttpSettings, read_settings},
    runs::RunModel,
    template::{JsonTemplate, Message, Role},
};
use reqwest::header::{AUTHORIZATION, HeaderName};
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::{
    CallError, CallErrorKind, CompletionRequest, HttpClient,
    answer::{Answer, Usage, parse, protocol},
    auth::Auth,
    base_url, endpoint,
    parameters::{Fields, refuse_stream, to_json},
    remote::{Api, Remote},
};

/// An API described by settings.
struct Templated {
    request: JsonTemplate,
    settings: HttpSettings,
    model_name: String,
    /// The variable `parameters` of the template.
    fields: Fields,
}

/// Prepares a model for many calls.
///
/// # Errors
/// A setting is invalid, which should have been refused when it was stored, or the credential is not a valid header.
pub(super) fn templated(
    model: &RunModel,
    http: HttpClient,
    credential: Option<SecretString>,
) -> anyhow::Result<Remote> {
    let settings: HttpSettings = read_settings(&model.provider.settings)?;
    let mut parameters = model.parameters.clone();
    refuse_stream(&mut parameters)?;
    let (header, prefix) = match &settings.credential_header {
        None => (AUTHORIZATION, "Bearer "),
        Some(name) => (HeaderName::try_from(name)?, ""),
    };
    let prefix = settings.credential_prefix.as_deref().unwrap_or(prefix);
    let auth = Auth::header(header, prefix, credential)?;
    let api = Templated {
        request: JsonTemplate::compile(&settings.request)?,
        settings,
        model_name: model.name.clone(),
        fields: Fields::new(parameters, &[], &["seed"], &[])?,
    };
    Ok(Remote {
        api: Box::new(api),
        url: endpoint(base_url(model)?)?,
        auth,
        headers: Vec::new(),
        http,
    })
}

impl Templated {
    fn render(&self, messages: &[Message], repeat: i16) -> Result<Vec<u8>, CallError> {
        let said = messages.iter().map(|message| {
            let role = match message.role {
                Role::System => "system",
                Role::User => "user",
                Role::Assistant => "assistant",
            };
            json!({"role": role, "content": message.content})
        });
        let prompt: Vec<_> = messages
            .iter()
            .map(|message| message.content.text())
            .collect();
        let mut variables = Map::new();
        variables.insert("messages".into(), said.collect());
        variables.insert("prompt".into(), prompt.join("\n\n").into());
        variables.insert("model".into(), self.model_name.clone().into());
        variables.insert("parameters".into(), self.fields.of_repeat(repeat).into());
        let body = self.request.render(&variables).map_err(|error| {
            CallError::new(
                CallErrorKind::Request,
                format!("the request cannot be made: {error}"),
            )
        })?;
        to_json(&body)
    }
}

impl Api for Templated {
    fn body(&self, request: &CompletionRequest<'_>) -> Result<Vec<u8>, CallError> {
        self.render(request.messages, request.repeat)
    }

    fn read_whole(&self, body: &[u8], answer: &mut Answer) -> Result<(), CallError> {
        let body: Value = parse(body, "JSON")?;
        let at = |pointer: &Option<String>| body.pointer(pointer.as_deref()?);
        match body.pointer(&self.settings.text) {
            Some(Value::String(text)) => answer.say(text),
            None | Some(Value::Null) => {
                let message = format!("the answer has nothing at {}", self.settings.text);
                return Err(protocol(message));
            }
            Some(other) => answer.say(&other.to_string()),
        }
        answer.finish_reason = at(&self.settings.finish_reason)
            .and_then(Value::as_str)
            .map(str::to_owned);
        answer.usage = Usage {
            input: at(&self.settings.input_tokens).and_then(Value::as_i64),
            output: at(&self.settings.output_tokens).and_then(Value::as_i64),
            ..Usage::default()
        };
        Ok(())
    }

    fn read_event(&self, _data: &[u8], _answer: &mut Answer) -> Result<(), CallError> {
        Err(protocol("a whole answer was asked for"))
    }

    /// The template may contain more than the prompt, and the prompt more than once.
    fn paid_bytes(&self, messages: &[Message]) -> Option<usize> {
        Some(self.render(messages, 0).map_or(0, |body| body.len()))
    }
}
