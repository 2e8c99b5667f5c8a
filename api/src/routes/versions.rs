//! Versions of prompts: adding, reading, comparing and rendering them.

use axum::{Json as Answer, extract::State, http::StatusCode};
use opb_core::{
    Error,
    deletion::Deletion,
    library::{
        self, NewPromptVersion, Preview, PreviewRequest, PromptVersion, SavedVersion, VersionDiff,
    },
    paging::Page,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    body::Json,
    caller::{Authenticated, Turn, Viewer},
    paging::PageQuery,
    parameters::{Path, Path2, Query},
    problem::Result,
};

/// Two versions, each by its number or an alias.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DiffQuery {
    /// The older side.
    from: String,
    /// The newer side; the newest version, when absent.
    #[serde(default = "latest")]
    #[param(required = false)]
    to: String,
}

/// Two versions to compare as written and as rendered.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiffRequest {
    /// The older side, a number or an alias.
    from: String,
    /// The newer side; the newest version, when absent.
    #[serde(default = "latest")]
    to: String,
    /// What both are rendered with.
    #[schema(value_type = Object)]
    variables: Map<String, Value>,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_prompt_versions, create_prompt_version))
        .routes(routes!(get_prompt_version, delete_prompt_version))
        .routes(routes!(compare_prompt_versions, compare_rendered_versions))
        .routes(routes!(render_prompt))
}

/// The versions of a prompt, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/prompts/{prompt}/versions",
    tag = "library",
    params(("prompt" = String, Path, description = "Slug or id"), PageQuery),
    security((), ("bearer" = [])),
    responses((status = 200, description = "A page of versions", body = Page<PromptVersion>))
)]
async fn list_prompt_versions(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Path(prompt): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Answer<Page<PromptVersion>>> {
    let (below, limit) = query.by_number()?;
    let mut conn = state.conn().await?;
    let page = library::list_versions(&mut conn, viewer.as_ref(), &prompt, below, limit).await?;
    Ok(Answer(page))
}

/// Adds a version to a prompt. Content that a version has already adds nothing, and answers with that version.
#[utoipa::path(
    post,
    path = "/api/v1/prompts/{prompt}/versions",
    tag = "library",
    params(("prompt" = String, Path, description = "Slug or id")),
    request_body = NewPromptVersion,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The version that holds the content", body = SavedVersion),
        (status = 403, description = "The prompt belongs to somebody else", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The prompt is archived", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn create_prompt_version(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Turn(asker): Turn,
    Path(prompt): Path<String>,
    Json(body): Json<NewPromptVersion>,
) -> Result<(StatusCode, Answer<SavedVersion>)> {
    let checked = state.computing.run(asker, move || body.checked()).await??;
    let mut conn = state.conn().await?;
    let version = library::add_version(&mut conn, &user, &prompt, checked).await?;
    Ok((StatusCode::CREATED, Answer(version)))
}

/// A version of a prompt.
#[utoipa::path(
    get,
    path = "/api/v1/prompts/{prompt}/versions/{version}",
    tag = "library",
    params(
        ("prompt" = String, Path, description = "Slug or id"),
        ("version" = String, Path, description = "A number, an alias or `latest`")
    ),
    security((), ("bearer" = [])),
    responses((status = 200, description = "The version", body = PromptVersion))
)]
async fn get_prompt_version(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Path2(prompt, version): Path2<String, String>,
) -> Result<Answer<PromptVersion>> {
    let mut conn = state.conn().await?;
    let reference = format!("{}@{version}", plain(&prompt)?);
    let version = library::resolve_version(&mut conn, viewer.as_ref(), &reference).await?;
    Ok(Answer(version))
}

