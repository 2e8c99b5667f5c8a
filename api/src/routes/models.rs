//! Providers and models.

use axum::{Json as Answer, extract::State, http::StatusCode};
use opb_core::{
    Error,
    library::Page,
    models::{
        self, CredentialChange, Model, ModelPrice, NewProvider, Provider, ProviderChange,
        ProviderKind,
    },
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    body::Json,
    caller::{Authenticated, Viewer},
    paging::PageQuery,
    parameters::{Path, Query},
    problem::Result,
    secret,
};

/// What a new provider needs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateProvider {
    /// Lower-case letters, digits, dashes and underscores: the name before the colon in `provider:model`.
    pub name: String,
    /// How it is spoken to.
    pub kind: ProviderKind,
    /// `http://…/v1` or `https://…/v1`; none for the simulation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Sent as a bearer token; stored sealed and never shown again.
    #[serde(
        default,
        with = "secret::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, format = Password)]
    pub credential: Option<SecretString>,
}

/// What to change about a provider; what is absent stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateProvider {
    /// Its new address. When scheme, host or port change, `credential` must be given too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Its new credential; null removes the one it has.
    #[serde(
        default,
        with = "secret::change",
        skip_serializing_if = "secret::change::is_kept"
    )]
    #[schema(value_type = Option<String>, format = Password)]
    pub credential: CredentialChange,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_providers, create_provider))
        .routes(routes!(update_provider, delete_provider))
        .routes(routes!(update_price))
        .routes(routes!(list_models))
}

/// All providers, by name. Where they are, and the ends of their credentials, are shown to administrators only.
#[utoipa::path(
    get,
    path = "/api/v1/providers",
    tag = "models",
    params(PageQuery),
    security(("bearer" = [])),
    responses((status = 200, description = "A page of providers", body = Page<Provider>))
)]
async fn list_providers(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Query(query): Query<PageQuery>,
) -> Result<Answer<Page<Provider>>> {
    let mut conn = state.conn().await?;
    let mut providers = models::list_providers(&mut conn).await?;
    if !user.is_admin() {
        for provider in &mut providers {
            provider.base_url = None;
            provider.credential_hint = None;
        }
    }
    Ok(Answer(
        query.cut(providers, |provider| provider.name.clone())?,
    ))
}

/// Adds a provider. For administrators.
#[utoipa::path(
    post,
    path = "/api/v1/providers",
    tag = "models",
    request_body = CreateProvider,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The new provider", body = Provider),
        (status = 403, description = "The caller is no administrator", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The name is taken", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn create_provider(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Json(body): Json<CreateProvider>,
) -> Result<(StatusCode, Answer<Provider>)> {
    if !user.is_admin() {
        return Err(Error::Forbidden("only administrators can add providers").into());
    }
    let new = NewProvider {
        name: body.name,
        kind: body.kind,
        base_url: body.base_url,
        credential: body.credential,
    };
    let mut conn = state.conn().await?;
    let provider =
        models::create_provider(&mut conn, &state.master_key, &state.outbound, new).await?;
    Ok((StatusCode::CREATED, Answer(provider)))
}

/// Changes a provider. For administrators.
///
/// A stored credential never follows a provider to another host: give it again, or null.
#[utoipa::path(
    patch,
    path = "/api/v1/providers/{name}",
    tag = "models",
    params(("name" = String, Path, description = "The provider's name")),
    request_body = UpdateProvider,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The changed provider", body = Provider),
        (status = 403, description = "The caller is no administrator", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn update_provider(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(name): Path<String>,
    Json(body): Json<UpdateProvider>,
) -> Result<Answer<Provider>> {
    if !user.is_admin() {
        return Err(Error::Forbidden("only administrators can change providers").into());
    }
    let change = ProviderChange {
        base_url: body.base_url,
        credential: body.credential,
    };
    let mut tx = state.pool.begin().await.map_err(Error::Database)?;
    let provider =
        models::update_provider(&mut tx, &state.master_key, &state.outbound, &name, change).await?;
    tx.commit().await.map_err(Error::Database)?;
    Ok(Answer(provider))
}

/// Removes a provider that no run names. For administrators.
#[utoipa::path(
    delete,
    path = "/api/v1/providers/{name}",
    tag = "models",
    params(("name" = String, Path, description = "The provider's name")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "It is gone"),
        (status = 403, description = "The caller is no administrator", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "Runs name it", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn delete_provider(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(name): Path<String>,
) -> Result<StatusCode> {
    if !user.is_admin() {
        return Err(Error::Forbidden("only administrators can remove providers").into());
    }
    let mut conn = state.conn().await?;
    models::delete_provider(&mut conn, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets the price of a provider's model. For administrators. Runs that a worker has begun go on with the price they
/// began with.
#[utoipa::path(
    put,
    path = "/api/v1/providers/{name}/prices",
    tag = "models",
    params(("name" = String, Path, description = "The provider's name")),
    request_body = ModelPrice,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The price that is set", body = ModelPrice),
        (status = 403, description = "The caller is no administrator", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn update_price(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(name): Path<String>,
    Json(body): Json<ModelPrice>,
) -> Result<Answer<ModelPrice>> {
    if !user.is_admin() {
        return Err(Error::Forbidden("only administrators can set prices").into());
    }
    let mut conn = state.conn().await?;
    models::update_price(&mut conn, &name, &body).await?;
    Ok(Answer(body))
}

/// All models that were ever used, with their prices, by name.
#[utoipa::path(
    get,
    path = "/api/v1/models",
    tag = "models",
    params(PageQuery),
    security((), ("bearer" = [])),
    responses((status = 200, description = "A page of models", body = Page<Model>))
)]
async fn list_models(
    State(state): State<AppState>,
    Viewer(_viewer): Viewer,
    Query(query): Query<PageQuery>,
) -> Result<Answer<Page<Model>>> {
    let mut conn = state.conn().await?;
    let models = models::list_models(&mut conn).await?;
    Ok(Answer(query.cut(models, |model| model.id.to_string())?))
}
