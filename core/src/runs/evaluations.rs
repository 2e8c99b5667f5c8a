//! Reads the evaluations of a run: request, response, expected value, and why it passed or failed.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{PgConnection, types::Json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{EvaluationKey, Logprobs, Run, ScoredLine};
use crate::{
    Error, FieldError, Result,
    models::{is_model, model_label},
};

/// A page ends with the evaluation that brings its texts to this many bytes: outputs may be megabytes long.
const PAGE_BYTES: i64 = 1 << 20;

/// A recorded evaluation with all that is needed to understand it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Evaluation {
    /// The item's position in the benchmark version.
    pub item_position: i32,
    /// The item's own id.
    pub item: String,
    /// The repeat, from 0.
    pub repeat: i16,
    /// The prompt version's position in the run.
    pub prompt_position: i16,
    /// `slug@number` of the prompt version.
    pub prompt: String,
    /// The model's position in the run.
    pub model_position: i16,
    /// `provider:name` of the model.
    pub model: String,
    /// The parameters sent with every call of the model.
    #[schema(value_type = Object)]
    pub parameters: Value,
    /// The result state.
    pub state: EvaluationState,
    /// The item's values of the prompt's variables.
    #[schema(value_type = Object)]
    pub vars: Value,
    /// The expected value.
    pub expected: Option<Value>,
    /// Weighted mean of the scorers.
    pub score: Option<f32>,
    /// Whether every scorer passed.
    pub passed: Option<bool>,
    /// The result of each scorer, with its reason.
    #[schema(value_type = Option<Vec<ScoredLine>>)]
    pub scores: Option<Json<Vec<ScoredLine>>>,
    /// The text of the model's response.
    pub output: Option<String>,
    /// The log probabilities of the output tokens; null unless the model's parameters request them (`logprobs`).
    #[schema(value_type = Option<Logprobs>)]
    pub logprobs: Option<Json<Logprobs>>,
    /// Why the model stopped.
    pub finish_reason: Option<String>,
    /// The kind of failure.
    pub error_kind: Option<String>,
    /// The error message.
    pub error: Option<String>,
    /// Number of calls, including retries.
    pub attempts: i16,
    /// Milliseconds from the request to the last byte.
    pub latency_ms: Option<i32>,
    /// Milliseconds from the request to the first piece of text.
    pub first_token_ms: Option<i32>,
    /// Number of input tokens.
    pub input_tokens: Option<i32>,
    /// Number of input tokens that the provider read from its cache; absent if not reported.
    pub cached_input_tokens: Option<i32>,
    /// Number of output tokens.
    pub output_tokens: Option<i32>,
    /// Number of output tokens spent on reasoning; absent if not reported.
    pub reasoning_tokens: Option<i32>,
    /// Cost in micro-dollars; absent if the price is unknown.
    pub cost_microusd: Option<i64>,
    /// Whether the response was cached: latency and cost are those of the original call, and nothing was spent.
    pub cached: bool,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
}

/// The result state of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EvaluationState {
    /// Every scorer that counts passed.
    Passed,
    /// The response is wrong: a scorer that counts did not pass.
    Failed,
    /// There is no response, or it could not be scored.
    Error,
    /// There is a response, but no scorer that judges it.
    Unscored,
}

/// A filter for the evaluations of a run; the default selects all.
#[derive(Debug, Clone, Default)]
pub struct EvaluationFilter {
    /// The result state.
    pub state: Option<EvaluationState>,
    /// The item's own id.
    pub item: Option<String>,
    /// `slug` or `slug@number` of a prompt version of the run.
    pub prompt: Option<String>,
    /// `provider:name` of a model of the run, alone or with its parameters.
    pub model: Option<String>,
    /// The kind of failure.
    pub error_kind: Option<String>,
}

/// A page of a run's evaluations, ordered by key.
#[derive(Debug, Clone)]
pub struct EvaluationPage {
    /// The evaluations.
    pub evaluations: Vec<Evaluation>,
    /// The key after which the next page starts; `None` on the last page.
    pub next: Option<EvaluationKey>,
}

/// A filter with names resolved to positions in the run.
#[derive(Debug)]
struct Positions {
    state: Option<EvaluationState>,
    item: Option<i32>,
    prompts: Vec<i16>,
    models: Vec<i16>,
    error_kind: Option<String>,
}

/// The key of an evaluation, and the size of its texts in bytes.
struct Sized {
    item_position: i32,
    repeat: i16,
    prompt_position: i16,
    model_position: i16,
    bytes: i64,
}

