//! Google's `generateContent` API for Gemini models.

use opb_core::{
    runs::RunModel,
    template::{Content, Image, Message, Part, Role},
};
use reqwest::header::HeaderName;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::{
    CallError, CompletionRequest, HttpClient,
    answer::{Answer, Usage, parse, protocol, reported},
    auth::Auth,
    base_url, endpoint,
    lenient::{Count, Many, Maybe, Text},
    parameters::{
        Fields, Format, Place, ToolChoice, put, refuse, split_system, take_format, take_stop,
        take_stream, take_tool_choice, take_tools, to_json,
    },
    remote::{Api, Remote},
    segment,
};

const PLACES: [Place; 11] = [
    ("max_tokens", &["generationConfig", "maxOutputTokens"]),
    (
        "max_completion_tokens",
        &["generationConfig", "maxOutputTokens"],
    ),
    ("temperature", &["generationConfig", "temperature"]),
    ("top_p", &["generationConfig", "topP"]),
    ("top_k", &["generationConfig", "topK"]),
    ("seed", &["generationConfig", "seed"]),
    ("presence_penalty", &["generationConfig", "presencePenalty"]),
    (
        "frequency_penalty",
        &["generationConfig", "frequencyPenalty"],
    ),
    ("logprobs", &["generationConfig", "responseLogprobs"]),
    ("top_logprobs", &["generationConfig", "logprobs"]),
    (
        "reasoning_effort",
        &["generationConfig", "thinkingConfig", "thinkingLevel"],
    ),
];

/// The `generateContent` API.
struct GenerateContent {
    fields: Fields,
}

/// Prepares a model for many calls.
///
/// # Errors
/// A parameter is invalid, or the credential is not a valid header.
pub(super) fn gemini(
    model: &RunModel,
    http: HttpClient,
    credential: Option<SecretString>,
) -> anyhow::Result<Remote> {
    let mut parameters = model.parameters.clone();
    let streams = take_stream(&mut parameters)?;
    refuse(&parameters, &["n"])?;
    let several = parameters
        .get("generationConfig")
        .is_some_and(|config| config.get("candidateCount").is_some());
    anyhow::ensure!(
        !several,
        "the parameter `generationConfig.candidateCount` is set by the worker"
    );
    arrange(&mut parameters)?;
    let seed = &["generationConfig", "seed"];
    let ours = ["model", "contents", "systemInstruction"];
    let way = if streams {
        "streamGenerateContent?alt=sse"
    } else {
        "generateContent"
    };
    let (base_url, name) = (base_url(model)?, segment(&model.name)?);
    let header = HeaderName::from_static("x-goog-api-key");
    Ok(Remote {
        api: Box::new(GenerateContent {
            fields: Fields::new(parameters, &PLACES, seed, &ours)?,
        }),
        url: endpoint(&format!("{base_url}/models/{name}:{way}"))?,
        auth: Auth::header(header, "", credential)?,
        headers: Vec::new(),
        http,
    })
}

fn arrange(parameters: &mut Map<String, Value>) -> anyhow::Result<()> {
    if let Some(stop) = take_stop(parameters) {
        put(parameters, &["generationConfig", "stopSequences"], stop)?;
    }
    if let Some(tools) = take_tools(parameters)? {
        let (mut functions, mut others) = (Vec::new(), Vec::new());
        for tool in tools {
            match tool {
                Ok(function) => functions.push(json!({
                    "name": function.name,
                    "description": function.description.unwrap_or("".into()),
                    "parametersJsonSchema": function.parameters.unwrap_or(json!({"type": "object"})),
                })),
                Err(other) => others.push(other),
            }
        }
        if !functions.is_empty() {
            others.push(json!({"functionDeclarations": functions}));
        }
        put(parameters, &["tools"], others.into())?;
    }
    let choice = take_tool_choice(parameters).map(|choice| match choice {
        ToolChoice::Auto => json!({"mode": "AUTO"}),
        ToolChoice::None => json!({"mode": "NONE"}),
        ToolChoice::Required => json!({"mode": "ANY"}),
        ToolChoice::Function(name) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
        ToolChoice::Other(other) => other,
    });
    if let Some(choice) = choice {
        put(parameters, &["toolConfig", "functionCallingConfig"], choice)?;
    }
    let json_type = &["generationConfig", "responseMimeType"];
    match take_format(parameters)? {
        None | Some(Format::Text) => Ok(()),
        Some(Format::Object) => put(parameters, json_type, "application/json".into()),
        Some(Format::Schema { schema, .. }) => {
            put(parameters, json_type, "application/json".into())?;
            put(
                parameters,
                &["generationConfig", "responseJsonSchema"],
                schema,
            )
        }
    }
}

