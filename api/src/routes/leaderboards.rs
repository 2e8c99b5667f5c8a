//! Leaderboards: only read here, computed elsewhere.

use axum::{extract::State, http::HeaderMap, response::Response};
use opb_core::leaderboards::{self, Leaderboard};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    caller::Viewer,
    etag,
    parameters::{Path, Query},
    problem::Result,
};

/// Which standings.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LeaderboardQuery {
    /// Those of simulated models, or those of real ones; when absent, the real ones if there are any.
    pub(super) simulated: Option<bool>,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_leaderboard))
}

/// The standings of a benchmark version, best first.
#[utoipa::path(
    get,
    path = "/api/v1/leaderboards/{benchmark}",
    tag = "leaderboards",
    params(("benchmark" = String, Path, description = "`slug` or `slug@number`; without a number, the newest version"), LeaderboardQuery),
    security((), ("bearer" = [])),
    responses(
        (status = 200, description = "The standings", body = Leaderboard, headers(("etag" = String))),
        (status = 304, description = "Nothing has changed")
    )
)]
async fn get_leaderboard(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Path(benchmark): Path<String>,
    Query(query): Query<LeaderboardQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let mut conn = state.conn().await?;
    let leaderboard =
        leaderboards::read_leaderboard(&mut conn, viewer.as_ref(), &benchmark, query.simulated)
            .await?;
    etag::tagged(&headers, &leaderboard)
}
