//! A provider that responds with the last message of the user, for trying out prompts and scorers. Makes no calls and
//! costs nothing; its results are labelled like simulated ones.

use std::time::Instant;

use futures::{FutureExt as _, future::BoxFuture};
use opb_core::template::Role;

use super::{CallError, Completion, CompletionRequest, MAX_TOKENS, Provider};

/// Responds with the user's message.
pub(super) struct Echo;

impl Provider for Echo {
    fn complete<'a>(
        &'a self,
        request: &'a CompletionRequest<'a>,
        _attempt: u32,
    ) -> BoxFuture<'a, Result<Completion, CallError>> {
        let started = Instant::now();
        let said = |role| {
            request
                .messages
                .iter()
                .rfind(move |message| message.role == role)
        };
        let text = said(Role::User).map_or("".into(), |message| message.content.shown());
        let end = text.floor_char_boundary(MAX_TOKENS as usize * 4);
        let cut = end < text.len();
        let bytes = request
            .messages
            .iter()
            .map(|message| message.content.shown().len());
        let completion = Completion {
            finish_reason: Some(if cut { "length" } else { "stop" }.to_owned()),
            input_tokens: Some(tokens(bytes.sum())),
            output_tokens: Some(tokens(end)),
            text: text[..end].to_owned(),
            latency: started.elapsed(),
            ..Completion::default()
        };
        async { Ok(completion) }.boxed()
    }
}

/// A rough rule: four bytes per token.
fn tokens(bytes: usize) -> i32 {
    i32::try_from(bytes.div_ceil(4)).unwrap_or(i32::MAX)
}
