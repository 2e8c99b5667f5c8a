//! Estimates the cost and duration of a run before it is submitted. Nothing is written.
//!
//! Estimates use earlier evaluations: of the same prompt version on the same model, else of the same model. Without
//! any, a rough rule applies, and the response says so.

use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    RunShape, SubmitRun,
    budget::{asked_limits, image_limit, output_limit},
    check::check,
    early,
};
use crate::{
    Result,
    auth::CurrentUser,
    benchmarks::{StoredItem, list_items},
    library::PromptVersion,
    models::{Price, ProviderKind, Tokens, cost_microusd, unknown_costs},
};

/// Items rendered to measure the length of a prompt; fewer for many prompts.
const RENDERED_ITEMS: i64 = 50;
/// Maximum number of renderings for all prompts together, at least one for each.
const RENDERINGS: usize = 500;
/// Columns whose history is looked up individually; the others are estimated from their model's history.
const LOOKED_UP: usize = 400;
/// Maximum number of recorded evaluations read for a column, of the newest runs.
const WITNESSES: i64 = 2_000;
/// Tokens of a typical image, as most providers count them.
const IMAGE_TOKENS: f64 = 1_000.0;
/// Two-sided 95 % quantile of the normal distribution.
const Z: f64 = 1.96;

/// The expected cost and duration of a run before it is submitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Estimate {
    /// Number of evaluations that will be recorded; the maximum if the run stops early.
    pub evaluations: i64,
    /// Whether the run may stop early. The low values then assume that columns separate at once, the others a complete
    /// run.
    pub stop_early: bool,
    /// Calls of models, including retries.
    pub calls: Interval,
    /// Input tokens of all evaluations.
    pub input_tokens: Interval,
    /// Output tokens of all evaluations.
    pub output_tokens: Interval,
    /// Cost in micro-dollars; null if the price of a model is unknown.
    pub cost_microusd: Option<Interval>,
    /// Seconds from the first call to the last.
    pub seconds: Interval,
    /// Models without a known price.
    pub unpriced: Vec<String>,
    /// Parameters whose cost is unknown to this estimate and to budgets, as `provider:name.parameter`. Under a budget,
    /// only administrators may send them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unbounded: Vec<String>,
    /// The basis of the estimate, for each prompt on each model.
    pub columns: Vec<EstimatedColumn>,
}

/// An estimated number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Interval {
    /// It is unlikely to be less.
    pub low: i64,
    /// The expected value.
    pub expected: i64,
    /// It is unlikely to be more.
    pub high: i64,
}

/// One prompt version on one model of an estimate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EstimatedColumn {
    /// `slug@number` of the prompt version.
    pub prompt: String,
    /// `provider:name` of the model.
    pub model: String,
    /// The basis of the numbers.
    pub basis: Basis,
    /// Number of recorded evaluations that the estimate is based on.
    pub witnesses: i64,
}

/// The basis of an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Earlier evaluations of the same prompt version on the same model.
    SamePromptAndModel,
    /// Earlier evaluations of other prompts on the same model: output is estimated from theirs, input from the prompt's
    /// length.
    SameModel,
    /// A rough rule: four bytes per token; output is half of the limit in the parameters, or 300 tokens.
    RoughRule,
}

/// The data for an estimate; [`Prospect::estimate`] computes it.
pub struct Prospect {
    prompts: Vec<PromptVersion>,
    models: Vec<Model>,
    items: Vec<StoredItem>,
    /// Earlier results, prompt by prompt, for each model.
    histories: Vec<Option<History>>,
    shape: RunShape,
    stop_early: bool,
}

/// Loads the data for an estimate of a run. The request is validated as if it were submitted.
///
/// # Errors
/// Those of [`super::submit_run`].
pub async fn find_prospect(
    conn: &mut PgConnection,
    user: &CurrentUser,
    request: &SubmitRun,
) -> Result<Prospect> {
    // Rolled back at the end: a new model exists only for the duration of this request.
    let mut tx = conn.begin().await?;
    let checked = check(&mut tx, user, request).await?;
    let items = RENDERED_ITEMS.min(i64::from(checked.shape.items));
    let mut items = list_items(&mut tx, checked.benchmark.id, 0, items).await?;
    items.truncate((RENDERINGS / checked.prompts.len().max(1)).max(1));
    let models = load_models(&mut tx, &checked.model_ids).await?;
    let mut by_model = Vec::new();
    for model in &models {
        by_model.push(witnesses(&mut tx, user, None, model.id).await?);
    }
    let mut histories = Vec::new();
    for prompt in &checked.prompts {
        for (model, by_model) in models.iter().zip(&by_model) {
            let own = if histories.len() < LOOKED_UP {
                witnesses(&mut tx, user, Some(prompt.id), model.id).await?
            } else {
                None
            };
            histories.push(own.or(*by_model));
        }
    }
    tx.rollback().await?;
    Ok(Prospect {
        prompts: checked.prompts,
        models,
        items,
        histories,
        shape: checked.shape,
        stop_early: request.stop_early,
    })
}

