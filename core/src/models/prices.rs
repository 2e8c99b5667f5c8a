//! What a model costs. Money is integer micro-dollars.

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

/// What to change about the price of a model. What is absent stays; null removes it where it may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceChange {
    /// The name after the colon.
    #[schema(example = "gpt-5-mini")]
    pub model: String,
    /// Micro-dollars per million input tokens; needed for a model without a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, example = 250_000)]
    pub input_microusd_per_mtok: Option<i64>,
    /// Micro-dollars per million output tokens; needed for a model without a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, example = 2_000_000)]
    pub output_microusd_per_mtok: Option<i64>,
    /// Micro-dollars per million input tokens that the provider had in its cache; null for the price of every other.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<i64>, minimum = 0)]
    pub cached_input_microusd_per_mtok: Option<Option<i64>>,
    /// Micro-dollars per million output tokens that were spent on reasoning; null for the price of every other.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<i64>, minimum = 0)]
    pub reasoning_microusd_per_mtok: Option<Option<i64>>,
    /// The longest answer that the model can give; null when unknown.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<i32>, minimum = 1)]
    pub max_output_tokens: Option<Option<i32>>,
    /// The most tokens that the model counts for one image of a prompt; null for the bound of the provider's kind.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<i32>, minimum = 1)]
    pub max_image_tokens: Option<Option<i32>>,
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

    /// The price of a row of `current_prices`, if there is one. What is not called costs nothing, nor does a model without a
    /// price at a provider that is `free`.
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

    /// True when no token costs anything.
    #[must_use]
    pub fn is_free(self) -> bool {
        self.at_most() == Self::FREE && self.cached_input_microusd_per_mtok.unwrap_or(0) == 0
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

/// Micro-dollars of dollars as people write them: `1`, `$0.50`, `0.000001`.
///
/// # Errors
/// The text is none, in words for whoever wrote it.
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

/// Changes the price of a model at a provider of this name; what is absent stays as it is in force, whoever set it.
/// Returns the whole price.
///
/// # Errors
/// [`Error::Forbidden`] for everybody but administrators; [`Error::NotFound`] when there is no such provider; [`Error::Invalid`] for a negative price, an empty name, or a model
/// without a price of which input or output is absent.
pub async fn update_price(
    conn: &mut PgConnection,
    user: &CurrentUser,
    provider: &str,
    change: &PriceChange,
) -> Result<ModelPrice> {
    user.require_admin("only administrators can set prices")?;
    let mut tx = conn.begin().await?;
    // The lock makes changes wait for each other: none is lost.
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
    /// The change that makes any price this one.
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
    /// The price that `before` becomes.
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

/// A field of a change that was given, null or not.
#[expect(
    clippy::option_option,
    reason = "absent, null and a value mean three things"
)]
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// What is wrong with a price.
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
