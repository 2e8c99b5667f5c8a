//! Comparisons of columns. They change nothing; they are POSTs because a selection of columns does not fit into a
//! URL.

use axum::{Json as JsonResponse, extract::State};
use opb_core::{
    comparisons::{self, CompareRequest, ComparisonTable, Flip, FlipsRequest},
    paging::Page,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    body::Json,
    caller::{Turn, Viewer},
    paging::{bad_cursor, check_limit},
    problem::Result,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(compare_columns))
        .routes(routes!(list_flips))
}

/// Compares the columns of the selected runs pairwise, each pair on the items that both have a score for.
#[utoipa::path(
    post,
    path = "/api/v1/compare",
    tag = "comparisons",
    request_body = CompareRequest,
    security((), ("bearer" = [])),
    responses(
        (status = 200, description = "The columns and their comparisons", body = ComparisonTable),
        (status = 404, description = "A run does not exist, or is not visible to the caller", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn compare_columns(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Turn(asker): Turn,
    Json(body): Json<CompareRequest>,
) -> Result<JsonResponse<ComparisonTable>> {
    let loaded = {
        let mut conn = state.conn().await?;
        comparisons::load_comparison(&mut conn, viewer.as_ref(), &body).await?
    };
    Ok(JsonResponse(state.statistics.finish(asker, loaded).await?))
}

/// Lists the items that one of two columns passes and the other fails, in the order of the items.
#[utoipa::path(
    post,
    path = "/api/v1/compare/flips",
    tag = "comparisons",
    request_body = FlipsRequest,
    security((), ("bearer" = [])),
    responses(
        (status = 200, description = "A page of flips", body = Page<Flip>),
        (status = 404, description = "A run does not exist, or is not visible to the caller", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn list_flips(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Json(body): Json<FlipsRequest>,
) -> Result<JsonResponse<Page<Flip>>> {
    let limit = check_limit(body.limit)?;
    let after = body.cursor.as_deref().map(str::parse).transpose();
    let after = after.map_err(|_| bad_cursor())?;
    let mut conn = state.conn().await?;
    let page = comparisons::list_flips(&mut conn, viewer.as_ref(), &body, after, limit).await?;
    Ok(JsonResponse(page))
}
