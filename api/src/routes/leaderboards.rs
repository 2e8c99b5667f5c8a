//! Leaderboards: only read here, computed elsewhere.

use axum::{extract::State, http::HeaderMap, response::Response};
use opb_core::{
    auth::CurrentUser,
    leaderboards::{
        self, BoardFilter, Leaderboard, LeaderboardEffects, LeaderboardHistory, OverallFilter,
        OverallLeaderboard,
    },
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    caller::Viewer,
    etag::Tagged,
    parameters::{Path, Query},
    problem::Result,
};

/// Which courses.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HistoryQuery {
    /// Those of simulated models, or those of real ones; when absent, the real ones if there are any.
    simulated: Option<bool>,
    /// `slug`, or `slug@number` of a prompt version; all when absent.
    prompt: Option<String>,
    /// `provider:name` of a model; all when absent.
    model: Option<String>,
}

/// What can be asked of leaderboards.
#[derive(Debug, Clone)]
enum Question {
    Overall(OverallFilter),
    Board(String, BoardFilter),
    Effects(String, BoardFilter),
    History(String, HistoryQuery),
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(get_overall_leaderboard))
        .routes(routes!(get_leaderboard))
        .routes(routes!(get_leaderboard_effects))
        .routes(routes!(get_leaderboard_history))
}

/// An order over the newest versions of all benchmarks: normalised mean and mean win rate.
#[utoipa::path(
    get,
    path = "/api/v1/leaderboards",
    tag = "leaderboards",
    params(OverallFilter),
    security((), ("bearer" = [])),
    responses(
        (status = 200, description = "The entries that are complete enough", body = OverallLeaderboard, headers(("etag" = String))),
        (status = 304, description = "Nothing has changed")
    )
)]
async fn get_overall_leaderboard(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Query(filter): Query<OverallFilter>,
    headers: HeaderMap,
) -> Result<Response> {
    answer(state, viewer, Question::Overall(filter), &headers).await
}

/// The standings of a benchmark version, best first, and what open runs have reached so far.
#[utoipa::path(
    get,
    path = "/api/v1/leaderboards/{benchmark}",
    tag = "leaderboards",
    params(("benchmark" = String, Path, description = "`slug` or `slug@number`; without a number, the newest version"), BoardFilter),
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
    Query(filter): Query<BoardFilter>,
    headers: HeaderMap,
) -> Result<Response> {
    let question = Question::Board(benchmark, filter);
    answer(state, viewer, question, &headers).await
}

/// The standings by prompt with the models averaged, and by model with the prompts averaged: the two effects split.
#[utoipa::path(
    get,
    path = "/api/v1/leaderboards/{benchmark}/effects",
    tag = "leaderboards",
    params(("benchmark" = String, Path, description = "`slug` or `slug@number`; without a number, the newest version"), BoardFilter),
    security((), ("bearer" = [])),
    responses(
        (status = 200, description = "Both effects, best first", body = LeaderboardEffects, headers(("etag" = String))),
        (status = 304, description = "Nothing has changed")
    )
)]
async fn get_leaderboard_effects(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Path(benchmark): Path<String>,
    Query(filter): Query<BoardFilter>,
    headers: HeaderMap,
) -> Result<Response> {
    let question = Question::Effects(benchmark, filter);
    answer(state, viewer, question, &headers).await
}

/// The courses of a benchmark version's standings over time, their steps, and models that drift.
#[utoipa::path(
    get,
    path = "/api/v1/leaderboards/{benchmark}/history",
    tag = "leaderboards",
    params(("benchmark" = String, Path, description = "`slug` or `slug@number`; without a number, the newest version"), HistoryQuery),
    security((), ("bearer" = [])),
    responses(
        (status = 200, description = "The courses", body = LeaderboardHistory, headers(("etag" = String))),
        (status = 304, description = "Nothing has changed")
    )
)]
async fn get_leaderboard_history(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Path(benchmark): Path<String>,
    Query(query): Query<HistoryQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let question = Question::History(benchmark, query);
    answer(state, viewer, question, &headers).await
}

/// Whoever brings no credential gets the answer that everybody gets, which may be kept; others see what is theirs.
async fn answer(
    state: AppState,
    viewer: Option<CurrentUser>,
    question: Question,
    headers: &HeaderMap,
) -> Result<Response> {
    let tagged = if let Some(viewer) = viewer {
        Box::pin(read(&state, Some(&viewer), &question)).await?
    } else {
        let answers = state.answers.clone();
        let name = format!("{question:?}");
        let make = move || {
            let (state, question) = (state.clone(), question.clone());
            async move { read(&state, None, &question).await }
        };
        Box::pin(answers.get(name, make)).await?
    };
    Ok(tagged.respond(headers))
}

async fn read(
    state: &AppState,
    viewer: Option<&CurrentUser>,
    question: &Question,
) -> Result<Tagged> {
    let mut conn = state.conn_for(viewer).await?;
    match question {
        Question::Overall(filter) => {
            let loaded = leaderboards::load_overall(&mut conn, viewer, filter).await?;
            drop(conn);
            Tagged::json(&state.statistics.finish(loaded).await?)
        }
        Question::Board(benchmark, filter) => {
            let board = leaderboards::read_leaderboard(&mut conn, viewer, benchmark, filter);
            Tagged::json(&board.await?)
        }
        Question::Effects(benchmark, filter) => {
            let loaded = leaderboards::load_effects(&mut conn, viewer, benchmark, filter).await?;
            drop(conn);
            Tagged::json(&state.statistics.finish(loaded).await?)
        }
        Question::History(benchmark, query) => {
            let (prompt, model) = (query.prompt.as_deref(), query.model.as_deref());
            let simulated = query.simulated;
            let loaded =
                leaderboards::load_history(&mut conn, viewer, benchmark, simulated, prompt, model)
                    .await?;
            drop(conn);
            Tagged::json(&state.statistics.finish(loaded).await?)
        }
    }
}
