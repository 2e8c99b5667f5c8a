//! Amazon Bedrock's `converse` API. Not streamed: its streams are not server-sent events.

use opb_core::{
    models::{BedrockSettings, read_settings},
    runs::RunModel,
    template::{Content, Image, Message, Part, Role},
};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    CallError, CallErrorKind, CompletionRequest, HttpClient,
    answer::{Answer, Usage, parse, protocol},
    auth::Auth,
    base_url, endpoint,
    parameters::{
        Fields, Format, Place, ToolChoice, put, refuse, refuse_stream, split_system, take_format,
        take_stop, take_tool_choice, take_tools, to_json,
    },
    remote::{Api, Remote},
    segment,
};

const PLACES: [Place; 5] = [
    ("max_tokens", &["inferenceConfig", "maxTokens"]),
    ("max_completion_tokens", &["inferenceConfig", "maxTokens"]),
    ("temperature", &["inferenceConfig", "temperature"]),
    ("top_p", &["inferenceConfig", "topP"]),
    ("reasoning_effort", &["outputConfig", "effort"]),
];

/// The `converse` API.
struct Converse {
    fields: Fields,
}

/// Prepares a model for many calls.
///
/// # Errors
/// A parameter is invalid, or there is no credential.
pub(super) fn bedrock(
    model: &RunModel,
    http: HttpClient,
    credential: Option<SecretString>,
) -> anyhow::Result<Remote> {
    let settings: BedrockSettings = read_settings(&model.provider.settings)?;
    let mut parameters = model.parameters.clone();
    refuse_stream(&mut parameters)?;
    let nowhere = [
        "seed",
        "n",
        "logprobs",
        "presence_penalty",
        "frequency_penalty",
    ];
    refuse(&parameters, &nowhere)?;
    arrange(&mut parameters)?;
    let fields = Fields::new(parameters, &PLACES, &[], &["messages", "system"])?;
    let (base_url, name) = (base_url(model)?, segment(&model.name)?);
    Ok(Remote {
        api: Box::new(Converse { fields }),
        url: endpoint(&format!("{base_url}/model/{name}/converse"))?,
        auth: Auth::aws(credential, &settings.region)?,
        headers: Vec::new(),
        http,
    })
}

