//! Profiles, and everything that is one user's.

use axum::{
    Json as Answer,
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

/// A user as the caller may see them.
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
) -> Result<Answer<Profile>> {
    let loaded = {
        let mut conn = state.conn_for(viewer.as_ref()).await?;
        community::find_profile(&mut conn, viewer.as_ref(), &username).await?
    };
    let profile = state.computing.finish(asker, loaded).await?;
    Ok(Answer(profile))
}

/// What the caller says about themselves, and what of it others see.
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
) -> Result<Answer<ProfileSettings>> {
    let mut conn = state.conn().await?;
    let settings = community::find_profile_settings(&mut conn, &user).await?;
    Ok(Answer(settings))
}

/// Replaces what the caller says about themselves, and what of it others see.
#[utoipa::path(
    put,
    path = "/api/v1/me/profile",
    tag = "community",
    request_body = ProfileSettings,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The settings", body = ProfileSettings),
        (status = 403, description = "The API key lacks the scope for this", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn set_own_profile(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Json(body): Json<ProfileSettings>,
) -> Result<Answer<ProfileSettings>> {
    let mut conn = state.conn().await?;
    community::update_profile_settings(&mut conn, &user, &body).await?;
    Ok(Answer(body))
}

/// Everything that is the caller's, as one JSON object without any secret. Items of benchmarks and evaluations of
/// runs can be millions; their addresses stand in their place.
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

/// An export on its way. No connection is held while the client reads.
struct Export {
    state: AppState,
    watch: Watch,
    data: OwnData,
    _seat: Seat,
}

impl Export {
    /// The next piece of the document. Users who have logged out, or were disabled, read no more.
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
