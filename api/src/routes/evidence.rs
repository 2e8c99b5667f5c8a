//! Measured results of a prompt.

use axum::{Json as JsonResponse, extract::State};
use opb_core::{
    community::{self, Evidence, EvidenceFilter},
    paging::Page,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    caller::Viewer,
    paging::PageQuery,
    parameters::{Path, Query},
    problem::Result,
};

/// A filter of evidence.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EvidenceQuery {
    /// True for results on simulated models, false for real ones.
    #[serde(default)]
    simulated: bool,
    /// Only results of the prompt version with this number.
    version: Option<i32>,
    /// Only results on the benchmark with this slug.
    benchmark: Option<String>,
    /// Leave out results on old versions of a benchmark.
    #[serde(default)]
    current: bool,
    /// `next_cursor` of the previous page; absent for the first page.
    cursor: Option<String>,
    /// Maximum number of entries to return; 50 when absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_evidence))
}

/// Lists the standings of a prompt's versions: newest version first, then by lower bound of the score.
///
/// Real and simulated models are never in one list.
#[utoipa::path(
    get,
    path = "/api/v1/prompts/{prompt}/evidence",
    tag = "community",
    params(("prompt" = String, Path, description = "Slug or id"), EvidenceQuery),
    security((), ("bearer" = [])),
    responses((status = 200, description = "A page of standings", body = Page<Evidence>))
)]
async fn list_evidence(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Path(prompt): Path<String>,
    Query(query): Query<EvidenceQuery>,
) -> Result<JsonResponse<Page<Evidence>>> {
    let filter = EvidenceFilter {
        simulated: query.simulated,
        version: query.version,
        benchmark: query.benchmark,
        current_only: query.current,
    };
    let page = PageQuery {
        cursor: query.cursor,
        limit: query.limit,
    };
    let mut conn = state.conn().await?;
    let evidence = community::list_evidence(&mut conn, viewer.as_ref(), &prompt, &filter).await?;
    Ok(JsonResponse(page.cut(evidence, |line| {
        format!("{}.{}.{}", line.version, line.benchmark, line.model_id)
    })?))
}