/// Deletes an older version of a prompt. One that runs rest on is withdrawn: it takes no more runs, and only the owners of
/// those runs can read it.
#[utoipa::path(
    delete,
    path = "/api/v1/prompts/{prompt}/versions/{version}",
    tag = "library",
    params(
        ("prompt" = String, Path, description = "Slug or id"),
        ("version" = i32, Path, description = "The version's number")
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Whether it is erased, or withdrawn because runs rest on it", body = Deletion),
        (status = 403, description = "The prompt belongs to somebody else", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is the newest version, or an alias points at it", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn delete_prompt_version(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path2(prompt, version): Path2<String, i32>,
) -> Result<Answer<Deletion>> {
    let mut conn = state.conn().await?;
    let deletion = library::delete_prompt_version(&mut conn, &user, &prompt, version).await?;
    Ok(Answer(deletion))
}

/// What changed between two versions.
#[utoipa::path(
    get,
    path = "/api/v1/prompts/{prompt}/diff",
    tag = "library",
    params(("prompt" = String, Path, description = "Slug or id"), DiffQuery),
    security((), ("bearer" = [])),
    responses((status = 200, description = "What changed, with three lines around it; 422 when that is more than 5,000 lines or 256 KiB", body = VersionDiff))
)]
async fn compare_prompt_versions(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Turn(asker): Turn,
    Path(prompt): Path<String>,
    Query(query): Query<DiffQuery>,
) -> Result<Answer<VersionDiff>> {
    let sides = {
        let mut conn = state.conn().await?;
        let wanted = (query.from.as_str(), query.to.as_str());
        library::find_sides(&mut conn, viewer.as_ref(), &prompt, wanted).await?
    };
    let diff = state
        .computing
        .run(asker, move || sides.compare(None))
        .await??;
    Ok(Answer(diff))
}

/// What changed between two versions, also in what a model would be sent.
#[utoipa::path(
    post,
    path = "/api/v1/prompts/{prompt}/diff",
    operation_id = "compare_rendered_versions",
    tag = "library",
    params(("prompt" = String, Path, description = "Slug or id")),
    request_body = DiffRequest,
    security((), ("bearer" = [])),
    responses((status = 200, description = "What changed, with three lines around it; 422 when that is more than 5,000 lines or 256 KiB", body = VersionDiff))
)]
async fn compare_rendered_versions(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Turn(asker): Turn,
    Path(prompt): Path<String>,
    Json(body): Json<DiffRequest>,
) -> Result<Answer<VersionDiff>> {
    let sides = {
        let mut conn = state.conn().await?;
        let wanted = (body.from.as_str(), body.to.as_str());
        library::find_sides(&mut conn, viewer.as_ref(), &prompt, wanted).await?
    };
    let comparing = move || sides.compare(Some(&body.variables));
    let diff = state.computing.run(asker, comparing).await??;
    Ok(Answer(diff))
}

/// Renders a prompt to look at it. What cannot be rendered, or would cost too much, is refused within a moment.
#[utoipa::path(
    post,
    path = "/api/v1/prompts/{prompt}/render",
    tag = "library",
    params(("prompt" = String, Path, description = "Slug or id")),
    request_body = PreviewRequest,
    security((), ("bearer" = [])),
    responses((status = 200, description = "What a model would be sent; 422 when that is more than 256 KiB", body = Preview))
)]
async fn render_prompt(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Turn(asker): Turn,
    Path(prompt): Path<String>,
    Json(body): Json<PreviewRequest>,
) -> Result<Answer<Preview>> {
    let version = {
        let mut conn = state.conn().await?;
        let wanted = body.version.as_deref().unwrap_or("latest");
        let reference = format!("{}@{wanted}", plain(&prompt)?);
        library::resolve_version(&mut conn, viewer.as_ref(), &reference).await?
    };
    let rendering = move || library::preview(&version, &body.variables);
    Ok(Answer(state.computing.run(asker, rendering).await??))
}

/// A slug or id, without a version of its own.
fn plain(prompt: &str) -> Result<&str> {
    if prompt.contains('@') {
        return Err(Error::NotFound(format!("the prompt `{prompt}`")).into());
    }
    Ok(prompt)
}

fn latest() -> String {
    "latest".to_owned()
}
