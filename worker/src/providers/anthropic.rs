//! Anthropic's messages API.

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
    lenient::{Count, Many, Maybe, Text},
    parameters::{
        Fields, Format, Place, ToolChoice, put, refuse, split_system, take_format, take_stop,
        take_stream, take_tool_choice, take_tools, to_json,
    },
    remote::{Api, Remote},
};

/// The supported version of the API.
const VERSION: &str = "2023-06-01";

const PLACES: [Place; 2] = [
    ("max_completion_tokens", &["max_tokens"]),
    ("reasoning_effort", &["output_config", "effort"]),
];

/// The messages API.
struct Messages {
    fields: Fields,
}

/// Prepares a model for many calls.
///
/// # Errors
/// A parameter is invalid, or the credential is not a valid header.
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
struct Body<'a> {
    #[serde(default, borrow)]
    content: Many<Block<'a>>,
    #[serde(default, borrow)]
    stop_reason: Text<'a>,
    #[serde(default)]
    usage: Maybe<Counts>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(rename = "type", default, borrow)]
    kind: Text<'a>,
    #[serde(default, borrow)]
    text: Text<'a>,
    #[serde(default, borrow)]
    name: Text<'a>,
    input: Option<Value>,
}

#[derive(Deserialize)]
struct Counts {
    #[serde(default)]
    input_tokens: Count,
    #[serde(default)]
    output_tokens: Count,
    #[serde(default)]
    cache_read_input_tokens: Count,
    #[serde(default)]
    cache_creation_input_tokens: Count,
    /// Searches and similar tools, by name; they are billed separately.
    #[serde(default)]
    server_tool_use: Maybe<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", default, borrow)]
    kind: Text<'a>,
    #[serde(default)]
    index: Count,
    #[serde(default, borrow)]
    message: Maybe<Body<'a>>,
    #[serde(default, borrow)]
    content_block: Maybe<Block<'a>>,
    #[serde(default, borrow)]
    delta: Maybe<Delta<'a>>,
    #[serde(default)]
    usage: Maybe<Counts>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(default, borrow)]
    text: Text<'a>,
    #[serde(default, borrow)]
    partial_json: Text<'a>,
    #[serde(default, borrow)]
    stop_reason: Text<'a>,
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
        let body: Body<'_> = parse(body, "a message")?;
        if let Some(error) = &body.error {
            return Err(reported(error));
        }
        answer.finish_reason = body.stop_reason.word().map(str::to_owned);
        if body.content.0.is_empty() && answer.finish_reason.is_none() {
            return Err(protocol("the answer has no content"));
        }
        for (index, block) in (0..).zip(&body.content.0) {
            let input = block.input.as_ref().map(Value::to_string);
            take(answer, index, block, input.as_deref().unwrap_or_default())?;
        }
        count(answer, body.usage.0);
        Ok(())
    }

    fn read_event(&self, data: &[u8], answer: &mut Answer) -> Result<(), CallError> {
        if data == b"[DONE]" {
            // Not part of this API, but sent by some compatible servers.
            answer.ended = true;
            return Ok(());
        }
        let Maybe(Some(event)) = parse::<Maybe<Event<'_>>>(data, "an event of a message")? else {
            return Ok(());
        };
        let index = event.index.0.and_then(|index| u64::try_from(index).ok());
        let index = index.unwrap_or_default();
        match event.kind.word().unwrap_or_default() {
            "error" => return Err(reported(&event.error.unwrap_or_default())),
            "message_stop" => answer.ended = true,
            _ => {}
        }
        if let Some(message) = event.message.0 {
            count(answer, message.usage.0);
        }
        if let Some(block) = event.content_block.0 {
            // The arguments of a tool follow in pieces.
            take(answer, index, &block, "")?;
        }
        if let Some(delta) = event.delta.0 {
            answer.say(delta.text.0.as_deref().unwrap_or_default());
            // Pieces of tools that the provider itself calls, such as its search, are not part of the response.
            if let Some(json) = delta.partial_json.0
                && answer.has_call(index)
            {
                answer.call_tool(index, "", &json)?;
            }
            if let Some(reason) = delta.stop_reason.word() {
                answer.finish_reason = Some(reason.to_owned());
            }
        }
        count(answer, event.usage.0);
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

/// Adds a block. Thinking blocks have neither text nor name.
fn take(answer: &mut Answer, index: u64, block: &Block<'_>, input: &str) -> Result<(), CallError> {
    answer.say(block.text.0.as_deref().unwrap_or_default());
    match (block.kind.word(), &block.name.0) {
        (Some("tool_use"), Some(name)) => answer.call_tool(index, name, input),
        _ => Ok(()),
    }
}

/// The API counts tokens read from and written to the cache separately. Counts in a stream are repeated, and increase.
fn count(answer: &mut Answer, counts: Option<Counts>) {
    let Some(counts) = counts else {
        return;
    };
    let usage = &mut answer.usage;
    let mut searched = counts.server_tool_use.0.into_iter().flatten();
    usage.surcharged |= searched.any(|(_, count)| count.as_f64() != Some(0.0));
    if let Some(uncached) = counts.input_tokens.0 {
        let read = counts.cache_read_input_tokens.0.unwrap_or(0);
        let written = counts.cache_creation_input_tokens.0.unwrap_or(0);
        usage.input = Some(uncached.saturating_add(read).saturating_add(written));
        usage.cached_input = counts.cache_read_input_tokens.0;
        usage.surcharged |= written > 0;
    }
    usage.output = counts.output_tokens.0.or(usage.output);
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn api() -> Messages {
        let fields = Fields::new(Map::new(), &PLACES, &[], &[]).unwrap();
        Messages { fields }
    }

    #[test]
    fn what_the_provider_calls_by_itself_is_no_part_of_the_answer() {
        let mut answer = Answer::new(Instant::now());
        for event in [
            r#"{"type":"message_start","message":{"usage":{"input_tokens":"7"},"content":null}}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use","name":"web_search","input":{}}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"query\":\"x\"}"}}"#,
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"web_search_tool_result","content":[{"type":"x"}]}}"#,
            r#"{"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"42"}}"#,
            r#"{"type":"newer","delta":["of another shape"],"index":"x","usage":null}"#,
            r"[1]",
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3.0}}"#,
            "[DONE]",
        ] {
            api().read_event(event.as_bytes(), &mut answer).unwrap();
        }
        assert!(answer.ended);
        let read = answer.complete(true, Duration::ZERO);
        assert_eq!((read.text.as_str(), read.output_tokens), ("42", Some(3)));
        assert_eq!(read.input_tokens, Some(7));
    }

    #[test]
    fn a_refusal_without_content_is_an_answer() {
        let mut answer = Answer::new(Instant::now());
        let body = br#"{"content":null,"stop_reason":"refusal"}"#;
        api().read_whole(body, &mut answer).unwrap();
        let mut answer = Answer::new(Instant::now());
        let error = api().read_whole(br#"{"content":null}"#, &mut answer);
        assert!(error.is_err(), "no model has answered");
    }
}
