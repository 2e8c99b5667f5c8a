//! `POST /v1/embeddings`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use opb_worker::simulation::{EMBEDDING_DIMENSIONS, Purpose, embed, estimate_tokens};
use serde::Deserialize;
use serde_json::{Value, json};

use super::models::model_for;
use super::response::{ApiError, to_json};

/// Maximum number of texts in one request, as with `OpenAI`.
const INPUTS_CAP: usize = 2048;

#[derive(Deserialize)]
struct EmbeddingRequest<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
    #[serde(borrow)]
    input: Input<'a>,
    #[serde(borrow)]
    encoding_format: Option<Cow<'a, str>>,
    dimensions: Option<usize>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input<'a> {
    One(#[serde(borrow)] Cow<'a, str>),
    Many(#[serde(borrow)] Vec<Cow<'a, str>>),
}

/// Creates the response body for a request body.
pub(super) fn create_embeddings(body: &[u8]) -> Result<Bytes, ApiError> {
    let request: EmbeddingRequest<'_> = serde_json::from_slice(body).map_err(|error| {
        ApiError::invalid(format!("the body is not an embeddings request: {error}"))
    })?;
    let model = model_for(Purpose::Embedding, &request.model)?;
    if request
        .dimensions
        .is_some_and(|wanted| wanted != EMBEDDING_DIMENSIONS)
    {
        let message = format!("simulated embeddings have {EMBEDDING_DIMENSIONS} dimensions");
        return Err(ApiError::invalid(message));
    }
    let inputs = match request.input {
        Input::One(text) => vec![text],
        Input::Many(texts) => texts,
    };
    if inputs.is_empty() || inputs.len() > INPUTS_CAP {
        return Err(ApiError::invalid(format!(
            "input must hold 1 to {INPUTS_CAP} texts"
        )));
    }

    let in_base64 = request.encoding_format.as_deref() == Some("base64");
    let tokens: u32 = inputs.iter().map(|text| estimate_tokens(text)).sum();
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let vector = embed(text);
            let embedding = if in_base64 {
                let bytes: Vec<u8> = vector
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect();
                json!(STANDARD.encode(bytes))
            } else {
                json!(vector.as_slice())
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    Ok(to_json(&json!({
        "object": "list",
        "model": model.name,
        "data": data,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "system_fingerprint": "simulated",
    })))
}
