//! Providers and models: where models are called, with which parameters, and what they cost.

mod prices;
mod provider_changes;
mod providers;
mod references;

pub use prices::{ModelPrice, Price, cost_microusd, set_price, update_price};
pub use provider_changes::{
    CredentialChange, ProviderChange, delete_provider, reseal_credentials, update_provider,
};
pub use providers::{
    NewProvider, Provider, ProviderKind, create_provider, ensure_provider, list_providers,
};
pub use references::{Model, ModelRequest, find_or_create_model, list_models};
