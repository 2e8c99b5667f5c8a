//! Log probabilities: how likely a model thought each token of its answer.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The log probabilities of an answer, as far as there is room for them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Logprobs {
    /// The mean over all tokens that have one, those that were left out too; null when none has.
    pub mean: Option<f32>,
    /// The answer's tokens, first to last.
    pub tokens: Vec<TokenLogprob>,
    /// So many tokens at the end were left out, since there were too many to keep.
    pub left_out: u32,
}

/// A token of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TokenLogprob {
    /// The token's text.
    pub token: String,
    /// The natural logarithm of its probability, from -9999 (never) to 0 (always); null when what the provider said cannot
    /// be one.
    pub logprob: Option<f32>,
    /// The likeliest tokens in its place, if they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<Alternative>,
}

/// A token that could have stood in another's place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Alternative {
    /// The token's text.
    pub token: String,
    /// The natural logarithm of its probability.
    pub logprob: Option<f32>,
}
