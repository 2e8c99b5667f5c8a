//! Blind preferences: a user sees the responses of one model to two prompts for the same item and chooses the better
//! one.
//!
//! Before the choice nothing reveals which prompts they are: no names, no ids of runs, and a random order that is
//! stored. The names are shown after the choice, so a choice is final.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{Error, Result, auth::CurrentUser, benchmarks::resolve_benchmark, leaderboards};

/// A user's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "preference_choice", rename_all = "snake_case")]
pub enum PreferenceChoice {
    /// The left response.
    Left,
    /// The right response.
    Right,
    /// Both are equally good.
    Tie,
    /// Both are bad. The ranking treats it as a tie; it is counted separately.
    BothBad,
}

/// A request for a pair of responses.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPreference {
    /// `slug` or `slug@number`; without a number, the newest version.
    pub benchmark: String,
    /// Responses of simulated or real models; absent: of real ones if the benchmark has standings of them.
    #[serde(default)]
    pub simulated: Option<bool>,
}

/// Two responses, without anything that reveals their prompts.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BlindPair {
    /// The pair's id, which a choice refers to.
    pub id: Uuid,
    /// `slug@number` of the benchmark version.
    pub benchmark: String,
    /// True if the model is simulated.
    pub simulated: bool,
    /// The values of the item's variables.
    #[schema(value_type = Object)]
    pub vars: Value,
    /// The correct answer, if the item has one.
    pub expected: Option<Value>,
    /// The first response.
    pub left: String,
    /// The second response.
    pub right: String,
    /// When the pair was drawn.
    pub created_at: DateTime<Utc>,
}

/// A choice, with the names that it reveals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Preference {
    /// The pair's id.
    pub id: Uuid,
    /// The choice.
    pub choice: PreferenceChoice,
    /// `slug@number` of the benchmark version.
    pub benchmark: String,
    /// The item's own id.
    pub item: String,
    /// `slug@number` of the prompt version of the left response.
    pub left: String,
    /// `slug@number` of the prompt version of the right response.
    pub right: String,
    /// `provider:name` of the model.
    pub model: String,
    /// The run that the responses come from.
    pub run_id: Uuid,
}

/// Draws a pair that the user has not judged. An undecided pair is returned again, so that a user cannot redraw until
/// they like the pair.
///
/// # Errors
/// [`Error::NotFound`] if there is no such benchmark, or if no pair is left on it.
pub async fn create_preference(
    conn: &mut PgConnection,
    user: &CurrentUser,
    new: &NewPreference,
) -> Result<BlindPair> {
    let version = resolve_benchmark(conn, Some(user), &new.benchmark).await?;
    let simulated = match new.simulated {
        Some(simulated) => simulated,
        None => leaderboards::only_simulated_in_public(conn, version.id).await?,
    };
    if let Some(pair) = find_open(conn, user, version.id, simulated).await? {
        return Ok(pair);
    }
    let mut tx = conn.begin().await?;
    // The lock serialises the draws of a user: the pair of a concurrent request is found below, so an open pair that is
    // not found may no longer be shown.
    sqlx::query_scalar!(
        "-- preferences::create_preference
        select id from users where id = $1 for no key update",
        user.id
    )
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(pair) = find_open(&mut tx, user, version.id, simulated).await? {
        // Explicit, because dropping the transaction would keep the lock until the connection is used again.
        tx.rollback().await?;
        return Ok(pair);
    }
    // An open pair that was not found may no longer be shown.
    sqlx::query!(
        "-- preferences::create_preference
        delete from preferences
        where user_id = $1 and benchmark_version_id = $2 and simulated = $3 and choice is null",
        user.id,
        version.id,
        simulated
    )
    .execute(&mut *tx)
    .await?;
    draw(&mut tx, user, version.id, simulated).await?;
    let pair = find_open(&mut tx, user, version.id, simulated).await?;
    tx.commit().await?;
    pair.ok_or_else(|| Error::NotFound("an unjudged pair of answers on this benchmark".into()))
}

