//! Imports: uploads in parts of benchmarks that are too large for one request.

use axum::{
    Json as JsonResponse,
    extract::State,
    http::{StatusCode, header::LOCATION},
    response::IntoResponse,
};
use opb_core::benchmarks::{
    self, Begun, BenchmarkVersion, CheckedPart, Import, NewImport, PublishImport,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    AppState,
    body::{Json, JsonLines},
    caller::{Authenticated, Turn},
    parameters::{Path, Path2},
    problem::Result,
};

/// The result of beginning an import: the version that already has the announced content, or the import that receives
/// the parts.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BegunImport {
    /// The version that already has the announced content; nothing needs to be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<BenchmarkVersion>,
    /// The import. If it was begun before, continue with the items from `item_count` on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<Import>,
}

/// The caller's unpublished imports.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Imports {
    /// The imports, newest first.
    pub imports: Vec<Import>,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_imports, create_import))
        .routes(routes!(get_import, delete_import))
        .routes(routes!(set_import_part))
        .routes(routes!(publish_import))
}

/// Lists the caller's unpublished imports, newest first.
///
/// They count against the stored bytes until they are published or deleted.
#[utoipa::path(
    get,
    path = "/api/v1/imports",
    tag = "benchmarks",
    security(("bearer" = [])),
    responses((status = 200, description = "The imports", body = Imports))
)]
async fn list_imports(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
) -> Result<JsonResponse<Imports>> {
    let mut conn = state.conn().await?;
    let imports = benchmarks::list_imports(&mut conn, &user).await?;
    Ok(JsonResponse(Imports { imports }))
}

/// Begins the import of a benchmark that is too large for one request: everything except its items, which follow in
/// parts.
///
/// With the content hash of the whole, an existing version with the same content or an interrupted import is found.
#[utoipa::path(
    post,
    path = "/api/v1/imports",
    tag = "benchmarks",
    request_body = NewImport,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The new import, ready to receive parts", body = BegunImport, headers(("location" = String, description = "The import's address"))),
        (status = 200, description = "A version with this content exists, or an import of it was begun before", body = BegunImport),
        (status = 409, description = "The benchmark is visible to others, and its slug is taken among the benchmarks that they can see; or too many imports are open", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn create_import(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Turn(asker): Turn,
    Json(body): Json<NewImport>,
) -> Result<impl IntoResponse> {
    let checked = state.checking.run(asker, move || body.checked()).await??;
    let mut conn = state.conn().await?;
    let default_visibility = state.rules.default_visibility;
    let begun = benchmarks::begin_import(&mut conn, &user, &checked, default_visibility).await?;
    let (status, version, import) = match begun {
        Begun::Published(version) => (StatusCode::OK, Some(version), None),
        Begun::Resumed(import) => (StatusCode::OK, None, Some(import)),
        Begun::New(import) => (StatusCode::CREATED, None, Some(import)),
    };
    let address = import
        .as_ref()
        .map(|import| [(LOCATION, format!("/api/v1/imports/{}", import.id))]);
    Ok((
        status,
        address,
        JsonResponse(BegunImport { version, import }),
    ))
}

/// Returns an import with its progress.
#[utoipa::path(
    get,
    path = "/api/v1/imports/{import}",
    tag = "benchmarks",
    params(("import" = Uuid, Path, description = "The import's id")),
    security(("bearer" = [])),
    responses((status = 200, description = "The import", body = Import))
)]
async fn get_import(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(import): Path<Uuid>,
) -> Result<JsonResponse<Import>> {
    let mut conn = state.conn().await?;
    let found = benchmarks::find_import(&mut conn, &user, import).await?;
    Ok(JsonResponse(found.import))
}

/// Deletes an unpublished import and its parts.
#[utoipa::path(
    delete,
    path = "/api/v1/imports/{import}",
    tag = "benchmarks",
    params(("import" = Uuid, Path, description = "The import's id")),
    security(("bearer" = [])),
    responses((status = 204, description = "The import is deleted"))
)]
async fn delete_import(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(import): Path<Uuid>,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    benchmarks::abandon_import(&mut conn, &user, import).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Uploads one part of the items as JSON Lines: one item per line, as in `items` of `POST /api/v1/benchmarks`.
///
/// Parts are numbered from 1 and must arrive in order. Sending the same part again is harmless.
#[utoipa::path(
    put,
    path = "/api/v1/imports/{import}/parts/{number}",
    tag = "benchmarks",
    params(("import" = Uuid, Path, description = "The import's id"), ("number" = i32, Path, description = "The part's number")),
    request_body(content = String, content_type = "application/x-ndjson", description = "Items, one per line"),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The import with its progress", body = Import),
        (status = 409, description = "Another part is next, or this part was received with other items", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn set_import_part(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path2(import, number): Path2<Uuid, i32>,
    Turn(asker): Turn,
    JsonLines(lines): JsonLines,
) -> Result<JsonResponse<Import>> {
    let open = {
        let mut conn = state.conn().await?;
        benchmarks::find_import(&mut conn, &user, import).await?
    };
    let first = open.import.item_count;
    let parse = move || CheckedPart::parse(&lines, &open.scorers, first);
    let part = state.checking.run(asker, parse).await??;
    let mut conn = state.conn().await?;
    let import = benchmarks::add_part(&mut conn, &user, import, number, &part).await?;
    Ok(JsonResponse(import))
}

/// Publishes a complete import as the next version of its benchmark.
///
/// If a version already has this content, no version is added and that version is returned.
#[utoipa::path(
    post,
    path = "/api/v1/imports/{import}/publish",
    tag = "benchmarks",
    params(("import" = Uuid, Path, description = "The import's id")),
    request_body = PublishImport,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The version with this content", body = BenchmarkVersion, headers(("location" = String, description = "The benchmark's address"))),
        (status = 409, description = "The received items differ from the announced content; or the benchmark is visible to others, and its slug is taken among the benchmarks that they can see", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn publish_import(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(import): Path<Uuid>,
    Json(body): Json<PublishImport>,
) -> Result<impl IntoResponse> {
    let mut conn = state.conn().await?;
    let version = benchmarks::publish_import(&mut conn, &user, import, &body).await?;
    let address = format!("/api/v1/benchmarks/{}", version.benchmark);
    Ok((
        StatusCode::CREATED,
        [(LOCATION, address)],
        JsonResponse(version),
    ))
}
