//! Runs: submitting, reading, cancelling and deleting them. Their results are in `run_results`.

use axum::{
    Json as JsonResponse,
    extract::State,
    http::{HeaderMap, StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};
use opb_core::{
    Error, leaderboards,
    paging::Page,
    runs::{self, Estimate, Run, RunReference, SubmitRun},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    body::Json,
    caller::{Authenticated, Turn, Viewer},
    etag, middleware,
    paging::PageQuery,
    parameters::{Path, Query},
    problem::{ApiError, Result},
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_runs, create_run))
        .routes(routes!(estimate_run))
        .routes(routes!(get_run, delete_run))
        .routes(routes!(cancel_run))
}

/// Lists the runs that are visible to the caller, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/runs",
    tag = "runs",
    params(PageQuery),
    security((), ("bearer" = [])),
    responses((status = 200, description = "A page of runs", body = Page<Run>))
)]
async fn list_runs(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Query(query): Query<PageQuery>,
) -> Result<JsonResponse<Page<Run>>> {
    let (before, limit) = query.by_id()?;
    let mut conn = state.conn().await?;
    let page = runs::list_runs(&mut conn, viewer.as_ref(), before, limit).await?;
    Ok(JsonResponse(page))
}

/// Submits a run; workers begin with it at once.
#[utoipa::path(
    post,
    path = "/api/v1/runs",
    tag = "runs",
    params(("idempotency-key" = Option<String>, Header, description = "1 to 255 visible characters; a repeated request with the same key and body returns the first run")),
    request_body = SubmitRun,
    security(("bearer" = [])),
    responses(
        (status = 202, description = "The run is queued", body = Run, headers(("location" = String, description = "The run's address"))),
        (status = 403, description = "The API key lacks the scope, or the caller's email address is not verified and this server requires that", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The idempotency key was used for another request, or the caller's quota does not allow it", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn create_run(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    headers: HeaderMap,
    Json(body): Json<SubmitRun>,
) -> Result<impl IntoResponse> {
    let key = idempotency_key(&headers)?;
    let mut tx = state.pool.begin().await.map_err(Error::Database)?;
    let run = runs::submit_run(&mut tx, &user, &body, key, &state.rules).await?;
    if let Some(request_id) = middleware::request_id() {
        runs::note_request(&mut tx, run.id, request_id).await?;
    }
    tx.commit().await.map_err(Error::Database)?;
    middleware::run_submitted(run.id);
    let address = format!("/api/v1/runs/{}", run.id);
    Ok((
        StatusCode::ACCEPTED,
        [(LOCATION, address)],
        JsonResponse(run),
    ))
}

/// Estimates the calls, tokens, money and time of a run. Nothing is submitted.
#[utoipa::path(
    post,
    path = "/api/v1/runs/estimate",
    tag = "runs",
    request_body = SubmitRun,
    security(("bearer" = [])),
    responses((status = 200, description = "The estimate, with lower and upper bounds and their sources", body = Estimate))
)]
async fn estimate_run(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Turn(asker): Turn,
    Json(body): Json<SubmitRun>,
) -> Result<JsonResponse<Estimate>> {
    let prospect = {
        let mut conn = state.conn().await?;
        runs::find_prospect(&mut conn, &user, &body).await?
    };
    let estimating = move || prospect.estimate();
    Ok(JsonResponse(state.checking.run(asker, estimating).await?))
}

/// Returns a run. Poll it with `if-none-match`, or follow its events.
#[utoipa::path(
    get,
    path = "/api/v1/runs/{run}",
    tag = "runs",
    params(("run" = String, Path, description = "The run: its number, its id, the end of its id, or `last` for the caller's newest run")),
    security((), ("bearer" = [])),
    responses(
        (status = 200, description = "The run", body = Run, headers(("etag" = String))),
        (status = 304, description = "Nothing has changed")
    )
)]
async fn get_run(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Path(run): Path<RunReference>,
    headers: HeaderMap,
) -> Result<Response> {
    let mut conn = state.conn().await?;
    let run = runs::resolve_run(&mut conn, viewer.as_ref(), &run).await?;
    etag::tagged(&headers, &run)
}

/// Deletes a run that has ended, with its evaluations and standings. Its cost stays counted in the owner's quota.
#[utoipa::path(
    delete,
    path = "/api/v1/runs/{run}",
    tag = "runs",
    params(("run" = String, Path, description = "The run: its number, its id, the end of its id, or `last` for the caller's newest run")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The run is deleted; its data is erased in the background"),
        (status = 403, description = "The run belongs to another user", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The run has not ended, or another run is scoring its answers", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn delete_run(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(run): Path<RunReference>,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    let run = runs::resolve_run(&mut conn, Some(&user), &run).await?.id;
    runs::delete_run(&mut conn, &user, run).await?;
    leaderboards::renew_small_boards(&mut conn, run).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Cancels a run. Recorded evaluations stay.
#[utoipa::path(
    post,
    path = "/api/v1/runs/{run}/cancel",
    tag = "runs",
    params(("run" = String, Path, description = "The run: its number, its id, the end of its id, or `last` for the caller's newest run")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The cancelled run", body = Run),
        (status = 403, description = "The run belongs to another user", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The run has already ended", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn cancel_run(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(run): Path<RunReference>,
) -> Result<JsonResponse<Run>> {
    let mut conn = state.conn().await?;
    let run = runs::resolve_run(&mut conn, Some(&user), &run).await?.id;
    Ok(JsonResponse(runs::cancel_run(&mut conn, &user, run).await?))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>> {
    let refused = |message| ApiError::invalid("idempotency-key", message);
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(refused("must be given only once"));
    }
    value
        .to_str()
        .ok()
        .filter(|key| (1..=255).contains(&key.len()) && key.chars().all(|c| c.is_ascii_graphic()))
        .map(Some)
        .ok_or_else(|| refused("must have 1 to 255 visible ASCII characters"))
}
