//! A provider over HTTP: everything except the format of its API, which an [`Api`] implements.

use std::{pin::pin, time::Instant};

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use opb_core::{runs::Logprobs, template::Message};
use reqwest::{
    Url,
    header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue},
};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    CallError, CallErrorKind, Completion, CompletionRequest, HttpClient, Provider,
    answer::Answer,
    auth::Auth,
    events::{BYTE_ORDER_MARK, read_events},
    halves,
    http::{HeldBytes, check_length, collect, without},
};

/// The format of an API: builds requests and reads responses, without any I/O.
pub(super) trait Api: Send + Sync {
    /// Builds the body of a request.
    ///
    /// # Errors
    /// The request cannot be created.
    fn body(&self, request: &CompletionRequest<'_>) -> Result<Vec<u8>, CallError>;

    /// Reads a complete response.
    ///
    /// # Errors
    /// The response is invalid.
    fn read_whole(&self, body: &[u8], answer: &mut Answer) -> Result<(), CallError>;

    /// Reads the data of one event of a streamed response. Never called for an API that is not streamed.
    ///
    /// # Errors
    /// The event is invalid.
    fn read_event(&self, data: &[u8], answer: &mut Answer) -> Result<(), CallError>;

    /// Omits a field named in this refusal from now on. Returns false if it names none that can be omitted.
    fn adapts_to(&self, _refusal: &str) -> bool {
        false
    }

    /// Bytes of a request that may cost tokens, if the API adds more to the messages than the parameters.
    fn paid_bytes(&self, _messages: &[Message]) -> Option<usize> {
        None
    }
}

/// A model behind an API.
pub(super) struct Remote {
    pub(super) api: Box<dyn Api>,
    pub(super) url: Url,
    pub(super) auth: Auth,
    /// Sent with every request, in addition to the credential.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) http: HttpClient,
}

impl Remote {
    async fn ask(&self, request: &CompletionRequest<'_>) -> Result<Completion, CallError> {
        let body = self.api.body(request)?;
        let mut post = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            // Compressed responses are not supported.
            .header(ACCEPT_ENCODING, "identity");
        for (name, value) in &self.headers {
            post = post.header(name, value);
        }
        for (name, value) in self.auth.headers(self.url.as_str(), &body)? {
            post = post.header(name, value);
        }
        let started = Instant::now();
        let response = self.http.send(post.body(body), self.auth.secrets()).await?;
        check_length(&response)?;
        let held = HeldBytes::whole();
        let mut body = pin!(self.http.body(response, held.clone()));
        // The data shows whether it is a stream: some servers stream or not regardless of the request, with a missing
        // or wrong content type.
        let mut beginning = Vec::new();
        let is_stream = loop {
            if let Some(is_stream) = is_stream(&beginning) {
                break is_stream;
            }
            match body.try_next().await? {
                Some(piece) => {
                    beginning.extend_from_slice(&piece);
                    let filler = beginning.len() - meaningful(&beginning).len();
                    beginning.drain(..filler);
                }
                None => break false,
            }
        };
        let mut answer = Answer::new(started);
        if !is_stream {
            let body = collect(beginning, body).await?;
            read_mending(&body, &mut answer, |body, answer| {
                self.api.read_whole(body, answer)
            })?;
            return Ok(answer.complete(false, held.waited()));
        }
        held.is_stream();
        let body = stream::iter([Ok(Bytes::from(beginning))]).chain(body);
        let events = read_events(body, |data| {
            read_mending(data, &mut answer, |data, answer| {
                self.api.read_event(data, answer)
            })?;
            held.keep(answer.text_bytes());
            Ok(answer.ended)
        });
        events.await?;
        // Some servers omit the end mark; a finish reason is an end, too. Others send the end mark without any
        // response.
        if answer.is_empty() || !answer.ended && answer.finish_reason.is_none() {
            return Err(CallError::new(
                CallErrorKind::Read,
                "the stream ended before the answer did",
            ));
        }
        Ok(answer.complete(true, held.waited()))
    }

