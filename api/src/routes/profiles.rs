//! Profiles, and the export of a user's own data.

use axum::{
    Json as JsonResponse,
    body::{Body, Bytes},
    extract::State,
    http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE},
    response::IntoResponse,
};
use futures::stream;
use opb_core::{
    Error,
    community::{self, Profile, ProfileSettings},
    computing::Asker,
    own_data::OwnData,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    body::Json,
    caller::{Authenticated, LoggedIn, Turn, Viewer, Watch},
    parameters::Path,
    problem::Result,
    seats::Seat,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(get_profile))
        .routes(routes!(get_own_profile, set_own_profile))
        .routes(routes!(export_own_data))
}

/// Returns a user's profile, as far as it is visible to the caller.
#[utoipa::path(
    get,
    path = "/api/v1/users/{username}",
    tag = "community",
    params(("username" = String, Path, description = "Name of the user")),
    security((), ("bearer" = [])),
    responses((status = 200, description = "The profile", body = Profile))
)]
async fn get_profile(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Turn(asker): Turn,
    Path(username): Path<String>,
) -> Result<JsonResponse<Profile>> {
    let loaded = {
        let mut conn = state.conn_for(viewer.as_ref()).await?;
        community::find_profile(&mut conn, viewer.as_ref(), &username).await?
    };
    let profile = state.computing.finish(asker, loaded).await?;
    Ok(JsonResponse(profile))
}

/// Returns the caller's profile and its visibility settings.
#[utoipa::path(
    get,
    path = "/api/v1/me/profile",
    tag = "community",
    security(("bearer" = [])),
    responses((status = 200, description = "The settings", body = ProfileSettings))
)]
async fn get_own_profile(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
) -> Result<JsonResponse<ProfileSettings>> {
    let mut conn = state.conn().await?;
    let settings = community::find_profile_settings(&mut conn, &user).await?;
    Ok(JsonResponse(settings))
}

/// Replaces the caller's profile and its visibility settings.
#[utoipa::path(
    put,
    path = "/api/v1/me/profile",
    tag = "community",
    request_body = ProfileSettings,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The settings", body = ProfileSettings),
        (status = 403, description = "The API key lacks the scope", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn set_own_profile(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Json(body): Json<ProfileSettings>,
) -> Result<JsonResponse<ProfileSettings>> {
    let mut conn = state.conn().await?;
    community::update_profile_settings(&mut conn, &user, &body).await?;
    Ok(JsonResponse(body))
}

/// Exports all of the caller's data as one JSON object, without secrets.
///
/// Items of benchmarks and evaluations of runs, which can be millions, are replaced by their URLs.
#[utoipa::path(
    get,
    path = "/api/v1/me/export",
    tag = "community",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Account, profile, sessions, keys, prompts, benchmarks, runs, votes, favourites, comments, reports, collections, preferences", body = Object),
        (status = 403, description = "An API key cannot do this", body = crate::Problem, content_type = "application/problem+json"),
        (status = 429, description = "The caller has too many live streams and exports", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn export_own_data(
    State(state): State<AppState>,
    LoggedIn { user, .. }: LoggedIn,
    watch: Watch,
) -> Result<impl IntoResponse> {
    let export = Export {
        _seat: state.seats.take(Asker::User(user.id))?,
        state,
        watch,
        data: OwnData::default(),
    };
    let body = Body::from_stream(stream::try_unfold(export, Export::next));
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (
            CONTENT_DISPOSITION,
            "attachment; filename=\"openpromptbank-own-data.json\"",
        ),
        (CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, body))
}

/// An export in progress. No database connection is held while the client reads.
struct Export {
    state: AppState,
    watch: Watch,
    data: OwnData,
    _seat: Seat,
}

impl Export {
    /// The next piece of the document. Users who have logged out or were disabled get no more data.
    async fn next(mut self) -> std::io::Result<Option<(Bytes, Self)>> {
        let piece = self.piece().await.map_err(std::io::Error::other)?;
        Ok(piece.map(|piece| (piece.into(), self)))
    }

    async fn piece(&mut self) -> opb_core::Result<Option<Vec<u8>>> {
        let viewer = self.watch.viewer(&self.state).await?;
        let owner = viewer.ok_or(Error::Unauthenticated("the login has ended"))?;
        let mut conn = self.state.pool.acquire().await?;
        self.data.next(&mut conn, &owner).await
    }
}
