//! Imports prices from a file in litellm's published format: an object that maps names of models to their cost in
//! dollars per token. Files are not trusted: every row is validated, and an invalid row does not affect the others.
//!
//! Rows of providers without a price list here, and of models that do not generate text, are left out. Of prices that
//! depend on the length of the prompt, the price of the first tier is used.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;

use super::{
    ModelPrice, PriceSource,
    price_lists::{Listed, store},
    prices::faults,
};
use crate::{Error, Result, auth::CurrentUser};

/// Maximum number of rows in a file.
const MAX_ROWS: usize = 50_000;
/// Maximum number of refused rows in the report.
const MAX_NAMED: usize = 100;
/// Maximum price: a million dollars per million tokens; a higher one is a mistake.
const MAX_MICROUSD_PER_MTOK: f64 = 1e12;

/// litellm's name of a provider, the prefix of its models' names, and its price list here.
const PROVIDERS: [(&str, &str, &str); 10] = [
    ("anthropic", "anthropic/", "anthropic"),
    ("bedrock", "", "bedrock"),
    ("bedrock_converse", "", "bedrock"),
    ("deepseek", "deepseek/", "deepseek"),
    ("gemini", "gemini/", "gemini"),
    ("groq", "groq/", "groq"),
    ("mistral", "mistral/", "mistral"),
    ("openai", "openai/", "openai"),
    ("openrouter", "openrouter/", "openrouter"),
    ("together_ai", "together_ai/", "together"),
];

/// The result of importing a file of prices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PriceImport {
    /// Number of new prices.
    pub added: usize,
    /// Number of changed prices.
    pub changed: usize,
    /// Number of unchanged prices.
    pub unchanged: usize,
    /// Number of rows of other providers, and of models that do not generate text.
    pub left_out: usize,
    /// Number of invalid rows, which were not stored.
    pub refused: usize,
    /// The first hundred invalid rows, with reasons.
    pub refused_rows: Vec<RefusedPrice>,
}

/// A row that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusedPrice {
    /// Its key in the file, shortened to 200 characters.
    pub model: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Imports a file of prices in litellm's format.
///
/// # Errors
/// [`Error::Forbidden`] for everybody but administrators; [`Error::Invalid`] for too many rows.
pub async fn import_litellm(
    conn: &mut PgConnection,
    user: &CurrentUser,
    file: &Map<String, Value>,
) -> Result<PriceImport> {
    user.require_admin("only administrators can import prices")?;
    if file.len() > MAX_ROWS {
        let message = format!("the file has more than {MAX_ROWS} rows");
        return Err(Error::invalid("", message));
    }
    let (listed, mut report) = read(file);
    let mut tx = conn.begin().await?;
    let stored = store(&mut tx, &listed, PriceSource::Litellm).await?;
    tx.commit().await?;
    report.added = stored.added;
    report.changed = stored.changed;
    report.unchanged = stored.unchanged;
    Ok(report)
}

/// Parses a file into prices and a report of rows that were left out or refused.
fn read(file: &Map<String, Value>) -> (Vec<Listed>, PriceImport) {
    let mut report = PriceImport::default();
    let mut listed = BTreeMap::new();
    for (key, row) in file {
        // A description of the format, in the form of a model.
        if key == "sample_spec" {
            continue;
        }
        match read_row(key, row) {
            Ok(None) => report.left_out += 1,
            Ok(Some((prefixed, row))) => {
                let name = (row.list.clone(), row.price.model.clone());
                // The same model is often listed with and without its provider; the full name takes precedence.
                if prefixed || !listed.contains_key(&name) {
                    listed.insert(name, row);
                }
            }
            Err(reason) => {
                report.refused += 1;
                if report.refused_rows.len() < MAX_NAMED {
                    let model = key.chars().take(200).collect();
                    report.refused_rows.push(RefusedPrice { model, reason });
                }
            }
        }
    }
    (listed.into_values().collect(), report)
}

/// The price of a row, and whether its name begins with its provider; `None` for a row that is left out.
fn read_row(key: &str, row: &Value) -> Result<Option<(bool, Listed)>, String> {
    let Value::Object(row) = row else {
        return Err("is not an object".to_owned());
    };
    let text = |name: &str| row.get(name).and_then(Value::as_str);
    let provider = text("litellm_provider").ok_or("has no `litellm_provider`")?;
    let Some((_, prefix, list)) = PROVIDERS.iter().find(|known| known.0 == provider) else {
        return Ok(None);
    };
    if !matches!(text("mode"), Some("chat" | "responses" | "completion")) {
        return Ok(None);
    }
    let stripped = key.strip_prefix(prefix).filter(|_| !prefix.is_empty());
    let model = stripped.unwrap_or(key);
    // Bedrock's prices for one region, or for reserved capacity, have a path; calls name only the model.
    if *list == "bedrock" && model.contains('/') {
        return Ok(None);
    }
    let price = ModelPrice {
        model: model.to_owned(),
        input_microusd_per_mtok: required(row, "input_cost_per_token")?,
        output_microusd_per_mtok: required(row, "output_cost_per_token")?,
        cached_input_microusd_per_mtok: cost(row, "cache_read_input_token_cost")?,
        reasoning_microusd_per_mtok: cost(row, "output_cost_per_reasoning_token")?,
        max_output_tokens: tokens(row, "max_output_tokens")?,
        max_image_tokens: None,
    };
    if let Some(fault) = faults(&price).first() {
        return Err(format!("{} {}", fault.path, fault.message));
    }
    let list = (*list).to_owned();
    Ok(Some((stripped.is_some(), Listed { list, price })))
}

