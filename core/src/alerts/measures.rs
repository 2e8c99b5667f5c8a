//! The data that alerts check: a run, its columns, and the course of a column over the runs of a schedule.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    Error, Result,
    runs::{PauseReason, RunState},
};

/// Maximum number of runs in a course.
const COURSE_RUNS: i64 = 60;

/// A run of a schedule with the data that alerts need.
pub(super) struct WatchedRun {
    pub(super) id: Uuid,
    pub(super) schedule_id: Uuid,
    pub(super) due_at: DateTime<Utc>,
    pub(super) state: RunState,
    pub(super) paused_for: Option<PauseReason>,
    /// `slug@number`.
    pub(super) benchmark: String,
    pub(super) benchmark_version_id: Uuid,
    pub(super) item_count: i32,
    pub(super) spent_microusd: i64,
    pub(super) budget_microusd: Option<i64>,
}

/// A prompt on a model in a run, in any version of the prompt.
pub(super) struct Column {
    pub(super) prompt_id: Uuid,
    pub(super) prompt: String,
    pub(super) version: i32,
    pub(super) model_id: Uuid,
    pub(super) model: String,
    pub(super) evaluations: i64,
    pub(super) errors: i64,
    pub(super) latency_p95_ms: Option<f64>,
}

/// A column in one run of its course.
pub(super) struct CoursePoint {
    pub(super) due_at: DateTime<Utc>,
    pub(super) run_id: Uuid,
    /// The number of the prompt's version.
    pub(super) version: i32,
    pub(super) item_scores: Vec<Option<f32>>,
}

impl Column {
    /// The key of the column in the tables of alerts.
    pub(super) fn subject(&self) -> String {
        format!("{}:{}", self.prompt_id, self.model_id)
    }

    /// The displayed name.
    pub(super) fn label(&self) -> String {
        format!("{} on {}", self.prompt, self.model)
    }
}

/// Takes a run of a schedule whose alerts have not been checked in its current state: it has ended, or is paused under
/// a budget.
pub(super) async fn take_run(tx: &mut PgConnection) -> Result<Option<WatchedRun>> {
    let run = sqlx::query_as!(
        WatchedRun,
        r#"-- measures::take_run
        select runs.id, schedule_id, due_at, runs.state as "state: RunState",
               paused_for as "paused_for: PauseReason",
               case when can_see_part(benchmarks.visibility, benchmarks.owner_id, false,
                                      benchmarks.deleted_at is not null or benchmark_versions.withdrawn_at is not null,
                                      runs.owner_id, runs.owner_id, users.role = 'admin')
                    then benchmarks.slug || '@' || benchmark_versions.number else '(hidden)' end as "benchmark!",
               benchmark_version_id, runs.item_count,
               spend_microusd + unaccounted_microusd as "spent_microusd!", budget_microusd
        from firings
        join runs on runs.id = run_id
        join benchmark_versions on benchmark_versions.id = benchmark_version_id
        join benchmarks on benchmarks.id = benchmark_id
        join users on users.id = runs.owner_id
        where run_id is not null and runs.deleted_at is null and (checked_state is null or checked_state = 'paused')
          and (finished_at is not null
               or (checked_state is null and runs.state = 'paused' and budget_microusd is not null))
        order by fired_at
        limit 1
        for update of firings skip locked"#
    )
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(run) = &run {
        sqlx::query!(
            "-- measures::take_run (write)
            update firings set checked_state = $2 where run_id = $1",
            run.id,
            run.state as RunState
        )
        .execute(tx)
        .await?;
    }
    Ok(run)
}

/// The columns of a run.
pub(super) async fn columns(tx: &mut PgConnection, run_id: Uuid) -> Result<Vec<Column>> {
    let columns = sqlx::query_as!(
        Column,
        r#"-- measures::columns
        select prompts.id as prompt_id,
               case when can_see_part(prompts.visibility, prompts.owner_id, prompts.deleted_at is not null,
                                      prompt_versions.withdrawn_at is not null, runs.owner_id, runs.owner_id,
                                      users.role = 'admin')
                    then prompts.slug else '(hidden)' end as "prompt!", prompt_versions.number as version,
               models.id as model_id, providers.name || ':' || models.name as "model!",
               count(*) as "evaluations!", count(*) filter (where evaluations.state = 'error') as "errors!",
               percentile_cont(0.95) within group (order by latency_ms) as latency_p95_ms
        from evaluations
        join runs on runs.id = evaluations.run_id
        join users on users.id = runs.owner_id
        join run_prompts on run_prompts.run_id = evaluations.run_id and run_prompts.position = prompt_position
        join prompt_versions on prompt_versions.id = prompt_version_id
        join prompts on prompts.id = prompt_id
        join run_models on run_models.run_id = evaluations.run_id and run_models.position = model_position
        join models on models.id = model_id
        join providers on providers.id = provider_id
        where evaluations.run_id = $1
        group by prompts.id, prompt_versions.id, runs.owner_id, users.role, models.id, providers.name, models.name
        order by prompts.slug, prompt_versions.number, 5, models.id"#,
        run_id
    )
    .fetch_all(tx)
    .await?;
    Ok(columns)
}

/// A column over the newest completed runs of the schedule on the run's benchmark version, up to this run, oldest
/// first. If a run has two versions of the prompt, the newer one is used.
pub(super) async fn course(
    tx: &mut PgConnection,
    run: &WatchedRun,
    column: &Column,
    since: Option<DateTime<Utc>>,
) -> Result<Vec<CoursePoint>> {
    let rows = sqlx::query!(
        r#"-- measures::course
        with newest as (
            select due_at, runs.id as run_id
            from firings
            join runs on runs.id = firings.run_id
            where schedule_id = $1 and due_at <= $2 and ($3::timestamptz is null or due_at >= $3)
              and runs.state = 'completed' and runs.deleted_at is null and benchmark_version_id = $4
            order by due_at desc
            limit $5
        ), places as (
            select distinct on (due_at) due_at, newest.run_id, number, run_prompts.position as prompt_position,
                   run_models.position as model_position
            from newest
            join run_prompts on run_prompts.run_id = newest.run_id
            join prompt_versions on prompt_versions.id = prompt_version_id and prompt_id = $6
            join run_models on run_models.run_id = newest.run_id and model_id = $7
            order by due_at, number desc
        )
        select due_at, places.run_id, number, item_position, avg(score)::real as "score!"
        from places
        join evaluations on evaluations.run_id = places.run_id
                        and evaluations.prompt_position = places.prompt_position
                        and evaluations.model_position = places.model_position
        where score is not null
        group by due_at, places.run_id, number, item_position
        order by due_at"#,
        run.schedule_id,
        run.due_at,
        since,
        run.benchmark_version_id,
        COURSE_RUNS,
        column.prompt_id,
        column.model_id
    )
    .fetch_all(tx)
    .await?;
    let items = usize::try_from(run.item_count).unwrap_or(0);
    let mut course: Vec<CoursePoint> = Vec::new();
    for row in rows {
        if course.last().is_none_or(|point| point.run_id != row.run_id) {
            course.push(CoursePoint {
                due_at: row.due_at,
                run_id: row.run_id,
                version: row.number,
                item_scores: vec![None; items],
            });
        }
        let place = usize::try_from(row.item_position).ok();
        let scores = course.last_mut().map(|point| &mut point.item_scores);
        let (Some(place), Some(scores)) = (place, scores) else {
            return Err(Error::Internal("an item has no place".into()));
        };
        // Only items that this run has are shared.
        if let Some(slot) = scores.get_mut(place) {
            *slot = Some(row.score);
        }
    }
    Ok(course)
}
