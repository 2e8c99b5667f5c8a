//! `OpenAI`'s responses API.

use anyhow::Context as _;
use opb_core::{
    runs::RunModel,
    template::{Content, Message, Part, Role},
};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::{
    CallError, CompletionRequest, HttpClient,
    answer::{Answer, Usage, parse, protocol, reported},
    auth::Auth,
    base_url, endpoint,
    lenient::{Count, JsonText, Many, Maybe, Text},
    parameters::{
        Fields, Format, Place, ToolChoice, put, refuse, take_format, take_stream, take_tool_choice,
        take_tools, to_json,
    },
    remote::{Api, Remote},
};

const PLACES: [Place; 3] = [
    ("max_tokens", &["max_output_tokens"]),
    ("max_completion_tokens", &["max_output_tokens"]),
    ("reasoning_effort", &["reasoning", "effort"]),
];

/// The responses API.
struct Responses {
    fields: Fields,
}

/// Prepares a model for many calls.
///
/// # Errors
/// A parameter is invalid, or the credential is not a valid header.
pub(super) fn responses(
    model: &RunModel,
    http: HttpClient,
    credential: Option<SecretString>,
) -> anyhow::Result<Remote> {
    let mut parameters = model.parameters.clone();
    let streams = take_stream(&mut parameters)?;
    refuse(&parameters, &["stop", "seed", "n"])?;
    arrange(&mut parameters)?;
    ask_for_logprobs(&mut parameters)?;
    // The provider stores nothing unless requested.
    parameters.entry("store").or_insert(false.into());
    let mut fields = Fields::new(parameters, &PLACES, &[], &["model", "input", "background"])?;
    fields.set("model", model.name.clone().into());
    fields.set("stream", streams.into());
    Ok(Remote {
        api: Box::new(Responses { fields }),
        url: endpoint(&format!("{}/responses", base_url(model)?))?,
        auth: Auth::bearer(credential)?,
        headers: Vec::new(),
        http,
    })
}

/// `logprobs` is not a parameter here, but a value of `include`.
fn ask_for_logprobs(parameters: &mut Map<String, Value>) -> anyhow::Result<()> {
    match parameters.remove("logprobs") {
        None | Some(Value::Null | Value::Bool(false)) => return Ok(()),
        Some(Value::Bool(true)) => {}
        Some(_) => anyhow::bail!("the parameter `logprobs` must be true or false"),
    }
    let include = parameters
        .entry("include")
        .or_insert_with(|| Value::Array(Vec::new()))
        .as_array_mut()
        .context("the parameter `include` must be a list")?;
    let logprobs = Value::from("message.output_text.logprobs");
    if !include.contains(&logprobs) {
        include.push(logprobs);
    }
    Ok(())
}

fn arrange(parameters: &mut Map<String, Value>) -> anyhow::Result<()> {
    if let Some(tools) = take_tools(parameters)? {
        let tools = tools.into_iter().map(|tool| match tool {
            Ok(function) => json!({
                "type": "function",
                "name": function.name,
                "description": function.description,
                "parameters": function.parameters,
                "strict": function.strict.unwrap_or(false.into()),
            }),
            Err(other) => other,
        });
        put(parameters, &["tools"], tools.collect())?;
    }
    let choice = take_tool_choice(parameters).map(|choice| match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Function(name) => json!({"type": "function", "name": name}),
        ToolChoice::Other(other) => other,
    });
    if let Some(choice) = choice {
        put(parameters, &["tool_choice"], choice)?;
    }
    let format = take_format(parameters)?.map(|format| match format {
        Format::Text => json!({"type": "text"}),
        Format::Object => json!({"type": "json_object"}),
        Format::Schema {
            name,
            schema,
            strict,
        } => json!({
            "type": "json_schema",
            "name": name.unwrap_or("answer".into()),
            "schema": schema,
            "strict": strict.unwrap_or(false.into()),
        }),
    });
    match format {
        Some(format) => put(parameters, &["text", "format"], format),
        None => Ok(()),
    }
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(default, borrow)]
    status: Text<'a>,
    #[serde(default, borrow)]
    output: Many<Item<'a>>,
    #[serde(default)]
    usage: Maybe<Counts>,
    error: Option<Value>,
    #[serde(default, borrow)]
    incomplete_details: Maybe<Incomplete<'a>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(default, borrow)]
    name: Text<'a>,
    #[serde(default)]
    arguments: JsonText,
    #[serde(default, borrow)]
    content: Many<SaidPart<'a>>,
    #[serde(rename = "type", default, borrow)]
    kind: Text<'a>,
}

#[derive(Deserialize)]
struct SaidPart<'a> {
    #[serde(default, borrow)]
    text: Text<'a>,
    #[serde(default, borrow)]
    refusal: Text<'a>,
    #[serde(default, borrow)]
    logprobs: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Incomplete<'a> {
    #[serde(default, borrow)]
    reason: Text<'a>,
}

