//! Published prices: those shipped with the program, and the current price of every model.
//!
//! A price that an administrator sets for a provider's model overrides every list, and is never changed by a list.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{ModelPrice, prices::faults};
use crate::{Error, Result};

/// Dollars per million tokens, as published by the providers.
const SHIPPED: &str = include_str!("prices.csv");

/// The source of a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "price_source", rename_all = "snake_case")]
pub enum PriceSource {
    /// Shipped with the program.
    Shipped,
    /// Imported from a file in litellm's format.
    Litellm,
    /// Set by an administrator.
    Hand,
}

/// The current price of a model.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CurrentPrice {
    /// The provider's name.
    pub provider: String,
    /// The name after the colon.
    pub model: String,
    /// Micro-dollars per million input tokens.
    pub input_microusd_per_mtok: i64,
    /// Micro-dollars per million output tokens.
    pub output_microusd_per_mtok: i64,
    /// Micro-dollars per million input tokens from the provider's cache; absent: the same as other input tokens.
    pub cached_input_microusd_per_mtok: Option<i64>,
    /// Micro-dollars per million output tokens of reasoning; absent: the same as other output tokens.
    pub reasoning_microusd_per_mtok: Option<i64>,
    /// Maximum number of output tokens of the model; absent if unknown.
    pub max_output_tokens: Option<i32>,
    /// Maximum number of tokens of one image; absent: the bound of the provider's kind.
    pub max_image_tokens: Option<i32>,
    /// The source of the price.
    pub source: PriceSource,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// A price in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) list: String,
    pub(super) price: ModelPrice,
}

/// The result of storing a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) added: usize,
    pub(super) changed: usize,
    pub(super) unchanged: usize,
}

/// Current prices by provider and model, optionally of one provider.
///
/// # Errors
/// The database does not respond.
pub async fn list_prices(
    conn: &mut PgConnection,
    provider: Option<&str>,
) -> Result<Vec<CurrentPrice>> {
    let prices = sqlx::query_as!(
        CurrentPrice,
        r#"-- price_lists::list_prices
        select providers.name as provider, model_name as "model!",
               input_microusd_per_mtok as "input_microusd_per_mtok!",
               output_microusd_per_mtok as "output_microusd_per_mtok!", cached_input_microusd_per_mtok,
               reasoning_microusd_per_mtok, max_output_tokens, max_image_tokens, source as "source!: PriceSource",
               updated_at as "updated_at!"
        from current_prices
        join providers on providers.id = current_prices.provider_id
        where $1::text is null or providers.name = $1
        order by providers.name, model_name"#,
        provider
    )
    .fetch_all(conn)
    .await?;
    Ok(prices)
}

/// Stores the prices shipped with the program, except where an import has set one. Must run in a transaction.
///
/// # Errors
/// The database does not respond.
pub async fn load_shipped_prices(conn: &mut PgConnection) -> Result<()> {
    let shipped = read_shipped()?;
    store(conn, &shipped, PriceSource::Shipped).await?;
    Ok(())
}

/// Stores the prices of a list. Imported prices override shipped ones, which never replace them. Must run in a
/// transaction.
pub(super) async fn store(
    tx: &mut PgConnection,
    listed: &[Listed],
    source: PriceSource,
) -> Result<Stored> {
    sqlx::query!("lock table list_prices in share row exclusive mode")
        .execute(&mut *tx)
        .await?;
    let known = load_lists(tx).await?;
    let mut stored = Stored::default();
    let mut write = Vec::new();
    for row in listed {
        let found = known.get(&(row.list.clone(), row.price.model.clone()));
        match found {
            None => stored.added += 1,
            Some((price, _)) if *price == row.price => stored.unchanged += 1,
            Some((_, PriceSource::Litellm)) if source == PriceSource::Shipped => {
                stored.unchanged += 1;
            }
            Some(_) => stored.changed += 1,
        }
        let is_newer = |(price, from): &(ModelPrice, PriceSource)| {
            let imported = *from == PriceSource::Litellm;
            (*price != row.price || *from != source)
                && !(imported && source == PriceSource::Shipped)
        };
        if found.is_none_or(is_newer) {
            write.push(row);
        }
    }
    insert(tx, &write, source).await?;
    Ok(stored)
}

async fn load_lists(
    tx: &mut PgConnection,
) -> Result<HashMap<(String, String), (ModelPrice, PriceSource)>> {
    let rows = sqlx::query!(
        r#"-- price_lists::load_lists
        select list, model_name, input_microusd_per_mtok, output_microusd_per_mtok, cached_input_microusd_per_mtok,
               reasoning_microusd_per_mtok, max_output_tokens, source as "source: PriceSource"
        from list_prices"#
    )
    .fetch_all(tx)
    .await?;
    let rows = rows.into_iter().map(|row| {
        let price = ModelPrice {
            model: row.model_name.clone(),
            input_microusd_per_mtok: row.input_microusd_per_mtok,
            output_microusd_per_mtok: row.output_microusd_per_mtok,
            cached_input_microusd_per_mtok: row.cached_input_microusd_per_mtok,
            reasoning_microusd_per_mtok: row.reasoning_microusd_per_mtok,
            max_output_tokens: row.max_output_tokens,
            max_image_tokens: None,
        };
        ((row.list, row.model_name), (price, row.source))
    });
    Ok(rows.collect())
}

