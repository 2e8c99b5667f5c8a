//! Budgets: a run never spends more than its budget, however many workers race.
//!
//! The sum of spent, unaccounted and reserved money never exceeds the budget; a table constraint enforces it. A shard
//! reserves an upper bound of a call's cost before the call starts and settles when the result is recorded: the
//! reservation is released and the cost is added to the spend. Reservations of calls that may have been paid for but
//! whose cost is unknown become unaccounted. Runs without a budget skip all of this.

use serde_json::{Map, Value};
use sqlx::{Connection as _, PgConnection, types::Json};
use uuid::Uuid;

use super::{
    PauseReason, RunState, ShardLease, announce::announce_run, bells::wake_workers, control,
    find_run,
};
use crate::{
    Error, FieldError, Result,
    auth::CurrentUser,
    models::{Price, ProviderKind, Tokens, cost_microusd, dollars, refuse_parameters},
    template::MAX_OUTPUT_BYTES,
    webhooks::WebhookEvent,
};

/// Tokens that a provider may add to each message, and once more to the whole request.
const OVERHEAD_TOKENS: i64 = 16;
/// The `max_tokens` sent to Anthropic's API if the parameters set none; the API requires one.
pub const ANTHROPIC_MAX_TOKENS: i64 = 4096;

/// The result of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserved {
    /// The first calls, as many as this, may be made; at least one.
    Calls(usize),
    /// Not even the first call fits now, or the run is paused: return the shard. It becomes claimable once other
    /// reservations are released or the budget is raised.
    Nothing,
    /// The lease was lost.
    Fenced,
}

/// How a shard's reserved money is settled. The default is for runs without a budget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settlement {
    /// Remains reserved, for calls whose results are not recorded yet.
    pub keep_microusd: i64,
    /// Part of the rest that may have been paid for, by calls of unknown cost.
    pub unaccounted_microusd: i64,
}

/// The maximum cost of one call, in micro-dollars. `request_tokens` is the number of bytes of its texts, since no token
/// is shorter than a byte, plus the maximum tokens of its images.
#[must_use]
pub fn cost_bound_microusd(
    price: Price,
    output_limit: i64,
    request_tokens: usize,
    messages: usize,
) -> i64 {
    let tokens = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let overhead = OVERHEAD_TOKENS.saturating_mul(tokens(messages).saturating_add(1));
    let input = tokens(request_tokens).saturating_add(overhead);
    cost_microusd(price.at_most(), Tokens::new(input, output_limit))
}

/// The maximum number of output tokens: the limit in the parameters that this kind of provider honours, else the
/// model's limit.
#[must_use]
pub fn output_limit(
    kind: ProviderKind,
    parameters: &Map<String, Value>,
    known: Option<i32>,
) -> Option<i64> {
    let asked = asked_limits(kind, parameters);
    if !asked.is_empty() {
        // A provider may honour either of two limits: the larger one bounds both.
        let limits = asked
            .iter()
            .map(|limit| limit.as_i64().filter(|limit| *limit >= 1));
        return limits
            .collect::<Option<Vec<i64>>>()
            .and_then(|limits| limits.into_iter().max());
    }
    match kind {
        ProviderKind::Anthropic => Some(ANTHROPIC_MAX_TOKENS),
        // As long as a prompt can be.
        ProviderKind::Echo => i64::try_from(MAX_OUTPUT_BYTES).ok(),
        _ => known.map(i64::from),
    }
}

/// The maximum number of tokens of one image: the value set with the model's price, else more than any model of the
/// kind is documented to count. docs/PROVIDERS.md lists the sources.
#[must_use]
pub fn image_limit(kind: ProviderKind, known: Option<i32>) -> i64 {
    let documented = match kind {
        ProviderKind::Anthropic | ProviderKind::Gemini | ProviderKind::Bedrock => 10_000,
        // The most expensive tiles of chat completions, and any model behind a server that implements this API.
        ProviderKind::Openai
        | ProviderKind::AzureOpenai
        | ProviderKind::OpenaiResponses
        | ProviderKind::Http => 50_000,
        // The text line that replaces the image.
        ProviderKind::Echo | ProviderKind::Simulated => 4_096,
    };
    known.map_or(documented, i64::from)
}

/// The limits on the response length in the parameters, as far as this kind of provider honours them.
pub(super) fn asked_limits(kind: ProviderKind, parameters: &Map<String, Value>) -> Vec<&Value> {
    let own = match kind {
        ProviderKind::Openai
        | ProviderKind::AzureOpenai
        | ProviderKind::Anthropic
        | ProviderKind::Simulated => None,
        ProviderKind::OpenaiResponses => Some("/max_output_tokens"),
        ProviderKind::Gemini => Some("/generationConfig/maxOutputTokens"),
        ProviderKind::Bedrock => Some("/inferenceConfig/maxTokens"),
        // The effect of parameters in a template is unknown, and an echo ignores them.
        ProviderKind::Http | ProviderKind::Echo => return Vec::new(),
    };
    let parameter = |pointer: &str| {
        let mut names = pointer.split('/').skip(1);
        let first = parameters.get(names.next()?)?;
        names.try_fold(first, |value, name| value.get(name))
    };
    [Some("/max_completion_tokens"), Some("/max_tokens"), own]
        .into_iter()
        .flatten()
        .filter_map(parameter)
        .collect()
}

