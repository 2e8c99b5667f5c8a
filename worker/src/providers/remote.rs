//! A provider behind HTTP: everything but the words of its API, which are an [`Api`]'s.

use std::time::Instant;

use futures::{FutureExt as _, future::BoxFuture};
use opb_core::{runs::Logprobs, template::Message};
use reqwest::{
    Url,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    CallError, CallErrorKind, Completion, CompletionRequest, HttpClient, Provider,
    answer::Answer,
    auth::Auth,
    events::read_events,
    http::{HeldBytes, without},
};

/// The words of an API: how a request is written, and how an answer is read. Without any I/O.
pub(super) trait Api: Send + Sync {
    /// The body of a request.
    ///
    /// # Errors
    /// The request cannot be made.
    fn body(&self, request: &CompletionRequest<'_>) -> Result<Vec<u8>, CallError>;

    /// Reads a whole answer.
    ///
    /// # Errors
    /// It is none.
    fn read_whole(&self, body: &[u8], answer: &mut Answer) -> Result<(), CallError>;

    /// Reads the data of one event of a streamed answer. Never called for an API that does not stream.
    ///
    /// # Errors
    /// It is none.
    fn read_event(&self, data: &[u8], answer: &mut Answer) -> Result<(), CallError>;

    /// Bytes of a request that may cost tokens, where the API adds to the messages more than the parameters.
    fn paid_bytes(&self, _messages: &[Message]) -> Option<usize> {
        None
    }
}

/// A model behind an API.
pub(super) struct Remote {
    pub(super) api: Box<dyn Api>,
    pub(super) url: Url,
    pub(super) auth: Auth,
    /// Sent with every request, besides the credential.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) streams: bool,
    pub(super) http: HttpClient,
}

impl Remote {
    async fn ask(&self, request: &CompletionRequest<'_>) -> Result<Completion, CallError> {
        let body = self.api.body(request)?;
        let mut post = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json");
        for (name, value) in &self.headers {
            post = post.header(name, value);
        }
        for (name, value) in self.auth.headers(self.url.as_str(), &body)? {
            post = post.header(name, value);
        }
        let started = Instant::now();
        let response = self.http.send(post.body(body), self.auth.secrets()).await?;
        let content_type = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("");
        let mut answer = Answer::new(started);
        // A server that does not stream answers whole, whatever it was asked for.
        if !self.streams || !content_type.starts_with("text/event-stream") {
            let held = HeldBytes::whole();
            let body = self.http.read(response, held.clone()).await?;
            self.api.read_whole(&body, &mut answer)?;
            return Ok(answer.complete(false, held.waited()));
        }
        let held = HeldBytes::stream();
        let body = self.http.body(response, held.clone());
        let events = read_events(body, |data| {
            self.api.read_event(data, &mut answer)?;
            held.keep(answer.text_bytes());
            Ok(answer.ended)
        });
        events.await?;
        // Some servers leave the end mark out; a reason to stop is one, too.
        if !answer.ended && answer.finish_reason.is_none() {
            return Err(CallError::new(
                CallErrorKind::Read,
                "the stream ended before the answer did",
            ));
        }
        Ok(answer.complete(true, held.waited()))
    }
}

impl Provider for Remote {
    fn complete<'a>(
        &'a self,
        request: &'a CompletionRequest<'a>,
        _attempt: u32,
    ) -> BoxFuture<'a, Result<Completion, CallError>> {
        self.ask(request)
            .map(|result| scrub(result, self.auth.secrets()))
            .boxed()
    }

    fn paid_bytes(&self, messages: &[Message]) -> Option<usize> {
        self.api.paid_bytes(messages)
    }
}

/// True unless the tokens, one by one or in a row, say the credential.
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

/// What came back, without our credential: answers and errors are shown to people who may not know it.
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
