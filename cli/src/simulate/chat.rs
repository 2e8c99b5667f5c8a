//! `POST /v1/chat/completions`: parses the request, and creates the response in one piece or as events.

mod events;
mod request;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use opb_worker::simulation::{Answer, AnswerKey, Purpose, Reply, Request, SimulatedModel, reply};
use serde::Serialize;

use super::models::model_for;
use super::response::{ApiError, to_json};
use request::ChatRequest;

pub(super) const FINGERPRINT: &str = "simulated";

/// One simulated completion.
pub(super) struct Chat {
    id: String,
    created: u64,
    model: &'static SimulatedModel,
    reply: Reply,
    streams: bool,
    includes_usage: bool,
}

#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'static str,
    system_fingerprint: &'static str,
    choices: [Choice<'a>; 1],
    usage: Usage,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    message: Message<'a>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the format has these names")]
struct Usage {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
}

impl Chat {
    /// Parses a request body and creates the completion.
    pub(super) fn create(
        body: &[u8],
        answers: &AnswerKey,
        seed: u64,
        call: u64,
    ) -> Result<Self, ApiError> {
        let request = ChatRequest::read(body)?;
        let model = model_for(Purpose::Text, &request.model)?;
        let prompt = request.prompt();
        let answer = answers.find(&prompt);
        let reply = reply(
            model,
            &Request {
                prompt: &prompt,
                expected: answer.map(Answer::expected),
                item: answer.map(Answer::text),
                seed: seed.wrapping_add(request.seed.unwrap_or(0).cast_unsigned()),
                json: request.wants_json(),
                max_tokens: request.max_completion_tokens.or(request.max_tokens),
            },
        );
        Ok(Self {
            id: format!("chatcmpl-simulated-{call:x}"),
            created: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            model,
            reply,
            streams: request.stream.unwrap_or(false),
            includes_usage: request
                .stream_options
                .is_some_and(|options| options.include_usage),
        })
    }

    /// Whether the client asked for events.
    pub(super) fn streams(&self) -> bool {
        self.streams
    }

    /// The duration of the whole response in the model's profile.
    pub(super) fn total(&self) -> Duration {
        self.reply.total
    }

    /// The response as one JSON object.
    pub(super) fn to_json(&self) -> Bytes {
        to_json(&Completion {
            id: &self.id,
            object: "chat.completion",
            created: self.created,
            model: self.model.name,
            system_fingerprint: FINGERPRINT,
            choices: [Choice {
                index: 0,
                message: Message {
                    role: "assistant",
                    content: &self.reply.text,
                },
                finish_reason: self.finish_reason(),
            }],
            usage: self.usage(),
        })
    }

    fn finish_reason(&self) -> &'static str {
        if self.reply.cut { "length" } else { "stop" }
    }

    fn usage(&self) -> Usage {
        Usage {
            prompt_tokens: self.reply.prompt_tokens,
            completion_tokens: self.reply.completion_tokens,
            total_tokens: self
                .reply
                .prompt_tokens
                .saturating_add(self.reply.completion_tokens),
        }
    }
}
