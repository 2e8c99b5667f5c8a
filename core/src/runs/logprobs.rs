//! Log probabilities of the tokens of a response.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The log probabilities of a response, possibly truncated.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Logprobs {
    /// The mean over all tokens with a log probability, including those left out; null if there are none.
    pub mean: Option<f32>,
    /// The tokens of the response, in order.
    pub tokens: Vec<TokenLogprob>,
    /// Number of tokens left out at the end, because there were too many to store.
    pub left_out: u32,
}

/// A token of a response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TokenLogprob {
    /// The token's text.
    pub token: String,
    /// The natural logarithm of its probability, from -9999 (never) to 0 (always); null if the provider returned an
    /// invalid value.
    pub logprob: Option<f32>,
    /// The most likely tokens at this position, if requested.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<Alternative>,
}

/// An alternative token at the same position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Alternative {
    /// The token's text.
    pub token: String,
    /// The natural logarithm of its probability.
    pub logprob: Option<f32>,
}
