//! What a model costs. Money is integer micro-dollars.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::ProviderKind;
use crate::{Error, FieldError, Result, bounds::MAX_MICROUSD};

/// The price of a model, in micro-dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// Per million input tokens.
    pub input_microusd_per_mtok: i64,
    /// Per million output tokens.
    pub output_microusd_per_mtok: i64,
    /// Per million input tokens that the provider had in its cache, if that differs; never more than for others.
    pub cached_input_microusd_per_mtok: Option<i64>,
    /// Per million output tokens that were spent on reasoning, if that differs.
    pub reasoning_microusd_per_mtok: Option<i64>,
}

/// The tokens of a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// All tokens of the prompt.
    pub input: i64,
    /// Those of them that the provider had in its cache.
    pub cached_input: i64,
    /// All tokens of the answer.
    pub output: i64,
    /// Those of them that were spent on reasoning.
    pub reasoning: i64,
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
    /// Micro-dollars per million input tokens that the provider had in its cache; absent for the price of every other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub cached_input_microusd_per_mtok: Option<i64>,
    /// Micro-dollars per million output tokens that were spent on reasoning; absent for the price of every other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub reasoning_microusd_per_mtok: Option<i64>,
    /// The longest answer that the model can give; absent when unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub max_output_tokens: Option<i32>,
    /// The most tokens that the model counts for one image of a prompt; absent for the bound of the provider's kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub max_image_tokens: Option<i32>,
}

impl Price {
    /// Nothing at all.
    pub const FREE: Self = Self::new(0, 0);

    /// A price that asks for nothing but input and output.
    #[must_use]
    pub const fn new(input_microusd_per_mtok: i64, output_microusd_per_mtok: i64) -> Self {
        Self {
            input_microusd_per_mtok,
            output_microusd_per_mtok,
            cached_input_microusd_per_mtok: None,
            reasoning_microusd_per_mtok: None,
        }
    }

    /// The price of a row of `current_prices`, if there is one. What is not called costs nothing.
    #[must_use]
    pub(crate) fn of_row(
        kind: ProviderKind,
        input: Option<i64>,
        output: Option<i64>,
        cached_input: Option<i64>,
        reasoning: Option<i64>,
    ) -> Option<Self> {
        if kind == ProviderKind::Echo {
            return Some(Self::FREE);
        }
        Some(Self {
            input_microusd_per_mtok: input?,
            output_microusd_per_mtok: output?,
            cached_input_microusd_per_mtok: cached_input,
            reasoning_microusd_per_mtok: reasoning,
        })
    }

    /// The dearest that every token can be: nothing is in the cache, and all or nothing of the output is reasoning.
    #[must_use]
    pub fn at_most(self) -> Self {
        let reasoning = self.reasoning_microusd_per_mtok.unwrap_or(0);
        Self::new(
            self.input_microusd_per_mtok,
            self.output_microusd_per_mtok.max(reasoning),
        )
    }
}

impl Tokens {
    /// Tokens of which nothing is known but their number.
    #[must_use]
    pub const fn new(input: i64, output: i64) -> Self {
        Self {
            input,
            cached_input: 0,
            output,
            reasoning: 0,
        }
    }
}

/// What a call cost, in micro-dollars, rounded up so that money is never lost in small calls. Tokens of the cache and of
/// reasoning are part of input and output, and cost the same unless they are priced apart.
#[must_use]
pub fn cost_microusd(price: Price, tokens: Tokens) -> i64 {
    let (input, output) = (tokens.input.max(0), tokens.output.max(0));
    let cached = tokens.cached_input.clamp(0, input);
    let reasoning = tokens.reasoning.clamp(0, output);
    let cached_price = price
        .cached_input_microusd_per_mtok
        .unwrap_or(price.input_microusd_per_mtok);
    let reasoning_price = price
        .reasoning_microusd_per_mtok
        .unwrap_or(price.output_microusd_per_mtok);
    let millionths = [
        (price.input_microusd_per_mtok, input - cached),
        (cached_price, cached),
        (price.output_microusd_per_mtok, output - reasoning),
        (reasoning_price, reasoning),
    ]
    .map(|(price, tokens)| i128::from(price) * i128::from(tokens));
    let cost = (millionths.iter().sum::<i128>() + 999_999) / 1_000_000;
    i64::try_from(cost).unwrap_or(i64::MAX)
}

