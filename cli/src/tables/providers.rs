//! Tables of providers, presets and limits.

use opb_core::models::{DeclaredLimits, Preset, Provider};

use super::{
    Report,
    layout::{Column, Table},
    word,
};
use crate::text;

/// The providers.
pub fn providers(providers: &[Provider]) -> Report {
    let mut table = Table::new([
        Column::name("name", 12),
        Column::new("kind"),
        Column::name("base URL", 20).optional(2),
        Column::name("credential", 10).optional(1),
    ]);
    for provider in providers {
        table.add_row([
            text::plain(&provider.name).into(),
            word(&provider.kind).into(),
            text::plain(provider.base_url.as_deref().unwrap_or("-")).into(),
            text::plain(provider.credential_hint.as_deref().unwrap_or("-")).into(),
        ]);
    }
    table.into()
}

/// The presets.
pub fn presets(presets: &[Preset]) -> Report {
    let mut table = Table::new([
        Column::new("name"),
        Column::new("kind"),
        Column::name("base URL", 20).optional(1),
        Column::new("key variable").optional(2),
    ]);
    for preset in presets {
        table.add_row([
            text::plain(&preset.name).into(),
            word(&preset.kind).into(),
            text::plain(&preset.base_url).into(),
            text::plain(preset.key_variable.as_deref().unwrap_or("-")).into(),
        ]);
    }
    table.into()
}

/// The limits of a provider.
pub fn limits(declared: &[DeclaredLimits]) -> Report {
    let mut table = Table::new([
        Column::name("model", 12),
        Column::right("requests/min"),
        Column::right("tokens/min"),
        Column::right("concurrent calls"),
        Column::right("$ / day"),
        Column::right("$ today").optional(1),
        Column::right("call timeout").optional(2),
    ]);
    let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), text::count);
    let money = |money: Option<i64>| money.map_or_else(|| "-".to_owned(), text::dollars);
    for limits in declared {
        let is_counted = limits.daily_microusd.is_some();
        let model = limits.model.as_deref();
        table.add_row([
            model
                .map_or_else(|| "all together".to_owned(), text::plain)
                .into(),
            number(limits.requests_per_minute.map(i64::from)).into(),
            number(limits.tokens_per_minute).into(),
            number(limits.concurrent_calls.map(i64::from)).into(),
            money(limits.daily_microusd).into(),
            money(is_counted.then_some(limits.spent_today_microusd)).into(),
            limits
                .call_timeout_seconds
                .map_or_else(|| "-".to_owned(), |seconds| format!("{seconds} s"))
                .into(),
        ]);
    }
    table.into()
}
