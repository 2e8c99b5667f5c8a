//! Running workers and schedulers, for administrators.

use axum::{Json as JsonResponse, extract::State};
use opb_core::{
    paging::Page,
    processes::{self, Process},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState, caller::Authenticated, paging::PageQuery, parameters::Query, problem::Result,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_processes))
}

/// Lists the workers and schedulers that reported in the last 20 seconds, oldest first. For administrators.
#[utoipa::path(
    get,
    path = "/api/v1/processes",
    tag = "operations",
    params(PageQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page of processes", body = Page<Process>),
        (status = 403, description = "The caller is not an administrator", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn list_processes(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Query(query): Query<PageQuery>,
) -> Result<JsonResponse<Page<Process>>> {
    let mut conn = state.conn().await?;
    let processes = processes::list_processes(&mut conn, &user).await?;
    Ok(JsonResponse(
        query.cut(processes, |process| process.id.to_string())?,
    ))
}
