//! Providers and models.

use axum::{Json as JsonResponse, extract::State, http::StatusCode};
use opb_core::{
    Error, FieldError,
    models::{
        self, AskableProvider, CredentialChange, Model, NewProvider, Preset, Provider,
        ProviderChange, ProviderKind,
    },
    paging::Page,
    processes::worker_has_key,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::PgConnection;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    body::Json,
    caller::{Authenticated, Viewer},
    paging::PageQuery,
    parameters::{Path, Query},
    prober::{Key, ProviderCheck},
    problem::Result,
    secret,
};

/// A new provider: a preset, or a kind and the fields that it needs.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateProvider {
    /// Name before the colon in `provider:model`: lower-case letters, digits, dashes and underscores. The preset's
    /// name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Name of a preset, which sets kind and address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// The API that the provider speaks; the preset's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ProviderKind>,
    /// `http://…/v1` or `https://…/v1`. When absent: that of the preset; for Bedrock, that of the region; none for
    /// kinds that are not called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Further settings of the kind: `api_version` for Azure, `region` for Bedrock, `request`, `text` and more for
    /// `http`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub settings: Map<String, Value>,
    /// The credential, sent in the header that the kind uses; stored encrypted and never shown again.
    #[serde(
        default,
        with = "secret::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, format = Password)]
    pub credential: Option<SecretString>,
    /// Whether its models are free, unless they have a price. Runs on free models need no budget and count against no
    /// spending quota. When absent: true if it is on this machine or in a private network and has no credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<bool>,
}

impl CreateProvider {
    /// The provider with the preset applied.
    fn resolve(self) -> opb_core::Result<NewProvider> {
        let preset = self.preset.as_deref().map(|name| {
            models::find_preset(name).ok_or_else(|| {
                let names: Vec<String> = models::presets()
                    .into_iter()
                    .map(|preset| preset.name)
                    .collect();
                Error::invalid(
                    "preset",
                    format!("is unknown; there are: {}", names.join(", ")),
                )
            })
        });
        let preset = preset.transpose()?;
        let mut missing = Vec::new();
        let name = self
            .name
            .or(preset.as_ref().map(|preset| preset.name.clone()));
        if name.is_none() {
            missing.push(FieldError::new("name", "is missing"));
        }
        let kind = match (self.kind, &preset) {
            (Some(kind), Some(preset)) if kind != preset.kind => {
                let message = "is not the preset's; leave one of the two out";
                return Err(Error::invalid("kind", message));
            }
            (kind, preset) => kind.or(preset.as_ref().map(|preset| preset.kind)),
        };
        if kind.is_none() {
            missing.push(FieldError::new(
                "kind",
                "is missing; give a kind or a preset",
            ));
        }
        let (Some(name), Some(kind)) = (name, kind) else {
            return Err(Error::Invalid(missing));
        };
        Ok(NewProvider {
            name,
            kind,
            base_url: self.base_url.or(preset.map(|preset| preset.base_url)),
            settings: self.settings,
            credential: self.credential,
            free: self.free,
        })
    }
}

/// An update of a provider; absent fields stay unchanged.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateProvider {
    /// The new address. If scheme, host or port change, `credential` is required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// The new settings, replacing all previous ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub settings: Option<Map<String, Value>>,
    /// The new credential; null removes the stored one.
    #[serde(
        default,
        with = "secret::change",
        skip_serializing_if = "secret::change::is_kept"
    )]
    #[schema(value_type = Option<String>, format = Password)]
    pub credential: CredentialChange,
    /// Whether its models are free, unless they have a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<bool>,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_providers, create_provider))
        .routes(routes!(update_provider, delete_provider))
        .routes(routes!(check_provider))
        .routes(routes!(list_presets))
        .routes(routes!(list_models))
}