impl Prospect {
    /// Estimates the run. Renders prompts with some items, which takes CPU time: hold no database connection meanwhile.
    #[must_use]
    pub fn estimate(&self) -> Estimate {
        let each = i64::from(self.shape.items) * i64::from(self.shape.repeats);
        let least = if self.stop_early {
            (f64::from(early::LEAST_ITEMS) / f64::from(self.shape.items)).min(1.0)
        } else {
            1.0
        };
        let mut total = Total::default();
        let mut histories = self.histories.iter();
        for prompt in &self.prompts {
            let rendered = Rendered::of(prompt, &self.items);
            for model in &self.models {
                let history = histories.next().copied().flatten();
                total.add(each, least, prompt, model, history, rendered);
            }
        }
        let unbounded = self.models.iter().flat_map(|model| &model.unbounded);
        Estimate {
            unbounded: unbounded.cloned().collect(),
            ..total.estimate(self.shape.evaluations(), self.stop_early)
        }
    }
}

struct Model {
    id: Uuid,
    name: String,
    price: Option<Price>,
    /// The limit on output tokens in the parameters.
    asked_limit: Option<i64>,
    /// The maximum number of output tokens.
    output_limit: Option<i64>,
    /// The maximum number of tokens of one image.
    image_tokens: i64,
    /// Parameters of unknown cost.
    unbounded: Vec<String>,
}

/// Earlier results for a column.
#[derive(Debug, Clone, Copy, Default)]
struct History {
    same_prompt: bool,
    count: i64,
    attempts: f64,
    input: Measured,
    output: Measured,
    /// Seconds per evaluation on average, at the concurrency of the earlier runs.
    seconds_each: Option<f64>,
}

/// Mean and standard deviation.
#[derive(Debug, Clone, Copy, Default)]
struct Measured {
    mean: f64,
    deviation: f64,
}

impl Measured {
    /// The sum of `each` new observations, given `count` old ones: the prediction interval of a mean, `s √(1/n + 1/m)`
    /// (Hahn and Meeker, Statistical Intervals, section 4.7).
    fn sum(self, each: i64, count: i64) -> Range {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let (new, old) = (each as f64, count.max(1) as f64);
        let wide = Z * self.deviation * (1.0 / new + 1.0 / old).sqrt();
        Range {
            low: new * (self.mean - wide).max(0.0),
            expected: new * self.mean,
            high: new * (self.mean + wide),
        }
    }
}

/// An interval during computation.
#[derive(Debug, Clone, Copy, Default)]
struct Range {
    low: f64,
    expected: f64,
    high: f64,
}

impl Range {
    fn of(each: i64, low: f64, expected: f64, high: f64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let each = each as f64;
        Self {
            low: each * low,
            expected: each * expected,
            high: each * high,
        }
    }

    /// Lowers the lower bound, for the case that only this share of the evaluations is made.
    fn or_only(self, share: f64) -> Self {
        Self {
            low: self.low * share,
            ..self
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            low: self.low + other.low,
            expected: self.expected + other.expected,
            high: self.high + other.high,
        }
    }

    fn whole(self) -> Interval {
        Interval {
            low: whole(self.low),
            expected: whole(self.expected),
            high: whole(self.high),
        }
    }
}

#[derive(Default)]
struct Total {
    calls: Range,
    input: Range,
    output: Range,
    seconds: Range,
    cost: Interval,
    unpriced: Vec<String>,
    columns: Vec<EstimatedColumn>,
}

