//! The community ranking of all public prompts: by votes, trend, measured quality, or combined.

use axum::{Json as JsonResponse, extract::State};
use opb_core::{
    community::{self, RankOrder, RankedPrompt},
    paging::Page,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{AppState, caller::Viewer, paging::check_limit, parameters::Query, problem::Result};

/// Order and page of the ranking.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RankQuery {
    /// Order, highest first; `combined` when absent.
    #[serde(default)]
    #[param(inline)]
    sort: RankOrder,
    /// `next_cursor` of the previous page, in the same order; absent for the first page.
    cursor: Option<String>,
    /// Maximum number of entries to return; 50 when absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_ranked_prompts))
}

/// Lists all public prompts, best first.
#[utoipa::path(
    get,
    path = "/api/v1/leaderboards/community",
    tag = "community",
    params(RankQuery),
    security((), ("bearer" = [])),
    responses((status = 200, description = "A page of prompts", body = Page<RankedPrompt>))
)]
async fn list_ranked_prompts(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Query(query): Query<RankQuery>,
) -> Result<JsonResponse<Page<RankedPrompt>>> {
    let limit = check_limit(query.limit)?;
    let mut conn = state.conn_for(viewer.as_ref()).await?;
    let cursor = query.cursor.as_deref();
    let page = community::list_ranked_prompts(&mut conn, query.sort, cursor, limit).await?;
    Ok(JsonResponse(page))
}
