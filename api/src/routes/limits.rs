//! Limits of providers, which hold for all workers together.

use axum::{Json as JsonResponse, extract::State};
use opb_core::models::{self, DeclaredLimits, ProviderLimits};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{AppState, body::Json, caller::Authenticated, parameters::Path, problem::Result};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_limits, update_limits))
}

/// Lists the limits of a provider and of its models, with today's spending. For administrators.
#[utoipa::path(
    get,
    path = "/api/v1/providers/{name}/limits",
    tag = "models",
    params(("name" = String, Path, description = "The provider's name")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The declared limits, those of the whole provider first", body = Vec<DeclaredLimits>),
        (status = 403, description = "The caller is not an administrator", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn list_limits(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(name): Path<String>,
) -> Result<JsonResponse<Vec<DeclaredLimits>>> {
    let mut conn = state.conn().await?;
    Ok(JsonResponse(
        models::list_limits(&mut conn, &user, &name).await?,
    ))
}

/// Sets the limits of a provider or of one of its models, replacing the previous ones. For administrators.
///
/// The limits hold for all workers together, which apply a change within seconds. Absent fields mean no limit; if all
/// are absent, the limits are removed.
#[utoipa::path(
    put,
    path = "/api/v1/providers/{name}/limits",
    tag = "models",
    params(("name" = String, Path, description = "The provider's name")),
    request_body = ProviderLimits,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "All declared limits, those of the whole provider first", body = Vec<DeclaredLimits>),
        (status = 403, description = "The caller is not an administrator", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn update_limits(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(name): Path<String>,
    Json(body): Json<ProviderLimits>,
) -> Result<JsonResponse<Vec<DeclaredLimits>>> {
    let mut conn = state.conn().await?;
    models::update_limits(&mut conn, &user, &name, &body).await?;
    Ok(JsonResponse(
        models::list_limits(&mut conn, &user, &name).await?,
    ))
}