impl Total {
    /// Adds a column of `each` evaluations, of which early stopping may leave only the share `least`.
    fn add(
        &mut self,
        each: i64,
        least: f64,
        prompt: &PromptVersion,
        model: &Model,
        history: Option<History>,
        rendered: Rendered,
    ) {
        let by_length = rendered.input(each, model.image_tokens);
        let (basis, witnesses, input, output) = if let Some(history) = history {
            let output = history.output.sum(each, history.count);
            if history.same_prompt {
                let input = history.input.sum(each, history.count);
                (Basis::SamePromptAndModel, history.count, input, output)
            } else {
                (Basis::SameModel, history.count, by_length, output)
            }
        } else {
            let (expected, high) = rough_output(model.asked_limit, model.output_limit);
            let output = Range::of(each, 1.0, expected, high);
            (Basis::RoughRule, 0, by_length, output)
        };
        let attempts = history.map_or(1.0, |history| history.attempts.max(1.0));
        // Failures come in bursts: the failure rate may double, and without earlier failures there may still be some.
        let calls = Range::of(each, 1.0, attempts, 1.05 + (attempts - 1.0) * 2.0);
        let seconds_each = history.and_then(|history| history.seconds_each);
        let seconds = match seconds_each {
            Some(seconds) => Range::of(each, seconds / 2.0, seconds, seconds * 3.0),
            None => Range::of(each, 0.01, 0.125, 1.0),
        };
        let [calls, input, output, seconds] =
            [calls, input, output, seconds].map(|range| range.or_only(least));
        match model.price {
            Some(price) => self.cost = plus(self.cost, cost(price, input, output)),
            None if self.unpriced.contains(&model.name) => {}
            None => self.unpriced.push(model.name.clone()),
        }
        self.calls = self.calls.plus(calls);
        self.input = self.input.plus(input);
        self.output = self.output.plus(output);
        self.seconds = self.seconds.plus(seconds);
        self.columns.push(EstimatedColumn {
            prompt: format!("{}@{}", prompt.prompt, prompt.number),
            model: model.name.clone(),
            basis,
            witnesses,
        });
    }

    fn estimate(self, evaluations: i64, stop_early: bool) -> Estimate {
        Estimate {
            evaluations,
            stop_early,
            calls: self.calls.whole(),
            input_tokens: self.input.whole(),
            output_tokens: self.output.whole(),
            cost_microusd: self.unpriced.is_empty().then_some(self.cost),
            seconds: self.seconds.whole(),
            unpriced: self.unpriced,
            unbounded: Vec::new(),
            columns: self.columns,
        }
    }
}

fn cost(price: Price, input: Range, output: Range) -> Interval {
    let (input, output) = (input.whole(), output.whole());
    Interval {
        low: cost_microusd(price, Tokens::new(input.low, output.low)),
        expected: cost_microusd(price, Tokens::new(input.expected, output.expected)),
        high: cost_microusd(price.at_most(), Tokens::new(input.high, output.high)),
    }
}

fn plus(left: Interval, right: Interval) -> Interval {
    Interval {
        low: left.low.saturating_add(right.low),
        expected: left.expected.saturating_add(right.expected),
        high: left.high.saturating_add(right.high),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast of floats to integers saturates, and nothing here is negative"
)]
fn whole(number: f64) -> i64 {
    number.ceil() as i64
}

/// Expected and high output tokens, based only on limits. A limit in the parameters is set on purpose; a model's own
/// limit says little about its typical output.
fn rough_output(asked: Option<i64>, limit: Option<i64>) -> (f64, f64) {
    #[expect(clippy::cast_precision_loss, reason = "limits are far below 2^52")]
    let [asked, limit] = [asked, limit].map(|limit| limit.map(|limit| limit as f64));
    match (asked, limit) {
        (Some(asked), _) => (asked / 2.0, asked),
        (None, Some(limit)) => ((limit / 2.0).min(300.0), limit.min(2_000.0)),
        (None, None) => (300.0, 2_000.0),
    }
}

/// The average size of a rendered prompt.
#[derive(Debug, Clone, Copy, Default)]
struct Rendered {
    /// Tokens of its texts, at four bytes each.
    tokens: f64,
    images: f64,
}

impl Rendered {
    fn of(prompt: &PromptVersion, items: &[StoredItem]) -> Self {
        let Ok(compiled) = prompt.compile() else {
            return Self::default(); // Validation has refused it.
        };
        let (mut count, mut rendered) = (0_u32, Self::default());
        let messages = items
            .iter()
            .filter_map(|item| compiled.render(item.vars.as_object()?).ok());
        let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        for messages in messages {
            count += 1;
            for message in messages {
                rendered.tokens += number(message.content.text_bytes()) / 4.0;
                rendered.images += number(message.content.images());
            }
        }
        let count = f64::from(count.max(1));
        Self {
            tokens: rendered.tokens / count,
            images: rendered.images / count,
        }
    }

    /// The input tokens of `each` prompts. The tokens of an image are unknown in advance, except for their maximum.
    fn input(self, each: i64, image_tokens: i64) -> Range {
        let Self { tokens, images } = self;
        #[expect(clippy::cast_precision_loss, reason = "limits are far below 2^52")]
        let most = image_tokens as f64;
        Range::of(
            each,
            tokens * 0.6,
            tokens + images * IMAGE_TOKENS.min(most),
            tokens * 2.0 + images * most,
        )
    }
}

