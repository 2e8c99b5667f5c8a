//! Providers and models: where models are called, with which parameters, and what they cost.

mod limits;
mod prices;
mod provider_changes;
mod providers;
mod references;
mod shares;
mod slices;

pub use limits::{
    DeclaredLimits, LimitKey, LoadedLimits, ProviderLimits, list_limits, load_limits, update_limits,
};
pub use prices::{ModelPrice, Price, cost_microusd, dollars, set_price, update_price};
pub use provider_changes::{
    CredentialChange, ProviderChange, delete_provider, reseal_credentials, update_provider,
};
pub use providers::{
    NewProvider, Provider, ProviderKind, create_provider, ensure_provider, list_providers,
};
pub use references::{Model, ModelRequest, find_or_create_model, list_models};
pub use shares::{ShareWish, renew_share};
pub use slices::{Moments, Slice, SliceWish, passing, take_slice};
