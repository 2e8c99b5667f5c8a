//! Responses of the chat completions API: complete ones, or an event of a stream.
//!
//! The types are our own and lenient ([`lenient`](super::lenient)): servers that implement this API differ in what they
//! omit or add, and an unneeded field must not cost a response that was paid for.

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    CallError,
    answer::{Answer, Usage, parse, protocol, reported},
    lenient::{Content, Count, JsonText, Many, Maybe, Text},
};

/// Strings are borrowed where possible: a streamed response has as many of these as it has tokens.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(default, borrow)]
    choices: Many<Choice<'a>>,
    #[serde(default)]
    usage: Maybe<Counts>,
    #[serde(default)]
    x_groq: Maybe<Groq>,
    #[serde(default)]
    error: Value,
    // The fields of an error in place of a response.
    #[serde(default)]
    message: Value,
    #[serde(default)]
    detail: Value,
    #[serde(default)]
    code: Value,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default, borrow)]
    message: Maybe<Said<'a>>,
    #[serde(default, borrow)]
    delta: Maybe<Said<'a>>,
    #[serde(default, borrow)]
    finish_reason: Text<'a>,
    #[serde(default, borrow)]
    logprobs: Option<&'a RawValue>,
    #[serde(default)]
    usage: Maybe<Counts>,
    #[serde(default)]
    error: Value,
}

#[derive(Deserialize)]
struct Groq {
    #[serde(default)]
    usage: Maybe<Counts>,
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
    #[serde(default, borrow)]
    content: Content<'a>,
    #[serde(default, borrow)]
    refusal: Text<'a>,
    #[serde(default, borrow)]
    tool_calls: Many<ToolCall<'a>>,
}

#[derive(Deserialize)]
struct ToolCall<'a> {
    #[serde(default)]
    index: Count,
    #[serde(default, borrow)]
    id: Text<'a>,
    #[serde(default, borrow)]
    function: Maybe<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(default, borrow)]
    name: Text<'a>,
    #[serde(default)]
    arguments: JsonText,
}

#[derive(Deserialize)]
struct Counts {
    #[serde(default)]
    prompt_tokens: Count,
    #[serde(default)]
    completion_tokens: Count,
    #[serde(default)]
    total_tokens: Count,
    #[serde(default)]
    prompt_tokens_details: Maybe<PromptCounts>,
    #[serde(default)]
    completion_tokens_details: Maybe<CompletionCounts>,
}

#[derive(Deserialize)]
struct PromptCounts {
    #[serde(default)]
    cached_tokens: Count,
}

#[derive(Deserialize)]
struct CompletionCounts {
    #[serde(default)]
    reasoning_tokens: Count,
}

impl Said<'_> {
    fn is_empty(&self) -> bool {
        self.content.0.as_deref().unwrap_or_default().is_empty()
            && self.refusal.word().is_none()
            && self.tool_calls.0.is_empty()
    }
}

/// Reads a complete response.
pub(super) fn read_whole(body: &[u8], answer: &mut Answer) -> Result<(), CallError> {
    let body = read(body)?;
    if body.choices.0.is_empty() {
        return Err(protocol("the answer holds no choice"));
    }
    take(answer, body)?;
    if answer.is_empty() {
        return Err(protocol(
            "the answer holds neither a text, nor a call of a tool, nor a reason to stop",
        ));
    }
    Ok(())
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
    let Maybe(body) = parse::<Maybe<Body<'_>>>(body, "a chat completion")?;
    let body = body.ok_or_else(|| protocol("the answer is not a chat completion"))?;
    if is_said(&body.error) {
        // Some servers put the status beside the error.
        return Err(reported(&json!({"error": body.error, "code": body.code})));
    }
    let says_why = is_said(&body.message) || is_said(&body.detail);
    if body.choices.0.is_empty() && says_why {
        let error = json!({"message": body.message, "detail": body.detail, "code": body.code});
        return Err(reported(&error));
    }
    Ok(body)
}