    /// Makes a call, and repeats it once if the server refuses a field that can be omitted.
    async fn ask_adapting(&self, request: &CompletionRequest<'_>) -> Result<Completion, CallError> {
        let started = Instant::now();
        let result = match self.ask(request).await {
            Err(error)
                if error.kind == CallErrorKind::Refused && self.api.adapts_to(&error.message) =>
            {
                self.ask(request).await
            }
            result => result,
        };
        match result {
            Err(error) if is_block(&error) => Ok(blocked(started)),
            result => result,
        }
    }
}

/// What providers say where their safety rules block a prompt or an answer, and they report that as an error.
const BLOCKS: [&str; 3] = [
    "content management policy",
    "content filtering policy",
    "violating our usage policy",
];

/// Whether an error is such a block. Most providers answer with a reason instead, so that it is an answer at all of them.
fn is_block(error: &CallError) -> bool {
    error.kind == CallErrorKind::Refused && BLOCKS.iter().any(|words| error.message.contains(words))
}

/// The empty answer of a block. Nothing was generated, and providers do not say that they charged for the prompt.
fn blocked(started: Instant) -> Completion {
    Completion {
        finish_reason: Some("content_filter".to_owned()),
        input_tokens: Some(0),
        output_tokens: Some(0),
        latency: started.elapsed(),
        ..Completion::default()
    }
}

/// Returns whether a body is an event stream, by its start. `None` if too little has arrived to decide.
fn is_stream(beginning: &[u8]) -> Option<bool> {
    const FIELDS: [&[u8]; 5] = [b"data:", b"event:", b"id:", b"retry:", b":"];
    let beginning = meaningful(beginning);
    if BYTE_ORDER_MARK.starts_with(beginning) {
        return None;
    }
    if FIELDS.iter().any(|field| beginning.starts_with(field)) {
        return Some(true);
    }
    let is_open = FIELDS.iter().any(|field| field.starts_with(beginning));
    (!is_open).then_some(false)
}

/// Removes what some servers send before a response: a byte order mark, and white space to keep the connection alive.
fn meaningful(body: &[u8]) -> &[u8] {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    body.trim_ascii_start()
}

/// Reads data that may contain invalid Unicode, which is then replaced by marks.
fn read_mending(
    data: &[u8],
    answer: &mut Answer,
    read: impl Fn(&[u8], &mut Answer) -> Result<(), CallError>,
) -> Result<(), CallError> {
    match read(data, answer) {
        Err(error) if error.kind == CallErrorKind::Protocol => match halves::mark(data) {
            Some(mended) => {
                answer.has_halves = true;
                read(&mended, answer)
            }
            None => Err(error),
        },
        read => read,
    }
}

impl Provider for Remote {
    fn complete<'a>(
        &'a self,
        request: &'a CompletionRequest<'a>,
        _attempt: u32,
    ) -> BoxFuture<'a, Result<Completion, CallError>> {
        self.ask_adapting(request)
            .map(|result| scrub(result, self.auth.secrets()))
            .boxed()
    }

    fn paid_bytes(&self, messages: &[Message]) -> Option<usize> {
        self.api.paid_bytes(messages)
    }
}

/// Returns whether no token, and no sequence of tokens, contains the credential.
fn is_harmless(logprobs: &Logprobs, secrets: &[SecretString]) -> bool {
    if secrets.is_empty() {
        return true;
    }
    let said: String = logprobs.tokens.iter().map(|token| &*token.token).collect();
    let alternatives = logprobs.tokens.iter().flat_map(|token| &token.top);
    secrets
        .iter()
        .map(SecretString::expose_secret)
        .all(|secret| {
            let mut others = alternatives.clone();
            secret.is_empty()
                || !said.contains(secret) && !others.any(|other| other.token.contains(secret))
        })
}

/// Removes our credential from the result: responses and errors are shown to people who may not know it.
fn scrub(
    result: Result<Completion, CallError>,
    secrets: &[SecretString],
) -> Result<Completion, CallError> {
    match result {
        Ok(completion) => Ok(Completion {
            logprobs: completion
                .logprobs
                .filter(|found| is_harmless(found, secrets)),
            text: without(completion.text, secrets),
            finish_reason: completion
                .finish_reason
                .map(|reason| without(reason, secrets)),
            ..completion
        }),
        Err(error) => Err(CallError {
            message: without(error.message, secrets),
            ..error
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f41_a_block_by_safety_rules_is_told_from_other_refusals() {
        for (kind, message, expect) in [
            (
                CallErrorKind::Refused,
                "the provider answered 400: The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
                true,
            ),
            (
                CallErrorKind::Refused,
                "the provider reports an error: Output blocked by content filtering policy",
                true,
            ),
            (
                CallErrorKind::Refused,
                "the provider answered 400: Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
                true,
            ),
            (
                CallErrorKind::Refused,
                "the provider answered 404: The model `x` does not exist",
                false,
            ),
            (
                CallErrorKind::Credential,
                "the provider answered 403: blocked by the content management policy",
                false,
            ),
        ] {
            assert_eq!(
                is_block(&CallError::new(kind, message)),
                expect,
                "{message}"
            );
        }
        let answer = blocked(Instant::now());
        assert_eq!((answer.text.as_str(), answer.output_tokens), ("", Some(0)));
        assert_eq!(answer.finish_reason.as_deref(), Some("content_filter"));
    }

    #[test]
    fn the_beginning_tells_a_stream() {
        for (beginning, expect) in [
            ("", None),
            ("\n\n  ", None),
            ("\u{feff}", None),
            ("dat", None),
            ("data: {", Some(true)),
            ("\u{feff}data: {", Some(true)),
            ("\n: waiting", Some(true)),
            ("event: error", Some(true)),
            ("id: 7", Some(true)),
            ("retry: 7", Some(true)),
            ("{\"data\": 7}", Some(false)),
            ("[", Some(false)),
            ("dates", Some(false)),
            ("<html>", Some(false)),
        ] {
            assert_eq!(is_stream(beginning.as_bytes()), expect, "{beginning:?}");
        }
    }
}
