//! What models cost.

use axum::{Json as Answer, extract::State};
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

/// Which prices.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PricesQuery {
    /// The name of a provider; every provider when absent.
    #[param(required = false)]
    provider: Option<String>,
    /// `next_cursor` of the page before; absent for the first page.
    #[param(required = false)]
    cursor: Option<String>,
    /// The most entries to return; 50 when absent.
    #[param(required = false, minimum = 1, maximum = 100)]
    limit: Option<i64>,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(update_price))
        .routes(routes!(list_prices))
        .routes(routes!(import_prices))
}

/// Changes the price of a provider's model; what is absent stays. For administrators. Runs that a worker has begun go on with the price they
/// began with.
#[utoipa::path(
    patch,
    path = "/api/v1/providers/{name}/prices",
    tag = "models",
    params(("name" = String, Path, description = "The provider's name")),
    request_body = PriceChange,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The whole price", body = ModelPrice),
        (status = 403, description = "The caller is no administrator", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn update_price(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(name): Path<String>,
    Json(body): Json<PriceChange>,
) -> Result<Answer<ModelPrice>> {
    let mut conn = state.conn().await?;
    let price = models::update_price(&mut conn, &user, &name, &body).await?;
    Ok(Answer(price))
}

/// The prices in force, by provider and model: what an administrator set, or else what is published.
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
) -> Result<Answer<Page<CurrentPrice>>> {
    let mut conn = state.conn().await?;
    let prices = models::list_prices(&mut conn, query.provider.as_deref()).await?;
    let page = PageQuery {
        cursor: query.cursor,
        limit: query.limit,
    };
    let key = |price: &CurrentPrice| format!("{}:{}", price.provider, price.model);
    Ok(Answer(page.cut(prices, key)?))
}

/// Imports published prices from a file of litellm's format. For administrators. What was set by hand stays in force.
#[utoipa::path(
    post,
    path = "/api/v1/prices/import",
    tag = "models",
    request_body(content = Object, description = "The file: an object from the names of models to what they cost"),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "What became of the rows", body = PriceImport),
        (status = 403, description = "The caller is no administrator", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn import_prices(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    LenientJson(file): LenientJson<Map<String, Value>>,
) -> Result<Answer<PriceImport>> {
    let mut conn = state.conn().await?;
    Ok(Answer(
        models::import_litellm(&mut conn, &user, &file).await?,
    ))
}
