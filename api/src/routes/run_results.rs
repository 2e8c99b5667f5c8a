//! What a run found: its own table, and its evaluations one by one.

use axum::{Json as Answer, extract::State, http::HeaderMap, response::Response};
use opb_core::{
    paging::Page,
    run_columns::{self, RunColumns},
    runs::{self, Evaluation, EvaluationFilter, EvaluationState, RunReference, RunState},
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

/// Which evaluations of a run. All conditions must hold.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EvaluationsQuery {
    /// Only those that ended so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub state: Option<EvaluationState>,
    /// Only those of the item with this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// Only those of this prompt of the run: `slug` or `slug@number`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Only those of this model of the run: `provider:name`, or with its parameters as in `local:small temperature=0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Only those that failed in this way, such as `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_kind: Option<String>,
    /// `next_cursor` of the page before; absent for the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The most evaluations to return; 50 when absent. A page with long texts has fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<i64>,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_run_columns))
        .routes(routes!(list_evaluations))
}

/// The run's own table: score, cost, latency, part scores and errors of each prompt on each model, as far as the run has
/// come. It is there for every run, also for those that are paused, cancelled or failed, and shows nothing but this run.
/// While the run goes on, an answer is kept for up to two seconds.
#[utoipa::path(
    get,
    path = "/api/v1/runs/{run}/columns",
    tag = "runs",
    params(("run" = String, Path, description = "The run: its number, its id or the end of its id, or `last` for your newest")),
    security((), ("bearer" = [])),
    responses(
        (status = 200, description = "Every column of the run", body = RunColumns, headers(("etag" = String))),
        (status = 304, description = "Nothing has changed"),
        (status = 403, description = "The run is the caller's own, but its benchmark or a prompt may no longer be seen by them", body = crate::Problem, content_type = "application/problem+json")
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
    // All who may read the run see the same, so it is summed up once for all of them. What a run that waits has reached
    // is in the name: a change of it is seen at once.
    let reached = (run.state != RunState::Running).then_some(run.recorded);
    let name = format!("columns of {} {:?} {reached:?}", run.id, run.state);
    let answers = state.answers.clone();
    let make = move || {
        let (state, run) = (state.clone(), run.clone());
        async move {
            let _turn = state.statistics.turn(asker).await?;
            let mut conn = state.conn().await?;
            Tagged::json(&run_columns::measure_run_columns(&mut conn, &run).await?)
        }
    };
    Ok(Box::pin(answers.get(name, make)).await?.respond(&headers))
}

/// The recorded evaluations of a run, item by item: question, answer, what was expected, and what each scorer said.
/// A page ends after about a mebibyte of texts, and holds one evaluation at least.
#[utoipa::path(
    get,
    path = "/api/v1/runs/{run}/evaluations",
    tag = "runs",
    params(("run" = String, Path, description = "The run: its number, its id or the end of its id, or `last` for your newest"), EvaluationsQuery),
    security((), ("bearer" = [])),
    responses(
        (status = 200, description = "A page of evaluations", body = Page<Evaluation>),
        (status = 403, description = "The run is the caller's own, but its benchmark or a prompt may no longer be seen by them", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn list_evaluations(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Path(run): Path<RunReference>,
    Query(query): Query<EvaluationsQuery>,
) -> Result<Answer<Page<Evaluation>>> {
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
    Ok(Answer(Page {
        items: page.evaluations,
        next_cursor: page.next.map(encode_key),
    }))
}