fn required(row: &Map<String, Value>, name: &str) -> Result<i64, String> {
    cost(row, name)?.ok_or_else(|| format!("has no `{name}`"))
}

/// Converts dollars per token to micro-dollars per million tokens.
fn cost(row: &Map<String, Value>, name: &str) -> Result<Option<i64>, String> {
    let Some(value) = row.get(name).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let per_mtok = value.as_f64().map(|dollars| (dollars * 1e12).round());
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the number is whole and lies within its bounds"
    )]
    let number = per_mtok
        .filter(|number| (0.0..=MAX_MICROUSD_PER_MTOK).contains(number))
        .map(|number| number as i64);
    number
        .map(Some)
        .ok_or_else(|| format!("`{name}` is not a price in dollars per token"))
}

fn tokens(row: &Map<String, Value>, name: &str) -> Result<Option<i32>, String> {
    let Some(value) = row.get(name).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
    number
        .map(Some)
        .ok_or_else(|| format!("`{name}` is not a number of tokens"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(change: &Value) -> Value {
        let mut row = json!({
            "litellm_provider": "openai", "mode": "chat",
            "input_cost_per_token": 1.5e-7, "output_cost_per_token": 6e-7,
        });
        row.as_object_mut()
            .unwrap()
            .extend(change.as_object().cloned().unwrap());
        row
    }

    #[test]
    fn rows_are_kept_left_out_or_refused() {
        let check = |key: &str, row: Value, expect: &str| {
            let file = json!({ key: row });
            let (listed, report) = read(file.as_object().unwrap());
            let found = match (listed.first(), report.refused_rows.first()) {
                (Some(row), _) => format!(
                    "{}:{} {} {} {:?}",
                    row.list,
                    row.price.model,
                    row.price.input_microusd_per_mtok,
                    row.price.output_microusd_per_mtok,
                    row.price.max_output_tokens
                ),
                (None, Some(refused)) => refused.reason.clone(),
                (None, None) => format!("left out {}", report.left_out),
            };
            assert_eq!(found, expect, "{file}");
        };
        check(
            "gpt",
            row(&json!({"max_output_tokens": 9})),
            "openai:gpt 150000 600000 Some(9)",
        );
        check(
            "openai/gpt",
            row(&json!({})),
            "openai:gpt 150000 600000 None",
        );
        check(
            "groq/a/b",
            row(&json!({"litellm_provider": "groq"})),
            "groq:a/b 150000 600000 None",
        );
        check(
            "m",
            row(&json!({"litellm_provider": "bedrock_converse"})),
            "bedrock:m 150000 600000 None",
        );
        check(
            "bedrock/eu/m",
            row(&json!({"litellm_provider": "bedrock"})),
            "left out 1",
        );
        check(
            "m",
            row(&json!({"litellm_provider": "azure"})),
            "left out 1",
        );
        check("m", row(&json!({"mode": "embedding"})), "left out 1");
        check("sample_spec", json!("anything"), "left out 0");
        check("m", json!([]), "is not an object");
        check("m", json!({}), "has no `litellm_provider`");
        check(
            "m",
            row(&json!({"input_cost_per_token": null})),
            "has no `input_cost_per_token`",
        );
        for wrong in [json!(-1e-9), json!("1e-7"), json!(1e9), json!([1])] {
            let expect = "`output_cost_per_token` is not a price in dollars per token";
            check("m", row(&json!({"output_cost_per_token": wrong})), expect);
        }
        for wrong in [json!(1e30), json!("9"), json!(3_000_000_000_i64)] {
            let expect = "`max_output_tokens` is not a number of tokens";
            check("m", row(&json!({"max_output_tokens": wrong})), expect);
        }
        check(
            "m",
            row(&json!({"max_output_tokens": 0})),
            "max_output_tokens must be at least 1",
        );
        check(
            "m",
            row(&json!({"cache_read_input_token_cost": 2e-7})),
            "cached_input_microusd_per_mtok must be at most the price of other input tokens",
        );
        check(
            "a\0b",
            row(&json!({})),
            "model must be one line without control or invisible characters; remove U+0000",
        );
        check(
            &"m".repeat(300),
            row(&json!({})),
            "model must have 1 to 200 characters, not all blank",
        );
        check(
            "openai/",
            row(&json!({})),
            "model must have 1 to 200 characters, not all blank",
        );
    }

    #[test]
    fn the_full_name_of_a_model_speaks_for_it() {
        let dear = json!({"input_cost_per_token": 1e-6});
        for file in [
            json!({"openai/m": row(&dear), "m": row(&json!({}))}),
            json!({"m": row(&json!({})), "openai/m": row(&dear)}),
        ] {
            let (listed, _) = read(file.as_object().unwrap());
            assert_eq!(listed.len(), 1);
            assert_eq!(listed[0].price.input_microusd_per_mtok, 1_000_000);
        }
    }
}
