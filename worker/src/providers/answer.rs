//! A response while it is read, independent of the API, and what all APIs have in common about it.

use std::time::{Duration, Instant};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};

use super::{
    CallError, CallErrorKind, Completion,
    faults::{kind_of, message_of},
    halves,
    http::redact,
    logprobs::Collected,
};

/// Upper bound of token counts: a larger one is invalid and treated as missing.
const MAX_TOKENS: i64 = 100_000_000;
/// Maximum number of tool calls in a response.
const MAX_TOOL_CALLS: usize = 128;
/// Maximum length of a provider's error message, in characters.
const MAX_ERROR_CHARS: usize = 500;
/// Maximum length of a finish reason, in characters.
const MAX_REASON_CHARS: usize = 64;

/// A response while it is read.
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent of each other"
)]
pub(super) struct Answer {
    started: Instant,
    first_token_after: Option<Duration>,
    text: String,
    tool_calls: Vec<ToolCall>,
    /// Why the model stopped, in the provider's own term.
    pub(super) finish_reason: Option<String>,
    /// Whether the text is a refusal.
    pub(super) refused: bool,
    /// Whether the provider has signalled the end.
    pub(super) ended: bool,
    /// Whether the text may contain marks of split surrogate pairs.
    pub(super) has_halves: bool,
    /// Whether some of it was streamed.
    pub(super) in_pieces: bool,
    pub(super) usage: Usage,
    pub(super) logprobs: Collected,
}

/// The usage reported by a provider. Parts that are not reported remain unchanged.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// All input tokens, including cached ones.
    pub(super) input: Option<i64>,
    pub(super) cached_input: Option<i64>,
    /// All output tokens, including those of reasoning.
    pub(super) output: Option<i64>,
    pub(super) reasoning: Option<i64>,
    /// Whether something was used that no known price covers, such as tokens written to a cache.
    pub(super) surcharged: bool,
}

/// A tool call by the model.
#[derive(Default)]
struct ToolCall {
    index: Option<u64>,
    id: Option<String>,
    name: String,
    /// Usually JSON, but models may produce anything.
    arguments: String,
}

impl ToolCall {
    /// Returns whether the next piece belongs to another call.
    fn is_followed_by(&self, id: Option<&str>, name: &str) -> bool {
        let has_other_id = id.is_some_and(|id| self.id.as_deref().is_some_and(|own| own != id));
        let is_whole = || serde_json::from_str::<IgnoredAny>(&self.arguments).is_ok();
        has_other_id || !name.is_empty() && is_whole()
    }
}

impl Answer {
    pub(super) fn new(started: Instant) -> Self {
        Self {
            started,
            first_token_after: None,
            text: String::new(),
            tool_calls: Vec::new(),
            finish_reason: None,
            refused: false,
            ended: false,
            has_halves: false,
            in_pieces: false,
            usage: Usage::default(),
            logprobs: Collected::default(),
        }
    }

