//! Schedules: runs that are submitted again and again.

use axum::{Json as Answer, extract::State, http::StatusCode};
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

/// The schedules of the caller, newest first.
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
) -> Result<Answer<Page<Schedule>>> {
    let (before, limit) = query.by_id()?;
    let mut conn = state.conn().await?;
    let page = schedules::list_schedules(&mut conn, &user, before, limit).await?;
    Ok(Answer(page))
}

/// Makes a schedule. Its first tick is the first one after now; it acts as the caller, without rights of an administrator.
#[utoipa::path(
    post,
    path = "/api/v1/schedules",
    tag = "schedules",
    request_body = NewSchedule,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The schedule", body = Schedule),
        (status = 403, description = "The caller's email address is not verified and this server asks for it", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The caller has too many", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn create_schedule(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Json(body): Json<NewSchedule>,
) -> Result<(StatusCode, Answer<Schedule>)> {
    let mut conn = state.conn().await?;
    let schedule = schedules::create_schedule(&mut conn, &user, &body, &state.rules).await?;
    Ok((StatusCode::CREATED, Answer(schedule)))
}

/// A schedule, with its next five times.
#[utoipa::path(
    get,
    path = "/api/v1/schedules/{schedule}",
    tag = "schedules",
    params(("schedule" = String, Path, description = "Id, or the name of one of the caller's")),
    security(("bearer" = [])),
    responses((status = 200, description = "The schedule", body = Schedule))
)]
async fn get_schedule(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(schedule): Path<String>,
) -> Result<Answer<Schedule>> {
    let mut conn = state.conn().await?;
    let id = schedules::name_schedule(&mut conn, &user, &schedule).await?;
    let schedule = schedules::find_schedule(&mut conn, &user, id).await?;
    Ok(Answer(schedule))
}

/// Changes a schedule. With another expression or time zone, what was due until now is settled.
#[utoipa::path(
    patch,
    path = "/api/v1/schedules/{schedule}",
    tag = "schedules",
    params(("schedule" = String, Path, description = "Id, or the name of one of the caller's")),
    request_body = UpdateSchedule,
    security(("bearer" = [])),
    responses((status = 200, description = "The schedule", body = Schedule))
)]
async fn update_schedule(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(schedule): Path<String>,
    Json(body): Json<UpdateSchedule>,
) -> Result<Answer<Schedule>> {
    let mut conn = state.conn().await?;
    let id = schedules::name_schedule(&mut conn, &user, &schedule).await?;
    let schedule = schedules::update_schedule(&mut conn, &user, id, body).await?;
    Ok(Answer(schedule))
}

/// Deletes a schedule and what is known of its ticks. Its runs stay.
#[utoipa::path(
    delete,
    path = "/api/v1/schedules/{schedule}",
    tag = "schedules",
    params(("schedule" = String, Path, description = "Id, or the name of one of the caller's")),
    security(("bearer" = [])),
    responses((status = 204, description = "It is gone"))
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

/// Pauses a schedule. Ticks of the pause are not made up for.
#[utoipa::path(
    post,
    path = "/api/v1/schedules/{schedule}/pause",
    tag = "schedules",
    params(("schedule" = String, Path, description = "Id, or the name of one of the caller's")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The paused schedule", body = Schedule),
        (status = 409, description = "It is paused already", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn pause_schedule(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(schedule): Path<String>,
) -> Result<Answer<Schedule>> {
    let mut conn = state.conn().await?;
    let id = schedules::name_schedule(&mut conn, &user, &schedule).await?;
    let schedule = schedules::pause_schedule(&mut conn, &user, id).await?;
    Ok(Answer(schedule))
}

/// Lets a paused schedule go on with the first tick after now.
#[utoipa::path(
    post,
    path = "/api/v1/schedules/{schedule}/resume",
    tag = "schedules",
    params(("schedule" = String, Path, description = "Id, or the name of one of the caller's")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The schedule", body = Schedule),
        (status = 409, description = "It is not paused", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn resume_schedule(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(schedule): Path<String>,
) -> Result<Answer<Schedule>> {
    let mut conn = state.conn().await?;
    let id = schedules::name_schedule(&mut conn, &user, &schedule).await?;
    let schedule = schedules::resume_schedule(&mut conn, &user, id).await?;
    Ok(Answer(schedule))
}

/// What became of the ticks of a schedule, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/schedules/{schedule}/firings",
    tag = "schedules",
    params(("schedule" = String, Path, description = "Id, or the name of one of the caller's"), PageQuery),
    security(("bearer" = [])),
    responses((status = 200, description = "A page of ticks", body = Page<Firing>))
)]
async fn list_firings(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(schedule): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Answer<Page<Firing>>> {
    let limit = check_limit(query.limit)?;
    let before = query.cursor.as_deref().map(str::parse::<DateTime<Utc>>);
    let before = before.transpose().map_err(|_| bad_cursor())?;
    if before.is_some_and(|before| !is_time(before)) {
        return Err(bad_cursor());
    }
    let mut conn = state.conn().await?;
    let id = schedules::name_schedule(&mut conn, &user, &schedule).await?;
    let firings = schedules::list_firings(&mut conn, &user, id, before, limit).await?;
    Ok(Answer(Page::cut(firings, limit, |firing| {
        firing
            .due_at
            .to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
    })))
}