/// Reserves money for as many calls of a shard as the budget allows, in order. Pauses the run if the first call does
/// not fit and no money is reserved.
///
/// # Errors
/// The database does not respond; nothing is reserved then.
pub async fn reserve(
    conn: &mut PgConnection,
    lease: &ShardLease,
    bounds_microusd: &[i64],
) -> Result<Reserved> {
    let mut tx = conn.begin().await?;
    let held = sqlx::query_scalar!(
        "-- budget::reserve
        select id from shards where id = $1 and fence = $2 and state = 'running' for update",
        lease.shard_id,
        lease.fence
    )
    .fetch_optional(&mut *tx)
    .await?;
    if held.is_none() {
        return Ok(Reserved::Fenced);
    }
    let run = sqlx::query!(
        r#"-- budget::reserve
        select state as "state: RunState", budget_microusd, spend_microusd, unaccounted_microusd, reserved_microusd
        from runs where id = $1 for update"#,
        lease.run_id
    )
    .fetch_one(&mut *tx)
    .await?;
    let Some(budget) = run.budget_microusd else {
        return Err(Error::Internal(
            "a run without a budget reserves none".into(),
        ));
    };
    if !matches!(run.state, RunState::Queued | RunState::Running) {
        return Ok(Reserved::Nothing);
    }
    let left = budget - run.spend_microusd - run.unaccounted_microusd - run.reserved_microusd;
    let (calls, sum) = afford(bounds_microusd, left);
    if calls == 0 {
        if run.reserved_microusd > 0 {
            sqlx::query!(
                "-- budget::reserve
                update runs set awaits_money = true where id = $1",
                lease.run_id
            )
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
        } else {
            let reason = used_up(budget, run.spend_microusd, run.unaccounted_microusd);
            control::pause(&mut tx, lease.run_id, PauseReason::Budget, &reason).await?;
            announce_run(&mut tx, lease.run_id, WebhookEvent::BudgetExhausted).await?;
            tx.commit().await?;
            tracing::info!(
                run.id = %lease.run_id,
                run.reason = reason,
                "run {} was paused: {reason}",
                lease.run_id
            );
        }
        return Ok(Reserved::Nothing);
    }
    sqlx::query!(
        "-- budget::reserve
        update shards set reserved_microusd = reserved_microusd + $2 where id = $1",
        lease.shard_id,
        sum
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "-- budget::reserve
        update runs set reserved_microusd = reserved_microusd + $2 where id = $1",
        lease.run_id,
        sum
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(Reserved::Calls(calls))
}

/// Changes the budget of a run that has one. The caller has locked the run and checked permission.
pub(super) async fn change_budget(
    tx: &mut PgConnection,
    user: &CurrentUser,
    run_id: Uuid,
    budget_microusd: i64,
) -> Result<()> {
    let run = find_run(tx, Some(user), run_id).await?;
    if run.budget_microusd.is_none() {
        return Err(Error::Conflict(
            "the run was submitted without a budget, and its calls are not counted against one"
                .into(),
        ));
    }
    let committed = run.spend_microusd + run.unaccounted_microusd + run.reserved_microusd;
    if budget_microusd < committed {
        let message = format!(
            "must be at least {committed}: {} are spent or reserved already",
            dollars(committed)
        );
        return Err(Error::invalid("budget_microusd", message));
    }
    sqlx::query!(
        "-- budget::change_budget
        update runs set budget_microusd = $2, awaits_money = false where id = $1",
        run_id,
        budget_microusd
    )
    .execute(&mut *tx)
    .await?;
    wake_workers(tx).await
}

/// Releases a shard's reservation and counts what was spent in one statement, so that both are never counted together.
/// The caller has locked the shard; `reserved_microusd` is its reservation so far. Shards that wait for budget become
/// claimable.
pub(super) async fn settle(
    tx: &mut PgConnection,
    lease: &ShardLease,
    reserved_microusd: i64,
    settlement: Settlement,
    spend_microusd: i64,
) -> Result<()> {
    // The settlement states the remainder, not the difference: recording a batch again does not settle it twice.
    let keep = settlement.keep_microusd.clamp(0, reserved_microusd);
    let freed = reserved_microusd - keep;
    if freed == 0 && spend_microusd == 0 {
        return Ok(());
    }
    sqlx::query!(
        "-- budget::settle
        update shards set reserved_microusd = $2 where id = $1",
        lease.shard_id,
        keep
    )
    .execute(&mut *tx)
    .await?;
    // Not `for update`: it would wait for transactions that hold the run's row for a shard's foreign key, and they may
    // wait for us.
    let awaits_money = sqlx::query_scalar!(
        "-- budget::settle
        select awaits_money from runs where id = $1 for no key update",
        lease.run_id
    )
    .fetch_one(&mut *tx)
    .await?;
    sqlx::query!(
        "-- budget::settle
        update runs
        set reserved_microusd = reserved_microusd - $2, unaccounted_microusd = unaccounted_microusd + $3,
            spend_microusd = spend_microusd + $4, awaits_money = false
        where id = $1",
        lease.run_id,
        freed,
        settlement.unaccounted_microusd.clamp(0, freed),
        spend_microusd
    )
    .execute(&mut *tx)
    .await?;
    if awaits_money {
        wake_workers(tx).await?;
    }
    Ok(())
}

/// Adds errors for models that cannot be called under a budget, with the remedy. Free models need no bound. The paths
/// are those of a request.
pub(super) async fn check_bounded(
    tx: &mut PgConnection,
    model_ids: &[Uuid],
    budget: Option<i64>,
    wrong: &mut Vec<FieldError>,
) -> Result<()> {
    let models = sqlx::query!(
        r#"-- budget::check_bounded
        select ordinality - 1 as "index!", models.name, models.parameters as "parameters: Json<Map<String, Value>>",
               providers.name as provider, providers.kind as "kind: ProviderKind", max_output_tokens,
               providers.free, input_microusd_per_mtok as input_price, output_microusd_per_mtok as output_price,
               reasoning_microusd_per_mtok as reasoning_price
        from unnest($1::uuid[]) with ordinality as asked (id, ordinality)
        join models on models.id = asked.id
        join providers on providers.id = models.provider_id
        left join current_prices as prices on prices.provider_id = models.provider_id and prices.model_name = models.name
        where providers.kind in ('simulated', 'echo') or model_costs(models.id)
        order by 1"#,
        model_ids
    )
    .fetch_all(tx)
    .await?;
    // The reservation of the cheapest call; `None` if some model is free or invalid.
    let mut least = (models.len() == model_ids.len()).then_some(i64::MAX);
    for model in models {
        let path = format!("models[{}]", model.index);
        let free = (model.kind, model.free);
        let (input, output) = (model.input_price, model.output_price);
        let price = Price::of_row(free, input, output, None, model.reasoning_price);
        let limit = output_limit(model.kind, &model.parameters, model.max_output_tokens);
        match (price, limit) {
            (None, _) => {
                least = None;
                let message = format!(
                    "has no known price, which a run with a budget needs; an administrator can set it with: opb provider set-price {} {}",
                    model.provider, model.name
                );
                wrong.push(FieldError::new(path, message));
            }
            (_, None) => {
                least = None;
                wrong.push(FieldError::new(
                    path,
                    "has no bound on the length of its answers, which a run with a budget needs; give the parameter `max_tokens` a number",
                ));
            }
            (Some(price), Some(limit)) => {
                let call = cost_bound_microusd(price, limit, 0, 1);
                least = least.map(|least| least.min(call));
            }
        }
    }
    if let (Some(least), Some(budget)) = (least, budget)
        && (0..least).contains(&budget)
    {
        let message = format!(
            "is less than one call may cost, so no call could be made; give at least {}, or limit the length of responses with `max_tokens`",
            dollars(least)
        );
        wrong.push(FieldError::new("budget_microusd", message));
    }
    Ok(())
}

/// Refuses parameters that only administrators may send: those that redirect a call and, under a budget, those of
/// unknown cost. Administrators may send them all; the budget then counts them as if they cost nothing extra.
pub(super) async fn check_parameters(
    tx: &mut PgConnection,
    user: &CurrentUser,
    model_ids: &[Uuid],
    budgeted: bool,
    wrong: &mut Vec<FieldError>,
) -> Result<()> {
    // Checks the role of the account, not of the caller: an administrator's schedule acts as a user.
    let models = sqlx::query!(
        r#"-- budget::check_parameters
        select ordinality - 1 as "index!", models.parameters as "parameters: Json<Map<String, Value>>",
               providers.kind as "kind: ProviderKind"
        from unnest($1::uuid[]) with ordinality as asked (id, ordinality)
        join models on models.id = asked.id
        join providers on providers.id = models.provider_id
        where not exists (select 1 from users where users.id = $2 and role = 'admin')
        order by 1"#,
        model_ids,
        user.id
    )
    .fetch_all(tx)
    .await?;
    for model in models {
        let path = format!("models[{}]", model.index);
        wrong.extend(refuse_parameters(
            &path,
            model.kind,
            &model.parameters,
            budgeted,
        ));
    }
    Ok(())
}

/// Returns how many of the bounds fit, in order, and their sum.
fn afford(bounds: &[i64], left: i64) -> (usize, i64) {
    let mut sum = 0_i64;
    for (calls, bound) in bounds.iter().enumerate() {
        match sum.checked_add(*bound).filter(|sum| *sum <= left) {
            Some(more) => sum = more,
            None => return (calls, sum),
        }
    }
    (bounds.len(), sum)
}

fn used_up(budget: i64, spend: i64, unaccounted: i64) -> String {
    let unaccounted = match unaccounted {
        0 => String::new(),
        some => format!(" and {} in calls of unknown cost", dollars(some)),
    };
    format!(
        "the budget of {} is used up: {} spent{unaccounted}; raise it and resume",
        dollars(budget),
        dollars(spend)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bound_is_what_the_call_can_cost_at_most() {
        let price = Price::new(1_000_000, 5_000_000);
        // 100 bytes and 16 tokens for each of two messages and the whole; 50 tokens at five times the price.
        assert_eq!(cost_bound_microusd(price, 50, 100, 2), 100 + 48 + 250);
        assert_eq!(cost_bound_microusd(price, i64::MAX, 100, 2), i64::MAX);
        // A cache price never raises the bound; expensive reasoning does.
        let apart = |cached_input_microusd_per_mtok, reasoning_microusd_per_mtok| Price {
            cached_input_microusd_per_mtok,
            reasoning_microusd_per_mtok,
            ..price
        };
        let bound = |price| cost_bound_microusd(price, 50, 100, 2);
        assert_eq!(bound(apart(Some(100_000), Some(1_000_000))), bound(price));
        assert_eq!(bound(apart(None, Some(9_000_000))), 100 + 48 + 450);
    }

    #[test]
    fn the_length_of_an_answer_is_bounded_by_a_parameter_or_the_model() {
        let check = |kind, parameters: Value, known, expect| {
            let parameters = parameters.as_object().cloned().unwrap();
            let limit = output_limit(kind, &parameters, known);
            assert_eq!(limit, expect, "{kind:?} {parameters:?}");
        };
        let openai = ProviderKind::Openai;
        check(openai, json!({}), None, None);
        check(openai, json!({}), Some(4096), Some(4096));
        check(openai, json!({"max_tokens": 10}), Some(4096), Some(10));
        let both = json!({"max_tokens": 10, "max_completion_tokens": 20});
        check(openai, both, None, Some(20));
        check(openai, json!({"max_tokens": "10"}), Some(4096), None);
        check(openai, json!({"max_tokens": 0}), None, None);
        // An unknown parameter name bounds nothing.
        check(openai, json!({"max_output_tokens": 10}), None, None);
        check(
            ProviderKind::OpenaiResponses,
            json!({"max_output_tokens": 10}),
            None,
            Some(10),
        );
        check(ProviderKind::Anthropic, json!({}), Some(64_000), Some(4096));
        check(
            ProviderKind::Anthropic,
            json!({"max_tokens": 9000}),
            None,
            Some(9000),
        );
        let nested = json!({"generationConfig": {"maxOutputTokens": 7}});
        check(ProviderKind::Gemini, nested.clone(), None, Some(7));
        check(ProviderKind::Bedrock, nested, None, None);
        check(
            ProviderKind::Bedrock,
            json!({"inferenceConfig": {"maxTokens": 7}}),
            None,
            Some(7),
        );
        check(ProviderKind::Http, json!({"max_tokens": 10}), None, None);
        check(
            ProviderKind::Http,
            json!({"max_tokens": 10}),
            Some(99),
            Some(99),
        );
        check(ProviderKind::Echo, json!({}), None, Some(1 << 20));
    }

    #[test]
    fn calls_are_afforded_in_order() {
        for (bounds, left, expect) in [
            (&[3, 4, 5][..], 100, (3, 12)),
            (&[3, 4, 5], 7, (2, 7)),
            (&[3, 4, 1], 6, (1, 3)),
            (&[3], 2, (0, 0)),
            (&[0, 0], 0, (2, 0)),
            (&[1, i64::MAX], i64::MAX, (1, 1)),
        ] {
            assert_eq!(afford(bounds, left), expect, "{bounds:?} of {left}");
        }
    }

    #[test]
    fn the_reason_says_what_to_do() {
        assert_eq!(
            used_up(1_000_000, 997_000, 0),
            "the budget of $1.00 is used up: $0.997 spent; raise it and resume"
        );
        assert_eq!(
            used_up(12_500_000, 12_000_001, 300_000),
            "the budget of $12.50 is used up: $12.000001 spent and $0.30 in calls of unknown cost; raise it and resume"
        );
    }
}
