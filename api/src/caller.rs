//! Extractors for the caller of a request. A handler that needs the caller takes one of these types as an argument.
//!
//! API key scopes are enforced only here: a route that is not listed needs the scope `admin`.

use std::convert::Infallible;

use axum::{
    extract::{FromRequestParts, MatchedPath},
    http::{Method, StatusCode, header::AUTHORIZATION, request::Parts},
};
use opb_core::{
    Error,
    auth::{self, AccessToken, ApiKeyScope, Caller, Credential, CurrentUser},
    computing::Asker,
};
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use crate::{
    AppState,
    client::Client,
    problem::{ApiError, Result},
};

/// A caller with a valid credential.
pub(crate) struct Authenticated(pub(crate) CurrentUser);

/// A caller with a valid credential or none. An invalid credential is refused, never ignored.
pub(crate) struct Viewer(pub(crate) Option<CurrentUser>);

/// A caller who logged in with a password, for actions that no API key may take.
pub(crate) struct LoggedIn {
    /// The user.
    pub(crate) user: CurrentUser,
    /// The session of the access token.
    pub(crate) session_id: Uuid,
}

/// The credential of a stream, which is checked repeatedly while the stream lasts.
pub(crate) enum Watch {
    /// No credential.
    Nobody,
    /// An access token; the stream may outlast it, but not its session.
    Session(AccessToken),
    /// An API key.
    ApiKey(SecretString),
}

impl Watch {
    /// The user who reads the stream now.
    pub(crate) async fn viewer(&self, state: &AppState) -> Result<Option<CurrentUser>, Error> {
        match self {
            Self::Nobody => Ok(None),
            Self::Session(token) => auth::user_of_session(&state.pool, *token).await.map(Some),
            Self::ApiKey(key) => {
                let caller = authenticate(state, key.expose_secret()).await?;
                Ok(Some(caller.user))
            }
        }
    }
}

impl FromRequestParts<AppState> for Watch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        Ok(match bearer(parts)? {
            None => {
                check_stranger(state)?;
                Self::Nobody
            }
            Some(key) if auth::is_api_key(key) => Self::ApiKey(key.into()),
            Some(token) => Self::Session(state.accounts.tokens.verify_access(token)?),
        })
    }
}

impl FromRequestParts<AppState> for Authenticated {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        if bearer(parts)?.is_none() {
            return Err(nobody());
        }
        let viewer = Viewer::from_request_parts(parts, state).await?;
        viewer.0.map(Self).ok_or_else(nobody)
    }
}

impl FromRequestParts<AppState> for Viewer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        let Some(credential) = bearer(parts)? else {
            check_stranger(state)?;
            return Ok(Self(None));
        };
        let caller = authenticate(state, credential).await?;
        check_scope(parts, &caller)?;
        parts.extensions.insert(UserId(caller.user.id));
        Ok(Self(Some(caller.user)))
    }
}

/// The identity whose turn a computation takes: the user whom an earlier extractor authenticated, otherwise the
/// client's address.
pub(crate) struct Turn(pub(crate) Asker);

impl FromRequestParts<AppState> for Turn {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Infallible> {
        if let Some(UserId(id)) = parts.extensions.get() {
            return Ok(Self(Asker::User(*id)));
        }
        let Client(origin) = Client::from_request_parts(parts, state).await?;
        Ok(Self(Asker::at(origin.address)))
    }
}

/// The user whom an earlier extractor authenticated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UserId(pub(crate) i64);

impl FromRequestParts<AppState> for LoggedIn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        let credential = bearer(parts)?.ok_or_else(nobody)?;
        let caller = authenticate(state, credential).await?;
        let Credential::Session(session_id) = caller.credential else {
            let error =
                Error::Forbidden("an API key cannot do this; send the access token of a login");
            return Err(ApiError::from(error).with_code("login_needed"));
        };
        parts.extensions.insert(UserId(caller.user.id));
        Ok(Self {
            user: caller.user,
            session_id,
        })
    }
}

/// The API key of a request, valid, whatever its scopes are; for revoking it.
pub(crate) struct SentKey(pub(crate) SecretString);

impl FromRequestParts<AppState> for SentKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        let credential = bearer(parts)?.ok_or_else(nobody)?;
        match authenticate(state, credential).await?.credential {
            Credential::ApiKey(_) => Ok(Self(credential.into())),
            Credential::Session(_) => Err(Error::Forbidden(
                "the credential is an access token, not an API key; log out with POST /api/v1/auth/logout",
            )
            .into()),
        }
    }
}

/// Finds the user and the rights of a credential.
pub(crate) async fn authenticate(state: &AppState, credential: &str) -> Result<Caller, Error> {
    auth::authenticate(&state.pool, &state.accounts.tokens, credential).await
}

/// Refuses an API key without the scope that the request's route needs.
pub(crate) fn check_scope(parts: &Parts, caller: &Caller) -> Result<()> {
    if let Credential::ApiKey(scopes) = &caller.credential
        && let Some(needed) = scope_of(parts)
        && !scopes.iter().any(|scope| scope.covers(needed))
    {
        let message = if needed == ApiKeyScope::Admin {
            // The key that `opb login` creates is never shown to its user.
            "this needs the access token of a login, or an administrator's API key with the scope `admin`; the key that `opb login` makes for other users has no such right".to_owned()
        } else {
            format!("the API key lacks the scope `{needed}`")
        };
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "scope_missing",
            message,
        ));
    }
    Ok(())
}