async fn insert(tx: &mut PgConnection, rows: &[&Listed], source: PriceSource) -> Result<()> {
    let text = |of: fn(&Listed) -> &String| rows.iter().map(|row| of(row).clone()).collect();
    let number = |of: fn(&ModelPrice) -> i64| rows.iter().map(|row| of(&row.price)).collect();
    let (lists, models): (Vec<String>, Vec<String>) =
        (text(|row| &row.list), text(|row| &row.price.model));
    let inputs: Vec<i64> = number(|price| price.input_microusd_per_mtok);
    let outputs: Vec<i64> = number(|price| price.output_microusd_per_mtok);
    let prices = || rows.iter().map(|row| &row.price);
    let cached: Vec<Option<i64>> = prices()
        .map(|price| price.cached_input_microusd_per_mtok)
        .collect();
    let reasoning: Vec<Option<i64>> = prices()
        .map(|price| price.reasoning_microusd_per_mtok)
        .collect();
    let limits: Vec<Option<i32>> = prices().map(|price| price.max_output_tokens).collect();
    sqlx::query!(
        "-- price_lists::insert
        insert into list_prices (list, model_name, input_microusd_per_mtok, output_microusd_per_mtok,
            cached_input_microusd_per_mtok, reasoning_microusd_per_mtok, max_output_tokens, source)
        select list, model_name, input, output, cached_input, reasoning, max_output_tokens, $8
        from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::int[])
            as row (list, model_name, input, output, cached_input, reasoning, max_output_tokens)
        on conflict (list, model_name) do update
        set input_microusd_per_mtok = excluded.input_microusd_per_mtok,
            output_microusd_per_mtok = excluded.output_microusd_per_mtok,
            cached_input_microusd_per_mtok = excluded.cached_input_microusd_per_mtok,
            reasoning_microusd_per_mtok = excluded.reasoning_microusd_per_mtok,
            max_output_tokens = excluded.max_output_tokens,
            source = excluded.source,
            updated_at = now()",
        &lists,
        &models,
        &inputs,
        &outputs,
        &cached as _,
        &reasoning as _,
        &limits as _,
        source as PriceSource
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A row of the shipped file, in dollars per million tokens.
#[derive(Deserialize)]
struct ShippedRow {
    list: String,
    model: String,
    input: f64,
    cached_input: Option<f64>,
    output: f64,
    reasoning: Option<f64>,
    max_output_tokens: Option<i32>,
}

fn read_shipped() -> Result<Vec<Listed>> {
    let broken = |message: String| Error::Internal(format!("the shipped prices: {message}"));
    csv::Reader::from_reader(SHIPPED.as_bytes())
        .deserialize()
        .map(|row| {
            let row: ShippedRow = row.map_err(|error| broken(error.to_string()))?;
            let listed = Listed {
                list: row.list,
                price: ModelPrice {
                    model: row.model,
                    input_microusd_per_mtok: microusd(row.input),
                    output_microusd_per_mtok: microusd(row.output),
                    cached_input_microusd_per_mtok: row.cached_input.map(microusd),
                    reasoning_microusd_per_mtok: row.reasoning.map(microusd),
                    max_output_tokens: row.max_output_tokens,
                    max_image_tokens: None,
                },
            };
            match faults(&listed.price).first() {
                Some(fault) => Err(broken(format!("{}: {}", fault.path, fault.message))),
                None => Ok(listed),
            }
        })
        .collect()
}

/// Converts dollars to micro-dollars.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast of floats to integers saturates, and nobody asks for as much"
)]
fn microusd(dollars: f64) -> i64 {
    (dollars * 1e6).round() as i64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::models::presets;

    #[test]
    fn the_shipped_file_is_whole() {
        let shipped = read_shipped().unwrap();
        assert!(shipped.len() > 50, "{}", shipped.len());
        let lists: Vec<String> = presets().into_iter().map(|preset| preset.name).collect();
        let mut seen = HashSet::new();
        for row in &shipped {
            assert!(
                row.list == "bedrock" || lists.contains(&row.list),
                "{row:?}"
            );
            assert!(seen.insert((&row.list, &row.price.model)), "{row:?}");
            assert!(row.price.max_output_tokens.is_some(), "{row:?}");
        }
        let mini = shipped.iter().find(|row| row.price.model == "gpt-4o-mini");
        let mini = &mini.unwrap().price;
        assert_eq!(
            (
                mini.input_microusd_per_mtok,
                mini.output_microusd_per_mtok,
                mini.cached_input_microusd_per_mtok
            ),
            (150_000, 600_000, Some(75_000))
        );
    }
}