async fn load_models(tx: &mut PgConnection, model_ids: &[Uuid]) -> Result<Vec<Model>> {
    let rows = sqlx::query!(
        r#"-- estimate::load_models
        select models.id, providers.name || ':' || models.name as "name!", providers.kind as "kind: ProviderKind", models.parameters,
               providers.free, max_output_tokens, max_image_tokens, input_microusd_per_mtok as input_price, output_microusd_per_mtok as output_price,
               cached_input_microusd_per_mtok as cached_input_price, reasoning_microusd_per_mtok as reasoning_price
        from unnest($1::uuid[]) with ordinality as asked (id, ordinality)
        join models on models.id = asked.id
        join providers on providers.id = models.provider_id
        left join current_prices as prices on prices.provider_id = models.provider_id and prices.model_name = models.name
        order by ordinality"#,
        model_ids
    )
    .fetch_all(tx)
    .await?;
    let none = serde_json::Map::new();
    let models = rows.into_iter().map(|row| {
        let parameters = row.parameters.as_object().unwrap_or(&none);
        let output_limit = output_limit(row.kind, parameters, row.max_output_tokens);
        let asks = !asked_limits(row.kind, parameters).is_empty();
        Model {
            asked_limit: output_limit.filter(|_| asks),
            output_limit,
            image_tokens: image_limit(row.kind, row.max_image_tokens),
            unbounded: unknown_costs(row.kind, parameters)
                .into_iter()
                .map(|parameter| format!("{}.{parameter}", row.name))
                .collect(),
            id: row.id,
            name: row.name,
            price: Price::of_row(
                (row.kind, row.free),
                row.input_price,
                row.output_price,
                row.cached_input_price,
                row.reasoning_price,
            ),
        }
    });
    Ok(models.collect())
}

/// Loads statistics of a model from the newest runs visible to the user, for this prompt version or for any.
async fn witnesses(
    tx: &mut PgConnection,
    user: &CurrentUser,
    prompt_version_id: Option<Uuid>,
    model_id: Uuid,
) -> Result<Option<History>> {
    let same_prompt = prompt_version_id.is_some();
    let row = sqlx::query!(
        r#"-- estimate::witnesses
        with newest as (
            select runs.id, run_models.position as model_position, finished_at - started_at as took, counts.recorded,
                   (select position from run_prompts where run_id = runs.id and prompt_version_id = $2) as prompt_position
            from runs join run_models on run_models.run_id = runs.id
            join run_counts as counts on counts.run_id = runs.id
            where run_models.model_id = $1
              and runs.deleted_at is null and (runs.owner_id = $3 or is_public_run(runs.id))
              and (not $4 or exists (select 1 from run_prompts
                                     where run_id = runs.id and prompt_version_id = $2))
              and counts.recorded > counts.errors
            order by runs.id desc
            limit 3
        ), witness as (
            select attempts, input_tokens, output_tokens
            from newest join evaluations on evaluations.run_id = newest.id
                and evaluations.model_position = newest.model_position
                and (not $4 or evaluations.prompt_position = newest.prompt_position)
            where evaluations.state = 'scored' and input_tokens is not null and output_tokens is not null
            limit $5
        )
        select count(*) as "count!", avg(attempts)::float8 as attempts,
               avg(input_tokens)::float8 as input, coalesce(stddev_samp(input_tokens), 0)::float8 as "input_deviation!",
               avg(output_tokens)::float8 as output, coalesce(stddev_samp(output_tokens), 0)::float8 as "output_deviation!",
               (select extract(epoch from sum(took)) / nullif(sum(recorded), 0) from newest where took is not null)::float8
                   as seconds_each
        from witness"#,
        model_id,
        prompt_version_id,
        user.id,
        same_prompt,
        WITNESSES
    )
    .fetch_one(&mut *tx)
    .await?;
    if let (Some(attempts), Some(input), Some(output)) = (row.attempts, row.input, row.output) {
        return Ok(Some(History {
            same_prompt,
            count: row.count,
            attempts,
            input: Measured {
                mean: input,
                deviation: row.input_deviation,
            },
            output: Measured {
                mean: output,
                deviation: row.output_deviation,
            },
            seconds_each: row.seconds_each,
        }));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_limit_says_little_about_its_answers() {
        let check = |asked, limit, expect: (f64, f64)| {
            let (expected, high) = rough_output(asked, limit);
            assert!((expected - expect.0).abs() < 1e-9 && (high - expect.1).abs() < 1e-9);
        };
        check(None, None, (300.0, 2_000.0));
        check(Some(10_000), Some(10_000), (5_000.0, 10_000.0));
        check(None, Some(128_000), (300.0, 2_000.0));
        check(None, Some(80), (40.0, 80.0));
    }
}