/// Lists all providers, by name.
///
/// Addresses, settings and the last characters of credentials are shown to administrators only.
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
) -> Result<JsonResponse<Page<Provider>>> {
    let mut conn = state.conn().await?;
    let providers = models::list_providers(&mut conn, &user).await?;
    Ok(JsonResponse(
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
        (status = 403, description = "The caller is not an administrator", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The name is taken", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn create_provider(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Json(body): Json<CreateProvider>,
) -> Result<(StatusCode, JsonResponse<Provider>)> {
    let new = body.resolve()?;
    let mut conn = state.conn().await?;
    let provider =
        models::create_provider(&mut conn, &user, &state.master_key, &state.outbound, new).await?;
    Ok((StatusCode::CREATED, JsonResponse(provider)))
}

/// Updates a provider. For administrators.
///
/// A stored credential is never sent to another host: to change the host, set `credential` again, or to null.
#[utoipa::path(
    patch,
    path = "/api/v1/providers/{name}",
    tag = "models",
    params(("name" = String, Path, description = "The provider's name")),
    request_body = UpdateProvider,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The updated provider", body = Provider),
        (status = 403, description = "The caller is not an administrator", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn update_provider(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(name): Path<String>,
    Json(body): Json<UpdateProvider>,
) -> Result<JsonResponse<Provider>> {
    let change = ProviderChange {
        base_url: body.base_url,
        settings: body.settings,
        credential: body.credential,
        free: body.free,
    };
    let mut tx = state.pool.begin().await.map_err(Error::Database)?;
    let provider = models::update_provider(
        &mut tx,
        &user,
        &state.master_key,
        &state.outbound,
        &name,
        change,
    )
    .await?;
    tx.commit().await.map_err(Error::Database)?;
    Ok(JsonResponse(provider))
}

/// Deletes a provider that no run uses. For administrators.
#[utoipa::path(
    delete,
    path = "/api/v1/providers/{name}",
    tag = "models",
    params(("name" = String, Path, description = "The provider's name")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The provider is deleted"),
        (status = 403, description = "The caller is not an administrator", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "Runs use the provider", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn delete_provider(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(name): Path<String>,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    models::delete_provider(&mut conn, &user, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Checks whether a provider answers and accepts the key, and which models it lists. For administrators.
///
/// No model is called, and every finding is a 200. The API server makes the request, not a worker: if they run on
/// different machines, `127.0.0.1` means another machine for each.
#[utoipa::path(
    post,
    path = "/api/v1/providers/{name}/check",
    tag = "models",
    params(("name" = String, Path, description = "The provider's name")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The result of the check", body = ProviderCheck),
        (status = 403, description = "The caller is not an administrator", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn check_provider(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(name): Path<String>,
) -> Result<JsonResponse<ProviderCheck>> {
    let (provider, key) = {
        let mut conn = state.conn().await?;
        let provider = models::find_provider(&mut conn, &user, &name).await?;
        let key = key_for(&state, &mut conn, &provider).await?;
        (provider, key)
    };
    // No database connection is held while the provider answers.
    Ok(JsonResponse(state.prober.check(&provider, key).await))
}

/// The key for calls to the provider, as far as this process knows it.
async fn key_for(
    state: &AppState,
    conn: &mut PgConnection,
    provider: &AskableProvider,
) -> Result<Key> {
    if let Some(sealed) = &provider.sealed_credential {
        let opened = state.master_key.open(sealed, provider.id.as_bytes());
        return Ok(opened.map_or_else(
            |_| {
                let message =
                    "its stored key cannot be decrypted with this master key: store it again";
                Key::Missing(message.to_owned())
            },
            Key::Known,
        ));
    }
    let (name, kind) = (&provider.name, provider.kind);
    let base_url = provider.base_url.as_deref();
    if let Some(variable) = models::operator_key_variable(name, kind, base_url) {
        if let Some(key) = state.operator_keys.of(variable) {
            return Ok(Key::Known(key.clone()));
        }
        if worker_has_key(conn, variable).await? == Some(true) {
            return Ok(Key::WithWorkers);
        }
    }
    Ok(models::missing_key(name, kind, base_url).map_or(Key::None, Key::Missing))
}

/// Lists the presets of well-known providers, by name.
#[utoipa::path(
    get,
    path = "/api/v1/presets",
    tag = "models",
    security((), ("bearer" = [])),
    responses((status = 200, description = "All presets", body = Vec<Preset>))
)]
async fn list_presets(Viewer(_viewer): Viewer) -> JsonResponse<Vec<Preset>> {
    JsonResponse(models::presets())
}

/// Lists models with their parameters and prices, by name: those with a price, and those that public runs or the
/// caller's own runs use. Administrators see all.
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
    Viewer(viewer): Viewer,
    Query(query): Query<PageQuery>,
) -> Result<JsonResponse<Page<Model>>> {
    let (after, limit) = query.by_id()?;
    let mut conn = state.conn().await?;
    let page = models::list_models(&mut conn, viewer.as_ref(), after, limit).await?;
    Ok(JsonResponse(page))
}
