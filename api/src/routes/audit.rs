//! The audit log, for administrators.

use axum::{Json as JsonResponse, extract::State};
use opb_core::{
    auth::{self, AuditEntry},
    paging::Page,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    caller::Authenticated,
    paging::{PageQuery, check_limit},
    parameters::Query,
    problem::{ApiError, Result},
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_audit_entries))
}

/// Lists logins, failed logins and changes of keys and accounts, newest first; entries are kept for 90 days. For
/// administrators.
#[utoipa::path(
    get,
    path = "/api/v1/audit",
    tag = "operations",
    params(PageQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page of the audit log", body = Page<AuditEntry>),
        (status = 403, description = "The caller is not an administrator", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn list_audit_entries(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Query(query): Query<PageQuery>,
) -> Result<JsonResponse<Page<AuditEntry>>> {
    let before = query.cursor.as_deref().map(str::parse::<i64>).transpose();
    let before = before.map_err(|_| ApiError::invalid("cursor", "is not a cursor of this list"))?;
    let limit = check_limit(query.limit)?;
    let mut conn = state.conn().await?;
    let page = auth::list_audit_entries(&mut conn, &user, before, limit).await?;
    Ok(JsonResponse(page))
}
