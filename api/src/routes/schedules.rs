//! Schedules: recurring runs.

use axum::{Json as JsonResponse, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use opb_core::{
    bounds::is_time,
    paging::Page,
    schedules::{self, Firing, NewSchedule, Schedule, UpdateSchedule},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    body::Json,
    caller::Authenticated,
    paging::{PageQuery, bad_cursor, check_limit},
    parameters::{Path, Query},
    problem::Result,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_schedules, create_schedule))
        .routes(routes!(get_schedule, update_schedule, delete_schedule))
        .routes(routes!(pause_schedule))
        .routes(routes!(resume_schedule))
        .routes(routes!(list_firings))
}

/// Lists the caller's schedules, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/schedules",
    tag = "schedules",
    params(PageQuery),
    security(("bearer" = [])),
    responses((status = 200, description = "A page of schedules", body = Page<Schedule>))
)]
async fn list_schedules(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Query(query): Query<PageQuery>,
) -> Result<JsonResponse<Page<Schedule>>> {
    let (before, limit) = query.by_id()?;
    let mut conn = state.conn().await?;
    let page = schedules::list_schedules(&mut conn, &user, before, limit).await?;
    Ok(JsonResponse(page))
}

/// Creates a schedule.
///
/// Its first tick is the next one from now. Its runs are submitted as the caller, without the rights of an
/// administrator.
#[utoipa::path(
    post,
    path = "/api/v1/schedules",
    tag = "schedules",
    request_body = NewSchedule,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The schedule", body = Schedule),
        (status = 403, description = "The caller's email address is not verified and this server requires that", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The caller has too many schedules", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn create_schedule(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Json(body): Json<NewSchedule>,
) -> Result<(StatusCode, JsonResponse<Schedule>)> {
    let mut conn = state.conn().await?;
    let schedule = schedules::create_schedule(&mut conn, &user, &body, &state.rules).await?;
    Ok((StatusCode::CREATED, JsonResponse(schedule)))
}

/// Returns a schedule with its next five ticks.
#[utoipa::path(
    get,
    path = "/api/v1/schedules/{schedule}",
    tag = "schedules",
    params(("schedule" = String, Path, description = "Id, or name among the caller's own")),
    security(("bearer" = [])),
    responses((status = 200, description = "The schedule", body = Schedule))
)]
async fn get_schedule(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(schedule): Path<String>,
) -> Result<JsonResponse<Schedule>> {
    let mut conn = state.conn().await?;
    let id = schedules::name_schedule(&mut conn, &user, &schedule).await?;
    let schedule = schedules::find_schedule(&mut conn, &user, id).await?;
    Ok(JsonResponse(schedule))
}

/// Updates a schedule.
///
/// When the expression or the time zone changes, ticks that were due before the change are fired or skipped first.
#[utoipa::path(
    patch,
    path = "/api/v1/schedules/{schedule}",
    tag = "schedules",
    params(("schedule" = String, Path, description = "Id, or name among the caller's own")),
    request_body = UpdateSchedule,
    security(("bearer" = [])),
    responses((status = 200, description = "The schedule", body = Schedule))
)]
async fn update_schedule(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(schedule): Path<String>,
    Json(body): Json<UpdateSchedule>,
) -> Result<JsonResponse<Schedule>> {
    let mut conn = state.conn().await?;
    let id = schedules::name_schedule(&mut conn, &user, &schedule).await?;
    let schedule = schedules::update_schedule(&mut conn, &user, id, body).await?;
    Ok(JsonResponse(schedule))
}

/// Deletes a schedule and the history of its ticks. Its runs stay.
#[utoipa::path(
    delete,
    path = "/api/v1/schedules/{schedule}",
    tag = "schedules",
    params(("schedule" = String, Path, description = "Id, or name among the caller's own")),
    security(("bearer" = [])),
    responses((status = 204, description = "The schedule is deleted"))
)]
async fn delete_schedule(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(schedule): Path<String>,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    let id = schedules::name_schedule(&mut conn, &user, &schedule).await?;
    schedules::delete_schedule(&mut conn, &user, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Pauses a schedule. Ticks during the pause are not made up for.
#[utoipa::path(
    post,
    path = "/api/v1/schedules/{schedule}/pause",
    tag = "schedules",
    params(("schedule" = String, Path, description = "Id, or name among the caller's own")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The paused schedule", body = Schedule),
        (status = 409, description = "The schedule is already paused", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn pause_schedule(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(schedule): Path<String>,
) -> Result<JsonResponse<Schedule>> {
    let mut conn = state.conn().await?;
    let id = schedules::name_schedule(&mut conn, &user, &schedule).await?;
    let schedule = schedules::pause_schedule(&mut conn, &user, id).await?;
    Ok(JsonResponse(schedule))
}

/// Resumes a paused schedule with the next tick from now.
#[utoipa::path(
    post,
    path = "/api/v1/schedules/{schedule}/resume",
    tag = "schedules",
    params(("schedule" = String, Path, description = "Id, or name among the caller's own")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The schedule", body = Schedule),
        (status = 409, description = "The schedule is not paused", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn resume_schedule(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(schedule): Path<String>,
) -> Result<JsonResponse<Schedule>> {
    let mut conn = state.conn().await?;
    let id = schedules::name_schedule(&mut conn, &user, &schedule).await?;
    let schedule = schedules::resume_schedule(&mut conn, &user, id).await?;
    Ok(JsonResponse(schedule))
}

/// Lists the past ticks of a schedule and their outcomes, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/schedules/{schedule}/firings",
    tag = "schedules",
    params(("schedule" = String, Path, description = "Id, or name among the caller's own"), PageQuery),
    security(("bearer" = [])),
    responses((status = 200, description = "A page of ticks", body = Page<Firing>))
)]
async fn list_firings(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(schedule): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<JsonResponse<Page<Firing>>> {
    let limit = check_limit(query.limit)?;
    let before = query.cursor.as_deref().map(str::parse::<DateTime<Utc>>);
    let before = before.transpose().map_err(|_| bad_cursor())?;
    if before.is_some_and(|before| !is_time(before)) {
        return Err(bad_cursor());
    }
    let mut conn = state.conn().await?;
    let id = schedules::name_schedule(&mut conn, &user, &schedule).await?;
    let firings = schedules::list_firings(&mut conn, &user, id, before, limit).await?;
    Ok(JsonResponse(Page::cut(firings, limit, |firing| {
        firing
            .due_at
            .to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
    })))
}