    /// Returns whether it has neither text, nor a tool call, nor a finish reason: then no model has responded.
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
            && self.tool_calls.is_empty()
            && self.finish_reason.is_none()
            && !self.refused
    }

    /// Discards what was read: all of it is sent again.
    pub(super) fn restart(&mut self) {
        self.text.clear();
        self.tool_calls.clear();
        self.refused = false;
    }

    /// Returns whether there is no text so far.
    pub(super) fn is_silent(&self) -> bool {
        self.text.is_empty()
    }

    /// The size of its texts so far, in bytes.
    pub(super) fn text_bytes(&self) -> usize {
        let calls = self.tool_calls.iter();
        let calls = calls.map(|call| call.name.len() + call.arguments.len());
        self.text.len() + calls.sum::<usize>()
    }

    /// Returns whether a tool call with this index has started.
    pub(super) fn has_call(&self, index: u64) -> bool {
        self.tool_calls.iter().any(|call| call.index == Some(index))
    }

    /// The number of tool calls so far.
    pub(super) fn tool_calls(&self) -> u64 {
        self.tool_calls.len() as u64
    }

    /// Appends text.
    pub(super) fn say(&mut self, text: &str) {
        if !text.is_empty() {
            self.first_token_after
                .get_or_insert_with(|| self.started.elapsed());
            self.text.push_str(text);
        }
    }

    /// Appends to a tool call: streams send the name first and then the arguments in pieces.
    ///
    /// # Errors
    /// There are too many.
    pub(super) fn call_tool(
        &mut self,
        index: u64,
        name: &str,
        arguments: &str,
    ) -> Result<(), CallError> {
        self.add_to_call(Some(index), None, name, arguments)
    }

    /// Like [`Self::call_tool`], for servers that omit the index or repeat it: another id starts another call, and so
    /// does a name after complete arguments.
    ///
    /// # Errors
    /// Those of [`Self::call_tool`].
    pub(super) fn add_to_call(
        &mut self,
        index: Option<u64>,
        id: Option<&str>,
        name: &str,
        arguments: &str,
    ) -> Result<(), CallError> {
        self.first_token_after
            .get_or_insert_with(|| self.started.elapsed());
        let calls = &self.tool_calls;
        let known = match index {
            Some(_) => calls.iter().rposition(|call| call.index == index),
            None => calls.len().checked_sub(1),
        };
        let at = match known.filter(|at| !calls[*at].is_followed_by(id, name)) {
            Some(at) => at,
            None if calls.len() >= MAX_TOOL_CALLS => {
                return Err(protocol("the response has too many tool calls"));
            }
            None => {
                self.tool_calls.push(ToolCall {
                    index,
                    ..ToolCall::default()
                });
                self.tool_calls.len() - 1
            }
        };
        let call = &mut self.tool_calls[at];
        if let Some(id) = id {
            call.id.get_or_insert_with(|| id.to_owned());
        }
        // Some servers repeat the name in every piece.
        if call.name != name {
            call.name.push_str(name);
        }
        call.arguments.push_str(arguments);
        Ok(())
    }

    /// Converts the response once everything is read. Only `streamed` ones have a time to the first text; `waited` is
    /// the time that the response waited for us.
    pub(super) fn complete(mut self, streamed: bool, waited: Duration) -> Completion {
        let calls: Vec<Value> = self
            .tool_calls
            .iter()
            .map(|call| json!({"name": call.name, "arguments": arguments(&call.arguments)}))
            .collect();
        if !calls.is_empty() {
            if !self.text.is_empty() {
                self.text.push('\n');
            }
            self.text.push_str(&Value::Array(calls).to_string());
        }
        // Models may produce NUL characters, which Postgres cannot store. Replaced before credentials are searched for:
        // removing characters afterwards could join the halves of one.
        if self.text.contains('\0') {
            self.text = self.text.replace('\0', "\u{fffd}");
        }
        if self.has_halves {
            self.text = halves::join(&self.text);
        }
        let usage = self.usage;
        Completion {
            text: self.text,
            finish_reason: if self.refused {
                Some("refusal".to_owned())
            } else {
                self.finish_reason
                    .as_deref()
                    .map(|said| plain(said, MAX_REASON_CHARS))
            },
            input_tokens: sane(usage.input),
            cached_input_tokens: sane(usage.cached_input),
            output_tokens: sane(usage.output),
            reasoning_tokens: sane(usage.reasoning),
            surcharged: usage.surcharged,
            logprobs: self.logprobs.finish(),
            first_token_after: self.first_token_after.filter(|_| streamed),
            latency: self.started.elapsed().saturating_sub(waited),
        }
    }
}

/// The error for an invalid response.
pub(super) fn protocol(message: impl Into<String>) -> CallError {
    CallError::new(CallErrorKind::Protocol, message)
}

/// Parses JSON; `what` names the expected type.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8], what: &str) -> Result<T, CallError> {
    serde_json::from_slice(body).map_err(|error| {
        let kind = if error.is_eof() {
            CallErrorKind::Read
        } else {
            CallErrorKind::Protocol
        };
        CallError::new(kind, format!("the answer is not {what}: {error}"))
    })
}