/// Records the user's choice for a pair that was drawn for them. The same choice again changes nothing.
///
/// # Errors
/// [`Error::NotFound`] for another user's pair; [`Error::Conflict`] if a different choice was made before.
pub async fn set_preference(
    conn: &mut PgConnection,
    user: &CurrentUser,
    id: Uuid,
    choice: PreferenceChoice,
) -> Result<Preference> {
    let mut tx = conn.begin().await?;
    sqlx::query!(
        "-- preferences::set_preference
        update preferences set choice = $3, decided_at = now()
        where id = $1 and user_id = $2 and choice is null",
        id,
        user.id,
        choice as PreferenceChoice
    )
    .execute(&mut *tx)
    .await?;
    let preference = sqlx::query_as!(
        Preference,
        r#"-- preferences::set_preference
        select preferences.id, choice as "choice!: PreferenceChoice",
               benchmarks.slug || '@' || benchmark_versions.number as "benchmark!", items.key as item,
               left_prompts.slug || '@' || left_versions.number as "left!",
               right_prompts.slug || '@' || right_versions.number as "right!",
               providers.name || ':' || models.name as "model!", run_id
        from preferences
        join benchmark_versions on benchmark_versions.id = preferences.benchmark_version_id
        join benchmarks on benchmarks.id = benchmark_versions.benchmark_id
        join items on items.benchmark_version_id = preferences.benchmark_version_id and items.position = item_position
        join prompt_versions left_versions on left_versions.id = left_prompt_version_id
        join prompts left_prompts on left_prompts.id = left_versions.prompt_id
        join prompt_versions right_versions on right_versions.id = right_prompt_version_id
        join prompts right_prompts on right_prompts.id = right_versions.prompt_id
        join models on models.id = model_id
        join providers on providers.id = models.provider_id
        where preferences.id = $1 and user_id = $2
          and is_public_run(run_id)"#,
        id,
        user.id
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or_else(|| Error::NotFound(format!("the pair `{id}`")))?;
    tx.commit().await?;
    if preference.choice == choice {
        return Ok(preference);
    }
    Err(Error::Conflict(
        "you have judged this pair already; the names were shown, so the choice is final".into(),
    ))
}

/// The user's open pair, if everything in it may still be shown.
async fn find_open(
    conn: &mut PgConnection,
    user: &CurrentUser,
    benchmark_version_id: Uuid,
    simulated: bool,
) -> Result<Option<BlindPair>> {
    let pair = sqlx::query_as!(
        BlindPair,
        r#"-- preferences::find_open
        select preferences.id, benchmarks.slug || '@' || benchmark_versions.number as "benchmark!", simulated,
               items.vars, items.expected, left_answers.output as "left!", right_answers.output as "right!",
               preferences.created_at
        from preferences
        join benchmark_versions on benchmark_versions.id = preferences.benchmark_version_id
        join benchmarks on benchmarks.id = benchmark_versions.benchmark_id
        join items on items.benchmark_version_id = preferences.benchmark_version_id and items.position = item_position
        join runs on runs.id = preferences.run_id
        join run_models on run_models.run_id = runs.id and run_models.model_id = preferences.model_id
        join run_prompts left_places on left_places.run_id = runs.id
            and left_places.prompt_version_id = left_prompt_version_id
        join run_prompts right_places on right_places.run_id = runs.id
            and right_places.prompt_version_id = right_prompt_version_id
        join evaluations left_answers on left_answers.run_id = runs.id
            and left_answers.item_position = preferences.item_position and left_answers.repeat = 0
            and left_answers.prompt_position = left_places.position
            and left_answers.model_position = run_models.position
        join evaluations right_answers on right_answers.run_id = runs.id
            and right_answers.item_position = preferences.item_position and right_answers.repeat = 0
            and right_answers.prompt_position = right_places.position
            and right_answers.model_position = run_models.position
        where preferences.user_id = $1 and preferences.benchmark_version_id = $2 and simulated = $3 and choice is null
          and is_public_run(runs.id)
          and left_answers.output is not null and right_answers.output is not null"#,
        user.id,
        benchmark_version_id,
        simulated
    )
    .fetch_optional(conn)
    .await?;
    Ok(pair)
}

/// Draws a pair and its order: a few random pairings of prompts in public runs, and for each of them some consecutive
/// items from a random one. The first item is taken whose two responses exist, differ, and were not judged by this
/// user.
async fn draw(
    conn: &mut PgConnection,
    user: &CurrentUser,
    benchmark_version_id: Uuid,
    simulated: bool,
) -> Result<()> {
    sqlx::query!(
        "-- preferences::draw
        with pairings as materialized (
            select runs.id as run_id, runs.item_count, run_models.position as model_position, run_models.model_id,
                   a.position as a_position, a.prompt_version_id as a_id,
                   b.position as b_position, b.prompt_version_id as b_id,
                   floor(random() * runs.item_count)::integer as first_item, random() < 0.5 as turned
            from runs
            join run_models on run_models.run_id = runs.id
            join models on models.id = run_models.model_id
            join providers on providers.id = models.provider_id
            join run_prompts a on a.run_id = runs.id
            join run_prompts b on b.run_id = runs.id and b.position > a.position
            where runs.benchmark_version_id = $3
              and runs.state = 'completed'
              and runs.visibility = 'public' and is_public_run(runs.id)
              and (providers.kind in ('simulated', 'echo')) = $4
            order by random()
            limit 100),
        pairs as (
            select pairings.*, (first_item + step) % item_count as item_position
            from pairings
            cross join lateral generate_series(0, least(item_count, 100) - 1) step)
        insert into preferences (id, user_id, benchmark_version_id, run_id, model_id, simulated, item_position,
            left_prompt_version_id, right_prompt_version_id)
        select $1, $2, $3, pairs.run_id, pairs.model_id, $4, pairs.item_position,
               case when turned then b_id else a_id end, case when turned then a_id else b_id end
        from pairs
        join evaluations a_answers on a_answers.run_id = pairs.run_id
            and a_answers.item_position = pairs.item_position and a_answers.repeat = 0
            and a_answers.prompt_position = a_position and a_answers.model_position = pairs.model_position
        join evaluations b_answers on b_answers.run_id = pairs.run_id
            and b_answers.item_position = pairs.item_position and b_answers.repeat = 0
            and b_answers.prompt_position = b_position and b_answers.model_position = pairs.model_position
        where a_answers.output <> b_answers.output
          and not exists (select 1 from preferences judged
                          where judged.user_id = $2 and judged.run_id = pairs.run_id
                            and judged.model_id = pairs.model_id and judged.item_position = pairs.item_position
                            and least(judged.left_prompt_version_id, judged.right_prompt_version_id) = least(a_id, b_id)
                            and greatest(judged.left_prompt_version_id, judged.right_prompt_version_id) = greatest(a_id, b_id))
        limit 1
        on conflict do nothing",
        Uuid::now_v7(),
        user.id,
        benchmark_version_id,
        simulated
    )
    .execute(conn)
    .await?;
    Ok(())
}