/// Returns whether a field has a meaningful value.
fn is_said(field: &Value) -> bool {
    match field {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    }
}

fn take(answer: &mut Answer, part: Body<'_>) -> Result<(), CallError> {
    let mut counts = part.usage.0.or(part.x_groq.0.and_then(|groq| groq.usage.0));
    if let Some(choice) = part.choices.0.into_iter().next() {
        let reason = choice.finish_reason.word();
        if is_said(&choice.error) {
            return Err(reported(&choice.error));
        }
        if reason == Some("error") {
            return Err(reported(
                &json!({"message": "the model ended with an error"}),
            ));
        }
        match (choice.delta.0, choice.message.0) {
            (Some(delta), message) if !delta.is_empty() || message.is_none() => {
                answer.in_pieces = true;
                say(answer, &delta, true)?;
            }
            (_, Some(message)) => {
                // The complete text, after it was already streamed.
                if answer.in_pieces && !message.is_empty() {
                    answer.restart();
                }
                say(answer, &message, false)?;
            }
            _ => {}
        }
        // Another shape is not a list of tokens, but no reason to lose the response.
        let logprobs = choice.logprobs.map(|raw| serde_json::from_str(raw.get()));
        if let Some(Ok(Logprobs { content, refusal })) = logprobs {
            for list in [content, refusal].into_iter().flatten() {
                answer.logprobs.take(list);
            }
        }
        if let Some(reason) = reason {
            answer.finish_reason = Some(reason.to_owned());
        }
        counts = counts.or(choice.usage.0);
    }
    if let Some(counts) = counts {
        count(answer, &counts);
    }
    Ok(())
}

fn say(answer: &mut Answer, said: &Said<'_>, is_piece: bool) -> Result<(), CallError> {
    answer.say(said.content.0.as_deref().unwrap_or_default());
    if let Some(refusal) = said.refusal.0.as_deref().filter(|text| !text.is_empty()) {
        answer.refused = true;
        answer.say(refusal);
    }
    for (at, call) in (0..).zip(&said.tool_calls.0) {
        let Some(function) = &call.function.0 else {
            continue;
        };
        let index = call.index.0.and_then(|index| u64::try_from(index).ok());
        let index = if is_piece { index } else { Some(at) };
        let name = function.name.0.as_deref().unwrap_or_default();
        let arguments = function.arguments.0.as_deref().unwrap_or_default();
        answer.add_to_call(index, call.id.word(), name, arguments)?;
    }
    Ok(())
}

