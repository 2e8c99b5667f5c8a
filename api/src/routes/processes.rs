//! Which workers and schedulers live, for administrators.

use axum::{Json as Answer, extract::State};
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

/// The workers and schedulers that were heard of in the last 20 seconds, oldest first. For administrators.
#[utoipa::path(
    get,
    path = "/api/v1/processes",
    tag = "operations",
    params(PageQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page of processes", body = Page<Process>),
        (status = 403, description = "The caller is no administrator", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn list_processes(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Query(query): Query<PageQuery>,
) -> Result<Answer<Page<Process>>> {
    let mut conn = state.conn().await?;
    let processes = processes::list_processes(&mut conn, &user).await?;
    Ok(Answer(
        query.cut(processes, |process| process.id.to_string())?,
    ))
}
