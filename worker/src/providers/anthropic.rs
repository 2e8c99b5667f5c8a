//! The messages API of Anthropic.

use opb_core::{
    runs::{ANTHROPIC_MAX_TOKENS, RunModel},
    template::{Content, Image, Part, Role},
};
use reqwest::header::{HeaderName, HeaderValue};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    CallError, CompletionRequest, HttpClient,
    answer::{Answer, parse, protocol, reported},
    auth::Auth,
    base_url, endpoint,
    parameters::{
        Fields, Format, Place, ToolChoice, put, refuse, split_system, take_format, take_stop,
        take_stream, take_tool_choice, take_tools, to_json,
    },
    remote::{Api, Remote},
};

/// The version of the API whose shapes are known here.
const VERSION: &str = "2023-06-01";

const PLACES: [Place; 2] = [
    ("max_completion_tokens", &["max_tokens"]),
    ("reasoning_effort", &["output_config", "effort"]),
];

/// The words of the messages API.
struct Messages {
    fields: Fields,
}

/// Prepares a model for many calls.
///
/// # Errors
/// A parameter is wrong, or the credential cannot be a header.
pub(super) fn anthropic(
    model: &RunModel,
    http: HttpClient,
    credential: Option<SecretString>,
) -> anyhow::Result<Remote> {
    let mut parameters = model.parameters.clone();
    let streams = take_stream(&mut parameters)?;
    let nowhere = [
        "seed",
        "n",
        "logprobs",
        "presence_penalty",
        "frequency_penalty",
    ];
    refuse(&parameters, &nowhere)?;
    arrange(&mut parameters)?;
    if !parameters.contains_key("max_completion_tokens") {
        parameters
            .entry("max_tokens")
            .or_insert(ANTHROPIC_MAX_TOKENS.into());
    }
    let mut fields = Fields::new(parameters, &PLACES, &[], &["model", "messages", "system"])?;
    fields.set("model", model.name.clone().into());
    fields.set("stream", streams.into());
    let header = HeaderName::from_static("x-api-key");
    Ok(Remote {
        api: Box::new(Messages { fields }),
        url: endpoint(&format!("{}/messages", base_url(model)?))?,
        auth: Auth::header(header, "", credential)?,
        headers: vec![(
            HeaderName::from_static("anthropic-version"),
            HeaderValue::from_static(VERSION),
        )],
        streams,
        http,
    })
}

fn arrange(parameters: &mut Map<String, Value>) -> anyhow::Result<()> {
    if let Some(stop) = take_stop(parameters) {
        put(parameters, &["stop_sequences"], stop)?;
    }
    if let Some(tools) = take_tools(parameters)? {
        let tools = tools.into_iter().map(|tool| match tool {
            Ok(function) => {
                let mut tool = Map::new();
                tool.insert("name".into(), function.name);
                if let Some(description) = function.description {
                    tool.insert("description".into(), description);
                }
                let schema = function.parameters;
                tool.insert(
                    "input_schema".into(),
                    schema.unwrap_or(json!({"type": "object"})),
                );
                tool.into()
            }
            Err(other) => other,
        });
        put(parameters, &["tools"], tools.collect())?;
    }
    let choice = take_tool_choice(parameters).map(|choice| match choice {
        ToolChoice::Auto => json!({"type": "auto"}),
        ToolChoice::None => json!({"type": "none"}),
        ToolChoice::Required => json!({"type": "any"}),
        ToolChoice::Function(name) => json!({"type": "tool", "name": name}),
        ToolChoice::Other(other) => other,
    });
    if let Some(choice) = choice {
        put(parameters, &["tool_choice"], choice)?;
    }
    match take_format(parameters)? {
        None | Some(Format::Text) => Ok(()),
        Some(Format::Object) => anyhow::bail!(
            "the parameter `response_format` must give a schema: this provider's API has no other way to ask for JSON"
        ),
        Some(Format::Schema { schema, .. }) => put(
            parameters,
            &["output_config", "format"],
            json!({"type": "json_schema", "schema": schema}),
        ),
    }
}

