//! How many concurrent calls of a worker process a model was found to answer: a later process begins with that number.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::Result;

/// What a worker process found out about the concurrent calls of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LearnedConcurrency {
    /// Concurrent calls of one worker process that were answered without refusals and without a queue.
    pub calls: i32,
    /// More were refused or waited in a queue. Otherwise more may be possible.
    pub is_limit: bool,
}

/// A [`LearnedConcurrency`] with its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LearnedModel {
    /// The provider.
    pub provider_id: Uuid,
    /// The name after the colon.
    pub model: String,
    /// What was found out.
    pub learned: LearnedConcurrency,
}

/// Stores what was found out; whatever was stored before is replaced. Providers that are gone are left out.
///
/// # Errors
/// The database does not respond.
pub async fn store_learned(conn: &mut PgConnection, models: &[LearnedModel]) -> Result<()> {
    let providers: Vec<Uuid> = models.iter().map(|model| model.provider_id).collect();
    let names: Vec<String> = models.iter().map(|model| model.model.clone()).collect();
    let calls: Vec<i32> = models.iter().map(|model| model.learned.calls).collect();
    let limits: Vec<bool> = models.iter().map(|model| model.learned.is_limit).collect();
    sqlx::query!(
        "-- learned::store_learned
        insert into learned_concurrency (provider_id, model_name, calls, is_limit)
        select provider_id, model_name, calls, is_limit
        from unnest($1::uuid[], $2::text[], $3::integer[], $4::boolean[]) as found (provider_id, model_name, calls, is_limit)
        where exists (select 1 from providers where providers.id = provider_id)
        order by provider_id, model_name
        on conflict (provider_id, model_name) do update
        set calls = excluded.calls, is_limit = excluded.is_limit, learned_at = now()",
        &providers,
        &names,
        &calls,
        &limits
    )
    .execute(conn)
    .await?;
    Ok(())
}
