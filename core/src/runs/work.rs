//! Loads the data that a worker needs for a shard: the run's prompts, models and scorers, and the recorded evaluations.

use serde_json::{Map, Value};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{
    EvaluationKey, RunShape, RunState, ShardLease,
    early::{Settled, load_settled},
    image_limit, output_limit,
};
use crate::{
    Error, Result,
    benchmarks::{StoredItem, list_items},
    library::{Variable, defaults},
    models::{LearnedConcurrency, Price, ProviderKind},
    scorers::ScorerSpec,
    template::PromptBody,
};

/// The data of a run that its evaluations share.
#[derive(Debug, Clone)]
pub struct RunWork {
    /// The run.
    pub run_id: Uuid,
    /// The request that submitted it; `None` if a schedule did.
    pub request_id: Option<Uuid>,
    /// Whether it is queued or running; shards of other runs are not worked on.
    pub active: bool,
    /// The user who submitted it.
    pub owner_id: i64,
    /// Each step doubles its share of the calls.
    pub priority: i16,
    /// Number of concurrent calls to each provider, per worker process; none if workers find it by themselves.
    pub concurrency: Option<i32>,
    /// Whether it uses cached responses of its owner's earlier runs, and adds its own to the cache.
    pub cache: bool,
    /// The run whose responses it rescores; no model is called then.
    pub answers_of: Option<Uuid>,
    /// Whether it has a budget.
    pub budgeted: bool,
    /// The run's shape.
    pub shape: RunShape,
    /// The run's seed.
    pub seed: i64,
    /// The benchmark version of the items.
    pub benchmark_version_id: Uuid,
    /// The scorers of items without their own.
    pub scorers: Vec<ScorerSpec>,
    /// The prompts, by position.
    pub prompts: Vec<RunPrompt>,
    /// The models, by position.
    pub models: Vec<RunModel>,
    /// The settled columns, each with the first item that is skipped.
    settled: Settled,
}

/// A prompt version of a run.
#[derive(Debug, Clone)]
pub struct RunPrompt {
    /// The templates.
    pub body: PromptBody,
    /// Default values of variables that an item lacks.
    pub defaults: Map<String, Value>,
}

/// A model of a run, with all data for a call.
#[derive(Debug, Clone)]
pub struct RunModel {
    /// The name after the colon.
    pub name: String,
    /// Parameters sent with every call.
    pub parameters: Map<String, Value>,
    /// The provider that serves it.
    pub provider: ProviderSettings,
    /// The price, if known.
    pub price: Option<Price>,
    /// The maximum number of output tokens, if known.
    pub output_limit: Option<i64>,
    /// The maximum number of tokens of one image in a prompt.
    pub image_tokens: i64,
    /// What earlier workers found out about its concurrent calls.
    pub learned: Option<LearnedConcurrency>,
}

/// A provider with its sealed credential.
#[derive(Debug, Clone)]
pub struct ProviderSettings {
    /// The provider's id.
    pub id: Uuid,
    /// The provider's name.
    pub name: String,
    /// The API of the provider.
    pub kind: ProviderKind,
    /// The base URL.
    pub base_url: Option<String>,
    /// Further settings of the provider's kind.
    pub settings: Map<String, Value>,
    /// The credential, sealed with the master key and the provider's id.
    pub sealed_credential: Option<Vec<u8>>,
    /// Whether it has ever answered at this address.
    pub has_answered: bool,
}

