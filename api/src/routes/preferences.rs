//! Blind preferences between two prompts' answers.

use axum::{Json as Answer, extract::State, http::HeaderMap, http::StatusCode, response::Response};
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

/// Which choices.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PreferenceBoardQuery {
    /// Those between simulated models, or between real ones; when absent, real ones if there are any standings of them.
    simulated: Option<bool>,
}

/// What is preferred.
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

/// Draws two prompts' answers to one item from one model, without names and in an order by chance.
/// A pair that the caller has not decided on yet comes again.
#[utoipa::path(
    post,
    path = "/api/v1/preferences",
    tag = "community",
    request_body = NewPreference,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The pair", body = BlindPair),
        (status = 404, description = "There is no such benchmark, or no pair left on it", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn create_preference(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Json(body): Json<NewPreference>,
) -> Result<(StatusCode, Answer<BlindPair>)> {
    let mut conn = state.conn().await?;
    let pair = community::create_preference(&mut conn, &user, &body).await?;
    Ok((StatusCode::CREATED, Answer(pair)))
}

/// Records which answer the caller prefers, and shows whose they are. The choice is final.
#[utoipa::path(
    put,
    path = "/api/v1/preferences/{preference}",
    tag = "community",
    params(("preference" = Uuid, Path, description = "Id of the pair")),
    request_body = SetPreference,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The choice and the names", body = Preference),
        (status = 409, description = "Another choice was made before", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn set_preference(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(id): Path<Uuid>,
    Json(body): Json<SetPreference>,
) -> Result<Answer<Preference>> {
    let mut conn = state.conn().await?;
    let preference = community::set_preference(&mut conn, &user, id, body.choice).await?;
    Ok(Answer(preference))
}

/// A benchmark version's prompts by blind preference, most preferred first.
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
