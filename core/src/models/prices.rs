//! What a model costs. Money is integer micro-dollars.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{Error, FieldError, Result};

/// The price of a model, in micro-dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// Per million input tokens.
    pub input_microusd_per_mtok: i64,
    /// Per million output tokens.
    pub output_microusd_per_mtok: i64,
}

/// The price of a model as an administrator sets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelPrice {
    /// The name after the colon.
    pub model: String,
    /// Micro-dollars per million input tokens.
    #[schema(minimum = 0)]
    pub input_microusd_per_mtok: i64,
    /// Micro-dollars per million output tokens.
    #[schema(minimum = 0)]
    pub output_microusd_per_mtok: i64,
    /// The longest answer that the model can give; absent when unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub max_output_tokens: Option<i32>,
}

/// What a call cost, in micro-dollars, rounded up so that money is never lost in small calls.
#[must_use]
pub fn cost_microusd(price: Price, input_tokens: i64, output_tokens: i64) -> i64 {
    let millionths = i128::from(price.input_microusd_per_mtok) * i128::from(input_tokens.max(0))
        + i128::from(price.output_microusd_per_mtok) * i128::from(output_tokens.max(0));
    let cost = (millionths + 999_999) / 1_000_000;
    i64::try_from(cost).unwrap_or(i64::MAX)
}

/// `$1.00`, `$0.997`: cents, and more digits where there are more.
#[must_use]
pub fn dollars(microusd: i64) -> String {
    let rest = format!("{:06}", microusd % 1_000_000);
    let digits = rest.trim_end_matches('0').len().max(2);
    format!("${}.{}", microusd / 1_000_000, &rest[..digits])
}

/// Sets the price of a provider's model.
///
/// # Errors
/// The database does not answer.
pub async fn set_price(
    conn: &mut PgConnection,
    provider_id: Uuid,
    model_name: &str,
    price: Price,
) -> Result<()> {
    sqlx::query!(
        "-- prices::set_price
        insert into model_prices (provider_id, model_name, input_microusd_per_mtok, output_microusd_per_mtok)
        values ($1, $2, $3, $4)
        on conflict (provider_id, model_name) do update
        set input_microusd_per_mtok = excluded.input_microusd_per_mtok,
            output_microusd_per_mtok = excluded.output_microusd_per_mtok,
            updated_at = now()",
        provider_id,
        model_name,
        price.input_microusd_per_mtok,
        price.output_microusd_per_mtok
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Sets the price of a model at a provider of this name, and the longest answer that it can give.
///
/// # Errors
/// [`Error::NotFound`] when there is no such provider, [`Error::Invalid`] for a negative price or an empty name.
pub async fn update_price(
    conn: &mut PgConnection,
    provider: &str,
    change: &ModelPrice,
) -> Result<()> {
    let mut wrong = Vec::new();
    if change.model.is_empty() || change.model.len() > 200 || change.model.contains('\0') {
        wrong.push(FieldError::new(
            "model",
            "must have 1 to 200 characters and no NUL",
        ));
    }
    for (path, price) in [
        ("input_microusd_per_mtok", change.input_microusd_per_mtok),
        ("output_microusd_per_mtok", change.output_microusd_per_mtok),
    ] {
        if price < 0 {
            wrong.push(FieldError::new(path, "must be at least 0"));
        }
    }
    if change.max_output_tokens.is_some_and(|tokens| tokens < 1) {
        wrong.push(FieldError::new("max_output_tokens", "must be at least 1"));
    }
    if !wrong.is_empty() {
        return Err(Error::Invalid(wrong));
    }
    let set = sqlx::query!(
        "-- prices::update_price
        insert into model_prices (provider_id, model_name, input_microusd_per_mtok, output_microusd_per_mtok, max_output_tokens)
        select id, $2, $3, $4, $5 from providers where name = $1
        on conflict (provider_id, model_name) do update
        set input_microusd_per_mtok = excluded.input_microusd_per_mtok,
            output_microusd_per_mtok = excluded.output_microusd_per_mtok,
            max_output_tokens = excluded.max_output_tokens,
            updated_at = now()",
        provider,
        change.model,
        change.input_microusd_per_mtok,
        change.output_microusd_per_mtok,
        change.max_output_tokens
    )
    .execute(conn)
    .await?;
    if set.rows_affected() == 0 {
        return Err(Error::NotFound(format!("the provider `{provider}`")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_up_and_never_overflows() {
        let check = |input_price, output_price, input, output, expect| {
            let price = Price {
                input_microusd_per_mtok: input_price,
                output_microusd_per_mtok: output_price,
            };
            assert_eq!(cost_microusd(price, input, output), expect);
        };
        check(150_000, 600_000, 1_000_000, 0, 150_000);
        check(150_000, 600_000, 0, 1_000_000, 600_000);
        check(150_000, 600_000, 1, 0, 1);
        check(0, 0, 1_000, 1_000, 0);
        check(150_000, 600_000, -5, -5, 0);
        check(i64::MAX, i64::MAX, i64::MAX, i64::MAX, i64::MAX);
    }
}