/// Sets the usage. Some servers do not include reasoning tokens in the completion tokens, and only the total shows it:
/// whatever is not input is output.
fn count(answer: &mut Answer, counts: &Counts) {
    let before = answer.usage;
    let detail = counts.completion_tokens_details.0.as_ref();
    let reasoning = detail.and_then(|detail| detail.reasoning_tokens.0);
    let input = counts.prompt_tokens.0;
    let output = match (counts.completion_tokens.0, input, counts.total_tokens.0) {
        (output, Some(input), Some(total)) if total.saturating_sub(input) > output.unwrap_or(0) => {
            Some(total.saturating_sub(input))
        }
        // More reasoning than completion tokens: the former are not included.
        (Some(output), ..) if reasoning.is_some_and(|reasoning| reasoning > output) => {
            Some(output.saturating_add(reasoning.unwrap_or(0)))
        }
        (output, ..) => output,
    };
    let details = counts.prompt_tokens_details.0.as_ref();
    answer.usage = Usage {
        input: input.or(before.input),
        cached_input: details
            .and_then(|details| details.cached_tokens.0)
            .or(before.cached_input),
        output: output.or(before.output),
        reasoning: reasoning.or(before.reasoning),
        surcharged: before.surcharged,
    };
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
            r#"{"choices":[{"message":{"content":null},"finish_reason":"stop"}]}"#,
            Ok(("", None)),
        );
        check(
            r#"{"choices":[{"message":{"content":null},"finish_reason":""}]}"#,
            Err(CallErrorKind::Protocol),
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
        check("[4]", Err(CallErrorKind::Protocol));
        check(&"[".repeat(100_000), Err(CallErrorKind::Read));
    }

    fn whole(body: &str) -> Result<crate::providers::Completion, CallErrorKind> {
        let mut answer = Answer::new(Instant::now());
        let read = read_whole(body.as_bytes(), &mut answer);
        read.map(|()| answer.complete(false, Duration::ZERO))
            .map_err(|error| error.kind)
    }

    fn streamed(events: &[&str]) -> Result<crate::providers::Completion, CallErrorKind> {
        let mut answer = Answer::new(Instant::now());
        for event in events {
            read_event(event.as_bytes(), &mut answer).map_err(|error| error.kind)?;
        }
        Ok(answer.complete(true, Duration::ZERO))
    }

    #[test]
    fn a_failure_is_no_answer() {
        for (body, expect) in [
            (
                r#"{"object":"error","message":"the engine is dead","code":500}"#,
                CallErrorKind::Server,
            ),
            (
                r#"{"message":"slow down","code":429}"#,
                CallErrorKind::RateLimit,
            ),
            (r#"{"detail":"no such model"}"#, CallErrorKind::Server),
            (
                r#"{"choices":[],"error":{"code":402,"message":"x"}}"#,
                CallErrorKind::Quota,
            ),
            (
                r#"{"choices":[{"finish_reason":"error","message":{"content":""},"error":{"code":502,"message":"x"}}]}"#,
                CallErrorKind::Server,
            ),
            (
                r#"{"choices":[{"finish_reason":"error","delta":{"content":"half"}}]}"#,
                CallErrorKind::Server,
            ),
        ] {
            assert_eq!(streamed(&[body]).unwrap_err(), expect, "{body}");
            assert_eq!(whole(body).unwrap_err(), expect, "{body}");
        }
    }

    #[test]
    fn what_is_not_needed_costs_no_answer() {
        for odd in [
            r#""error":false"#,
            r#""error":null"#,
            r#""usage":"many""#,
            r#""usage":{"prompt_tokens":100.0,"completion_tokens":"7","prompt_tokens_details":[]}"#,
            r#""x_groq":{"usage":7}"#,
            r#""code":7,"detail":"","system_fingerprint":[]"#,
        ] {
            let body = format!(
                r#"{{"choices":[{{"index":"0","message":{{"role":7,"content":"4","tool_calls":null}},"finish_reason":1,"logprobs":7}}],{odd}}}"#
            );
            assert_eq!(whole(&body).unwrap().text, "4", "{body}");
        }
    }

    #[test]
    fn content_is_a_text_or_the_texts_of_a_list() {
        let list = r#"[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"4"},{"type":"text","text":"2"}]"#;
        let body = format!(r#"{{"choices":[{{"message":{{"content":{list}}}}}]}}"#);
        assert_eq!(whole(&body).unwrap().text, "42");
        let event = format!(r#"{{"choices":[{{"delta":{{"content":{list}}}}}]}}"#);
        assert_eq!(streamed(&[&event]).unwrap().text, "42");
    }

    #[test]
    fn a_message_after_pieces_takes_their_place() {
        let piece = |text: &str| format!(r#"{{"choices":[{{"delta":{{"content":"{text}"}}}}]}}"#);
        let whole = r#"{"choices":[{"message":{"content":"42"},"finish_reason":"stop"}]}"#;
        let both =
            r#"{"choices":[{"delta":{},"message":{"content":"42"},"finish_reason":"stop"}]}"#;
        for last in [whole, both] {
            let read = streamed(&[&piece("4"), &piece("2"), last]).unwrap();
            assert_eq!(
                (read.text.as_str(), read.finish_reason.as_deref()),
                ("42", Some("stop"))
            );
        }
        let twice = r#"{"choices":[{"delta":{"content":"2"},"message":{"content":"2"}}]}"#;
        assert_eq!(streamed(&[&piece("4"), twice]).unwrap().text, "42");
    }

    #[test]
    fn an_empty_reason_is_none_and_replaces_none() {
        let events = [
            r#"{"choices":[{"delta":{"content":"4"},"finish_reason":""}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"null"}]}"#,
        ];
        assert_eq!(streamed(&events[..1]).unwrap().finish_reason, None);
        assert_eq!(
            streamed(&events).unwrap().finish_reason.as_deref(),
            Some("stop")
        );
    }

    #[test]
    fn the_total_tells_where_reasoning_is_counted() {
        let check = |usage: &str, expect: (Option<i32>, Option<i32>)| {
            let body =
                format!(r#"{{"choices":[{{"message":{{"content":"4"}}}}],"usage":{usage}}}"#);
            let read = whole(&body).unwrap();
            assert_eq!((read.input_tokens, read.output_tokens), expect, "{usage}");
        };
        let details = r#""completion_tokens_details":{"reasoning_tokens":800}"#;
        check(
            &format!(
                r#"{{"prompt_tokens":100,"completion_tokens":10,"total_tokens":910,{details}}}"#
            ),
            (Some(100), Some(810)),
        );
        check(
            &format!(
                r#"{{"prompt_tokens":100,"completion_tokens":810,"total_tokens":910,{details}}}"#
            ),
            (Some(100), Some(810)),
        );
        check(
            &format!(r#"{{"prompt_tokens":100,"completion_tokens":10,{details}}}"#),
            (Some(100), Some(810)),
        );
        check(
            r#"{"prompt_tokens":100,"total_tokens":100}"#,
            (Some(100), None),
        );
        check(
            r#"{"prompt_tokens":100,"total_tokens":107}"#,
            (Some(100), Some(7)),
        );
    }

    #[test]
    fn counts_stand_in_several_places() {
        for body in [
            r#"{"choices":[{"message":{"content":"4"},"usage":{"completion_tokens":7}}]}"#,
            r#"{"choices":[{"message":{"content":"4"}}],"x_groq":{"usage":{"completion_tokens":7}}}"#,
        ] {
            assert_eq!(whole(body).unwrap().output_tokens, Some(7), "{body}");
        }
    }

    #[test]
    fn calls_of_tools_are_told_apart() {
        let call = |more: &str, name: &str, arguments: &str| {
            format!(
                r#"{{"choices":[{{"delta":{{"tool_calls":[{{{more}"function":{{"name":"{name}","arguments":{arguments}}}}}]}}}}]}}"#
            )
        };
        let expect = r#"[{"arguments":{"a":1},"name":"find"},{"arguments":{"a":2},"name":"find"}]"#;
        for events in [
            // Without an index: a name after complete arguments.
            [
                call("", "find", r#""{\"a\":1}""#),
                call("", "find", r#""{\"a\":2}""#),
            ],
            // The same index, different ids.
            [
                call(r#""index":0,"id":"x","#, "find", r#""{\"a\":1}""#),
                call(r#""index":0,"id":"y","#, "find", r#""{\"a\":2}""#),
            ],
            // Arguments as an object.
            [
                call("", "find", r#"{"a":1}"#),
                call("", "find", r#"{"a":2}"#),
            ],
        ] {
            let events: Vec<&str> = events.iter().map(String::as_str).collect();
            assert_eq!(streamed(&events).unwrap().text, expect, "{events:?}");
        }
        // One call, with its name in every piece.
        let pieces = [
            call("", "find", r#""{\"a\"""#),
            call("", "find", r#"":1}""#),
        ];
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        assert_eq!(
            streamed(&pieces).unwrap().text,
            r#"[{"arguments":{"a":1},"name":"find"}]"#
        );
    }
}