/// A response, or a part of one: streams send parts of the same shape.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(default, borrow)]
    candidates: Many<Candidate<'a>>,
    #[serde(default, borrow)]
    prompt_feedback: Maybe<Feedback<'a>>,
    #[serde(default)]
    usage_metadata: Maybe<Counts>,
    error: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(default, borrow)]
    content: Maybe<Said<'a>>,
    #[serde(default, borrow)]
    finish_reason: Text<'a>,
    /// Search results, which are billed separately.
    grounding_metadata: Option<Value>,
    #[serde(default, borrow)]
    logprobs_result: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Logprobs<'a> {
    #[serde(borrow)]
    chosen_candidates: &'a RawValue,
    #[serde(borrow)]
    top_candidates: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(default, borrow)]
    parts: Many<SaidPart<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SaidPart<'a> {
    #[serde(default, borrow)]
    text: Text<'a>,
    #[serde(default)]
    thought: Value,
    #[serde(default, borrow)]
    function_call: Maybe<FunctionCall<'a>>,
}

#[derive(Deserialize)]
struct FunctionCall<'a> {
    #[serde(default, borrow)]
    name: Text<'a>,
    args: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback<'a> {
    #[serde(default, borrow)]
    block_reason: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "these are the API's own words")]
struct Counts {
    #[serde(default)]
    prompt_token_count: Count,
    #[serde(default)]
    cached_content_token_count: Count,
    #[serde(default)]
    candidates_token_count: Count,
    #[serde(default)]
    thoughts_token_count: Count,
    #[serde(default)]
    tool_use_prompt_token_count: Count,
    #[serde(default)]
    total_token_count: Count,
}

impl Api for GenerateContent {
    fn body(&self, request: &CompletionRequest<'_>) -> Result<Vec<u8>, CallError> {
        let (system, talk) = split_system(request.messages)?;
        let mut body = self.fields.of_repeat(request.repeat);
        if let Some(system) = system {
            body.insert(
                "systemInstruction".into(),
                json!({"parts": [{"text": system}]}),
            );
        }
        let talk = talk.iter().map(|message: &&Message| {
            let role = match message.role {
                Role::Assistant => "model",
                Role::User | Role::System => "user",
            };
            json!({"role": role, "parts": parts(&message.content)})
        });
        body.insert("contents".into(), talk.collect());
        to_json(&body)
    }

    fn read_whole(&self, body: &[u8], answer: &mut Answer) -> Result<(), CallError> {
        take(parse(body, "generated content")?, answer)?;
        match answer.finish_reason {
            Some(_) => Ok(()),
            None => Err(protocol("the answer holds no candidate that has finished")),
        }
    }

    fn read_event(&self, data: &[u8], answer: &mut Answer) -> Result<(), CallError> {
        take(parse(data, "generated content")?, answer)
    }
}

fn parts(content: &Content) -> Value {
    let parts = match content {
        Content::Text(text) => return json!([{"text": text}]),
        Content::Parts(parts) => parts.iter(),
    };
    let parts = parts.map(|part| match part {
        Part::Text { text } => json!({"text": text}),
        Part::Image { url } => match Image::of(url) {
            Image::Address(url) => json!({"fileData": {"fileUri": url}}),
            Image::Data { format, base64 } => {
                json!({"inlineData": {"mimeType": format!("image/{format}"), "data": base64}})
            }
        },
    });
    parts.collect()
}

