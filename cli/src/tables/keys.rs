//! The table of API keys.

use opb_core::auth::{ApiKey, ApiKeyScope};

use super::table;
use crate::text;

/// API keys, newest first.
pub fn keys(keys: &[ApiKey]) -> String {
    if keys.is_empty() {
        return "you have no API keys".to_owned();
    }
    let mut table = table(&["name", "begins", "scopes", "ends", "last used", "id"]);
    for key in keys {
        let scopes: Vec<&str> = key
            .scopes
            .iter()
            .map(|scope| ApiKeyScope::word(*scope))
            .collect();
        table.add_row(vec![
            text::plain(&key.name),
            text::plain(&key.prefix),
            scopes.join(" "),
            key.expires_at
                .map_or_else(|| "never".to_owned(), text::time),
            key.last_used_at
                .map_or_else(|| "never".to_owned(), text::time),
            key.id.to_string(),
        ]);
    }
    table.to_string()
}