/// Refuses a request without a credential, if the operator requires a login for reading.
fn check_stranger(state: &AppState) -> Result<()> {
    if state.reading_needs_login {
        let error = Error::Unauthenticated(
            "reading needs a login at this bank; log in and send the header `authorization: Bearer <token or API key>`",
        );
        return Err(error.into());
    }
    Ok(())
}

/// The credential of a request, if it has one.
pub(crate) fn bearer(parts: &Parts) -> Result<Option<&str>> {
    let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
    let Some(header) = headers.next() else {
        return Ok(None);
    };
    if headers.next().is_some() {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "two_credentials",
            "the request has more than one authorization header",
        ));
    }
    let bearer = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let Some((_, credential)) = bearer else {
        return Err(Error::Unauthenticated("the credential must have the form `Bearer …`").into());
    };
    Ok(Some(credential.trim()))
}

fn nobody() -> ApiError {
    Error::Unauthenticated("log in and send the header `authorization: Bearer <token or API key>`")
        .into()
}

/// The resources that the scopes of prompts cover.
const LIBRARY: [&str; 10] = [
    "prompts",
    "benchmarks",
    "imports",
    "change-requests",
    "categories",
    "tags",
    "saved-searches",
    "collections",
    "comments",
    "preferences",
];

/// The scope that an API key needs for the request's route; `None` for routes that show the caller's own identity.
fn scope_of(parts: &Parts) -> Option<ApiKeyScope> {
    let route = parts.extensions.get::<MatchedPath>();
    needed_scope(&parts.method, route.map_or("", MatchedPath::as_str))
}

fn needed_scope(method: &Method, route: &str) -> Option<ApiKeyScope> {
    let noun = route
        .strip_prefix("/api/v1/")
        .map(|rest| rest.split('/').next().unwrap_or(rest));
    // Routes outside `/api/v1` are not listed: the inherited dialects have no scopes, so a key needs all rights
    // there.
    // Render and diff send a body but change nothing.
    let shows = route.ends_with("/render") || route.ends_with("/diff");
    let reads = matches!(*method, Method::GET | Method::HEAD) || shows;
    match (noun, reads) {
        (Some("me"), true) => None,
        (Some("users"), true) => Some(ApiKeyScope::PromptsRead),
        (Some(noun), true) if LIBRARY.contains(&noun) => Some(ApiKeyScope::PromptsRead),
        (Some(noun), false) if LIBRARY.contains(&noun) => Some(ApiKeyScope::PromptsWrite),
        // A comparison is a read; it is a POST because its body does not fit into a URL.
        (
            Some(
                "runs" | "schedules" | "alerts" | "models" | "providers" | "presets" | "prices"
                | "leaderboards",
            ),
            true,
        )
        | (Some("compare"), _) => Some(ApiKeyScope::RunsRead),
        (Some("runs" | "schedules" | "alerts"), false) => Some(ApiKeyScope::RunsWrite),
        _ => Some(ApiKeyScope::Admin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_has_its_scope() {
        use ApiKeyScope::{Admin, PromptsRead, PromptsWrite, RunsRead, RunsWrite};
        let check = |method: Method, route: &str, expect: Option<ApiKeyScope>| {
            assert_eq!(needed_scope(&method, route), expect, "{method} {route}");
        };
        check(Method::GET, "/api/v1/me", None);
        check(Method::PATCH, "/api/v1/me", Some(Admin));
        check(
            Method::GET,
            "/api/v1/prompts/{prompt}/versions",
            Some(PromptsRead),
        );
        check(Method::POST, "/api/v1/prompts", Some(PromptsWrite));
        check(Method::POST, "/api/v1/benchmarks", Some(PromptsWrite));
        check(Method::GET, "/api/v1/imports", Some(PromptsRead));
        check(
            Method::PUT,
            "/api/v1/imports/{import}/parts/{number}",
            Some(PromptsWrite),
        );
        check(
            Method::POST,
            "/api/v1/change-requests/{change_request}/accept",
            Some(PromptsWrite),
        );
        check(Method::GET, "/api/v1/tags", Some(PromptsRead));
        check(
            Method::POST,
            "/api/v1/prompts/{prompt}/render",
            Some(PromptsRead),
        );
        check(Method::GET, "/api/v1/runs/{run}/events", Some(RunsRead));
        check(Method::POST, "/api/v1/runs/{run}/cancel", Some(RunsWrite));
        check(Method::GET, "/api/v1/schedules", Some(RunsRead));
        check(Method::POST, "/api/v1/schedules", Some(RunsWrite));
        check(
            Method::PUT,
            "/api/v1/alerts/{alert}/silence",
            Some(RunsWrite),
        );
        check(Method::GET, "/api/v1/webhooks", Some(Admin));
        check(
            Method::GET,
            "/api/v1/leaderboards/{benchmark}",
            Some(RunsRead),
        );
        check(
            Method::PUT,
            "/api/v1/prompts/{prompt}/vote",
            Some(PromptsWrite),
        );
        check(Method::POST, "/api/v1/preferences", Some(PromptsWrite));
        check(Method::GET, "/api/v1/users/{user}", Some(PromptsRead));
        check(Method::DELETE, "/api/v1/users/{user}", Some(Admin));
        check(Method::PUT, "/api/v1/me/profile", Some(Admin));
        check(Method::POST, "/api/v1/providers", Some(Admin));
        check(Method::GET, "/api/v1/audit", Some(Admin));
        check(Method::GET, "/api/v1/something-new", Some(Admin));
        check(Method::GET, "/users", Some(Admin));
        check(Method::GET, "/protected", Some(Admin));
        check(Method::GET, "/api/auth/protected", Some(Admin));
    }
}
