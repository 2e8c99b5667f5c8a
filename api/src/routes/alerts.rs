//! Alerts: rules on the runs of a schedule.

use axum::{Json as JsonResponse, extract::State, http::StatusCode};
use opb_core::{
    alerts::{self, Alert, AlertEvent, NewAlert, Silence, UpdateAlert},
    paging::Page,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    body::Json,
    caller::Authenticated,
    paging::PageQuery,
    parameters::{Path, Query},
    problem::Result,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_alerts, create_alert))
        .routes(routes!(get_alert, update_alert, delete_alert))
        .routes(routes!(silence_alert))
        .routes(routes!(resolve_alert))
        .routes(routes!(list_alert_events))
}

/// Lists the caller's alerts, newest first, with the subjects that fire now.
#[utoipa::path(
    get,
    path = "/api/v1/alerts",
    tag = "alerts",
    params(PageQuery),
    security(("bearer" = [])),
    responses((status = 200, description = "A page of alerts", body = Page<Alert>))
)]
async fn list_alerts(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Query(query): Query<PageQuery>,
) -> Result<JsonResponse<Page<Alert>>> {
    let (before, limit) = query.by_id()?;
    let mut conn = state.conn().await?;
    let page = alerts::list_alerts(&mut conn, &user, before, limit).await?;
    Ok(JsonResponse(page))
}

/// Creates an alert on one of the caller's schedules.
///
/// It is first checked against the next run that ends.
#[utoipa::path(
    post,
    path = "/api/v1/alerts",
    tag = "alerts",
    request_body = NewAlert,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The alert", body = Alert),
        (status = 409, description = "The caller has too many alerts", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn create_alert(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Json(body): Json<NewAlert>,
) -> Result<(StatusCode, JsonResponse<Alert>)> {
    let mut conn = state.conn().await?;
    let alert = alerts::create_alert(&mut conn, &user, &body).await?;
    Ok((StatusCode::CREATED, JsonResponse(alert)))
}

/// Returns an alert with the subjects that fire now.
#[utoipa::path(
    get,
    path = "/api/v1/alerts/{alert}",
    tag = "alerts",
    params(("alert" = String, Path, description = "Id, or name among the caller's own")),
    security(("bearer" = [])),
    responses((status = 200, description = "The alert", body = Alert))
)]
async fn get_alert(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(alert): Path<String>,
) -> Result<JsonResponse<Alert>> {
    let mut conn = state.conn().await?;
    let id = alerts::name_alert(&mut conn, &user, &alert).await?;
    Ok(JsonResponse(
        alerts::find_alert(&mut conn, &user, id).await?,
    ))
}

/// Updates an alert.
#[utoipa::path(
    patch,
    path = "/api/v1/alerts/{alert}",
    tag = "alerts",
    params(("alert" = String, Path, description = "Id, or name among the caller's own")),
    request_body = UpdateAlert,
    security(("bearer" = [])),
    responses((status = 200, description = "The alert", body = Alert))
)]
async fn update_alert(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(alert): Path<String>,
    Json(body): Json<UpdateAlert>,
) -> Result<JsonResponse<Alert>> {
    let mut conn = state.conn().await?;
    let id = alerts::name_alert(&mut conn, &user, &alert).await?;
    let alert = alerts::update_alert(&mut conn, &user, id, body).await?;
    Ok(JsonResponse(alert))
}

/// Deletes an alert with its history.
#[utoipa::path(
    delete,
    path = "/api/v1/alerts/{alert}",
    tag = "alerts",
    params(("alert" = String, Path, description = "Id, or name among the caller's own")),
    security(("bearer" = [])),
    responses((status = 204, description = "The alert is deleted"))
)]
async fn delete_alert(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(alert): Path<String>,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    let id = alerts::name_alert(&mut conn, &user, &alert).await?;
    alerts::delete_alert(&mut conn, &user, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Silences an alert until a time; without a time, ends the silence.
///
/// A silenced alert keeps its history and sends no messages.
#[utoipa::path(
    put,
    path = "/api/v1/alerts/{alert}/silence",
    tag = "alerts",
    params(("alert" = String, Path, description = "Id, or name among the caller's own")),
    request_body = Silence,
    security(("bearer" = [])),
    responses((status = 200, description = "The alert", body = Alert))
)]
async fn silence_alert(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(alert): Path<String>,
    Json(body): Json<Silence>,
) -> Result<JsonResponse<Alert>> {
    let mut conn = state.conn().await?;
    let id = alerts::name_alert(&mut conn, &user, &alert).await?;
    let alert = alerts::silence_alert(&mut conn, &user, id, body).await?;
    Ok(JsonResponse(alert))
}

/// Resolves a firing alert; its baseline starts again from now.
#[utoipa::path(
    post,
    path = "/api/v1/alerts/{alert}/resolve",
    tag = "alerts",
    params(("alert" = String, Path, description = "Id, or name among the caller's own")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The alert", body = Alert),
        (status = 409, description = "The alert does not fire", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn resolve_alert(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(alert): Path<String>,
) -> Result<JsonResponse<Alert>> {
    let mut conn = state.conn().await?;
    let id = alerts::name_alert(&mut conn, &user, &alert).await?;
    Ok(JsonResponse(
        alerts::resolve_alert(&mut conn, &user, id).await?,
    ))
}

/// Lists the history of an alert, newest first: when it began to fire and when it was resolved.
#[utoipa::path(
    get,
    path = "/api/v1/alerts/{alert}/events",
    tag = "alerts",
    params(("alert" = String, Path, description = "Id, or name among the caller's own"), PageQuery),
    security(("bearer" = [])),
    responses((status = 200, description = "A page of events", body = Page<AlertEvent>))
)]
async fn list_alert_events(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(alert): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<JsonResponse<Page<AlertEvent>>> {
    let (before, limit) = query.by_id()?;
    let mut conn = state.conn().await?;
    let id = alerts::name_alert(&mut conn, &user, &alert).await?;
    let page = alerts::list_alert_events(&mut conn, &user, id, before, limit).await?;
    Ok(JsonResponse(page))
}
