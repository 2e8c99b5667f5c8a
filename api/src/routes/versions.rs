//! Versions of prompts: adding, reading, comparing and rendering them.

use axum::{Json as JsonResponse, extract::State, http::StatusCode};
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

/// Two versions, each by number or alias.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DiffQuery {
    /// The older side.
    from: String,
    /// The newer side; the newest version when absent.
    #[serde(default = "latest")]
    #[param(required = false)]
    to: String,
}

/// Two versions to compare, as written and as rendered.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiffRequest {
    /// The older side, by number or alias.
    from: String,
    /// The newer side, by number or alias; the newest version when absent.
    #[serde(default = "latest")]
    to: String,
    /// Variables with which both are rendered.
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

/// Lists the versions of a prompt, newest first.
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
) -> Result<JsonResponse<Page<PromptVersion>>> {
    let (below, limit) = query.by_number()?;
    let mut conn = state.conn().await?;
    let page = library::list_versions(&mut conn, viewer.as_ref(), &prompt, below, limit).await?;
    Ok(JsonResponse(page))
}

/// Adds a version to a prompt.
///
/// If a version already has this content, no version is added and that version is returned.
#[utoipa::path(
    post,
    path = "/api/v1/prompts/{prompt}/versions",
    tag = "library",
    params(("prompt" = String, Path, description = "Slug or id")),
    request_body = NewPromptVersion,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The version with this content", body = SavedVersion),
        (status = 403, description = "The prompt belongs to another user", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The prompt is archived", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn create_prompt_version(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Turn(asker): Turn,
    Path(prompt): Path<String>,
    Json(body): Json<NewPromptVersion>,
) -> Result<(StatusCode, JsonResponse<SavedVersion>)> {
    let checked = state.computing.run(asker, move || body.checked()).await??;
    let mut conn = state.conn().await?;
    let version = library::add_version(&mut conn, &user, &prompt, checked).await?;
    Ok((StatusCode::CREATED, JsonResponse(version)))
}

/// Returns a version of a prompt.
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
) -> Result<JsonResponse<PromptVersion>> {
    let mut conn = state.conn().await?;
    let reference = format!("{}@{version}", plain(&prompt)?);
    let version = library::resolve_version(&mut conn, viewer.as_ref(), &reference).await?;
    Ok(JsonResponse(version))
}

/// Deletes an older version of a prompt.
///
/// A version that runs use is withdrawn instead: it accepts no new runs, and only the owners of those runs can read
/// it.
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
        (status = 200, description = "Whether it was erased, or withdrawn because runs use it", body = Deletion),
        (status = 403, description = "The prompt belongs to another user", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The version is the newest one, or an alias points at it", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn delete_prompt_version(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path2(prompt, version): Path2<String, i32>,
) -> Result<JsonResponse<Deletion>> {
    let mut conn = state.conn().await?;
    let deletion = library::delete_prompt_version(&mut conn, &user, &prompt, version).await?;
    Ok(JsonResponse(deletion))
}

/// Compares two versions of a prompt as written.
#[utoipa::path(
    get,
    path = "/api/v1/prompts/{prompt}/diff",
    tag = "library",
    params(("prompt" = String, Path, description = "Slug or id"), DiffQuery),
    security((), ("bearer" = [])),
    responses((status = 200, description = "The changes, with three lines of context; 422 if they exceed 5,000 lines or 256 KiB", body = VersionDiff))
)]
async fn compare_prompt_versions(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Turn(asker): Turn,
    Path(prompt): Path<String>,
    Query(query): Query<DiffQuery>,
) -> Result<JsonResponse<VersionDiff>> {
    let sides = {
        let mut conn = state.conn().await?;
        let wanted = (query.from.as_str(), query.to.as_str());
        library::find_sides(&mut conn, viewer.as_ref(), &prompt, wanted).await?
    };
    let diff = state
        .computing
        .run(asker, move || sides.compare(None))
        .await??;
    Ok(JsonResponse(diff))
}

/// Compares two versions of a prompt as written and as rendered for a model.
#[utoipa::path(
    post,
    path = "/api/v1/prompts/{prompt}/diff",
    operation_id = "compare_rendered_versions",
    tag = "library",
    params(("prompt" = String, Path, description = "Slug or id")),
    request_body = DiffRequest,
    security((), ("bearer" = [])),
    responses((status = 200, description = "The changes, with three lines of context; 422 if they exceed 5,000 lines or 256 KiB", body = VersionDiff))
)]
async fn compare_rendered_versions(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Turn(asker): Turn,
    Path(prompt): Path<String>,
    Json(body): Json<DiffRequest>,
) -> Result<JsonResponse<VersionDiff>> {
    let sides = {
        let mut conn = state.conn().await?;
        let wanted = (body.from.as_str(), body.to.as_str());
        library::find_sides(&mut conn, viewer.as_ref(), &prompt, wanted).await?
    };
    let comparing = move || sides.compare(Some(&body.variables));
    let diff = state.computing.run(asker, comparing).await??;
    Ok(JsonResponse(diff))
}

/// Renders a prompt as a preview.
///
/// A template that cannot be rendered, or is too expensive to render, is refused.
#[utoipa::path(
    post,
    path = "/api/v1/prompts/{prompt}/render",
    tag = "library",
    params(("prompt" = String, Path, description = "Slug or id")),
    request_body = PreviewRequest,
    security((), ("bearer" = [])),
    responses((status = 200, description = "The text for the model; 422 if it exceeds 256 KiB", body = Preview))
)]
async fn render_prompt(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Turn(asker): Turn,
    Path(prompt): Path<String>,
    Json(body): Json<PreviewRequest>,
) -> Result<JsonResponse<Preview>> {
    let version = {
        let mut conn = state.conn().await?;
        let wanted = body.version.as_deref().unwrap_or("latest");
        let reference = format!("{}@{wanted}", plain(&prompt)?);
        library::resolve_version(&mut conn, viewer.as_ref(), &reference).await?
    };
    let rendering = move || library::preview(&version, &body.variables);
    Ok(JsonResponse(state.computing.run(asker, rendering).await??))
}

/// A slug or id without a version.
fn plain(prompt: &str) -> Result<&str> {
    if prompt.contains('@') {
        return Err(Error::NotFound(format!("the prompt `{prompt}`")).into());
    }
    Ok(prompt)
}

fn latest() -> String {
    "latest".to_owned()
}
