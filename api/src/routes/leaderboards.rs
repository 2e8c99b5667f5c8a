//! Leaderboards, which are only read here; `opb-core` computes them.

use axum::{Json as JsonResponse, extract::State, http::HeaderMap, response::Response};
use opb_core::{
    auth::CurrentUser,
    computing::Asker,
    leaderboards::{
        self, BoardColumn, BoardFilter, HideStandings, HistoryFilter, Leaderboard,
        LeaderboardEffects, LeaderboardHistory, OverallFilter, OverallLeaderboard,
    },
    runs::{self, RunReference},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    body::Json,
    caller::{Authenticated, Turn, Viewer},
    etag::Tagged,
    parameters::{Path, Query},
    problem::Result,
};

/// A query on leaderboards.
#[derive(Debug, Clone)]
enum Question {
    Overall(OverallFilter),
    Board(String, BoardFilter),
    Effects(String, BoardFilter),
    History(String, HistoryFilter),
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(get_overall_leaderboard))
        .routes(routes!(get_leaderboard))
        .routes(routes!(get_leaderboard_effects))
        .routes(routes!(get_leaderboard_history))
        .routes(routes!(hide_standings))
}

/// Returns the overall ranking across the newest versions of all benchmarks: normalised mean and mean win rate.
#[utoipa::path(
    get,
    path = "/api/v1/leaderboards",
    tag = "leaderboards",
    params(OverallFilter),
    security((), ("bearer" = [])),
    responses(
        (status = 200, description = "The entries measured on enough of the benchmarks", body = OverallLeaderboard, headers(("etag" = String))),
        (status = 304, description = "Nothing has changed")
    )
)]
async fn get_overall_leaderboard(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Turn(asker): Turn,
    Query(filter): Query<OverallFilter>,
    headers: HeaderMap,
) -> Result<Response> {
    answer(state, (viewer, asker), Question::Overall(filter), &headers).await
}

/// Returns the standings of a benchmark version, best first, with provisional standings of open runs.
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
    Turn(asker): Turn,
    Path(benchmark): Path<String>,
    Query(filter): Query<BoardFilter>,
    headers: HeaderMap,
) -> Result<Response> {
    let question = Question::Board(benchmark, filter);
    answer(state, (viewer, asker), question, &headers).await
}

/// Returns the effects of prompts and of models: standings by prompt averaged over models, and by model averaged over
/// prompts.
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
    Turn(asker): Turn,
    Path(benchmark): Path<String>,
    Query(filter): Query<BoardFilter>,
    headers: HeaderMap,
) -> Result<Response> {
    let question = Question::Effects(benchmark, filter);
    answer(state, (viewer, asker), question, &headers).await
}

/// Returns the history of a benchmark version's standings: changes over time, steps, and models that drift.
#[utoipa::path(
    get,
    path = "/api/v1/leaderboards/{benchmark}/history",
    tag = "leaderboards",
    params(("benchmark" = String, Path, description = "`slug` or `slug@number`; without a number, the newest version"), HistoryFilter),
    security((), ("bearer" = [])),
    responses(
        (status = 200, description = "The history of each standing", body = LeaderboardHistory, headers(("etag" = String))),
        (status = 304, description = "Nothing has changed")
    )
)]
async fn get_leaderboard_history(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Turn(asker): Turn,
    Path(benchmark): Path<String>,
    Query(query): Query<HistoryFilter>,
    headers: HeaderMap,
) -> Result<Response> {
    let question = Question::History(benchmark, query);
    answer(state, (viewer, asker), question, &headers).await
}

/// Hides standings of a run from leaderboards, or shows them again.
///
/// The run's owner hides them from all leaderboards; moderators and administrators hide other users' standings from
/// the public leaderboard. Ranks are computed without hidden standings.
#[utoipa::path(
    patch,
    path = "/api/v1/runs/{run}/standings",
    tag = "leaderboards",
    params(("run" = String, Path, description = "The run: its number, its id, the end of its id, or `last` for the caller's newest run")),
    request_body = HideStandings,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The columns of the run, and which of them are hidden", body = Vec<BoardColumn>),
        (status = 403, description = "The caller is neither the run's owner nor a moderator", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn hide_standings(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(run): Path<RunReference>,
    Json(body): Json<HideStandings>,
) -> Result<JsonResponse<Vec<BoardColumn>>> {
    let mut conn = state.conn().await?;
    let run = runs::resolve_run(&mut conn, Some(&user), &run).await?.id;
    let columns = leaderboards::hide_standings(&mut conn, &user, run, &body).await?;
    leaderboards::renew_small_boards(&mut conn, run).await?;
    Ok(JsonResponse(columns))
}

/// Callers without a credential share one response, which may be cached; other callers get their own view.
async fn answer(
    state: AppState,
    (viewer, asker): (Option<CurrentUser>, Asker),
    question: Question,
    headers: &HeaderMap,
) -> Result<Response> {
    let tagged = if let Some(viewer) = viewer {
        Box::pin(read(&state, Some(&viewer), asker, &question)).await?
    } else {
        let answers = state.response_cache.clone();
        let name = format!("{question:?}");
        let make = move || {
            let (state, question) = (state.clone(), question.clone());
            async move { read(&state, None, asker, &question).await }
        };
        Box::pin(answers.get(name, make)).await?
    };
    Ok(tagged.respond(headers))
}

async fn read(
    state: &AppState,
    viewer: Option<&CurrentUser>,
    asker: Asker,
    question: &Question,
) -> Result<Tagged> {
    let mut conn = state.conn_for(viewer).await?;
    match question {
        Question::Overall(filter) => {
            let loaded = leaderboards::load_overall(&mut conn, viewer, filter).await?;
            drop(conn);
            Tagged::json(&state.statistics.finish(asker, loaded).await?)
        }
        Question::Board(benchmark, filter) => {
            let loaded = leaderboards::load_leaderboard(&mut conn, viewer, benchmark, filter);
            let loaded = loaded.await?;
            drop(conn);
            Tagged::json(&state.statistics.finish(asker, loaded).await?)
        }
        Question::Effects(benchmark, filter) => {
            let loaded = leaderboards::load_effects(&mut conn, viewer, benchmark, filter).await?;
            drop(conn);
            Tagged::json(&state.statistics.finish(asker, loaded).await?)
        }
        Question::History(benchmark, filter) => {
            let loaded = leaderboards::load_history(&mut conn, viewer, benchmark, filter).await?;
            drop(conn);
            Tagged::json(&state.statistics.finish(asker, loaded).await?)
        }
    }
}
