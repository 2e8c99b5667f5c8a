//! Benchmarks and their items.

use axum::{
    Json as Answer,
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
    problem::{Refusal, Result},
};

/// Which items of a benchmark.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ItemsQuery {
    /// The position of the first item; 0 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 0)]
    pub first: Option<i32>,
    /// The most items to return; 50 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<i64>,
}

/// Items of a benchmark version, in order.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Items {
    /// `slug@number` of the benchmark version.
    pub benchmark: String,
    /// How many items the version has.
    pub item_count: i32,
    /// The items.
    pub items: Vec<StoredItem>,
    /// Ask with `?first=` of this for the next items; absent after the last item.
    pub next_first: Option<i32>,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_benchmarks, publish_benchmark))
        .routes(routes!(get_benchmark, update_benchmark, delete_benchmark))
        .routes(routes!(delete_benchmark_version))
        .routes(routes!(list_benchmark_items))
}

/// The benchmarks that the caller may find, newest first.
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
) -> Result<Answer<Page<Benchmark>>> {
    let (before, limit) = query.by_id()?;
    let mut conn = state.conn().await?;
    let page = benchmarks::list_benchmarks(&mut conn, viewer.as_ref(), before, limit).await?;
    Ok(Answer(page))
}

/// Publishes a benchmark, or the next version of the caller's benchmark of the same slug.
/// Content that a version has already adds nothing, and answers with that version.
#[utoipa::path(
    post,
    path = "/api/v1/benchmarks",
    tag = "benchmarks",
    request_body = Definition,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The version that holds the content", body = BenchmarkVersion, headers(("location" = String, description = "The benchmark's address"))),
        (status = 409, description = "Others shall see it, and its slug is taken among what they see", body = crate::Problem, content_type = "application/problem+json")
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
    Ok((StatusCode::CREATED, [(LOCATION, address)], Answer(version)))
}

/// A benchmark.
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
) -> Result<Answer<Benchmark>> {
    let mut conn = state.conn().await?;
    let benchmark = benchmarks::find_benchmark(&mut conn, viewer.as_ref(), &benchmark).await?;
    Ok(Answer(benchmark))
}

/// Changes what a benchmark says about itself and who may see it. Its versions stay as they are.
#[utoipa::path(
    patch,
    path = "/api/v1/benchmarks/{benchmark}",
    tag = "benchmarks",
    params(("benchmark" = String, Path, description = "Slug or id")),
    request_body = BenchmarkChange,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The changed benchmark", body = Benchmark),
        (status = 403, description = "The benchmark belongs to somebody else", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "Others shall see it, and its slug is taken among what they see", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn update_benchmark(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(benchmark): Path<String>,
    Json(body): Json<BenchmarkChange>,
) -> Result<Answer<Benchmark>> {
    let mut conn = state.conn().await?;
    let changed = benchmarks::change_benchmark(&mut conn, &user, &benchmark, &body).await?;
    Ok(Answer(changed))
}

/// Deletes a benchmark with all of its versions. Versions that runs rest on are withdrawn: they take no more runs, and only
/// the owners of those runs can read them. The slug is free again.
#[utoipa::path(
    delete,
    path = "/api/v1/benchmarks/{benchmark}",
    tag = "benchmarks",
    params(("benchmark" = String, Path, description = "Slug or id")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Whether it is erased, or withdrawn because runs rest on it", body = Deletion),
        (status = 403, description = "The benchmark belongs to somebody else", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn delete_benchmark(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(benchmark): Path<String>,
) -> Result<Answer<Deletion>> {
    let mut conn = state.conn().await?;
    let deletion = benchmarks::delete_benchmark(&mut conn, &user, &benchmark).await?;
    Ok(Answer(deletion))
}

/// Deletes one version of a benchmark. One that runs rest on is withdrawn: it takes no more runs, and only the owners of
/// those runs can read it.
#[utoipa::path(
    delete,
    path = "/api/v1/benchmarks/{benchmark}/versions/{number}",
    tag = "benchmarks",
    params(("benchmark" = String, Path, description = "Slug or id"), ("number" = i32, Path, description = "The version's number")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Whether it is erased, or withdrawn because runs rest on it", body = Deletion),
        (status = 403, description = "The benchmark belongs to somebody else", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is the only version", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn delete_benchmark_version(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path2(benchmark, number): Path2<String, i32>,
) -> Result<Answer<Deletion>> {
    let mut conn = state.conn().await?;
    let deletion =
        benchmarks::delete_benchmark_version(&mut conn, &user, &benchmark, number).await?;
    Ok(Answer(deletion))
}

/// The items of a benchmark version, in order.
#[utoipa::path(
    get,
    path = "/api/v1/benchmarks/{benchmark}/items",
    tag = "benchmarks",
    params(("benchmark" = String, Path, description = "`slug` or `slug@number`; without a number, the newest version"), ItemsQuery),
    security((), ("bearer" = [])),
    responses((status = 200, description = "Some of the items", body = Items))
)]
async fn list_benchmark_items(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Path(benchmark): Path<String>,
    Query(query): Query<ItemsQuery>,
) -> Result<Answer<Items>> {
    let limit = check_limit(query.limit)?;
    let first = query.first.unwrap_or(0);
    if first < 0 {
        return Err(Refusal::invalid("first", "must not be negative"));
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
    Ok(Answer(Items {
        benchmark: format!("{}@{}", version.benchmark, version.number),
        item_count: version.item_count,
        items,
        next_first,
    }))
}