#[derive(Deserialize)]
struct Body {
    content: Option<Vec<Block>>,
    stop_reason: Option<String>,
    usage: Option<Counts>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Block {
    #[serde(rename = "type")]
    kind: Option<String>,
    text: Option<String>,
    name: Option<String>,
    input: Option<Value>,
}

#[derive(Deserialize)]
struct Counts {
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    cache_read_input_tokens: Option<i64>,
    cache_creation_input_tokens: Option<i64>,
    /// Searches and the like, by name; they are billed apart.
    server_tool_use: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    index: Option<u64>,
    message: Option<Body>,
    content_block: Option<Block>,
    delta: Option<Delta>,
    usage: Option<Counts>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Delta {
    text: Option<String>,
    partial_json: Option<String>,
    stop_reason: Option<String>,
}

impl Api for Messages {
    fn body(&self, request: &CompletionRequest<'_>) -> Result<Vec<u8>, CallError> {
        let (system, talk) = split_system(request.messages)?;
        let mut body = self.fields.of_repeat(request.repeat);
        if let Some(system) = system {
            body.insert("system".into(), system.into());
        }
        let talk = talk.iter().map(|message| {
            let role = match message.role {
                Role::Assistant => "assistant",
                Role::User | Role::System => "user",
            };
            json!({"role": role, "content": content(&message.content)})
        });
        body.insert("messages".into(), talk.collect());
        to_json(&body)
    }

    fn read_whole(&self, body: &[u8], answer: &mut Answer) -> Result<(), CallError> {
        let body: Body = parse(body, "a message")?;
        if let Some(error) = &body.error {
            return Err(reported(error));
        }
        let Some(blocks) = body.content else {
            return Err(protocol("the answer has no content"));
        };
        for (index, block) in (0..).zip(blocks) {
            let input = block.input.as_ref().map(Value::to_string);
            take(answer, index, &block, input.as_deref().unwrap_or_default())?;
        }
        answer.finish_reason = body.stop_reason;
        count(answer, body.usage);
        Ok(())
    }

    fn read_event(&self, data: &[u8], answer: &mut Answer) -> Result<(), CallError> {
        let event: Event = parse(data, "an event of a message")?;
        let index = event.index.unwrap_or_default();
        match event.kind.as_str() {
            "error" => return Err(reported(&event.error.unwrap_or_default())),
            "message_stop" => answer.ended = true,
            _ => {}
        }
        if let Some(message) = event.message {
            count(answer, message.usage);
        }
        if let Some(block) = event.content_block {
            // The arguments of a tool follow in pieces.
            take(answer, index, &block, "")?;
        }
        if let Some(delta) = event.delta {
            answer.say(delta.text.as_deref().unwrap_or_default());
            if let Some(json) = delta.partial_json {
                answer.call_tool(index, "", &json)?;
            }
            answer.finish_reason = delta.stop_reason.or(answer.finish_reason.take());
        }
        count(answer, event.usage);
        Ok(())
    }
}

fn content(content: &Content) -> Value {
    let parts = match content {
        Content::Text(text) => return text.as_str().into(),
        Content::Parts(parts) => parts.iter(),
    };
    let blocks = parts.map(|part| match part {
        Part::Text { text } => json!({"type": "text", "text": text}),
        Part::Image { url } => match Image::of(url) {
            Image::Address(url) => json!({"type": "image", "source": {"type": "url", "url": url}}),
            Image::Data { format, base64 } => json!({"type": "image", "source": {
                "type": "base64", "media_type": format!("image/{format}"), "data": base64,
            }}),
        },
    });
    blocks.collect()
}

/// Adds a block. Thoughts have neither text nor name.
fn take(answer: &mut Answer, index: u64, block: &Block, input: &str) -> Result<(), CallError> {
    answer.say(block.text.as_deref().unwrap_or_default());
    match (&block.kind, &block.name) {
        (Some(kind), Some(name)) if kind == "tool_use" => answer.call_tool(index, name, input),
        _ => Ok(()),
    }
}

/// The API counts tokens from and into the cache apart from the others. Counts of a stream come again, and grow.
fn count(answer: &mut Answer, counts: Option<Counts>) {
    let Some(counts) = counts else {
        return;
    };
    let usage = &mut answer.usage;
    let mut searched = counts.server_tool_use.into_iter().flatten();
    usage.surcharged |= searched.any(|(_, count)| count.as_i64() != Some(0));
    if let Some(uncached) = counts.input_tokens {
        let read = counts.cache_read_input_tokens.unwrap_or(0);
        let written = counts.cache_creation_input_tokens.unwrap_or(0);
        usage.input = Some(uncached.saturating_add(read).saturating_add(written));
        usage.cached_input = counts.cache_read_input_tokens;
        usage.surcharged |= written > 0;
    }
    usage.output = counts.output_tokens.or(usage.output);
}
