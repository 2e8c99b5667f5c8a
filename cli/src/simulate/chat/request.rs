//! A chat request, borrowed from its body where JSON escapes allow.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

use crate::simulate::response::ApiError;

/// The relevant members of a request; others, such as parameters without meaning for a simulation, are ignored.
#[derive(Deserialize)]
pub(super) struct ChatRequest<'a> {
    #[serde(borrow)]
    pub(super) model: Cow<'a, str>,
    #[serde(borrow)]
    messages: Vec<RequestMessage<'a>>,
    pub(super) stream: Option<bool>,
    pub(super) stream_options: Option<StreamOptions>,
    pub(super) max_tokens: Option<u32>,
    pub(super) max_completion_tokens: Option<u32>,
    pub(super) seed: Option<i64>,
    n: Option<u32>,
    #[serde(borrow)]
    response_format: Option<ResponseFormat<'a>>,
}

#[derive(Deserialize)]
pub(super) struct StreamOptions {
    #[serde(default)]
    pub(super) include_usage: bool,
}

#[derive(Deserialize)]
struct ResponseFormat<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
struct RequestMessage<'a> {
    #[serde(rename = "role")]
    _role: IgnoredAny,
    #[serde(borrow, default)]
    content: Content<'a>,
}

impl<'a> ChatRequest<'a> {
    /// Parses a request; the error is a 400.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, ApiError> {
        let request: Self = serde_json::from_slice(body).map_err(|error| {
            ApiError::invalid(format!("the body is not a chat request: {error}"))
        })?;
        if request.messages.is_empty() {
            return Err(ApiError::invalid("messages must not be empty"));
        }
        if request.n.is_some_and(|choices| choices != 1) {
            return Err(ApiError::invalid(
                "n must be 1: simulated models give one choice",
            ));
        }
        Ok(request)
    }

    /// All messages, joined by newlines.
    pub(super) fn prompt(&self) -> Cow<'_, str> {
        if let [message] = self.messages.as_slice() {
            return Cow::Borrowed(&message.content.0);
        }
        let contents: Vec<&str> = self
            .messages
            .iter()
            .map(|message| &*message.content.0)
            .collect();
        Cow::Owned(contents.join("\n"))
    }

    /// Whether the response format is any kind of JSON.
    pub(super) fn wants_json(&self) -> bool {
        self.response_format
            .as_ref()
            .is_some_and(|format| format.kind.starts_with("json"))
    }
}

/// A message's text: a string, a list of parts whose texts are joined, or null.
#[derive(Default)]
struct Content<'a>(Cow<'a, str>);

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Cow<'a, str>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<Source: Deserializer<'de>>(source: Source) -> Result<Self, Source::Error> {
        struct ContentVisitor;

        impl<'de> Visitor<'de> for ContentVisitor {
            type Value = Content<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a text, a list of parts or null")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Content(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Content(Cow::Owned(text.to_owned())))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Content::default())
            }

            fn visit_seq<Parts: SeqAccess<'de>>(
                self,
                mut parts: Parts,
            ) -> Result<Self::Value, Parts::Error> {
                let mut text = String::new();
                while let Some(part) = parts.next_element::<Part<'de>>()? {
                    text.push_str(&part.text);
                }
                Ok(Content(Cow::Owned(text)))
            }
        }

        source.deserialize_any(ContentVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expect: Result<&str, &str>) {
        match (ChatRequest::read(body.as_bytes()), expect) {
            (Ok(request), Ok(prompt)) => assert_eq!(request.prompt(), prompt, "{body}"),
            (Err(error), Err(part)) => assert!(error.message.contains(part), "{}", error.message),
            (Ok(_), Err(part)) => panic!("read, but should fail with {part}: {body}"),
            (Err(error), Ok(_)) => panic!("{}: {body}", error.message),
        }
    }

    #[test]
    fn requests_are_read() {
        check(
            r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#,
            Ok("hi"),
        );
        check(
            r#"{"model":"m","messages":[{"role":"user","content":"a\nb\u00e4"}],"tools":[{}]}"#,
            Ok("a\nbä"),
        );
        check(
            r#"{"model":"m","messages":[{"role":"s","content":"a"},{"role":"u","content":null},{"role":"u","content":"b"}]}"#,
            Ok("a\n\nb"),
        );
        check(
            r#"{"model":"m","messages":[{"role":"u","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{}},{"type":"text","text":"b"}]}]}"#,
            Ok("ab"),
        );
        check(r#"{"model":"m","messages":[]}"#, Err("must not be empty"));
        check(
            r#"{"model":"m","messages":[{"role":"u","content":"x"}],"n":2}"#,
            Err("n must be 1"),
        );
        check(
            r#"{"model":"m","messages":[{"role":"u","content":7}]}"#,
            Err("a list of parts"),
        );
        check(r#"{"messages":[]}"#, Err("missing field `model`"));
        check("{", Err("not a chat request"));
        check(&"[".repeat(100_000), Err("not a chat request"));
    }
}
