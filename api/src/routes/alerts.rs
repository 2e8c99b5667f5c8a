//! Alerts: rules on the runs of a schedule.

use axum::{Json as Answer, extract::State, http::StatusCode};
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

/// The alerts of the caller, newest first, with what fires now.
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
) -> Result<Answer<Page<Alert>>> {
    let (before, limit) = query.by_id()?;
    let mut conn = state.conn().await?;
    let page = alerts::list_alerts(&mut conn, &user, before, limit).await?;
    Ok(Answer(page))
}

/// Makes an alert on a schedule of the caller. It begins with the next run that ends.
#[utoipa::path(
    post,
    path = "/api/v1/alerts",
    tag = "alerts",
    request_body = NewAlert,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The alert", body = Alert),
        (status = 409, description = "The caller has too many", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn create_alert(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Json(body): Json<NewAlert>,
) -> Result<(StatusCode, Answer<Alert>)> {
    let mut conn = state.conn().await?;
    let alert = alerts::create_alert(&mut conn, &user, &body).await?;
    Ok((StatusCode::CREATED, Answer(alert)))
}

/// An alert, with what fires now.
#[utoipa::path(
    get,
    path = "/api/v1/alerts/{alert}",
    tag = "alerts",
    params(("alert" = String, Path, description = "Id, or the name of one of the caller's")),
    security(("bearer" = [])),
    responses((status = 200, description = "The alert", body = Alert))
)]
async fn get_alert(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(alert): Path<String>,
) -> Result<Answer<Alert>> {
    let mut conn = state.conn().await?;
    let id = alerts::name_alert(&mut conn, &user, &alert).await?;
    Ok(Answer(alerts::find_alert(&mut conn, &user, id).await?))
}

/// Changes an alert.
#[utoipa::path(
    patch,
    path = "/api/v1/alerts/{alert}",
    tag = "alerts",
    params(("alert" = String, Path, description = "Id, or the name of one of the caller's")),
    request_body = UpdateAlert,
    security(("bearer" = [])),
    responses((status = 200, description = "The alert", body = Alert))
)]
async fn update_alert(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(alert): Path<String>,
    Json(body): Json<UpdateAlert>,
) -> Result<Answer<Alert>> {
    let mut conn = state.conn().await?;
    let id = alerts::name_alert(&mut conn, &user, &alert).await?;
    let alert = alerts::update_alert(&mut conn, &user, id, body).await?;
    Ok(Answer(alert))
}

/// Deletes an alert with its history.
#[utoipa::path(
    delete,
    path = "/api/v1/alerts/{alert}",
    tag = "alerts",
    params(("alert" = String, Path, description = "Id, or the name of one of the caller's")),
    security(("bearer" = [])),
    responses((status = 204, description = "It is gone"))
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

/// Makes an alert silent until a time: it keeps its history and tells nobody. Without a time, the silence ends.
#[utoipa::path(
    put,
    path = "/api/v1/alerts/{alert}/silence",
    tag = "alerts",
    params(("alert" = String, Path, description = "Id, or the name of one of the caller's")),
    request_body = Silence,
    security(("bearer" = [])),
    responses((status = 200, description = "The alert", body = Alert))
)]
async fn silence_alert(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(alert): Path<String>,
    Json(body): Json<Silence>,
) -> Result<Answer<Alert>> {
    let mut conn = state.conn().await?;
    let id = alerts::name_alert(&mut conn, &user, &alert).await?;
    let alert = alerts::silence_alert(&mut conn, &user, id, body).await?;
    Ok(Answer(alert))
}

/// Takes note that whatever fires has been seen to: what is now is the new normal.
#[utoipa::path(
    post,
    path = "/api/v1/alerts/{alert}/resolve",
    tag = "alerts",
    params(("alert" = String, Path, description = "Id, or the name of one of the caller's")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The alert", body = Alert),
        (status = 409, description = "It does not fire", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn resolve_alert(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(alert): Path<String>,
) -> Result<Answer<Alert>> {
    let mut conn = state.conn().await?;
    let id = alerts::name_alert(&mut conn, &user, &alert).await?;
    Ok(Answer(alerts::resolve_alert(&mut conn, &user, id).await?))
}

/// The history of an alert: when it began to fire and when it was resolved, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/alerts/{alert}/events",
    tag = "alerts",
    params(("alert" = String, Path, description = "Id, or the name of one of the caller's"), PageQuery),
    security(("bearer" = [])),
    responses((status = 200, description = "A page of events", body = Page<AlertEvent>))
)]
async fn list_alert_events(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(alert): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Answer<Page<AlertEvent>>> {
    let (before, limit) = query.by_id()?;
    let mut conn = state.conn().await?;
    let id = alerts::name_alert(&mut conn, &user, &alert).await?;
    let page = alerts::list_alert_events(&mut conn, &user, id, before, limit).await?;
    Ok(Answer(page))
}