/// `$1.00`, `$0.997`: cents, and more digits where there are more.
#[must_use]
pub fn dollars(microusd: i64) -> String {
    let rest = format!("{:06}", microusd % 1_000_000);
    let digits = rest.trim_end_matches('0').len().max(2);
    format!("${}.{}", microusd / 1_000_000, &rest[..digits])
}

/// Sets the price of a model that comes with the program, such as a simulated one.
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
        insert into model_prices (provider_id, model_name, input_microusd_per_mtok, output_microusd_per_mtok,
            cached_input_microusd_per_mtok, reasoning_microusd_per_mtok, source)
        values ($1, $2, $3, $4, $5, $6, 'shipped')
        on conflict (provider_id, model_name) do update
        set input_microusd_per_mtok = excluded.input_microusd_per_mtok,
            output_microusd_per_mtok = excluded.output_microusd_per_mtok,
            cached_input_microusd_per_mtok = excluded.cached_input_microusd_per_mtok,
            reasoning_microusd_per_mtok = excluded.reasoning_microusd_per_mtok,
            source = excluded.source,
            updated_at = now()",
        provider_id,
        model_name,
        price.input_microusd_per_mtok,
        price.output_microusd_per_mtok,
        price.cached_input_microusd_per_mtok,
        price.reasoning_microusd_per_mtok
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
    let wrong = faults(change);
    if !wrong.is_empty() {
        return Err(Error::Invalid(wrong));
    }
    let set = sqlx::query!(
        "-- prices::update_price
        insert into model_prices (provider_id, model_name, input_microusd_per_mtok, output_microusd_per_mtok,
            cached_input_microusd_per_mtok, reasoning_microusd_per_mtok, max_output_tokens, max_image_tokens)
        select id, $2, $3, $4, $5, $6, $7, $8 from providers where name = $1
        on conflict (provider_id, model_name) do update
        set input_microusd_per_mtok = excluded.input_microusd_per_mtok,
            output_microusd_per_mtok = excluded.output_microusd_per_mtok,
            cached_input_microusd_per_mtok = excluded.cached_input_microusd_per_mtok,
            reasoning_microusd_per_mtok = excluded.reasoning_microusd_per_mtok,
            max_output_tokens = excluded.max_output_tokens,
            max_image_tokens = excluded.max_image_tokens,
            source = 'hand',
            updated_at = now()",
        provider,
        change.model,
        change.input_microusd_per_mtok,
        change.output_microusd_per_mtok,
        change.cached_input_microusd_per_mtok,
        change.reasoning_microusd_per_mtok,
        change.max_output_tokens,
        change.max_image_tokens
    )
    .execute(conn)
    .await?;
    if set.rows_affected() == 0 {
        return Err(Error::NotFound(format!("the provider `{provider}`")));
    }
    Ok(())
}

