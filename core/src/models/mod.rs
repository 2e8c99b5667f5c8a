//! Providers and models: where models are called, with which parameters, and what they cost.

mod prices;
mod providers;
mod references;

pub use prices::{Price, cost_microusd, set_price};
pub use providers::{
    NewProvider, Provider, ProviderKind, create_provider, ensure_provider, list_providers,
};
pub use references::{Model, ModelRequest, find_or_create_model, list_models};
