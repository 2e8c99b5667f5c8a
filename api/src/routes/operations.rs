//! For operators: is it alive, is it ready, what does it measure.

use std::time::Duration;

use axum::{
    Json as Answer,
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
    problem::{Refusal, Result},
};

/// Whoever asks for readiness asks again soon, and wants an answer now.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// How the process is.
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

/// Is the process alive? Does not ask the database.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "operations",
    responses((status = 200, description = "It is", body = Health))
)]
async fn get_health() -> Answer<Health> {
    Answer(Health {
        status: "ok".into(),
    })
}

/// Can the process serve? Its database must answer and be migrated.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operations",
    responses(
        (status = 200, description = "It can", body = Health),
        (status = 503, description = "It cannot", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn get_readiness(
    State(state): State<AppState>,
    IsLocal(is_local): IsLocal,
) -> Result<Answer<Health>> {
    // Why is the operator's business, who asks from this machine or at the address for monitoring.
    let not_ready = |detail: &str| {
        let detail = if is_local {
            detail
        } else {
            "the server is not ready"
        };
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", detail)
    };
    let asked = tokio::time::timeout(READY_TIMEOUT, is_migrated(&state)).await;
    match asked {
        Ok(Ok(true)) => Ok(Answer(Health {
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

/// The process's metrics, for Prometheus: shown to programs of the server's machine and to whoever brings the operator's
/// token. Not here when the operator serves them at an address of their own.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operations",
    responses(
        (status = 200, description = "Prometheus' text format", body = String, content_type = "text/plain"),
        (status = 401, description = "They need the operator's token", body = crate::Problem, content_type = "application/problem+json"),
        (status = 404, description = "They are served elsewhere", body = crate::Problem, content_type = "application/problem+json")
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
        return Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "metrics are shown to programs of the server's machine, and elsewhere to whoever brings the operator's \
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
    // Hashes are compared, so that the time tells nothing about the token.
    let hash = |text: &str| Sha256::digest(text);
    brought.is_some_and(|brought| hash(brought.trim()) == hash(token.expose_secret()))
}
