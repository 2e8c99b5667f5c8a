//! Results of a run: its own table, and its evaluations.

use axum::{Json as JsonResponse, extract::State, http::HeaderMap, response::Response};
use opb_core::{
    computing::Asker,
    paging::Page,
    run_columns::{self, RunColumns, RunGroups},
    runs::{self, Evaluation, EvaluationFilter, EvaluationState, Run, RunReference, RunState},
};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    caller::{Turn, Viewer},
    etag::{Tagged, tagged},
    paging::{check_limit, decode_key, encode_key},
    parameters::{Path, Query},
    problem::Result,
};

/// A filter of a run's evaluations. All conditions must hold.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EvaluationsQuery {
    /// Only evaluations in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub state: Option<EvaluationState>,
    /// Only evaluations of the item with this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// Only evaluations of this prompt of the run: `slug` or `slug@number`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Only evaluations of this model of the run: `provider:name`, or with its parameters as in `local:small
    /// temperature=0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Only evaluations with this kind of error, such as `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_kind: Option<String>,
    /// `next_cursor` of the previous page; absent for the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Maximum number of evaluations to return; 50 when absent. A page with long texts has fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<i64>,
}

/// How a run is split.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GroupsQuery {
    /// A key of the items' metadata, such as `category`.
    pub by: String,
}

/// What a run is summed up into.
#[derive(Debug, Clone)]
enum Sum {
    Columns,
    /// By this key of the items' metadata.
    Groups(String),
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_run_columns))
        .routes(routes!(list_run_groups))
        .routes(routes!(list_evaluations))
}

/// Lists the columns of a run: score, cost, latency, part scores and errors of each prompt on each model, as far as
/// they are recorded.
///
/// Available for every run, also paused, cancelled and failed ones, and limited to this run's own evaluations. While
/// the run is active, the response may be up to two seconds old.
#[utoipa::path(
    get,
    path = "/api/v1/runs/{run}/columns",
    tag = "runs",
    params(("run" = String, Path, description = "The run: its number, its id, the end of its id, or `last` for the caller's newest run")),
    security((), ("bearer" = [])),
    responses(
        (status = 200, description = "Every column of the run", body = RunColumns, headers(("etag" = String))),
        (status = 304, description = "Nothing has changed"),
        (status = 403, description = "The run is the caller's own, but its benchmark or a prompt is no longer visible to them", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn list_run_columns(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Turn(asker): Turn,
    Path(run): Path<RunReference>,
    headers: HeaderMap,
) -> Result<Response> {
    let mut conn = state.conn().await?;
    let run = runs::resolve_readable_run(&mut conn, viewer.as_ref(), &run).await?;
    if let Some(kept) = run_columns::kept_run_columns(&mut conn, &run).await? {
        return tagged(&headers, &kept);
    }
    drop(conn);
    sum_up_once(&state, asker, run, Sum::Columns, &headers).await
}

/// Splits a run by a key of its items' metadata, such as the subtasks of a benchmark.
///
/// Each group of items has the score and the counts of each prompt on each model. While the run is in progress, a response
/// is cached for up to two seconds.
#[utoipa::path(
    get,
    path = "/api/v1/runs/{run}/groups",
    tag = "runs",
    params(("run" = String, Path, description = "The run: its number, its id or the end of its id, or `last` for your newest"), GroupsQuery),
    security((), ("bearer" = [])),
    responses(
        (status = 200, description = "The groups of the run's items, at most 200, that with the most items first", body = RunGroups, headers(("etag" = String))),
        (status = 304, description = "Nothing has changed"),
        (status = 403, description = "The run is the caller's own, but its benchmark or a prompt may no longer be seen by them", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn list_run_groups(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Turn(asker): Turn,
    Path(run): Path<RunReference>,
    Query(query): Query<GroupsQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let mut conn = state.conn().await?;
    let run = runs::resolve_readable_run(&mut conn, viewer.as_ref(), &run).await?;
    drop(conn);
    sum_up_once(&state, asker, run, Sum::Groups(query.by), &headers).await
}

/// Sums a run up once for all of its readers, who see the same.
async fn sum_up_once(
    state: &AppState,
    asker: Asker,
    run: Run,
    sum: Sum,
    headers: &HeaderMap,
) -> Result<Response> {
    // Outside the state `running`, the number of recorded evaluations is part of the name, so that a change is visible
    // at once.
    let reached = (run.state != RunState::Running).then_some(run.recorded);
    let name = format!("{sum:?} of {} {:?} {reached:?}", run.id, run.state);
    let making = state.clone();
    let make = move || {
        let (state, run, sum) = (making.clone(), run.clone(), sum.clone());
        async move {
            let _turn = state.statistics.turn(asker).await?;
            let mut conn = state.conn().await?;
            match &sum {
                Sum::Columns => {
                    Tagged::json(&run_columns::measure_run_columns(&mut conn, &run).await?)
                }
                Sum::Groups(by) => {
                    Tagged::json(&run_columns::measure_run_groups(&mut conn, &run, by).await?)
                }
            }
        }
    };
    Ok(Box::pin(state.response_cache.get(name, make))
        .await?
        .respond(headers))
}

/// Lists the recorded evaluations of a run, by item: question, answer, expected value, and the result of each scorer.
///
/// A page ends after about 1 MiB of texts, and has at least one evaluation.
#[utoipa::path(
    get,
    path = "/api/v1/runs/{run}/evaluations",
    tag = "runs",
    params(("run" = String, Path, description = "The run: its number, its id, the end of its id, or `last` for the caller's newest run"), EvaluationsQuery),
    security((), ("bearer" = [])),
    responses(
        (status = 200, description = "A page of evaluations", body = Page<Evaluation>),
        (status = 403, description = "The run is the caller's own, but its benchmark or a prompt is no longer visible to them", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn list_evaluations(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Path(run): Path<RunReference>,
    Query(query): Query<EvaluationsQuery>,
) -> Result<JsonResponse<Page<Evaluation>>> {
    let limit = check_limit(query.limit)?;
    let after = query.cursor.as_deref().map(decode_key).transpose()?;
    let filter = EvaluationFilter {
        state: query.state,
        item: query.item,
        prompt: query.prompt,
        model: query.model,
        error_kind: query.error_kind,
    };
    let mut conn = state.conn().await?;
    let run = runs::resolve_readable_run(&mut conn, viewer.as_ref(), &run).await?;
    let page = runs::list_evaluations(&mut conn, &run, &filter, after, limit).await?;
    Ok(JsonResponse(Page {
        items: page.evaluations,
        next_cursor: page.next.map(encode_key),
    }))
}
