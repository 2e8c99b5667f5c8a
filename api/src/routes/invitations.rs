//! Invitations to register, for administrators.

use axum::{Json as JsonResponse, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use opb_core::{
    auth::{self, Invitation, NewInvitation},
    paging::Page,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    AppState,
    body::Json,
    caller::Authenticated,
    client::Client,
    paging::PageQuery,
    parameters::{Path, Query},
    problem::Result,
    secret,
};

/// A new invitation.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateInvitation {
    /// The only email address that may register with it; any when absent.
    #[serde(default)]
    pub email: Option<String>,
    /// Number of registrations that it allows; one when absent.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1000)]
    pub uses: Option<i32>,
    /// When it expires, within a year; in one week when absent.
    #[serde(default, deserialize_with = "opb_core::bounds::optional_time")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// A new invitation. Its secret is shown only in this response.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedInvitation {
    /// The metadata of the invitation.
    #[serde(flatten)]
    pub invitation: Invitation,
    /// The secret: the value of `invitation` in a registration.
    #[serde(with = "secret")]
    #[schema(value_type = String)]
    pub secret: SecretString,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_invitations, create_invitation))
        .routes(routes!(revoke_invitation))
}

/// Lists the valid invitations, newest first. For administrators.
#[utoipa::path(
    get,
    path = "/api/v1/invitations",
    tag = "operations",
    params(PageQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page of invitations", body = Page<Invitation>),
        (status = 403, description = "The caller is not an administrator", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn list_invitations(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Query(query): Query<PageQuery>,
) -> Result<JsonResponse<Page<Invitation>>> {
    let (before, limit) = query.by_id()?;
    let mut conn = state.conn().await?;
    let page = auth::list_invitations(&mut conn, &user, before, limit).await?;
    Ok(JsonResponse(page))
}

/// Creates an invitation. For administrators.
///
/// Its secret is shown only in this response; the server stores a hash.
#[utoipa::path(
    post,
    path = "/api/v1/invitations",
    tag = "operations",
    request_body = CreateInvitation,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The new invitation", body = CreatedInvitation),
        (status = 403, description = "The caller is not an administrator", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn create_invitation(
    State(state): State<AppState>,
    Client(origin): Client,
    Authenticated(user): Authenticated,
    Json(body): Json<CreateInvitation>,
) -> Result<(StatusCode, JsonResponse<CreatedInvitation>)> {
    let new = NewInvitation {
        email: body.email,
        uses: body.uses,
        expires_at: body.expires_at,
    };
    let mut conn = state.conn().await?;
    let (invitation, secret) = auth::create_invitation(&mut conn, &user, new, &origin).await?;
    let created = CreatedInvitation { invitation, secret };
    Ok((StatusCode::CREATED, JsonResponse(created)))
}

/// Revokes an invitation; users who registered with it keep their accounts. For administrators.
#[utoipa::path(
    delete,
    path = "/api/v1/invitations/{invitation}",
    tag = "operations",
    params(("invitation" = Uuid, Path, description = "Id of the invitation")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The invitation is revoked"),
        (status = 403, description = "The caller is not an administrator", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn revoke_invitation(
    State(state): State<AppState>,
    Client(origin): Client,
    Authenticated(user): Authenticated,
    Path(id): Path<Uuid>,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    auth::revoke_invitation(&mut conn, &user, id, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}
