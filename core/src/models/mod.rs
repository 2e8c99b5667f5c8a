//! Providers and models: where models are called, with which parameters, and what they cost.

mod kinds;
mod litellm;
mod presets;
mod price_lists;
mod prices;
mod provider_changes;
mod providers;
mod references;

pub use kinds::{AzureSettings, BedrockSettings, HttpSettings, ProviderKind, read_settings};
pub use litellm::{PriceImport, RefusedPrice, import_litellm};
pub use presets::{Preset, find_preset, operator_key_variable, presets};
pub use price_lists::{CurrentPrice, PriceSource, list_prices, load_shipped_prices};
pub use prices::{ModelPrice, Price, Tokens, cost_microusd, set_price, update_price};
pub use provider_changes::{
    CredentialChange, ProviderChange, delete_provider, reseal_credentials, update_provider,
};
pub use providers::{NewProvider, Provider, create_provider, ensure_provider, list_providers};
pub use references::{Model, ModelRequest, find_or_create_model, list_models};
