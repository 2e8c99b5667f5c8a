//! Benchmarks and their items.

use axum::{
    Json as JsonResponse,
    extract::State,
    http::{StatusCode, header::LOCATION},
    response::IntoResponse,
};
use opb_core::{
    benchmarks::{self, Benchmark, BenchmarkChange, BenchmarkVersion, Definition, StoredItem},
    deletion::Deletion,
    paging::{Page, fitting},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    body::Json,
    caller::{Authenticated, Turn, Viewer},
    paging::{PageQuery, check_limit},
    parameters::{Path, Path2, Query},
    problem::{ApiError, Result},
};

/// The range of a benchmark's items.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ItemsQuery {
    /// Position of the first item; 0 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 0)]
    pub first: Option<i32>,
    /// Maximum number of items to return; 50 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<i64>,
}

/// Items of a benchmark version, in order.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Items {
    /// `slug@number` of the benchmark version.
    pub benchmark: String,
    /// Number of items of the version.
    pub item_count: i32,
    /// The items.
    pub items: Vec<StoredItem>,
    /// `first` of the next request; absent after the last item.
    pub next_first: Option<i32>,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_benchmarks, publish_benchmark))
        .routes(routes!(get_benchmark, update_benchmark, delete_benchmark))
        .routes(routes!(delete_benchmark_version))
        .routes(routes!(list_benchmark_items))
}

/// Lists the benchmarks that are visible to the caller, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/benchmarks",
    tag = "benchmarks",
    params(PageQuery),
    security((), ("bearer" = [])),
    responses((status = 200, description = "A page of benchmarks", body = Page<Benchmark>))
)]
async fn list_benchmarks(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Query(query): Query<PageQuery>,
) -> Result<JsonResponse<Page<Benchmark>>> {
    let (before, limit) = query.by_id()?;
    let mut conn = state.conn().await?;
    let page = benchmarks::list_benchmarks(&mut conn, viewer.as_ref(), before, limit).await?;
    Ok(JsonResponse(page))
}

/// Publishes a benchmark, or the next version of the caller's benchmark with the same slug.
///
/// If a version already has this content, no version is added and that version is returned.
#[utoipa::path(
    post,
    path = "/api/v1/benchmarks",
    tag = "benchmarks",
    request_body = Definition,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The version with this content", body = BenchmarkVersion, headers(("location" = String, description = "The benchmark's address"))),
        (status = 409, description = "The benchmark is visible to others, and its slug is taken among the benchmarks that they can see", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn publish_benchmark(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Turn(asker): Turn,
    Json(body): Json<Definition>,
) -> Result<impl IntoResponse> {
    let checked = state.checking.run(asker, move || body.checked()).await??;
    let mut conn = state.conn().await?;
    let default_visibility = state.rules.default_visibility;
    let version =
        benchmarks::publish_benchmark(&mut conn, &user, &checked, default_visibility).await?;
    let address = format!("/api/v1/benchmarks/{}", version.benchmark);
    Ok((
        StatusCode::CREATED,
        [(LOCATION, address)],
        JsonResponse(version),
    ))
}

/// Returns a benchmark.
#[utoipa::path(
    get,
    path = "/api/v1/benchmarks/{benchmark}",
    tag = "benchmarks",
    params(("benchmark" = String, Path, description = "Slug or id")),
    security((), ("bearer" = [])),
    responses((status = 200, description = "The benchmark", body = Benchmark))
)]
async fn get_benchmark(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Path(benchmark): Path<String>,
) -> Result<JsonResponse<Benchmark>> {
    let mut conn = state.conn().await?;
    let benchmark = benchmarks::find_benchmark(&mut conn, viewer.as_ref(), &benchmark).await?;
    Ok(JsonResponse(benchmark))
}

/// Updates the description and the visibility of a benchmark; its versions stay unchanged.
#[utoipa::path(
    patch,
    path = "/api/v1/benchmarks/{benchmark}",
    tag = "benchmarks",
    params(("benchmark" = String, Path, description = "Slug or id")),
    request_body = BenchmarkChange,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The updated benchmark", body = Benchmark),
        (status = 403, description = "The benchmark belongs to another user", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The benchmark is visible to others, and its slug is taken among the benchmarks that they can see", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn update_benchmark(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(benchmark): Path<String>,
    Json(body): Json<BenchmarkChange>,
) -> Result<JsonResponse<Benchmark>> {
    let mut conn = state.conn().await?;
    let changed = benchmarks::change_benchmark(&mut conn, &user, &benchmark, &body).await?;
    Ok(JsonResponse(changed))
}

/// Deletes a benchmark with all its versions.
///
/// Versions that runs use are withdrawn instead: they accept no new runs, and only the owners of those runs can read
/// them. The slug becomes free.
#[utoipa::path(
    delete,
    path = "/api/v1/benchmarks/{benchmark}",
    tag = "benchmarks",
    params(("benchmark" = String, Path, description = "Slug or id")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Whether it was erased, or withdrawn because runs use it", body = Deletion),
        (status = 403, description = "The benchmark belongs to another user", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn delete_benchmark(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(benchmark): Path<String>,
) -> Result<JsonResponse<Deletion>> {
    let mut conn = state.conn().await?;
    let deletion = benchmarks::delete_benchmark(&mut conn, &user, &benchmark).await?;
    Ok(JsonResponse(deletion))
}

/// Deletes one version of a benchmark.
///
/// A version that runs use is withdrawn instead: it accepts no new runs, and only the owners of those runs can read
/// it.
#[utoipa::path(
    delete,
    path = "/api/v1/benchmarks/{benchmark}/versions/{number}",
    tag = "benchmarks",
    params(("benchmark" = String, Path, description = "Slug or id"), ("number" = i32, Path, description = "The version's number")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Whether it was erased, or withdrawn because runs use it", body = Deletion),
        (status = 403, description = "The benchmark belongs to another user", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is the only version", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn delete_benchmark_version(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path2(benchmark, number): Path2<String, i32>,
) -> Result<JsonResponse<Deletion>> {
    let mut conn = state.conn().await?;
    let deletion =
        benchmarks::delete_benchmark_version(&mut conn, &user, &benchmark, number).await?;
    Ok(JsonResponse(deletion))
}

/// Lists the items of a benchmark version, in order.
#[utoipa::path(
    get,
    path = "/api/v1/benchmarks/{benchmark}/items",
    tag = "benchmarks",
    params(("benchmark" = String, Path, description = "`slug` or `slug@number`; without a number, the newest version"), ItemsQuery),
    security((), ("bearer" = [])),
    responses((status = 200, description = "A page of items", body = Items))
)]
async fn list_benchmark_items(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Path(benchmark): Path<String>,
    Query(query): Query<ItemsQuery>,
) -> Result<JsonResponse<Items>> {
    let limit = check_limit(query.limit)?;
    let first = query.first.unwrap_or(0);
    if first < 0 {
        return Err(ApiError::invalid("first", "must not be negative"));
    }
    let mut conn = state.conn().await?;
    let version = benchmarks::resolve_benchmark(&mut conn, viewer.as_ref(), &benchmark).await?;
    let mut items = benchmarks::list_items(&mut conn, version.id, first, limit).await?;
    drop(conn);
    items.truncate(fitting(&items));
    let next_first = items
        .last()
        .map(|item| item.position + 1)
        .filter(|next| *next < version.item_count);
    Ok(JsonResponse(Items {
        benchmark: format!("{}@{}", version.benchmark, version.number),
        item_count: version.item_count,
        items,
        next_first,
    }))
}