/// Returns a page of a run's evaluations after `after`, ordered by key: at most `limit`, and at least one. It ends once
/// its texts reach a mebibyte.
///
/// # Errors
/// [`Error::Invalid`] for an item, a prompt or a model that is not part of the run.
pub async fn list_evaluations(
    conn: &mut PgConnection,
    run: &Run,
    filter: &EvaluationFilter,
    after: Option<EvaluationKey>,
    limit: i64,
) -> Result<EvaluationPage> {
    let benchmark_version_id = sqlx::query_scalar!(
        "-- evaluations::list_evaluations
        select benchmark_version_id from runs where id = $1",
        run.id
    )
    .fetch_one(&mut *conn)
    .await?;
    let wanted = positions(conn, run, benchmark_version_id, filter).await?;
    let mut page = if wanted.state == Some(EvaluationState::Error) || wanted.error_kind.is_some() {
        errors(conn, run.id, &wanted, after, limit + 1).await?
    } else if has_none(run, wanted.state) {
        Vec::new()
    } else {
        any(conn, run.id, &wanted, after, limit + 1).await?
    };
    let sizes = item_sizes(conn, benchmark_version_id, &page).await?;
    let fitting = fitting(&page, &sizes, limit);
    let more = page.len() > fitting;
    page.truncate(fitting);
    let next = page.last().filter(|_| more).map(|last| EvaluationKey {
        item: last.item_position,
        repeat: last.repeat,
        prompt: last.prompt_position,
        model: last.model_position,
    });
    Ok(EvaluationPage {
        evaluations: load(conn, run, benchmark_version_id, &page).await?,
        next,
    })
}

/// Returns whether the run's counters already show that there are none, which saves scanning all evaluations.
fn has_none(run: &Run, state: Option<EvaluationState>) -> bool {
    match state {
        Some(EvaluationState::Passed) => run.passed == 0,
        Some(EvaluationState::Failed | EvaluationState::Unscored) => {
            run.recorded == run.passed + run.errors
        }
        _ => false,
    }
}

/// Returns how many of the evaluations fit on a page.
fn fitting(page: &[Sized], item_sizes: &[(i32, i64)], limit: i64) -> usize {
    let mut bytes = 0;
    let limit = usize::try_from(limit).unwrap_or(0);
    for (index, evaluation) in page.iter().enumerate().take(limit) {
        let item = item_sizes.binary_search_by_key(&evaluation.item_position, |(item, _)| *item);
        bytes += evaluation.bytes + item.map_or(0, |index| item_sizes[index].1);
        if bytes >= PAGE_BYTES {
            return index + 1;
        }
    }
    page.len().min(limit)
}

async fn positions(
    conn: &mut PgConnection,
    run: &Run,
    benchmark_version_id: Uuid,
    filter: &EvaluationFilter,
) -> Result<Positions> {
    let mut wrong = Vec::new();
    let prompts = matching(&run.prompts, |_, prompt| {
        let wanted = filter.prompt.as_deref();
        wanted.is_none_or(|wanted| {
            prompt == wanted
                || prompt
                    .rsplit_once('@')
                    .is_some_and(|(slug, _)| slug == wanted)
        })
    });
    if prompts.is_empty() {
        let message = format!("must be one of the run's: {}", run.prompts.join(", "));
        wrong.push(FieldError::new("prompt", message));
    }
    let models = matching(&run.models, |index, model| {
        let wanted = filter.model.as_deref();
        let parameters = run.parameters.get(index).unwrap_or(&Value::Null);
        wanted.is_none_or(|wanted| is_model(wanted, model, parameters))
    });
    if models.is_empty() {
        let labels = run.models.iter().zip(&run.parameters);
        let labels: Vec<String> = labels
            .map(|(model, parameters)| model_label(model, parameters))
            .collect();
        let message = format!("must be one of the run's: {}", labels.join(", "));
        wrong.push(FieldError::new("model", message));
    }
    let item = match &filter.item {
        None => None,
        Some(key) => {
            let found = sqlx::query_scalar!(
                "-- evaluations::positions
                select position from items where benchmark_version_id = $1 and key = $2",
                benchmark_version_id,
                key
            )
            .fetch_optional(conn)
            .await?;
            if found.is_none() {
                let message = format!("{} has no item of this id", run.benchmark);
                wrong.push(FieldError::new("item", message));
            }
            found
        }
    };
    if !wrong.is_empty() {
        return Err(Error::Invalid(wrong));
    }
    Ok(Positions {
        state: filter.state,
        item,
        prompts,
        models,
        error_kind: filter.error_kind.clone(),
    })
}

