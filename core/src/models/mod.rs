//! Providers and models: where models are called, with which parameters, and at which price.

mod answered;
mod keys;
mod kinds;
mod learned;
mod limits;
mod litellm;
mod parameter_costs;
mod parameters;
mod presets;
mod price_lists;
mod prices;
mod provider_changes;
mod providers;
mod references;
mod shares;
mod slices;

pub use answered::{answered_among, mark_answered};
pub(crate) use keys::check_keys;
pub use keys::{OperatorKeys, missing_key};
pub use kinds::{AzureSettings, BedrockSettings, HttpSettings, ProviderKind, read_settings};
pub use learned::{LearnedConcurrency, LearnedModel, store_learned};
pub use limits::{
    DeclaredLimits, LimitKey, LoadedLimits, ProviderLimits, list_limits, load_limits, update_limits,
};
pub use litellm::{PriceImport, RefusedPrice, import_litellm};
pub(crate) use parameter_costs::refuse_parameters;
pub use parameter_costs::{diverting, unknown_costs};
pub use presets::{Preset, find_preset, operator_key_variable, presets};
pub use price_lists::{CurrentPrice, PriceSource, list_prices, load_shipped_prices};
pub use prices::{
    ModelPrice, Price, PriceChange, Tokens, cost_microusd, dollars, parse_dollars, set_price,
    update_price,
};
pub use provider_changes::{
    CredentialChange, ProviderChange, delete_provider, reseal_credentials, update_provider,
};
pub use providers::{
    AskableProvider, NewProvider, Provider, create_provider, ensure_provider, find_provider,
    list_providers,
};
pub(crate) use references::check_parameters_together;
pub use references::{
    Model, ModelRequest, ModelWithParameters, find_or_create_model, is_model, list_models,
    model_label,
};
pub use shares::{ShareWish, renew_share};
pub use slices::{Moments, Slice, SliceWish, passing, take_slice};
