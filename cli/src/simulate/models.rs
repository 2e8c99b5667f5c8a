//! `GET /v1/models`.

use opb_worker::simulation::{MODELS, Purpose, SimulatedModel, find_model};
use serde_json::{Value, json};

use super::response::ApiError;

/// The models in `OpenAI`'s list format.
pub(super) fn list_models() -> Value {
    let data: Vec<Value> = MODELS
        .iter()
        .map(|model| json!({"id": model.name, "object": "model", "created": 0, "owned_by": "simulated"}))
        .collect();
    json!({"object": "list", "data": data})
}

/// The model with this name and purpose, or a 404.
pub(super) fn model_for(purpose: Purpose, name: &str) -> Result<&'static SimulatedModel, ApiError> {
    find_model(name)
        .filter(|model| model.purpose == purpose)
        .ok_or_else(|| ApiError::no_model(name))
}
