//! Limits of providers: the most that all workers together may ask of them.

use axum::{Json as Answer, extract::State};
use opb_core::models::{self, DeclaredLimits, ProviderLimits};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{AppState, body::Json, caller::Authenticated, parameters::Path, problem::Result};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_limits, update_limits))
}

/// The limits of a provider and of its models, with what was spent today. For administrators.
#[utoipa::path(
    get,
    path = "/api/v1/providers/{name}/limits",
    tag = "models",
    params(("name" = String, Path, description = "The provider's name")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "What is declared, that of the whole provider first", body = Vec<DeclaredLimits>),
        (status = 403, description = "The caller is no administrator", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn list_limits(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(name): Path<String>,
) -> Result<Answer<Vec<DeclaredLimits>>> {
    let mut conn = state.conn().await?;
    Ok(Answer(models::list_limits(&mut conn, &user, &name).await?))
}

/// Declares the limits of a provider, or of one of its models, in the place of those it had. For administrators.
///
/// All workers together keep them, and heed a change within seconds. What is absent has no limit; when all are absent,
/// the limits are removed.
#[utoipa::path(
    put,
    path = "/api/v1/providers/{name}/limits",
    tag = "models",
    params(("name" = String, Path, description = "The provider's name")),
    request_body = ProviderLimits,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "All that is declared now, that of the whole provider first", body = Vec<DeclaredLimits>),
        (status = 403, description = "The caller is no administrator", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn update_limits(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(name): Path<String>,
    Json(body): Json<ProviderLimits>,
) -> Result<Answer<Vec<DeclaredLimits>>> {
    let mut conn = state.conn().await?;
    models::update_limits(&mut conn, &user, &name, &body).await?;
    Ok(Answer(models::list_limits(&mut conn, &user, &name).await?))
}
