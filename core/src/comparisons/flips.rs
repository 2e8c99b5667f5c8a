//! The items on which two columns disagree: one passes and the other fails.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{ColumnChoice, columns::resolve_columns};
use crate::{Error, Result, auth::CurrentUser, paging::Page};

/// The two columns, and the page of their flips.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FlipsRequest {
    /// One column.
    pub baseline: ColumnChoice,
    /// Another column of the same benchmark version.
    pub candidate: ColumnChoice,
    /// `next_cursor` of the previous page; absent for the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Maximum number of flips to return; 50 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100)]
    pub limit: Option<i64>,
}

/// The direction in which an item flipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FlipDirection {
    /// Only the candidate passes.
    Gained,
    /// Only the baseline passes.
    Lost,
}

/// An item that one column passes and the other fails. With repeats, an item passes if at least half of them pass.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Flip {
    /// The item's position in the benchmark version.
    pub item_position: i32,
    /// The item's own id.
    pub item: String,
    /// The direction.
    pub direction: FlipDirection,
    /// The values of the prompt's variables.
    #[schema(value_type = Object)]
    pub vars: Value,
    /// The correct answer.
    pub expected: Option<Value>,
    /// The baseline's mean score on the item.
    pub baseline_score: f32,
    /// The candidate's mean score on the item.
    pub candidate_score: f32,
    /// The baseline's first output.
    pub baseline_output: Option<String>,
    /// The candidate's first output.
    pub candidate_output: Option<String>,
}

/// A page of the items that flipped, in item order, after the item at position `after`.
///
/// # Errors
/// [`Error::NotFound`] for a run that the viewer may not find; [`Error::Invalid`] if a side is not exactly one column,
/// or the two cannot be compared.
pub async fn list_flips(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    request: &FlipsRequest,
    after: Option<i32>,
    limit: i64,
) -> Result<Page<Flip>> {
    for (path, choice) in [
        ("baseline", &request.baseline),
        ("candidate", &request.candidate),
    ] {
        let found = resolve_columns(conn, viewer, std::slice::from_ref(choice))
            .await
            .map_err(|error| under(path, error))?;
        if found.len() != 1 {
            let message = format!(
                "names {} columns instead of one; give `prompt` and `model`",
                found.len()
            );
            return Err(Error::invalid(path, message));
        }
    }
    let both = [request.baseline.clone(), request.candidate.clone()];
    let both = resolve_columns(conn, viewer, &both)
        .await
        .map_err(|error| under("candidate", error))?;
    let [baseline, candidate] = both.as_slice() else {
        return Err(Error::invalid("candidate", "is the baseline itself"));
    };
    let flips = sqlx::query!(
        r#"-- flips::list_flips
        with sides as (
            select item_position,
                   (run_id, prompt_position, model_position) = ($1::uuid, $2::smallint, $3::smallint) as is_baseline,
                   avg(score)::real as score,
                   avg(passed::int) >= 0.5 as passed,
                   (array_agg(output order by repeat))[1] as output
            from evaluations
            where (run_id, prompt_position, model_position) in (($1, $2, $3), ($4::uuid, $5::smallint, $6::smallint))
              and item_position > $8 and score is not null
            group by 1, 2
        )
        select position as item_position, key as item, vars, expected,
               baseline.passed as "baseline_passed!",
               baseline.score as "baseline_score!", candidate.score as "candidate_score!",
               baseline.output as baseline_output, candidate.output as candidate_output
        from sides baseline
        join sides candidate using (item_position)
        join items on benchmark_version_id = $7 and position = item_position
        where baseline.is_baseline and not candidate.is_baseline and baseline.passed <> candidate.passed
        order by item_position
        limit $9"#,
        baseline.run_id,
        baseline.prompt_position,
        baseline.model_position,
        candidate.run_id,
        candidate.prompt_position,
        candidate.model_position,
        baseline.benchmark_version_id,
        after.unwrap_or(-1),
        limit + 1
    )
    .fetch_all(conn)
    .await?;
    let flips = flips.into_iter().map(|row| Flip {
        item_position: row.item_position,
        item: row.item,
        direction: if row.baseline_passed {
            FlipDirection::Lost
        } else {
            FlipDirection::Gained
        },
        vars: row.vars,
        expected: row.expected,
        baseline_score: row.baseline_score,
        candidate_score: row.candidate_score,
        baseline_output: row.baseline_output,
        candidate_output: row.candidate_output,
    });
    Ok(Page::cut(flips.collect(), limit, |flip| {
        flip.item_position.to_string()
    }))
}

/// Replaces the list paths of column errors by the path of a side.
fn under(side: &str, error: Error) -> Error {
    let Error::Invalid(mut fields) = error else {
        return error;
    };
    for field in &mut fields {
        let inner = field.path.split_once('.').map(|(_, inner)| inner);
        field.path = inner.map_or_else(|| side.to_owned(), |inner| format!("{side}.{inner}"));
    }
    Error::Invalid(fields)
}
