//! The chat completions API of `OpenAI`, which vLLM, llama.cpp, Ollama and many others offer too.
//!
//! The request's shape comes from async-openai. Its client is not used: it repeats calls on its own and bounds neither
//! the size of an answer nor its log lines (docs/decisions/0002).

use std::time::Instant;

use anyhow::Context as _;
use async_openai::types::chat::{
    ChatCompletionRequestAssistantMessage, ChatCompletionRequestMessage,
    ChatCompletionRequestSystemMessage, ChatCompletionRequestUserMessage,
    ChatCompletionStreamOptions, CreateChatCompletionRequest,
};
use futures::{FutureExt as _, future::BoxFuture};
use opb_core::{
    runs::RunModel,
    template::{Message, Role},
};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};

use super::{
    CallError, CallErrorKind, Completion, CompletionRequest, HttpClient, Provider, http::without,
    stream,
};

/// A model behind the chat completions API.
pub(crate) struct OpenAi {
    model_name: String,
    url: String,
    authorization: Option<HeaderValue>,
    credential: Option<SecretString>,
    /// The model's parameters, without those that are ours.
    parameters: Map<String, Value>,
    streams: bool,
    http: HttpClient,
}

impl OpenAi {
    /// Prepares a model for many calls.
    ///
    /// # Errors
    /// A parameter is wrong, or the credential cannot be a header.
    pub(crate) fn new(
        model: &RunModel,
        http: HttpClient,
        credential: Option<SecretString>,
    ) -> anyhow::Result<Self> {
        let base_url = model
            .provider
            .base_url
            .as_deref()
            .context("the provider has no base URL")?;
        let mut parameters = model.parameters.clone();
        let streams = match parameters.remove("stream") {
            None => true,
            Some(stream) => stream
                .as_bool()
                .context("the parameter `stream` must be true or false")?,
        };
        for ours in ["model", "messages", "stream_options", "n"] {
            anyhow::ensure!(
                !parameters.contains_key(ours),
                "the parameter `{ours}` is set by the worker"
            );
        }
        let authorization = credential.as_ref().map(authorization).transpose()?;
        Ok(Self {
            model_name: model.name.clone(),
            url: format!("{base_url}/chat/completions"),
            authorization,
            credential,
            parameters,
            streams,
            http,
        })
    }

    fn body(&self, request: &CompletionRequest<'_>) -> Result<Vec<u8>, CallError> {
        let typed = CreateChatCompletionRequest {
            model: self.model_name.clone(),
            messages: request.messages.iter().map(message).collect(),
            stream: Some(self.streams),
            stream_options: self.streams.then_some(ChatCompletionStreamOptions {
                include_usage: Some(true),
                include_obfuscation: None,
            }),
            ..CreateChatCompletionRequest::default()
        };
        let unmade = |error| {
            CallError::new(
                CallErrorKind::Request,
                format!("the request cannot be made: {error}"),
            )
        };
        if self.parameters.is_empty() {
            return serde_json::to_vec(&typed).map_err(unmade);
        }
        let mut body = serde_json::to_value(&typed).map_err(unmade)?;
        if let Some(fields) = body.as_object_mut() {
            fields.extend(self.parameters.clone());
            if let Some(seed) = fields.get("seed").and_then(Value::as_i64) {
                fields.insert(
                    "seed".into(),
                    seed.wrapping_add(i64::from(request.repeat)).into(),
                );
            }
        }
        serde_json::to_vec(&body).map_err(unmade)
    }

    async fn ask(&self, request: &CompletionRequest<'_>) -> Result<Completion, CallError> {
        let mut post = self
            .http
            .post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .body(self.body(request)?);
        if let Some(authorization) = &self.authorization {
            post = post.header(AUTHORIZATION, authorization.clone());
        }
        let started = Instant::now();
        let response = self.http.send(post).await?;
        let content_type = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("");
        // A server that does not stream answers whole, whatever it was asked for.
        if self.streams && content_type.starts_with("text/event-stream") {
            return stream::read_stream(self.http.body(response), started).await;
        }
        let body = self.http.read(response).await?;
        stream::read_whole(&body, started)
    }
}

impl Provider for OpenAi {
    fn complete<'a>(
        &'a self,
        request: &'a CompletionRequest<'a>,
        _attempt: u32,
    ) -> BoxFuture<'a, Result<Completion, CallError>> {
        let credential = self.credential.as_ref().map(SecretString::expose_secret);
        self.ask(request)
            .map(move |result| scrub(result, credential))
            .boxed()
    }
}

/// What came back, without our credential: answers and errors are shown to people who may not know it.
fn scrub(
    result: Result<Completion, CallError>,
    credential: Option<&str>,
) -> Result<Completion, CallError> {
    match result {
        Ok(completion) => Ok(Completion {
            text: without(completion.text, credential),
            finish_reason: completion
                .finish_reason
                .map(|reason| without(reason, credential)),
            ..completion
        }),
        Err(error) => Err(CallError {
            message: without(error.message, credential),
            ..error
        }),
    }
}

fn authorization(credential: &SecretString) -> anyhow::Result<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", credential.expose_secret()))
        .map_err(|_| anyhow::anyhow!("the credential holds characters that no header can carry"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn message(message: &Message) -> ChatCompletionRequestMessage {
    let text = message.content.clone();
    match message.role {
        Role::System => ChatCompletionRequestMessage::System(ChatCompletionRequestSystemMessage {
            content: text.into(),
            name: None,
        }),
        Role::User => ChatCompletionRequestMessage::User(ChatCompletionRequestUserMessage {
            content: text.into(),
            name: None,
        }),
        Role::Assistant => {
            ChatCompletionRequestMessage::Assistant(ChatCompletionRequestAssistantMessage {
                content: Some(text.into()),
                ..ChatCompletionRequestAssistantMessage::default()
            })
        }
    }
}
