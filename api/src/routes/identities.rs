//! Logins through OpenID Connect providers, and linking them to accounts.

use axum::{
    Json as JsonResponse,
    extract::State,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{LOCATION, SET_COOKIE},
    },
    response::{AppendHeaders, IntoResponse, Response},
};
use chrono::Utc;
use opb_core::{
    Error,
    auth::{self, Identity, Origin},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::auth::Session;
use crate::{
    AppState, Registration,
    body::Json,
    caller::LoggedIn,
    client::Client,
    oidc::{self, CallbackParameters, Fault, Progress, Provider},
    parameters::{Path, Query},
    problem::{ApiError, Result},
    secret,
};

/// The page to which the browser returns; the URL fragment is for its script.
const PAGE: &str = "account/oidc";

/// A provider through which users may log in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OidcProvider {
    /// Its name in URLs.
    #[schema(example = "keycloak")]
    pub name: String,
    /// The name that users see.
    #[schema(example = "Our Keycloak")]
    pub display_name: String,
    /// The path at which a browser starts a login.
    #[schema(example = "/api/v1/auth/oidc/keycloak/start")]
    pub start_path: String,
}

/// The code with which the browser returned.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OidcCode {
    /// The value of `#code=` in the URL. It works once, for five minutes, in the browser that began the login.
    #[serde(with = "secret")]
    #[schema(value_type = String)]
    pub code: SecretString,
}

/// The parameters with which a provider sends the browser back.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct OidcReturn {
    /// The provider's authorization code
    code: Option<String>,
    /// The `state` of the authorization request
    state: Option<String>,
    /// The error, if there is no code
    error: Option<String>,
    /// The issuer (RFC 9207)
    iss: Option<String>,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_oidc_providers))
        .routes(routes!(start_oidc_login))
        .routes(routes!(finish_oidc_login))
        .routes(routes!(login_oidc_user))
        .routes(routes!(list_identities, link_identity))
        .routes(routes!(delete_identity))
}

/// Lists the providers through which users may log in.
#[utoipa::path(
    get,
    path = "/api/v1/auth/oidc",
    tag = "auth",
    responses((status = 200, description = "The providers, by name", body = [OidcProvider]))
)]
async fn list_oidc_providers(State(state): State<AppState>) -> JsonResponse<Vec<OidcProvider>> {
    let providers = state.oidc.providers().map(|provider| OidcProvider {
        name: provider.name.clone(),
        display_name: provider.display_name().to_owned(),
        start_path: format!("/api/v1/auth/oidc/{}/start", provider.name),
    });
    JsonResponse(providers.collect())
}

/// Starts a login: redirects the browser to the provider.
#[utoipa::path(
    get,
    path = "/api/v1/auth/oidc/{provider}/start",
    tag = "auth",
    params(("provider" = String, Path, description = "Name of a provider")),
    responses((status = 303, description = "Redirects to the provider and sets a cookie that the browser must send back"))
)]
async fn start_oidc_login(
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<Response> {
    let provider = find(&state, &name)?;
    match provider.start().await {
        Ok((url, progress)) => {
            let cookie = oidc::write(&progress, &state.master_key, state.is_secure());
            redirect(url.as_str(), cookie)
        }
        Err(fault) => send_back(
            &state,
            &format!("error={fault}"),
            oidc::clear(state.is_secure()),
        ),
    }
}

/// Ends a login at the provider: redirects the browser to `/account/oidc` with a code or an error in the URL
/// fragment.
#[utoipa::path(
    get,
    path = "/api/v1/auth/oidc/{provider}/callback",
    tag = "auth",
    params(("provider" = String, Path, description = "Name of a provider"), OidcReturn),
    responses((status = 303, description = "Redirects to `/account/oidc#code=…` or `#error=…`, which is one of `login_refused`, `login_unknown`, `login_not_confirmed`, `email_not_allowed`, `provider_unavailable`"))
)]
async fn finish_oidc_login(
    State(state): State<AppState>,
    Client(origin): Client,
    Path(name): Path<String>,
    headers: HeaderMap,
    Query(query): Query<OidcReturn>,
) -> Result<Response> {
    let provider = find(&state, &name)?;
    let secure = state.is_secure();
    let progress = oidc::read(&headers, &state.master_key, secure);
    match take_back(&state, provider, query, progress, &origin).await {
        Ok(Ok((code, progress))) => {
            let cookie = oidc::write(&progress, &state.master_key, secure);
            send_back(&state, &format!("code={}", code.expose_secret()), cookie)
        }
        Ok(Err(fault)) => send_back(&state, &format!("error={fault}"), oidc::clear(secure)),
        Err(error) => Err(error.into()),
    }
}