/// The error for an error in place of a response; its content determines whether a retry may help.
pub(super) fn reported(error: &Value) -> CallError {
    let said = message_of(error);
    let said = said.as_deref().unwrap_or("no reason given");
    let said = plain(&redact(said), MAX_ERROR_CHARS);
    let kind = kind_of(error).unwrap_or(CallErrorKind::Server);
    CallError::new(kind, format!("the provider reports an error: {said}"))
}

/// The start of a text, without control characters.
fn plain(text: &str, longest: usize) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(longest)
        .collect()
}

fn sane(tokens: Option<i64>) -> Option<i32> {
    tokens
        .filter(|tokens| (0..MAX_TOKENS).contains(tokens))
        .and_then(|tokens| i32::try_from(tokens).ok())
}

/// The arguments as JSON if valid, else as a string.
fn arguments(text: &str) -> Value {
    if text.is_empty() {
        return json!({});
    }
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(text: &str, pieces: &[(u64, &str, &str)]) -> String {
        let mut answer = Answer::new(Instant::now());
        answer.say(text);
        for (index, name, arguments) in pieces {
            answer.call_tool(*index, name, arguments).unwrap();
        }
        answer.complete(true, Duration::ZERO).text
    }

    #[test]
    fn calls_of_tools_are_json_below_the_text() {
        assert_eq!(tools("hi", &[]), "hi");
        let pieces = [
            (0, "add", ""),
            (1, "now", ""),
            (0, "", "{\"a\""),
            (0, "", ":1}"),
        ];
        let expect = r#"[{"arguments":{"a":1},"name":"add"},{"arguments":{},"name":"now"}]"#;
        assert_eq!(tools("", &pieces), expect);
        assert_eq!(tools("hi", &pieces), format!("hi\n{expect}"));
        assert_eq!(
            tools("", &[(0, "add", "{\"a\"")]),
            r#"[{"arguments":"{\"a\"","name":"add"}]"#
        );
    }

    #[test]
    fn what_is_kept_has_a_length_and_no_nul() {
        let mut answer = Answer::new(Instant::now());
        answer.say("a\0b");
        answer.call_tool(0, "name", "{}").unwrap();
        assert_eq!(answer.text_bytes(), 3 + 4 + 2);
        answer.finish_reason = Some(format!("st\0op{}", "x".repeat(1_000_000)));
        let kept = answer.complete(true, Duration::ZERO);
        assert!(kept.text.starts_with("a\u{fffd}b\n"), "{}", kept.text);
        let reason = kept.finish_reason.unwrap();
        assert!(reason.starts_with("stopx"), "{reason}");
        assert_eq!(reason.chars().count(), MAX_REASON_CHARS);
    }

    #[test]
    fn errors_inside_answers_lose_what_looks_like_a_key() {
        let error = json!({"message": "bad sk-abcdefgh12345678 here", "type": "x"});
        let message = reported(&error).message;
        assert_eq!(message, "the provider reports an error: bad [removed] here");
    }

    #[test]
    fn no_answer_calls_tools_without_end() {
        let mut answer = Answer::new(Instant::now());
        let mut calls = (0..1_000).map(|index| answer.call_tool(index, "a", ""));
        assert_eq!(
            calls.find_map(Result::err).unwrap().kind,
            CallErrorKind::Protocol
        );
    }

    #[test]
    fn counts_that_cannot_be_are_missing() {
        for (given, expect) in [
            (Some(-1), None),
            (Some(MAX_TOKENS), None),
            (Some(7), Some(7)),
            (None, None),
        ] {
            let mut answer = Answer::new(Instant::now());
            answer.usage.output = given;
            assert_eq!(
                answer.complete(true, Duration::ZERO).output_tokens,
                expect,
                "{given:?}"
            );
        }
    }
}
