//! `OpenAI`'s chat completions API, which vLLM, llama.cpp, Ollama and many others implement too, and Azure under other
//! URLs.
//!
//! The request types come from async-openai. Its client is not used: it retries calls on its own and limits neither the
//! size of a response nor its log lines (docs/decisions/0002).

use std::sync::atomic::{AtomicBool, Ordering};

use async_openai::types::chat::{
    ChatCompletionRequestAssistantMessage, ChatCompletionRequestMessage,
    ChatCompletionRequestMessageContentPartImage, ChatCompletionRequestSystemMessage,
    ChatCompletionRequestUserMessage, ChatCompletionRequestUserMessageContent as UserContent,
    ChatCompletionRequestUserMessageContentPart as UserPart, ChatCompletionStreamOptions,
    CreateChatCompletionRequest, ImageUrl,
};
use opb_core::{
    models::{AzureSettings, read_settings},
    runs::RunModel,
    template::{Content, Message, Part, Role},
};
use reqwest::header::HeaderName;
use secrecy::SecretString;
use serde_json::Value;

use super::{
    CallError, CompletionRequest, HttpClient,
    answer::Answer,
    auth::Auth,
    base_url, chat, endpoint,
    parameters::{Fields, take_stream, to_json},
    remote::{Api, Remote},
    segment,
};

/// The chat completions API.
struct Chat {
    model_name: String,
    /// The model's parameters; `None` if there are none.
    fields: Option<Fields>,
    streams: bool,
    /// Set once the server has refused `stream_options`, as some do.
    is_without_options: AtomicBool,
}

/// Prepares a model of the chat completions API for many calls.
///
/// # Errors
/// A parameter is invalid, or the credential is not a valid header.
pub(super) fn openai(
    model: &RunModel,
    http: HttpClient,
    credential: Option<SecretString>,
) -> anyhow::Result<Remote> {
    let url = format!("{}/chat/completions", base_url(model)?);
    chat_at(model, &url, http, Auth::bearer(credential)?)
}

/// Prepares a deployment on Azure for many calls.
///
/// # Errors
/// Those of [`openai`].
pub(super) fn azure(
    model: &RunModel,
    http: HttpClient,
    credential: Option<SecretString>,
) -> anyhow::Result<Remote> {
    let base_url = base_url(model)?;
    let settings: AzureSettings = read_settings(&model.provider.settings)?;
    // Newer URLs have the form of OpenAI's own, without versions.
    let url = if base_url.ends_with("/openai/v1") {
        format!("{base_url}/chat/completions")
    } else {
        format!(
            "{base_url}/openai/deployments/{}/chat/completions?api-version={}",
            segment(&model.name)?,
            settings.api_version
        )
    };
    let header = HeaderName::from_static("api-key");
    chat_at(model, &url, http, Auth::header(header, "", credential)?)
}

fn chat_at(model: &RunModel, url: &str, http: HttpClient, auth: Auth) -> anyhow::Result<Remote> {
    let mut parameters = model.parameters.clone();
    let streams = take_stream(&mut parameters)?;
    let ours = ["model", "messages", "stream_options", "n"];
    let fields = Fields::new(parameters, &[], &["seed"], &ours)?;
    let api = Chat {
        model_name: model.name.clone(),
        fields: (!fields.is_empty()).then_some(fields),
        streams,
        is_without_options: AtomicBool::new(false),
    };
    Ok(Remote {
        api: Box::new(api),
        url: endpoint(url)?,
        auth,
        headers: Vec::new(),
        http,
    })
}

impl Api for Chat {
    fn body(&self, request: &CompletionRequest<'_>) -> Result<Vec<u8>, CallError> {
        let typed = CreateChatCompletionRequest {
            model: self.model_name.clone(),
            messages: request.messages.iter().map(message).collect(),
            stream: Some(self.streams),
            stream_options: (self.streams && !self.is_without_options.load(Ordering::Relaxed))
                .then_some(ChatCompletionStreamOptions {
                    include_usage: Some(true),
                    include_obfuscation: None,
                }),
            ..CreateChatCompletionRequest::default()
        };
        let Some(fields) = &self.fields else {
            return to_json(&typed);
        };
        let mut body = serde_json::to_value(&typed).unwrap_or_default();
        if let Value::Object(body) = &mut body {
            body.extend(fields.of_repeat(request.repeat));
        }
        to_json(&body)
    }

    fn adapts_to(&self, refusal: &str) -> bool {
        self.streams
            && refusal.contains("stream_options")
            && !self.is_without_options.swap(true, Ordering::Relaxed)
    }

    fn read_whole(&self, body: &[u8], answer: &mut Answer) -> Result<(), CallError> {
        chat::read_whole(body, answer)
    }

    fn read_event(&self, data: &[u8], answer: &mut Answer) -> Result<(), CallError> {
        chat::read_event(data, answer)
    }
}

fn message(message: &Message) -> ChatCompletionRequestMessage {
    let content = match &message.content {
        Content::Text(text) => text.clone(),
        Content::Parts(parts) if message.role == Role::User => {
            return ChatCompletionRequestMessage::User(ChatCompletionRequestUserMessage {
                content: UserContent::Array(parts.iter().map(part).collect()),
                name: None,
            });
        }
        Content::Parts(_) => message.content.text().into_owned(),
    };
    match message.role {
        Role::System => ChatCompletionRequestMessage::System(ChatCompletionRequestSystemMessage {
            content: content.into(),
            name: None,
        }),
        Role::User => ChatCompletionRequestMessage::User(ChatCompletionRequestUserMessage {
            content: content.into(),
            name: None,
        }),
        Role::Assistant => {
            ChatCompletionRequestMessage::Assistant(ChatCompletionRequestAssistantMessage {
                content: Some(content.into()),
                ..ChatCompletionRequestAssistantMessage::default()
            })
        }
    }
}

fn part(part: &Part) -> UserPart {
    match part {
        Part::Text { text } => UserPart::Text(text.clone().into()),
        Part::Image { url } => UserPart::ImageUrl(ChatCompletionRequestMessageContentPartImage {
            image_url: ImageUrl {
                url: url.clone(),
                detail: None,
            },
            prompt_cache_breakpoint: None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::AnswerHint;

    #[test]
    fn a_field_that_a_server_refuses_is_left_out_from_then_on() {
        let chat = Chat {
            model_name: "m".to_owned(),
            fields: None,
            streams: true,
            is_without_options: AtomicBool::new(false),
        };
        let body = || {
            let body = chat.body(&CompletionRequest {
                messages: &[],
                repeat: 0,
                answer: AnswerHint {
                    expected: None,
                    item: "i",
                    seed: 0,
                },
            });
            String::from_utf8(body.unwrap()).unwrap()
        };
        assert!(body().contains("stream_options"));
        assert!(!chat.adapts_to("the provider answered 422: no such model"));
        assert!(body().contains("stream_options"));
        assert!(chat.adapts_to(r#"422: {"loc":["body","stream_options"]}"#));
        assert!(!body().contains("stream_options"));
        assert!(!chat.adapts_to("stream_options"), "it is left out already");
    }
}
