//! The standings that count in the ranking over all benchmarks, and the entries made of them.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{OverallBy, OverallFilter, Z};
use crate::{
    Result,
    auth::CurrentUser,
    leaderboards::{audience::Audience, standing::family_pattern},
    stats::{EffectWeights, Measured},
};

/// The fields of a standing that count here.
pub(super) struct Cell {
    pub(super) benchmark_version_id: Uuid,
    pub(super) benchmark: String,
    pub(super) floor: f64,
    pub(super) prompt_version_id: Uuid,
    pub(super) prompt: String,
    pub(super) model_id: Uuid,
    pub(super) model: String,
    pub(super) parameters: serde_json::Value,
    pub(super) score: f64,
    pub(super) score_low: f64,
    pub(super) score_high: f64,
}

/// The key of an entry: ids distinguish entries with the same name.
pub(super) type EntryKey = (Option<Uuid>, Option<Uuid>);

/// The entries of one board. Averaged entries are left out if the two-way model cannot compare them.
pub(super) fn entries_of<'a>(
    board: &[&'a Cell],
    by: OverallBy,
) -> BTreeMap<EntryKey, (Measured, &'a Cell)> {
    let measured = |cell: &Cell| Measured {
        score: cell.score,
        error: (cell.score_high - cell.score_low) / (2.0 * Z),
    };
    if by == OverallBy::Column {
        return board
            .iter()
            .map(|cell| {
                (
                    (Some(cell.prompt_version_id), Some(cell.model_id)),
                    (measured(cell), *cell),
                )
            })
            .collect();
    }
    let index = |of: fn(&Cell) -> Uuid| -> Vec<Uuid> {
        let mut ids: Vec<Uuid> = board.iter().map(|cell| of(cell)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    let (prompts, models) = (
        index(|cell| cell.prompt_version_id),
        index(|cell| cell.model_id),
    );
    let at = |prompt: usize, model: usize| {
        board.iter().find(|cell| {
            cell.prompt_version_id == prompts[prompt] && cell.model_id == models[model]
        })
    };
    let present: Vec<Vec<bool>> = (0..prompts.len())
        .map(|prompt| {
            (0..models.len())
                .map(|model| at(prompt, model).is_some())
                .collect()
        })
        .collect();
    let Some(weights) = EffectWeights::of(&present) else {
        return BTreeMap::new();
    };
    let cells: Vec<&Cell> = weights
        .cells
        .iter()
        .filter_map(|(row, column)| at(*row, *column).copied())
        .collect();
    let values: Vec<f64> = cells.iter().map(|cell| cell.score).collect();
    let scores = spread(&weights, &values, by);
    // The error of a weighted sum is at most the weighted sum of the errors, which is reached if all have the same
    // sign.
    let mut errors = vec![0.0; scores.len()];
    for (place, cell) in cells.iter().enumerate() {
        let mut unit = vec![0.0; cells.len()];
        unit[place] = 1.0;
        for (error, weight) in errors.iter_mut().zip(spread(&weights, &unit, by)) {
            *error += weight.abs() * measured(cell).error;
        }
    }
    let ids = if by == OverallBy::Prompt {
        &prompts
    } else {
        &models
    };
    let named = ids.iter().zip(scores.into_iter().zip(errors));
    named
        .filter_map(|(id, (score, error))| {
            let is_it = |cell: &&Cell| match by {
                OverallBy::Prompt => cell.prompt_version_id == *id,
                _ => cell.model_id == *id,
            };
            let cell = board.iter().copied().find(is_it)?;
            let key = match by {
                OverallBy::Prompt => (Some(*id), None),
                _ => (None, Some(*id)),
            };
            Some((key, (Measured { score, error }, cell)))
        })
        .collect()
}

/// The expected score of each prompt on an average model, or of each model with an average prompt.
fn spread(weights: &EffectWeights, values: &[f64], by: OverallBy) -> Vec<f64> {
    let (grand, prompts, models) = weights.apply(values);
    let effects = if by == OverallBy::Prompt {
        prompts
    } else {
        models
    };
    effects.into_iter().map(|effect| grand + effect).collect()
}

/// The standings of the newest versions of all benchmarks that the viewer may find, from the boards of one audience.
pub(super) async fn load_cells(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    audience: Audience,
    simulated: bool,
    filter: &OverallFilter,
) -> Result<Vec<Cell>> {
    let cells = sqlx::query_as!(
        Cell,
        r#"-- cells::load_cells
        with shown_runs as materialized (
            select id from public_runs(array(select run_id from standings where simulated = $1 and audience_id is not distinct from $5)) as id
            where $5::bigint is null
            union all
            select id from runs
            where id in (select run_id from standings where simulated = $1 and audience_id is not distinct from $5) and owner_id = $5 and deleted_at is null
        )
        select newest.id as "benchmark_version_id!", benchmarks.slug || '@' || newest.number as "benchmark!",
               newest.floor as "floor!", prompt_version_id,
               case when is_seen then prompts.slug || '@' || prompt_versions.number else '(hidden)' end as "prompt!",
               standings.model_id,
               providers.name || ':' || models.name as "model!", models.parameters, score, score_low, score_high
        from benchmarks
        join lateral (
            select id, number,
                   case when jsonb_typeof(source -> 'floor') = 'number'
                        then greatest(0, least(0.99, (source ->> 'floor')::float8)) else 0 end::float8 as floor
            from benchmark_versions
            where benchmark_id = benchmarks.id and number is not null and withdrawn_at is null
            order by number desc limit 1) newest on true
        join standings on standings.benchmark_version_id = newest.id
        join prompt_versions on prompt_versions.id = prompt_version_id
        join prompts on prompts.id = prompt_id
        join models on models.id = standings.model_id
        join providers on providers.id = provider_id
        join runs on runs.id = run_id
        join users on users.id = runs.owner_id
        cross join lateral (
            select can_see_part(prompts.visibility, prompts.owner_id, prompts.deleted_at is not null,
                                prompt_versions.withdrawn_at is not null, runs.owner_id, $2, false) as is_seen) part
        where simulated = $1 and audience_id is not distinct from $5
          and run_id in (select id from shown_runs)
          and benchmarks.deleted_at is null and can_see(benchmarks.visibility, benchmarks.owner_id, $2, false)
          and not exists (select from hidden_columns hidden
                          where hidden.run_id = standings.run_id
                            and hidden.prompt_version_id = standings.prompt_version_id
                            and hidden.model_id = standings.model_id
                            and (hidden.hidden_by = 'owner' or $5::bigint is null))
          and (not $3 or (users.role in ('admin', 'moderator') and not simulated))
          and ($4::text is null
               or lower(models.name) ~ $4 or lower(providers.name || ':' || models.name) ~ $4)"#,
        simulated,
        viewer.map(|user| user.id),
        filter.verified,
        filter.family.as_deref().map(family_pattern),
        audience.id()
    )
    .fetch_all(conn)
    .await?;
    Ok(cells)
}