/// The positions of the names that match.
fn matching(names: &[String], is_wanted: impl Fn(usize, &str) -> bool) -> Vec<i16> {
    let wanted = names
        .iter()
        .enumerate()
        .filter(|(index, name)| is_wanted(*index, name));
    wanted
        .filter_map(|(index, _)| i16::try_from(index).ok())
        .collect()
}

/// The start key and the last item of a page, as far as the item filter determines them.
fn bounds(wanted: &Positions, after: Option<EvaluationKey>) -> (EvaluationKey, i32) {
    let before_item = EvaluationKey {
        item: wanted.item.map_or(-1, |item| item - 1),
        repeat: i16::MAX,
        prompt: i16::MAX,
        model: i16::MAX,
    };
    let after = after.map_or(before_item, |after| after.max(before_item));
    (after, wanted.item.unwrap_or(i32::MAX))
}

async fn any(
    conn: &mut PgConnection,
    run_id: Uuid,
    wanted: &Positions,
    after: Option<EvaluationKey>,
    limit: i64,
) -> Result<Vec<Sized>> {
    let (after, last_item) = bounds(wanted, after);
    let has_score = wanted.state.map(|state| state != EvaluationState::Unscored);
    let has_passed = match wanted.state {
        Some(EvaluationState::Passed) => Some(true),
        Some(EvaluationState::Failed) => Some(false),
        _ => None,
    };
    let page = sqlx::query_as!(
        Sized,
        r#"-- evaluations::any
        select item_position, repeat, prompt_position, model_position,
               (coalesce(octet_length(output), 0) + coalesce(octet_length(error), 0)
                + coalesce(pg_column_size(scores), 0) + coalesce(pg_column_size(logprobs), 0))::bigint as "bytes!"
        from evaluations
        where run_id = $1
          and (item_position, repeat, prompt_position, model_position) > ($2, $3, $4, $5)
          and item_position <= $6
          and prompt_position = any($7) and model_position = any($8)
          and ($9::boolean is null or passed = $9)
          and ($10::boolean is null or ((score is not null) = $10 and state <> 'error'))
        order by item_position, repeat, prompt_position, model_position
        limit $11"#,
        run_id,
        after.item,
        after.repeat,
        after.prompt,
        after.model,
        last_item,
        &wanted.prompts,
        &wanted.models,
        has_passed,
        has_score,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(page)
}

/// Like [`any`], but uses the index of evaluations that ended in an error.
async fn errors(
    conn: &mut PgConnection,
    run_id: Uuid,
    wanted: &Positions,
    after: Option<EvaluationKey>,
    limit: i64,
) -> Result<Vec<Sized>> {
    if wanted
        .state
        .is_some_and(|state| state != EvaluationState::Error)
    {
        // Only errors have a kind.
        return Ok(Vec::new());
    }
    let (after, last_item) = bounds(wanted, after);
    let page = sqlx::query_as!(
        Sized,
        r#"-- evaluations::errors
        select item_position, repeat, prompt_position, model_position,
               (coalesce(octet_length(output), 0) + coalesce(octet_length(error), 0)
                + coalesce(pg_column_size(scores), 0) + coalesce(pg_column_size(logprobs), 0))::bigint as "bytes!"
        from evaluations
        where run_id = $1 and state = 'error'
          and (item_position, repeat, prompt_position, model_position) > ($2, $3, $4, $5)
          and item_position <= $6
          and prompt_position = any($7) and model_position = any($8)
          and ($9::text is null or error_kind = $9)
        order by item_position, repeat, prompt_position, model_position
        limit $10"#,
        run_id,
        after.item,
        after.repeat,
        after.prompt,
        after.model,
        last_item,
        &wanted.prompts,
        &wanted.models,
        wanted.error_kind,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(page)
}

/// The size of each item in bytes, by position. Each item is read once, however many of its evaluations are on the
/// page.
async fn item_sizes(
    conn: &mut PgConnection,
    benchmark_version_id: Uuid,
    page: &[Sized],
) -> Result<Vec<(i32, i64)>> {
    let mut items: Vec<i32> = page
        .iter()
        .map(|evaluation| evaluation.item_position)
        .collect();
    items.dedup();
    let sizes = sqlx::query!(
        r#"-- evaluations::item_sizes
        select position, size_bytes::bigint as "bytes!"
        from items
        where benchmark_version_id = $1 and position = any($2)
        order by position"#,
        benchmark_version_id,
        &items
    )
    .fetch_all(conn)
    .await?;
    Ok(sizes
        .into_iter()
        .map(|size| (size.position, size.bytes))
        .collect())
}

async fn load(
    conn: &mut PgConnection,
    run: &Run,
    benchmark_version_id: Uuid,
    page: &[Sized],
) -> Result<Vec<Evaluation>> {
    let items: Vec<i32> = page
        .iter()
        .map(|evaluation| evaluation.item_position)
        .collect();
    let repeats: Vec<i16> = page.iter().map(|evaluation| evaluation.repeat).collect();
    let prompts: Vec<i16> = page
        .iter()
        .map(|evaluation| evaluation.prompt_position)
        .collect();
    let models: Vec<i16> = page
        .iter()
        .map(|evaluation| evaluation.model_position)
        .collect();
    let rows = sqlx::query!(
        r#"-- evaluations::load
        select evaluations.item_position, evaluations.repeat, evaluations.prompt_position, evaluations.model_position,
               items.key as item, items.vars, items.expected,
               score, passed, scores as "scores: Json<Vec<ScoredLine>>", output,
               logprobs as "logprobs: Json<Logprobs>", finish_reason, error_kind, error, attempts,
               latency_ms, first_token_ms, input_tokens, cached_input_tokens, output_tokens, reasoning_tokens,
               cost_microusd, cached, recorded_at
        from unnest($3::int[], $4::smallint[], $5::smallint[], $6::smallint[])
            as wanted (item_position, repeat, prompt_position, model_position)
        join evaluations on evaluations.run_id = $1
            and evaluations.item_position = wanted.item_position and evaluations.repeat = wanted.repeat
            and evaluations.prompt_position = wanted.prompt_position and evaluations.model_position = wanted.model_position
        join items on items.benchmark_version_id = $2 and items.position = evaluations.item_position
        order by 1, 2, 3, 4"#,
        run.id,
        benchmark_version_id,
        &items,
        &repeats,
        &prompts,
        &models
    )
    .fetch_all(conn)
    .await?;
    let name = |names: &[String], position: i16| {
        let index = usize::try_from(position).unwrap_or(usize::MAX);
        names.get(index).cloned().unwrap_or_default()
    };
    let evaluations = rows.into_iter().map(|row| Evaluation {
        item_position: row.item_position,
        item: row.item,
        repeat: row.repeat,
        prompt_position: row.prompt_position,
        prompt: name(&run.prompts, row.prompt_position),
        model_position: row.model_position,
        model: name(&run.models, row.model_position),
        parameters: usize::try_from(row.model_position)
            .ok()
            .and_then(|index| run.parameters.get(index).cloned())
            .unwrap_or_default(),
        state: match (&row.error_kind, row.passed) {
            (Some(_), _) => EvaluationState::Error,
            (None, Some(true)) => EvaluationState::Passed,
            (None, Some(false)) => EvaluationState::Failed,
            (None, None) => EvaluationState::Unscored,
        },
        vars: row.vars,
        expected: row.expected,
        score: row.score,
        passed: row.passed,
        scores: row.scores,
        output: row.output,
        logprobs: row.logprobs,
        finish_reason: row.finish_reason,
        error_kind: row.error_kind,
        error: row.error,
        attempts: row.attempts,
        latency_ms: row.latency_ms,
        first_token_ms: row.first_token_ms,
        input_tokens: row.input_tokens,
        cached_input_tokens: row.cached_input_tokens,
        output_tokens: row.output_tokens,
        reasoning_tokens: row.reasoning_tokens,
        cost_microusd: row.cost_microusd,
        cached: row.cached,
        recorded_at: row.recorded_at,
    });
    Ok(evaluations.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_by_its_bytes_and_holds_one_at_least() {
        let sized = |item_position, bytes| Sized {
            item_position,
            repeat: 0,
            prompt_position: 0,
            model_position: 0,
            bytes,
        };
        let check = |bytes: &[i64], item_bytes: i64, limit, expect| {
            let page: Vec<Sized> = bytes.iter().map(|bytes| sized(0, *bytes)).collect();
            assert_eq!(
                fitting(&page, &[(0, item_bytes)], limit),
                expect,
                "{bytes:?}"
            );
        };
        check(&[], 0, 10, 0);
        check(&[1, 1, 1], 0, 10, 3);
        check(&[1, 1, 1], 0, 2, 2);
        check(&[PAGE_BYTES * 9, 1], 0, 10, 1);
        check(&[PAGE_BYTES / 2, PAGE_BYTES / 2, 1], 0, 10, 2);
        check(&[1, 1, 1], PAGE_BYTES / 2, 10, 2);
    }
}
