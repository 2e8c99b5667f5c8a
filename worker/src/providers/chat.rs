//! Answers of the chat completions API: whole, or one event of a stream.
//!
//! The shapes are our own and lenient: the servers that speak this API differ in what they leave out or add, and a
//! missing field that we do not need shall not cost an answer that was paid for.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    CallError,
    answer::{Answer, Usage, parse, protocol, reported},
};

/// Texts are borrowed where they can be: a streamed answer has as many of these as it has tokens.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(default, borrow)]
    choices: Vec<Choice<'a>>,
    usage: Option<Counts>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(alias = "delta", borrow)]
    message: Option<Said<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    logprobs: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Logprobs<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    refusal: Option<Cow<'a, str>>,
    tool_calls: Option<Vec<ToolCall>>,
}

#[derive(Deserialize)]
struct ToolCall {
    index: Option<u64>,
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Deserialize)]
struct Counts {
    prompt_tokens: Option<i64>,
    completion_tokens: Option<i64>,
    prompt_tokens_details: Option<PromptCounts>,
    completion_tokens_details: Option<CompletionCounts>,
}

#[derive(Deserialize)]
struct PromptCounts {
    cached_tokens: Option<i64>,
}

#[derive(Deserialize)]
struct CompletionCounts {
    reasoning_tokens: Option<i64>,
}

/// Reads a whole answer.
pub(super) fn read_whole(body: &[u8], answer: &mut Answer) -> Result<(), CallError> {
    let body = read(body)?;
    if body.choices.is_empty() {
        return Err(protocol("the answer holds no choice"));
    }
    take(answer, body)
}

/// Reads the data of an event.
pub(super) fn read_event(data: &[u8], answer: &mut Answer) -> Result<(), CallError> {
    if data == b"[DONE]" {
        answer.ended = true;
        return Ok(());
    }
    take(answer, read(data)?)
}

fn read(body: &[u8]) -> Result<Body<'_>, CallError> {
    let body: Body<'_> = parse(body, "a chat completion")?;
    match &body.error {
        None | Some(Value::Null) => Ok(body),
        Some(error) => Err(reported(error)),
    }
}

fn take(answer: &mut Answer, part: Body<'_>) -> Result<(), CallError> {
    if let Some(choice) = part.choices.into_iter().next() {
        if let Some(said) = choice.message {
            answer.say(said.content.as_deref().unwrap_or_default());
            if let Some(refusal) = said.refusal.filter(|refusal| !refusal.is_empty()) {
                answer.refused = true;
                answer.say(&refusal);
            }
            for (at, call) in (0..).zip(said.tool_calls.into_iter().flatten()) {
                if let Some(function) = call.function {
                    let name = function.name.as_deref().unwrap_or_default();
                    let arguments = function.arguments.as_deref().unwrap_or_default();
                    answer.call_tool(call.index.unwrap_or(at), name, arguments)?;
                }
            }
        }
        // What has another shape is no list of tokens, and no reason to lose the answer.
        let logprobs = choice.logprobs.map(|raw| serde_json::from_str(raw.get()));
        if let Some(Ok(Logprobs { content, refusal })) = logprobs {
            for list in [content, refusal].into_iter().flatten() {
                answer.logprobs.take(list);
            }
        }
        if let Some(reason) = choice.finish_reason {
            answer.finish_reason = Some(reason.into_owned());
        }
    }
    if let Some(counts) = part.usage {
        let before = answer.usage;
        answer.usage = Usage {
            input: counts.prompt_tokens.or(before.input),
            cached_input: counts
                .prompt_tokens_details
                .and_then(|details| details.cached_tokens)
                .or(before.cached_input),
            output: counts.completion_tokens.or(before.output),
            reasoning: counts
                .completion_tokens_details
                .and_then(|details| details.reasoning_tokens)
                .or(before.reasoning),
            surcharged: before.surcharged,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::providers::CallErrorKind;

    #[test]
    fn reads_whole_answers() {
        let check = |body: &str, expect: Result<(&str, Option<i32>), CallErrorKind>| {
            let mut answer = Answer::new(Instant::now());
            let read = read_whole(body.as_bytes(), &mut answer)
                .map(|()| answer.complete(false, Duration::ZERO))
                .map(|read| (read.text, read.output_tokens))
                .map_err(|error| error.kind);
            assert_eq!(
                read,
                expect.map(|(text, tokens)| (text.to_owned(), tokens)),
                "{body}"
            );
        };
        check(
            r#"{"choices":[{"message":{"content":"4"}}],"usage":{"completion_tokens":1}}"#,
            Ok(("4", Some(1))),
        );
        check(
            r#"{"choices":[{"message":{"content":null}}]}"#,
            Ok(("", None)),
        );
        check(
            r#"{"choices":[{"message":{"content":"4"}}],"usage":{"completion_tokens":-1}}"#,
            Ok(("4", None)),
        );
        check(
            r#"{"choices":[{"message":{"content":"4"}}],"usage":{"completion_tokens":1000000000000000000}}"#,
            Ok(("4", None)),
        );
        check(r#"{"choices":[]}"#, Err(CallErrorKind::Protocol));
        check(
            r#"{"error":{"message":"boom"}}"#,
            Err(CallErrorKind::Server),
        );
        check(r#"{"choices":[{"mess"#, Err(CallErrorKind::Read));
        check("<html>", Err(CallErrorKind::Protocol));
        check(&"[".repeat(100_000), Err(CallErrorKind::Protocol));
    }
}