#[derive(Deserialize)]
struct Counts {
    #[serde(default)]
    input_tokens: Count,
    #[serde(default)]
    output_tokens: Count,
    #[serde(default)]
    input_tokens_details: Maybe<InputCounts>,
    #[serde(default)]
    output_tokens_details: Maybe<OutputCounts>,
}

#[derive(Deserialize)]
struct InputCounts {
    #[serde(default)]
    cached_tokens: Count,
}

#[derive(Deserialize)]
struct OutputCounts {
    #[serde(default)]
    reasoning_tokens: Count,
}

/// An event of a stream. Events without content, such as `response.created`, have none of these fields.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(default, borrow)]
    delta: Text<'a>,
    #[serde(default, borrow)]
    logprobs: Option<&'a RawValue>,
    #[serde(default, borrow)]
    response: Maybe<Response<'a>>,
}

/// The kind of an event: newer ones may have other shapes, and only a few are relevant.
#[derive(Deserialize)]
struct EventKind {
    #[serde(rename = "type", default)]
    kind: Value,
}

impl Api for Responses {
    fn body(&self, request: &CompletionRequest<'_>) -> Result<Vec<u8>, CallError> {
        let mut body = self.fields.of_repeat(request.repeat);
        // Without the type, some servers do not accept messages of the assistant.
        let input = request.messages.iter().map(
            |message| json!({"type": "message", "role": message.role, "content": content(message)}),
        );
        body.insert("input".into(), input.collect());
        to_json(&body)
    }

    fn read_whole(&self, body: &[u8], answer: &mut Answer) -> Result<(), CallError> {
        finish(parse(body, "a response")?, answer)?;
        if answer.ended {
            Ok(())
        } else {
            Err(protocol("the answer has no status"))
        }
    }

    fn read_event(&self, data: &[u8], answer: &mut Answer) -> Result<(), CallError> {
        let EventKind { kind } = parse(data, "an event of a response")?;
        let kind = kind.as_str().unwrap_or_default();
        match kind {
            "error" => {
                let event: Value = parse(data, "an error of a response")?;
                return Err(reported(event.get("error").unwrap_or(&event)));
            }
            "response.output_text.delta"
            | "response.refusal.delta"
            | "response.completed"
            | "response.incomplete"
            | "response.failed" => {}
            _ => return Ok(()),
        }
        let event: Event<'_> = parse(data, "an event of a response")?;
        if let Some(delta) = event.delta.0 {
            answer.refused |= kind == "response.refusal.delta";
            answer.say(&delta);
        }
        if let Some(list) = event.logprobs {
            answer.logprobs.take(list);
        }
        event
            .response
            .0
            .map_or(Ok(()), |response| finish(response, answer))
    }
}

fn content(message: &Message) -> Value {
    let parts = match &message.content {
        Content::Parts(parts) if message.role == Role::User => parts.iter(),
        // Other roles have only text, whose type would differ by role.
        _ => return message.content.text().into(),
    };
    let parts = parts.map(|part| match part {
        Part::Text { text } => json!({"type": "input_text", "text": text}),
        Part::Image { url } => json!({"type": "input_image", "image_url": url}),
    });
    parts.collect()
}

/// Reads the end of a response, and its text unless that was streamed.
fn finish(response: Response<'_>, answer: &mut Answer) -> Result<(), CallError> {
    if let Some(error) = response.error.filter(|error| !error.is_null()) {
        return Err(reported(&error));
    }
    let silent = answer.is_silent();
    for (index, item) in (0..).zip(response.output.0) {
        let kind = item.kind.word().unwrap_or_default();
        match kind {
            "function_call" => {
                let name = item.name.0.unwrap_or_default();
                answer.call_tool(index, &name, &item.arguments.0.unwrap_or_default())?;
            }
            // Searches and similar tools, which the provider calls on its own and bills separately.
            kind if kind.ends_with("_call") => answer.usage.surcharged = true,
            _ => {}
        }
        // Reasoning is not part of the response.
        let parts = item.content.0.iter();
        for part in parts.filter(|_| silent && kind == "message") {
            answer.say(part.text.0.as_deref().unwrap_or_default());
            if let Some(list) = part.logprobs {
                answer.logprobs.take(list);
            }
            if let Some(refusal) = &part.refusal.0 {
                answer.refused = true;
                answer.say(refusal);
            }
        }
    }
    if let Some(counts) = response.usage.0 {
        let cached = counts.input_tokens_details.0;
        let reasoning = counts.output_tokens_details.0;
        answer.usage = Usage {
            input: counts.input_tokens.0,
            cached_input: cached.and_then(|details| details.cached_tokens.0),
            output: counts.output_tokens.0,
            reasoning: reasoning.and_then(|details| details.reasoning_tokens.0),
            surcharged: answer.usage.surcharged,
        };
    }
    let incomplete = response.incomplete_details.0;
    let incomplete = incomplete
        .as_ref()
        .and_then(|details| details.reason.word());
    let status = response.status.word();
    answer.ended = status.is_some();
    answer.finish_reason = incomplete.or(status).map(str::to_owned);
    Ok(())
}
