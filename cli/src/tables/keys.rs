//! The table of API keys.

use opb_core::auth::{ApiKey, ApiKeyScope};

use super::{
    Report,
    layout::{Column, Table},
};
use crate::text;

/// API keys, newest first.
pub fn keys(keys: &[ApiKey]) -> Report {
    if keys.is_empty() {
        return Report::of("you have no API keys");
    }
    let mut table = Table::new([
        Column::name("name", 14),
        Column::new("begins"),
        Column::prose("scopes", 14).optional(3),
        Column::new("ends").optional(4),
        Column::new("last used").optional(2),
        Column::new("id").optional(1),
    ]);
    for key in keys {
        let scopes: Vec<&str> = key
            .scopes
            .iter()
            .map(|scope| ApiKeyScope::word(*scope))
            .collect();
        let time = |time: Option<_>| time.map_or_else(|| "never".to_owned(), text::time);
        table.add_row([
            text::plain(&key.name).into(),
            text::plain(&key.prefix).into(),
            scopes.join(" ").into(),
            time(key.expires_at).into(),
            time(key.last_used_at).into(),
            key.id.to_string().into(),
        ]);
    }
    table.into()
}
