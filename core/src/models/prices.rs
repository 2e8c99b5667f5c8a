//! Prices of models. Money is integer micro-dollars.

use serde::{Deserialize, Deserializer, Serialize};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{ProviderKind, references::check_model_name};
use crate::{Error, FieldError, Result, auth::CurrentUser, bounds::MAX_MICROUSD};

/// The price of a model, in micro-dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// Per million input tokens.
    pub input_microusd_per_mtok: i64,
    /// Per million output tokens.
    pub output_microusd_per_mtok: i64,
    /// Per million input tokens from the provider's cache, if different; never more than for other input tokens.
    pub cached_input_microusd_per_mtok: Option<i64>,
    /// Per million output tokens of reasoning, if different.
    pub reasoning_microusd_per_mtok: Option<i64>,
}

/// The tokens of a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// All tokens of the prompt.
    pub input: i64,
    /// The input tokens that came from the provider's cache.
    pub cached_input: i64,
    /// All tokens of the response.
    pub output: i64,
    /// The output tokens that were spent on reasoning.
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
    /// Micro-dollars per million input tokens from the provider's cache; absent: the same as other input tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub cached_input_microusd_per_mtok: Option<i64>,
    /// Micro-dollars per million output tokens of reasoning; absent: the same as other output tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub reasoning_microusd_per_mtok: Option<i64>,
    /// Maximum number of output tokens of the model; absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub max_output_tokens: Option<i32>,
    /// Maximum number of tokens that the model counts for one image of a prompt; absent: the bound of the provider's
    /// kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub max_image_tokens: Option<i32>,
}

/// Changes of the price of a model. Absent fields stay as they are; null removes an optional field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceChange {
    /// The name after the colon.
    #[schema(example = "gpt-5-mini")]
    pub model: String,
    /// Micro-dollars per million input tokens; required for a model without a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, example = 250_000)]
    pub input_microusd_per_mtok: Option<i64>,
    /// Micro-dollars per million output tokens; required for a model without a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, example = 2_000_000)]
    pub output_microusd_per_mtok: Option<i64>,
    /// Micro-dollars per million input tokens from the provider's cache; null: the same as other input tokens.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<i64>, minimum = 0)]
    pub cached_input_microusd_per_mtok: Option<Option<i64>>,
    /// Micro-dollars per million output tokens of reasoning; null: the same as other output tokens.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<i64>, minimum = 0)]
    pub reasoning_microusd_per_mtok: Option<Option<i64>>,
    /// Maximum number of output tokens of the model; null if unknown.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<i32>, minimum = 1)]
    pub max_output_tokens: Option<Option<i32>>,
    /// Maximum number of tokens that the model counts for one image of a prompt; null: the bound of the provider's
    /// kind.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<i32>, minimum = 1)]
    pub max_image_tokens: Option<Option<i32>>,
}

impl Price {
    /// The price of a free model.
    pub const FREE: Self = Self::new(0, 0);

    /// A price with only input and output.
    #[must_use]
    pub const fn new(input_microusd_per_mtok: i64, output_microusd_per_mtok: i64) -> Self {
        Self {
            input_microusd_per_mtok,
            output_microusd_per_mtok,
            cached_input_microusd_per_mtok: None,
            reasoning_microusd_per_mtok: None,
        }
    }

    /// The price in a row of `current_prices`, if there is one. Models that are not called remotely are free, and so
    /// are models without a price at a provider that is `free`.
    #[must_use]
    pub(crate) fn of_row(
        (kind, free): (ProviderKind, bool),
        input: Option<i64>,
        output: Option<i64>,
        cached_input: Option<i64>,
        reasoning: Option<i64>,
    ) -> Option<Self> {
        if kind == ProviderKind::Echo || (free && input.is_none()) {
            return Some(Self::FREE);
        }
        Some(Self {
            input_microusd_per_mtok: input?,
            output_microusd_per_mtok: output?,
            cached_input_microusd_per_mtok: cached_input,
            reasoning_microusd_per_mtok: reasoning,
        })
    }

    /// True if no token costs anything.
    #[must_use]
    pub fn is_free(self) -> bool {
        self.at_most() == Self::FREE && self.cached_input_microusd_per_mtok.unwrap_or(0) == 0
    }