fn arrange(parameters: &mut Map<String, Value>) -> anyhow::Result<()> {
    if let Some(stop) = take_stop(parameters) {
        put(parameters, &["inferenceConfig", "stopSequences"], stop)?;
    }
    if let Some(tools) = take_tools(parameters)? {
        let tools = tools.into_iter().map(|tool| match tool {
            Ok(function) => {
                let schema = function.parameters.unwrap_or(json!({"type": "object"}));
                let mut spec = Map::new();
                spec.insert("name".into(), function.name);
                if let Some(description) = function.description {
                    spec.insert("description".into(), description);
                }
                spec.insert("inputSchema".into(), json!({"json": schema}));
                json!({"toolSpec": spec})
            }
            Err(other) => other,
        });
        put(parameters, &["toolConfig", "tools"], tools.collect())?;
    }
    let choice = match take_tool_choice(parameters) {
        None => None,
        Some(ToolChoice::Auto) => Some(json!({"auto": {}})),
        Some(ToolChoice::Required) => Some(json!({"any": {}})),
        Some(ToolChoice::Function(name)) => Some(json!({"tool": {"name": name}})),
        Some(ToolChoice::Other(other)) => Some(other),
        Some(ToolChoice::None) => anyhow::bail!(
            "the parameter `tool_choice` cannot be `none` here: leave out `tools` instead"
        ),
    };
    if let Some(choice) = choice {
        put(parameters, &["toolConfig", "toolChoice"], choice)?;
    }
    match take_format(parameters)? {
        None | Some(Format::Text) => Ok(()),
        Some(Format::Object) => anyhow::bail!(
            "the parameter `response_format` must give a schema: this provider's API has no other way to ask for JSON"
        ),
        Some(Format::Schema { name, schema, .. }) => {
            // The API takes the schema as text.
            let schema =
                json!({"name": name.unwrap_or("answer".into()), "schema": schema.to_string()});
            let format = json!({"type": "json_schema", "structure": {"jsonSchema": schema}});
            put(parameters, &["outputConfig", "textFormat"], format)
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    output: Option<Output>,
    stop_reason: Option<String>,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Output {
    message: Option<Said>,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    content: Vec<Block>,
}

/// Text or a tool call; reasoning blocks are neither.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block {
    text: Option<String>,
    tool_use: Option<ToolUse>,
}

#[derive(Deserialize)]
struct ToolUse {
    name: Option<String>,
    input: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "these are the API's own words")]
struct Counts {
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    cache_read_input_tokens: Option<i64>,
    cache_write_input_tokens: Option<i64>,
}

impl Api for Converse {
    fn body(&self, request: &CompletionRequest<'_>) -> Result<Vec<u8>, CallError> {
        let (system, talk) = split_system(request.messages)?;
        let mut body = self.fields.of_repeat(request.repeat);
        if let Some(system) = system {
            body.insert("system".into(), json!([{"text": system}]));
        }
        // Roles have to alternate.
        let turns = talk.chunk_by(|before, after| before.role == after.role);
        let turns = turns.map(|turn: &[&Message]| {
            let role = match turn[0].role {
                Role::Assistant => "assistant",
                Role::User | Role::System => "user",
            };
            let content = turn.iter().map(|message| blocks(&message.content));
            let content = content.collect::<Result<Vec<_>, _>>()?.concat();
            Ok(json!({"role": role, "content": content}))
        });
        let turns = turns.collect::<Result<Vec<_>, CallError>>()?;
        body.insert("messages".into(), turns.into());
        to_json(&body)
    }

    fn read_whole(&self, body: &[u8], answer: &mut Answer) -> Result<(), CallError> {
        let body: Body = parse(body, "the answer of a conversation")?;
        let Some(said) = body.output.and_then(|output| output.message) else {
            return Err(protocol("the answer has no message"));
        };
        for (index, block) in (0..).zip(said.content) {
            answer.say(block.text.as_deref().unwrap_or_default());
            if let Some(call) = block.tool_use {
                let input = call.input.as_ref().map(Value::to_string);
                let name = call.name.unwrap_or_default();
                answer.call_tool(index, &name, input.as_deref().unwrap_or_default())?;
            }
        }
        answer.finish_reason = body.stop_reason;
        if let Some(counts) = body.usage {
            let read = counts.cache_read_input_tokens.unwrap_or(0);
            let written = counts.cache_write_input_tokens.unwrap_or(0);
            let all = |uncached: i64| uncached.saturating_add(read).saturating_add(written);
            answer.usage = Usage {
                input: counts.input_tokens.map(all),
                cached_input: counts.cache_read_input_tokens,
                output: counts.output_tokens,
                reasoning: None,
                surcharged: written > 0,
            };
        }
        Ok(())
    }

    fn read_event(&self, _data: &[u8], _answer: &mut Answer) -> Result<(), CallError> {
        Err(protocol("a whole answer was asked for"))
    }
}

/// The blocks of a message. Bedrock does not fetch images.
fn blocks(content: &Content) -> Result<Vec<Value>, CallError> {
    let parts = match content {
        Content::Text(text) => return Ok(vec![json!({"text": text})]),
        Content::Parts(parts) => parts.iter(),
    };
    let blocks = parts.map(|part| match part {
        Part::Text { text } => Ok(json!({"text": text})),
        Part::Image { url } => match Image::of(url) {
            Image::Data { format, base64 } => {
                Ok(json!({"image": {"format": format, "source": {"bytes": base64}}}))
            }
            Image::Address(_) => Err(CallError::new(
                CallErrorKind::Request,
                "Bedrock takes images as data only; give a data URL such as `data:image/png;base64,…`",
            )),
        },
    });
    blocks.collect()
}
