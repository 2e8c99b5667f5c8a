//! What a model costs. Money is integer micro-dollars.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::Result;

/// The price of a model, in micro-dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// Per million input tokens.
    pub input_microusd_per_mtok: i64,
    /// Per million output tokens.
    pub output_microusd_per_mtok: i64,
}

/// What a call cost, in micro-dollars, rounded up so that money is never lost in small calls.
#[must_use]
pub fn cost_microusd(price: Price, input_tokens: i64, output_tokens: i64) -> i64 {
    let millionths = i128::from(price.input_microusd_per_mtok) * i128::from(input_tokens.max(0))
        + i128::from(price.output_microusd_per_mtok) * i128::from(output_tokens.max(0));
    let cost = (millionths + 999_999) / 1_000_000;
    i64::try_from(cost).unwrap_or(i64::MAX)
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