    /// The upper bound of the price per token: no input token is cached, and all or none of the output tokens are
    /// reasoning.
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
    /// Tokens of which only the totals are known.
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

/// The cost of a call in micro-dollars, rounded up so that small calls are never counted as free. Cached and reasoning
/// tokens are part of input and output, and cost the same unless they have their own price.
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

/// Formats micro-dollars as dollars, `$1.00` or `$0.997`: with cents, and more digits where needed.
#[must_use]
pub fn dollars(microusd: i64) -> String {
    let rest = format!("{:06}", microusd % 1_000_000);
    let digits = rest.trim_end_matches('0').len().max(2);
    format!("${}.{}", microusd / 1_000_000, &rest[..digits])
}

/// Parses dollars as people write them, `1`, `$0.50` or `0.000001`, into micro-dollars.
///
/// # Errors
/// The text is not an amount; the message is meant for the user who wrote it.
pub fn parse_dollars(text: &str) -> Result<i64, String> {
    let number = text.strip_prefix('$').unwrap_or(text);
    let (whole, rest) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = (digits(whole)
        && digits(rest)
        && rest.len() <= 6
        && !(whole.is_empty() && rest.is_empty()))
    .then(|| format!("{whole}{rest:0<6}").parse().ok())
    .flatten();
    parsed.ok_or_else(|| "expected dollars such as 1.50, with at most six decimals".to_owned())
}

/// Sets the price of a model that is shipped with the program, such as a simulated one.
///
/// # Errors
/// The database does not respond.
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

/// Changes the price of a model at the named provider; absent fields keep their current value, from any source. Returns
/// the whole price.
///
/// # Errors
/// [`Error::Forbidden`] for everybody but administrators; [`Error::NotFound`] if there is no such provider;
/// [`Error::Invalid`] for a negative price, an empty name, or a new price without input or output.
pub async fn update_price(
    conn: &mut PgConnection,
    user: &CurrentUser,
    provider: &str,
    change: &PriceChange,
) -> Result<ModelPrice> {
    user.require_admin("only administrators can set prices")?;
    let mut tx = conn.begin().await?;
    // The lock serialises concurrent changes, so that none is lost.
    let provider_id = sqlx::query_scalar!(
        "-- prices::update_price (lock)
        select id from providers where name = $1 for no key update",
        provider
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or_else(|| Error::NotFound(format!("the provider `{provider}`")))?;
    let before = sqlx::query!(
        r#"-- prices::update_price (read)
        select input_microusd_per_mtok as "input!", output_microusd_per_mtok as "output!", cached_input_microusd_per_mtok,
               reasoning_microusd_per_mtok, max_output_tokens, max_image_tokens
        from current_prices
        where provider_id = $1 and model_name = $2"#,
        provider_id,
        change.model
    )
    .fetch_optional(&mut *tx)
    .await?;
    let before = before.map(|row| ModelPrice {
        model: change.model.clone(),
        input_microusd_per_mtok: row.input,
        output_microusd_per_mtok: row.output,
        cached_input_microusd_per_mtok: row.cached_input_microusd_per_mtok,
        reasoning_microusd_per_mtok: row.reasoning_microusd_per_mtok,
        max_output_tokens: row.max_output_tokens,
        max_image_tokens: row.max_image_tokens,
    });
    let price = change.apply(before)?;
    sqlx::query!(
        "-- prices::update_price (write)
        insert into model_prices (provider_id, model_name, input_microusd_per_mtok, output_microusd_per_mtok,
            cached_input_microusd_per_mtok, reasoning_microusd_per_mtok, max_output_tokens, max_image_tokens)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        on conflict (provider_id, model_name) do update
        set input_microusd_per_mtok = excluded.input_microusd_per_mtok,
            output_microusd_per_mtok = excluded.output_microusd_per_mtok,
            cached_input_microusd_per_mtok = excluded.cached_input_microusd_per_mtok,
            reasoning_microusd_per_mtok = excluded.reasoning_microusd_per_mtok,
            max_output_tokens = excluded.max_output_tokens,
            max_image_tokens = excluded.max_image_tokens,
            source = 'hand',
            updated_at = now()",
        provider_id,
        price.model,
        price.input_microusd_per_mtok,
        price.output_microusd_per_mtok,
        price.cached_input_microusd_per_mtok,
        price.reasoning_microusd_per_mtok,
        price.max_output_tokens,
        price.max_image_tokens
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(price)
}

impl From<ModelPrice> for PriceChange {
    /// The change that sets this price, whatever the price was before.
    fn from(price: ModelPrice) -> Self {
        Self {
            model: price.model,
            input_microusd_per_mtok: Some(price.input_microusd_per_mtok),
            output_microusd_per_mtok: Some(price.output_microusd_per_mtok),
            cached_input_microusd_per_mtok: Some(price.cached_input_microusd_per_mtok),
            reasoning_microusd_per_mtok: Some(price.reasoning_microusd_per_mtok),
            max_output_tokens: Some(price.max_output_tokens),
            max_image_tokens: Some(price.max_image_tokens),
        }
    }
}

impl PriceChange {
    /// Applies the change to the price `before`.
    fn apply(&self, before: Option<ModelPrice>) -> Result<ModelPrice> {
        let first = before.is_none();
        let before = before.unwrap_or_else(|| ModelPrice {
            model: self.model.clone(),
            input_microusd_per_mtok: -1,
            output_microusd_per_mtok: -1,
            cached_input_microusd_per_mtok: None,
            reasoning_microusd_per_mtok: None,
            max_output_tokens: None,
            max_image_tokens: None,
        });
        if first {
            let asked = [
                ("input_microusd_per_mtok", self.input_microusd_per_mtok),
                ("output_microusd_per_mtok", self.output_microusd_per_mtok),
            ];
            let message = "is missing: the model has no price yet";
            let missing: Vec<FieldError> = asked
                .iter()
                .filter(|(_, number)| number.is_none())
                .map(|(path, _)| FieldError::new(*path, message))
                .collect();
            if !missing.is_empty() {
                return Err(Error::Invalid(missing));
            }
        }
        let price = ModelPrice {
            model: self.model.clone(),
            input_microusd_per_mtok: self
                .input_microusd_per_mtok
                .unwrap_or(before.input_microusd_per_mtok),
            output_microusd_per_mtok: self
                .output_microusd_per_mtok
                .unwrap_or(before.output_microusd_per_mtok),
            cached_input_microusd_per_mtok: self
                .cached_input_microusd_per_mtok
                .unwrap_or(before.cached_input_microusd_per_mtok),
            reasoning_microusd_per_mtok: self
                .reasoning_microusd_per_mtok
                .unwrap_or(before.reasoning_microusd_per_mtok),
            max_output_tokens: self.max_output_tokens.unwrap_or(before.max_output_tokens),
            max_image_tokens: self.max_image_tokens.unwrap_or(before.max_image_tokens),
        };
        let mut wrong = faults(&price);
        if self.cached_input_microusd_per_mtok.is_none() {
            let stayed = "cached_input_microusd_per_mtok";
            for fault in wrong.iter_mut().filter(|fault| fault.path == stayed) {
                fault.message.push_str("; change it too");
            }
        }
        if wrong.is_empty() {
            Ok(price)
        } else {
            Err(Error::Invalid(wrong))
        }
    }
}

/// Deserializes a field that is present, null or not.
#[expect(
    clippy::option_option,
    reason = "absent, null and a value mean three things"
)]
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The errors of a price.
pub(super) fn faults(price: &ModelPrice) -> Vec<FieldError> {
    let mut wrong = Vec::new();
    let name = &price.model;
    wrong.extend(check_model_name("model", name).err());
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
    // A budget's bound is computed as if no token came from a cache.
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
    fn dollars_are_read_to_the_micro_dollar() {
        for (text, expect) in [
            ("1", Some(1_000_000)),
            ("$0.50", Some(500_000)),
            (".5", Some(500_000)),
            ("0.000001", Some(1)),
            ("9223372036854.775807", Some(i64::MAX)),
            ("9223372036854.775808", None),
            ("0.0000001", None),
            ("-1", None),
            ("", None),
            (".", None),
            ("1,50", None),
        ] {
            assert_eq!(parse_dollars(text).ok(), expect, "{text}");
        }
    }

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
        // Impossible values are clamped: no part is larger than the whole.
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