/// Loads the data that the evaluations of a run share.
///
/// # Errors
/// [`Error::NotFound`] if the run was deleted.
pub async fn load_work(conn: &mut PgConnection, run_id: Uuid) -> Result<RunWork> {
    let run = sqlx::query!(
        r#"-- work::load_work
        select runs.state as "state: RunState", runs.owner_id, runs.priority, runs.seed, runs.repeats, runs.item_count, runs.benchmark_version_id,
               runs.cache, runs.answers_of, runs.settled, runs.request_id, runs.concurrency,
               runs.budget_microusd is not null as "budgeted!", benchmark_versions.scorers as "scorers: Json<Vec<ScorerSpec>>"
        from runs join benchmark_versions on benchmark_versions.id = runs.benchmark_version_id
        where runs.id = $1"#,
        run_id
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or_else(|| Error::NotFound(format!("the run `{run_id}`")))?;
    let prompts = sqlx::query!(
        r#"-- work::load_work
        select body as "body: Json<PromptBody>", variables as "variables: Json<Vec<Variable>>"
        from run_prompts join prompt_versions on prompt_versions.id = prompt_version_id
        where run_id = $1
        order by position"#,
        run_id
    )
    .fetch_all(&mut *conn)
    .await?;
    let models = load_models(conn, run_id).await?;
    let settled = if run.settled > 0 {
        load_settled(conn, run_id).await?
    } else {
        Settled::new()
    };
    let measure = |count: usize| {
        i16::try_from(count).map_err(|_| Error::Internal("a run has too many columns".into()))
    };
    Ok(RunWork {
        run_id,
        request_id: run.request_id,
        active: matches!(run.state, RunState::Queued | RunState::Running),
        owner_id: run.owner_id,
        priority: run.priority,
        concurrency: run.concurrency,
        cache: run.cache,
        answers_of: run.answers_of,
        budgeted: run.budgeted,
        shape: RunShape {
            items: run.item_count,
            repeats: run.repeats,
            prompts: measure(prompts.len())?,
            models: measure(models.len())?,
        },
        seed: run.seed,
        benchmark_version_id: run.benchmark_version_id,
        scorers: run.scorers.0,
        prompts: prompts
            .into_iter()
            .map(|prompt| RunPrompt {
                defaults: defaults(&prompt.variables),
                body: prompt.body.0,
            })
            .collect(),
        models,
        settled,
    })
}

impl RunWork {
    /// Returns whether this data is current for the lease: since it was loaded, the run was not extended and no column
    /// was settled.
    #[must_use]
    pub fn is_ready_for(&self, lease: &ShardLease) -> bool {
        self.shape.evaluations() == lease.planned
            && i32::try_from(self.settled.len()).is_ok_and(|settled| settled >= lease.settled)
    }

    /// Returns whether an evaluation is skipped, because the place of its column is decided.
    #[must_use]
    pub fn leaves_out(&self, key: EvaluationKey) -> bool {
        self.settled
            .get(&(key.prompt, key.model))
            .is_some_and(|from_item| key.item >= *from_item)
    }

    /// Returns the keys of a shard's evaluations, in order.
    pub fn keys(&self, lease: &ShardLease) -> impl Iterator<Item = EvaluationKey> + use<> {
        let shape = self.shape;
        let first = lease.range.first_ordinal;
        (first..first + i64::from(lease.range.size)).map(move |ordinal| shape.key(ordinal))
    }

    /// Loads the items of a shard from position `first`, in order: as many as are read at once, see [`list_items`].
    ///
    /// # Errors
    /// The database does not respond.
    pub async fn items(
        &self,
        conn: &mut PgConnection,
        lease: &ShardLease,
        first: i32,
    ) -> Result<Vec<StoredItem>> {
        let (_, last) = self.item_range(lease);
        let limit = i64::from(last - first) + 1;
        list_items(conn, self.benchmark_version_id, first, limit).await
    }

    /// The positions of the first and the last item of a shard.
    pub(super) fn item_range(&self, lease: &ShardLease) -> (i32, i32) {
        let last = lease.range.first_ordinal + i64::from(lease.range.size) - 1;
        (
            self.shape.key(lease.range.first_ordinal).item,
            self.shape.key(last).item,
        )
    }
}

/// Returns the keys of a shard's evaluations that were recorded under earlier leases.
///
/// # Errors
/// The database does not respond.
pub async fn recorded_keys(
    conn: &mut PgConnection,
    work: &RunWork,
    lease: &ShardLease,
) -> Result<Vec<EvaluationKey>> {
    let (first, last) = work.item_range(lease);
    let keys = sqlx::query_as!(
        EvaluationKey,
        "-- work::recorded_keys
        select item_position as item, repeat, prompt_position as prompt, model_position as model
        from evaluations
        where run_id = $1 and item_position between $2 and $3",
        work.run_id,
        first,
        last
    )
    .fetch_all(conn)
    .await?;
    Ok(keys)
}

async fn load_models(conn: &mut PgConnection, run_id: Uuid) -> Result<Vec<RunModel>> {
    let rows = sqlx::query!(
        r#"-- work::load_models
        select models.name, models.parameters as "parameters: Json<Map<String, Value>>",
               providers.id as provider_id, providers.name as provider_name, providers.kind as "kind: ProviderKind",
               providers.base_url, providers.settings as "settings: Json<Map<String, Value>>", providers.sealed_credential,
               providers.answered_at is not null as "has_answered!", providers.free,
               prices.input_microusd_per_mtok as input_price, prices.output_microusd_per_mtok as output_price,
               prices.cached_input_microusd_per_mtok as cached_input_price,
               prices.reasoning_microusd_per_mtok as reasoning_price, prices.max_output_tokens, prices.max_image_tokens,
               learned.calls as "learned_calls?", learned.is_limit as "learned_limit?"
        from run_models
        join models on models.id = model_id
        join providers on providers.id = models.provider_id
        left join current_prices as prices on prices.provider_id = models.provider_id and prices.model_name = models.name
        left join learned_concurrency as learned
            on learned.provider_id = models.provider_id and learned.model_name = models.name
        where run_id = $1
        order by position"#,
        run_id
    )
    .fetch_all(conn)
    .await?;
    let models = rows.into_iter().map(|row| RunModel {
        output_limit: output_limit(row.kind, &row.parameters, row.max_output_tokens),
        image_tokens: image_limit(row.kind, row.max_image_tokens),
        learned: row
            .learned_calls
            .zip(row.learned_limit)
            .map(|(calls, is_limit)| LearnedConcurrency { calls, is_limit }),
        name: row.name,
        parameters: row.parameters.0,
        provider: ProviderSettings {
            id: row.provider_id,
            name: row.provider_name,
            kind: row.kind,
            base_url: row.base_url,
            settings: row.settings.0,
            sealed_credential: row.sealed_credential,
            has_answered: row.has_answered,
        },
        price: Price::of_row(
            (row.kind, row.free),
            row.input_price,
            row.output_price,
            row.cached_input_price,
            row.reasoning_price,
        ),
    });
    Ok(models.collect())
}