/// What is wrong with a price.
pub(super) fn faults(price: &ModelPrice) -> Vec<FieldError> {
    let mut wrong = Vec::new();
    let name = &price.model;
    if name.is_empty() || name.chars().count() > 200 || name.contains('\0') {
        wrong.push(FieldError::new(
            "model",
            "must have 1 to 200 characters and no NUL",
        ));
    }
    for (path, number) in [
        (
            "input_microusd_per_mtok",
            Some(price.input_microusd_per_mtok),
        ),
        (
            "output_microusd_per_mtok",
            Some(price.output_microusd_per_mtok),
        ),
        (
            "cached_input_microusd_per_mtok",
            price.cached_input_microusd_per_mtok,
        ),
        (
            "reasoning_microusd_per_mtok",
            price.reasoning_microusd_per_mtok,
        ),
    ] {
        if number.is_some_and(|number| !(0..=MAX_MICROUSD).contains(&number)) {
            let message = format!("must be at least 0 and at most {MAX_MICROUSD}");
            wrong.push(FieldError::new(path, message));
        }
    }
    // A budget's bound is computed as if nothing came from a cache.
    if price
        .cached_input_microusd_per_mtok
        .is_some_and(|cached| cached > price.input_microusd_per_mtok)
    {
        wrong.push(FieldError::new(
            "cached_input_microusd_per_mtok",
            "must be at most the price of other input tokens",
        ));
    }
    if price.max_output_tokens.is_some_and(|tokens| tokens < 1) {
        wrong.push(FieldError::new("max_output_tokens", "must be at least 1"));
    }
    if price.max_image_tokens.is_some_and(|tokens| tokens < 1) {
        wrong.push(FieldError::new("max_image_tokens", "must be at least 1"));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_up_and_never_overflows() {
        let check = |input_price, output_price, input, output, expect| {
            let price = Price::new(input_price, output_price);
            assert_eq!(cost_microusd(price, Tokens::new(input, output)), expect);
        };
        check(150_000, 600_000, 1_000_000, 0, 150_000);
        check(150_000, 600_000, 0, 1_000_000, 600_000);
        check(150_000, 600_000, 1, 0, 1);
        check(0, 0, 1_000, 1_000, 0);
        check(150_000, 600_000, -5, -5, 0);
        check(i64::MAX, i64::MAX, i64::MAX, i64::MAX, i64::MAX);
    }

    #[test]
    fn the_cache_is_cheaper_and_reasoning_is_output() {
        let price = |cached_input_microusd_per_mtok, reasoning_microusd_per_mtok| Price {
            cached_input_microusd_per_mtok,
            reasoning_microusd_per_mtok,
            ..Price::new(1_000_000, 4_000_000)
        };
        let check = |price: Price, [input, cached_input, output, reasoning]: [i64; 4], expect| {
            let tokens = Tokens {
                input,
                cached_input,
                output,
                reasoning,
            };
            assert_eq!(cost_microusd(price, tokens), expect, "{tokens:?}");
            let bound = cost_microusd(price.at_most(), Tokens::new(input, output));
            assert!(cost_microusd(price, tokens) <= bound, "{tokens:?}");
        };
        check(price(None, None), [100, 40, 10, 5], 140);
        check(price(Some(100_000), None), [100, 40, 10, 5], 60 + 4 + 40);
        check(price(Some(0), None), [100, 100, 0, 0], 0);
        check(price(None, Some(8_000_000)), [0, 0, 10, 5], 20 + 40);
        check(price(None, Some(1_000_000)), [0, 0, 10, 10], 10);
        // What cannot be is cut: no part is larger than the whole.
        check(price(Some(0), Some(8_000_000)), [10, 99, 10, 99], 80);
        check(price(Some(0), Some(0)), [10, -5, 10, -5], 50);
    }

    #[test]
    fn wrong_prices_name_their_field() {
        let fine = ModelPrice {
            model: "m".into(),
            input_microusd_per_mtok: 2,
            output_microusd_per_mtok: 2,
            cached_input_microusd_per_mtok: Some(1),
            reasoning_microusd_per_mtok: Some(9),
            max_output_tokens: Some(1),
            max_image_tokens: Some(1),
        };
        assert_eq!(faults(&fine), []);
        let check = |wrong: ModelPrice, path: &str| {
            assert_eq!(faults(&wrong).first().map(|fault| &*fault.path), Some(path));
        };
        check(
            ModelPrice {
                model: String::new(),
                ..fine.clone()
            },
            "model",
        );
        check(
            ModelPrice {
                input_microusd_per_mtok: -1,
                ..fine.clone()
            },
            "input_microusd_per_mtok",
        );
        check(
            ModelPrice {
                reasoning_microusd_per_mtok: Some(-1),
                ..fine.clone()
            },
            "reasoning_microusd_per_mtok",
        );
        check(
            ModelPrice {
                cached_input_microusd_per_mtok: Some(3),
                ..fine.clone()
            },
            "cached_input_microusd_per_mtok",
        );
        check(
            ModelPrice {
                max_output_tokens: Some(0),
                ..fine.clone()
            },
            "max_output_tokens",
        );
        check(
            ModelPrice {
                max_image_tokens: Some(0),
                ..fine
            },
            "max_image_tokens",
        );
    }
}
