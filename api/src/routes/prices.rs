//! Prices of models.

use axum::{Json as JsonResponse, extract::State};
use opb_core::{
    models::{self, CurrentPrice, ModelPrice, PriceChange, PriceImport},
    paging::Page,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    body::{Json, LenientJson},
    caller::Authenticated,
    paging::PageQuery,
    parameters::{Path, Query},
    problem::Result,
};

/// A filter of prices.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PricesQuery {
    /// Name of a provider; all providers when absent.
    #[param(required = false)]
    provider: Option<String>,
    /// `next_cursor` of the previous page; absent for the first page.
    #[param(required = false)]
    cursor: Option<String>,
    /// Maximum number of entries to return; 50 when absent.
    #[param(required = false, minimum = 1, maximum = 100)]
    limit: Option<i64>,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(update_price))
        .routes(routes!(list_prices))
        .routes(routes!(import_prices))
}

/// Updates the price of a provider's model; absent fields stay unchanged. For administrators.
///
/// Runs that a worker has already begun keep the previous price.
#[utoipa::path(
    patch,
    path = "/api/v1/providers/{name}/prices",
    tag = "models",
    params(("name" = String, Path, description = "The provider's name")),
    request_body = PriceChange,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The complete price", body = ModelPrice),
        (status = 403, description = "The caller is not an administrator", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn update_price(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(name): Path<String>,
    Json(body): Json<PriceChange>,
) -> Result<JsonResponse<ModelPrice>> {
    let mut conn = state.conn().await?;
    let price = models::update_price(&mut conn, &user, &name, &body).await?;
    Ok(JsonResponse(price))
}

/// Lists the prices in force, by provider and model: set by an administrator, otherwise published.
#[utoipa::path(
    get,
    path = "/api/v1/prices",
    tag = "models",
    params(PricesQuery),
    security(("bearer" = [])),
    responses((status = 200, description = "A page of prices", body = Page<CurrentPrice>))
)]
async fn list_prices(
    State(state): State<AppState>,
    Authenticated(_user): Authenticated,
    Query(query): Query<PricesQuery>,
) -> Result<JsonResponse<Page<CurrentPrice>>> {
    let mut conn = state.conn().await?;
    let prices = models::list_prices(&mut conn, query.provider.as_deref()).await?;
    let page = PageQuery {
        cursor: query.cursor,
        limit: query.limit,
    };
    let key = |price: &CurrentPrice| format!("{}:{}", price.provider, price.model);
    Ok(JsonResponse(page.cut(prices, key)?))
}

/// Imports published prices from a file in litellm's format. For administrators. Prices that were set by hand stay in
/// force.
#[utoipa::path(
    post,
    path = "/api/v1/prices/import",
    tag = "models",
    request_body(content = Object, description = "The file: an object that maps names of models to prices"),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The result of the import", body = PriceImport),
        (status = 403, description = "The caller is not an administrator", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn import_prices(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    LenientJson(file): LenientJson<Map<String, Value>>,
) -> Result<JsonResponse<PriceImport>> {
    let mut conn = state.conn().await?;
    Ok(JsonResponse(
        models::import_litellm(&mut conn, &user, &file).await?,
    ))
}
