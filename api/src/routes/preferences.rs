//! Blind preferences between the answers of two prompts.

use axum::{
    Json as JsonResponse, extract::State, http::HeaderMap, http::StatusCode, response::Response,
};
use opb_core::community::{
    self, BlindPair, NewPreference, Preference, PreferenceBoard, PreferenceChoice,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    AppState,
    body::Json,
    caller::{Authenticated, Viewer},
    etag,
    parameters::{Path, Query},
    problem::Result,
};

/// A filter of preferences.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PreferenceBoardQuery {
    /// True for simulated models, false for real ones; when absent, real ones if they have standings.
    simulated: Option<bool>,
}

/// A choice between the answers of a pair.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPreference {
    /// One of the answers, or neither.
    pub choice: PreferenceChoice,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(create_preference))
        .routes(routes!(set_preference))
        .routes(routes!(get_preference_board))
}

/// Draws a pair for a blind comparison: two prompts' answers to one item by one model, without names and in random
/// order.
///
/// A pair that the caller has not decided yet is drawn again.
#[utoipa::path(
    post,
    path = "/api/v1/preferences",
    tag = "community",
    request_body = NewPreference,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The pair", body = BlindPair),
        (status = 404, description = "The benchmark does not exist, or has no undecided pair", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn create_preference(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Json(body): Json<NewPreference>,
) -> Result<(StatusCode, JsonResponse<BlindPair>)> {
    let mut conn = state.conn().await?;
    let pair = community::create_preference(&mut conn, &user, &body).await?;
    Ok((StatusCode::CREATED, JsonResponse(pair)))
}

/// Records which answer the caller prefers, and reveals the prompts. The choice is final.
#[utoipa::path(
    put,
    path = "/api/v1/preferences/{preference}",
    tag = "community",
    params(("preference" = Uuid, Path, description = "Id of the pair")),
    request_body = SetPreference,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The choice and the names", body = Preference),
        (status = 409, description = "The caller has made another choice before", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn set_preference(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(id): Path<Uuid>,
    Json(body): Json<SetPreference>,
) -> Result<JsonResponse<Preference>> {
    let mut conn = state.conn().await?;
    let preference = community::set_preference(&mut conn, &user, id, body.choice).await?;
    Ok(JsonResponse(preference))
}

/// Returns the prompts of a benchmark version ranked by blind preference.
#[utoipa::path(
    get,
    path = "/api/v1/leaderboards/{benchmark}/preferences",
    tag = "community",
    params(("benchmark" = String, Path, description = "`slug` or `slug@number`; without a number, the newest version"), PreferenceBoardQuery),
    security((), ("bearer" = [])),
    responses(
        (status = 200, description = "The ranking", body = PreferenceBoard, headers(("etag" = String))),
        (status = 304, description = "Nothing has changed")
    )
)]
async fn get_preference_board(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Path(benchmark): Path<String>,
    Query(query): Query<PreferenceBoardQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let mut conn = state.conn().await?;
    let board =
        community::read_preference_board(&mut conn, viewer.as_ref(), &benchmark, query.simulated)
            .await?;
    etag::tagged(&headers, &board)
}