fn take(body: Body<'_>, answer: &mut Answer) -> Result<(), CallError> {
    if let Some(error) = &body.error {
        return Err(reported(error));
    }
    // A refused prompt has no candidates, and its reason is the response.
    let feedback = body.prompt_feedback.0;
    if let Some(reason) = feedback.as_ref().and_then(|it| it.block_reason.word()) {
        answer.finish_reason = Some(reason.to_owned());
        answer.usage.output = Some(0);
    }
    if let Some(candidate) = body.candidates.0.into_iter().next() {
        let parts = candidate.content.0.map(|content| content.parts.0);
        for part in parts.unwrap_or_default() {
            if part.thought != Value::Bool(true) {
                answer.say(part.text.0.as_deref().unwrap_or_default());
            }
            if let Some(call) = part.function_call.0 {
                let index = answer.tool_calls();
                let arguments = call.args.as_ref().map(Value::to_string);
                let name = call.name.0.unwrap_or_default();
                answer.call_tool(index, &name, arguments.as_deref().unwrap_or_default())?;
            }
        }
        let logprobs = candidate
            .logprobs_result
            .map(|raw| serde_json::from_str(raw.get()));
        if let Some(Ok(Logprobs {
            chosen_candidates,
            top_candidates,
        })) = logprobs
        {
            answer
                .logprobs
                .take_candidates(chosen_candidates, top_candidates);
        }
        answer.usage.surcharged |= candidate.grounding_metadata.is_some();
        if let Some(reason) = candidate.finish_reason.word() {
            answer.finish_reason = Some(reason.to_owned());
        }
    }
    if let Some(counts) = body.usage_metadata.0 {
        count(answer, &counts);
    }
    Ok(())
}

fn count(answer: &mut Answer, counts: &Counts) {
    let before = answer.usage;
    let add = |count: i64, more: Option<i64>| count.saturating_add(more.unwrap_or(0));
    let input = counts
        .prompt_token_count
        .0
        .map(|count| add(count, counts.tool_use_prompt_token_count.0));
    // Thoughts are not included in the candidates' count, and a response of only thoughts has no such count. A blocked
    // one has neither, and only the total shows that nothing was generated.
    let output = match (
        counts.candidates_token_count.0,
        counts.thoughts_token_count.0,
    ) {
        (None, None) => input
            .zip(counts.total_token_count.0)
            .filter(|_| answer.finish_reason.is_some())
            .map(|(input, total)| total.saturating_sub(input))
            .or(before.output),
        (said, thought) => Some(add(said.unwrap_or(0), thought)),
    };
    answer.usage = Usage {
        input: input.or(before.input),
        cached_input: counts.cached_content_token_count.0.or(before.cached_input),
        output,
        reasoning: counts.thoughts_token_count.0.or(before.reasoning),
        surcharged: before.surcharged,
    };
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_is_not_needed_costs_no_answer() {
        for (body, expect) in [
            (
                r#"{"candidates":[{"content":{"parts":[{"text":"4","thought":null}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":7.0,"candidatesTokenCount":"1"}}"#,
                ("4", Some(1)),
            ),
            (
                r#"{"candidates":[{"content":{"parts":null},"finishReason":"SAFETY"}],"usageMetadata":{"promptTokenCount":7,"totalTokenCount":7}}"#,
                ("", Some(0)),
            ),
            (
                r#"{"candidates":null,"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":[]}"#,
                ("", Some(0)),
            ),
        ] {
            let mut answer = Answer::new(Instant::now());
            take(serde_json::from_str(body).unwrap(), &mut answer).unwrap();
            let read = answer.complete(false, Duration::ZERO);
            assert_eq!((read.text.as_str(), read.output_tokens), expect, "{body}");
        }
    }
}