/// Exchanges the code of a login for a session. Needs the cookie of the browser that began the login.
#[utoipa::path(
    post,
    path = "/api/v1/auth/oidc/exchange",
    tag = "auth",
    request_body = OidcCode,
    responses(
        (status = 200, description = "The user and their tokens", body = Session),
        (status = 401, description = "The account is disabled", body = crate::Problem, content_type = "application/problem+json"),
        (status = 403, description = "New users are not admitted", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "An account has this email address: log in to it, and link the provider there with the same code", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn login_oidc_user(
    State(state): State<AppState>,
    Client(origin): Client,
    headers: HeaderMap,
    Json(body): Json<OidcCode>,
) -> Result<Response> {
    let browser = browser(&state, &headers)?;
    let code = body.code.expose_secret();
    let collected = auth::collect_login(&state.accounts, code, &browser, &origin).await;
    let (user, tokens) = collected.map_err(|error| {
        let is_conflict = matches!(error, Error::Conflict(_));
        let refusal = ApiError::from(error);
        if is_conflict {
            refusal.with_code("link_needed")
        } else {
            refusal
        }
    })?;
    let tokens = tokens.into();
    let cookie = oidc::clear(state.is_secure()).map_err(|_| broken())?;
    let session = JsonResponse(Session { user, tokens });
    Ok((AppendHeaders([(SET_COOKIE, cookie)]), session).into_response())
}

/// Lists the caller's identities at providers.
#[utoipa::path(
    get,
    path = "/api/v1/me/identities",
    tag = "auth",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The identities, oldest first", body = [Identity]),
        (status = 403, description = "An API key cannot do this", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn list_identities(
    State(state): State<AppState>,
    LoggedIn { user, .. }: LoggedIn,
) -> Result<JsonResponse<Vec<Identity>>> {
    let mut conn = state.conn().await?;
    Ok(JsonResponse(auth::list_identities(&mut conn, &user).await?))
}

/// Links an identity at a provider to the caller's account, with the code of a login.
#[utoipa::path(
    post,
    path = "/api/v1/me/identities",
    tag = "auth",
    request_body = OidcCode,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The linked identity, which now logs in to this account", body = Identity),
        (status = 403, description = "An API key cannot do this", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The identity is already linked to an account", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn link_identity(
    State(state): State<AppState>,
    Client(origin): Client,
    LoggedIn { user, .. }: LoggedIn,
    headers: HeaderMap,
    Json(body): Json<OidcCode>,
) -> Result<(StatusCode, JsonResponse<Identity>)> {
    let browser = browser(&state, &headers)?;
    let mut conn = state.conn().await?;
    let code = body.code.expose_secret();
    let identity = auth::link_identity(&mut conn, &user, code, &browser, &origin).await?;
    Ok((StatusCode::CREATED, JsonResponse(identity)))
}

/// Removes an identity of the caller; it no longer logs in to this account.
#[utoipa::path(
    delete,
    path = "/api/v1/me/identities/{identity}",
    tag = "auth",
    params(("identity" = Uuid, Path, description = "Id of an identity")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The identity is removed"),
        (status = 403, description = "An API key cannot do this", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The identity is the only way to log in to the account", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn delete_identity(
    State(state): State<AppState>,
    Client(origin): Client,
    LoggedIn { user, .. }: LoggedIn,
    Path(id): Path<Uuid>,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    auth::delete_identity(&mut conn, &user, id, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Checks that this browser began this login, has the provider confirm it, and stores the result for the client.
async fn take_back(
    state: &AppState,
    provider: &Provider,
    query: OidcReturn,
    progress: Option<Progress>,
    origin: &Origin,
) -> Result<Result<(SecretString, Progress), Fault>, Error> {
    let Some(Progress::Started {
        provider: started_at,
        state: expected,
        nonce,
        verifier,
        browser,
        ..
    }) = progress
    else {
        return Ok(Err(Fault::Unknown));
    };
    // Both are random and used for one login only, so the comparison's timing reveals nothing useful.
    if started_at != provider.name || query.state.as_deref() != Some(expected.as_str()) {
        return Ok(Err(Fault::Unknown));
    }
    let (Some(code), None) = (query.code, query.error) else {
        return Ok(Err(Fault::Refused));
    };
    let returned = CallbackParameters {
        code,
        issuer: query.iss,
    };
    auth::may_ask_provider(&state.accounts, origin).await?;
    let mut confirmed = match provider.finish(returned, nonce, verifier).await {
        Ok(confirmed) => confirmed,
        Err(fault) => {
            // Counted, because otherwise one started login would allow guessing any number of codes.
            if matches!(fault, Fault::NotConfirmed) {
                auth::count_unconfirmed_login(&state.accounts, origin).await?;
            }
            return Ok(Err(fault));
        }
    };
    confirmed.may_register =
        provider.creates_users() && state.accounts.registration == Registration::Open;
    let mut conn = state.pool.acquire().await?;
    let code = auth::keep_login(&mut conn, &confirmed, &browser).await?;
    let at = Utc::now();
    Ok(Ok((code, Progress::Confirmed { browser, at })))
}

/// The browser secret of a confirmed login, from its cookie.
fn browser(state: &AppState, headers: &HeaderMap) -> Result<String> {
    match oidc::read(headers, &state.master_key, state.is_secure()) {
        Some(Progress::Confirmed { browser, .. }) => Ok(browser),
        Some(Progress::Started { .. }) | None => Err(ApiError::invalid(
            "code",
            "was sent without the cookie of the browser that began the login; log in again",
        )),
    }
}

fn find<'a>(state: &'a AppState, name: &str) -> Result<&'a Provider> {
    let found = state.oidc.find(name);
    found.ok_or_else(|| Error::NotFound("the provider".into()).into())
}

/// Redirects the browser to our own page.
fn send_back<E>(
    state: &AppState,
    fragment: &str,
    cookie: Result<HeaderValue, E>,
) -> Result<Response> {
    let page = state
        .public_url
        .as_ref()
        .and_then(|url| url.join(PAGE).ok());
    let mut page = page.ok_or_else(broken)?;
    page.set_fragment(Some(fragment));
    redirect(page.as_str(), cookie)
}

fn redirect<E>(url: &str, cookie: Result<HeaderValue, E>) -> Result<Response> {
    let location = HeaderValue::try_from(url).map_err(|_| broken())?;
    let cookie = cookie.map_err(|_| broken())?;
    let headers = AppendHeaders([(LOCATION, location), (SET_COOKIE, cookie)]);
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

fn broken() -> ApiError {
    Error::Internal("an address or a cookie cannot be written into a header".into()).into()
}
