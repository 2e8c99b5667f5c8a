//! Endpoints for operators: liveness, readiness and metrics.

use std::time::Duration;

use axum::{
    Json as JsonResponse,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE},
    },
    response::IntoResponse,
};
use opb_core::{database, metrics::METRICS};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    client::IsLocal,
    middleware,
    problem::{ApiError, Result},
};

/// Timeout of the readiness check: probes repeat often and need a prompt answer.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// The state of the process.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok` or `ready`.
    #[schema(example = "ok")]
    pub status: String,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(get_health))
        .routes(routes!(get_readiness))
        .routes(routes!(get_metrics))
}

/// Liveness: responds without asking the database.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "operations",
    responses((status = 200, description = "The process is alive", body = Health))
)]
async fn get_health() -> JsonResponse<Health> {
    JsonResponse(Health {
        status: "ok".into(),
    })
}

/// Readiness: the database must answer and be migrated.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operations",
    responses(
        (status = 200, description = "The process is ready", body = Health),
        (status = 503, description = "The process is not ready", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn get_readiness(
    State(state): State<AppState>,
    IsLocal(is_local): IsLocal,
) -> Result<JsonResponse<Health>> {
    // The reason is shown to the operator only, who asks from this machine or at the monitoring address.
    let not_ready = |detail: &str| {
        let detail = if is_local {
            detail
        } else {
            "the server is not ready"
        };
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", detail)
    };
    let asked = tokio::time::timeout(READY_TIMEOUT, is_migrated(&state)).await;
    match asked {
        Ok(Ok(true)) => Ok(JsonResponse(Health {
            status: "ready".into(),
        })),
        Ok(Ok(false)) => Err(not_ready("the database is not migrated")),
        Ok(Err(_)) | Err(_) => Err(not_ready("the database does not answer")),
    }
}

async fn is_migrated(state: &AppState) -> Result<bool> {
    let mut conn = state.conn().await?;
    Ok(database::is_migrated(&mut conn).await?)
}

/// Returns the metrics of the process in the format of Prometheus.
///
/// Programs on the server's machine can read them; other clients need the operator's token. Not available here if the
/// operator serves them at a separate address.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operations",
    responses(
        (status = 200, description = "Prometheus' text format", body = String, content_type = "text/plain"),
        (status = 401, description = "The operator's token is missing or wrong", body = crate::Problem, content_type = "application/problem+json"),
        (status = 404, description = "The metrics are served at another address", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn get_metrics(
    State(state): State<AppState>,
    IsLocal(is_local): IsLocal,
    headers: HeaderMap,
) -> Result<impl IntoResponse> {
    if state.hides_metrics {
        return Err(middleware::no_route().await);
    }
    if !is_local && !brings_token(&state, &headers) {
        return Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "metrics are shown to programs on the server's machine; other clients must send the operator's \
             OPB_METRICS_TOKEN as `authorization: Bearer <token>`",
        ));
    }
    Ok((
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        METRICS.text(),
    ))
}

fn brings_token(state: &AppState, headers: &HeaderMap) -> bool {
    let Some(token) = &state.metrics_token else {
        return false;
    };
    let brought = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    // Hashes are compared, so that timing reveals nothing about the token.
    let hash = |text: &str| Sha256::digest(text);
    brought.is_some_and(|brought| hash(brought.trim()) == hash(token.expose_secret()))
}
