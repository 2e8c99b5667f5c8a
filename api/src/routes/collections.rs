//! Collections: ordered lists of prompts that a user selected.

use axum::{
    Json as JsonResponse,
    extract::State,
    http::{StatusCode, header::LOCATION},
    response::IntoResponse,
};
use opb_core::{
    community::{self, Collection, CollectionChange, NewCollection, RankedPrompt},
    paging::Page,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    AppState,
    body::Json,
    caller::{Authenticated, Viewer},
    paging::PageQuery,
    parameters::{Path, Query},
    problem::{ApiError, Result},
};

/// A filter of collections.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CollectionQuery {
    /// Only collections of the user with this name.
    owner: Option<String>,
    /// `next_cursor` of the previous page; absent for the first page.
    cursor: Option<String>,
    /// Maximum number of entries to return; 50 when absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
}

/// The prompts of a collection.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetCollectionPrompts {
    /// Slugs or ids in order, each at most once; at most 500.
    pub prompts: Vec<String>,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_collections, create_collection))
        .routes(routes!(
            get_collection,
            update_collection,
            delete_collection
        ))
        .routes(routes!(list_collection_prompts, set_collection_prompts))
}

/// Lists the public collections and the caller's own, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/collections",
    tag = "community",
    params(CollectionQuery),
    security((), ("bearer" = [])),
    responses((status = 200, description = "A page of collections", body = Page<Collection>))
)]
async fn list_collections(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Query(query): Query<CollectionQuery>,
) -> Result<JsonResponse<Page<Collection>>> {
    let page = PageQuery {
        cursor: query.cursor,
        limit: query.limit,
    };
    let (before, limit) = page.by_id()?;
    let owner = query.owner.as_deref();
    let mut conn = state.conn().await?;
    let page =
        community::list_collections(&mut conn, viewer.as_ref(), owner, before, limit).await?;
    Ok(JsonResponse(page))
}

/// Creates an empty collection.
#[utoipa::path(
    post,
    path = "/api/v1/collections",
    tag = "community",
    request_body = NewCollection,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The new collection", body = Collection, headers(("location" = String, description = "Its address"))),
        (status = 409, description = "The caller has too many collections", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn create_collection(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Json(mut body): Json<NewCollection>,
) -> Result<impl IntoResponse> {
    body.visibility
        .get_or_insert(state.rules.default_visibility);
    let mut conn = state.conn().await?;
    let collection = community::create_collection(&mut conn, &user, body).await?;
    let address = format!("/api/v1/collections/{}", collection.id);
    Ok((
        StatusCode::CREATED,
        [(LOCATION, address)],
        JsonResponse(collection),
    ))
}

/// Returns a collection.
#[utoipa::path(
    get,
    path = "/api/v1/collections/{collection}",
    tag = "community",
    params(("collection" = Uuid, Path, description = "Id of the collection")),
    security((), ("bearer" = [])),
    responses((status = 200, description = "The collection", body = Collection))
)]
async fn get_collection(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Path(id): Path<Uuid>,
) -> Result<JsonResponse<Collection>> {
    let mut conn = state.conn().await?;
    let collection = community::find_collection(&mut conn, viewer.as_ref(), id).await?;
    Ok(JsonResponse(collection))
}

/// Updates a collection; absent fields stay unchanged.
#[utoipa::path(
    patch,
    path = "/api/v1/collections/{collection}",
    tag = "community",
    params(("collection" = Uuid, Path, description = "Id of the collection")),
    request_body = CollectionChange,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The updated collection", body = Collection),
        (status = 403, description = "The collection belongs to another user", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn update_collection(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(id): Path<Uuid>,
    Json(body): Json<CollectionChange>,
) -> Result<JsonResponse<Collection>> {
    let mut conn = state.conn().await?;
    let collection = community::update_collection(&mut conn, &user, id, body).await?;
    Ok(JsonResponse(collection))
}

/// Deletes a collection; its prompts stay.
#[utoipa::path(
    delete,
    path = "/api/v1/collections/{collection}",
    tag = "community",
    params(("collection" = Uuid, Path, description = "Id of the collection")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The collection is deleted"),
        (status = 403, description = "The collection belongs to another user", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn delete_collection(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(id): Path<Uuid>,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    community::delete_collection(&mut conn, &user, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the prompts of a collection that are visible to the caller, in order.
#[utoipa::path(
    get,
    path = "/api/v1/collections/{collection}/prompts",
    tag = "community",
    params(("collection" = Uuid, Path, description = "Id of the collection"), PageQuery),
    security((), ("bearer" = [])),
    responses((status = 200, description = "A page of prompts", body = Page<RankedPrompt>))
)]
async fn list_collection_prompts(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Path(id): Path<Uuid>,
    Query(query): Query<PageQuery>,
) -> Result<JsonResponse<Page<RankedPrompt>>> {
    let limit = crate::paging::check_limit(query.limit)?;
    let after = query.cursor.as_deref().map(str::parse::<i32>).transpose();
    let after = after.map_err(|_| ApiError::invalid("cursor", "is not a cursor of this list"))?;
    let mut conn = state.conn().await?;
    let page =
        community::list_collection_prompts(&mut conn, viewer.as_ref(), id, after, limit).await?;
    Ok(JsonResponse(page))
}

/// Replaces the prompts of a collection, in the given order.
#[utoipa::path(
    put,
    path = "/api/v1/collections/{collection}/prompts",
    tag = "community",
    params(("collection" = Uuid, Path, description = "Id of the collection")),
    request_body = SetCollectionPrompts,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The collection", body = Collection),
        (status = 403, description = "The collection belongs to another user", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn set_collection_prompts(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(id): Path<Uuid>,
    Json(body): Json<SetCollectionPrompts>,
) -> Result<JsonResponse<Collection>> {
    let mut conn = state.conn().await?;
    let collection = community::set_collection_prompts(&mut conn, &user, id, &body.prompts).await?;
    Ok(JsonResponse(collection))
}
