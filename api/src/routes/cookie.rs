//! Sessions of the web page: the refresh token is in a cookie that no script can read.
//!
//! Only these routes read cookies, and a cookie only serves to get the next access token, which the page keeps in
//! memory and sends like every other client. So a hostile page cannot use the browser to call any other route; these
//! two routes accept only requests from the server's own pages (docs/decisions/0007).

use axum::{
    Json as JsonResponse,
    extract::{FromRequestParts, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{AUTHORIZATION, COOKIE, HOST, ORIGIN, SET_COOKIE},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use opb_core::{
    Error,
    auth::{self, Rotation, SESSION_LIFETIME, TOKEN_LIFETIME},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    body::Json,
    client::Client,
    problem::{ApiError, Result},
    secret,
};

/// Browsers accept this prefix only with `Secure`, without `Domain` and for `/`, so no other site can set the cookie.
const OVER_TLS: &str = "__Host-opb-session";
/// The name on a loopback address, where there is no TLS.
const ON_LOOPBACK: &str = "opb-session";

/// The session of the cookie.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateCookie {
    /// The refresh token of a login; when absent, that of the cookie.
    #[serde(
        default,
        with = "secret::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    pub refresh_token: Option<SecretString>,
}

/// A new access token; its refresh token is in the cookie.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CookieToken {
    /// The access token, to be sent as `authorization: Bearer …`.
    #[serde(with = "secret")]
    #[schema(value_type = String)]
    pub access_token: SecretString,
    /// Always `Bearer`.
    #[schema(example = "Bearer")]
    pub token_type: String,
    /// Lifetime of the access token in seconds.
    pub expires_in_seconds: u64,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(create_cookie, delete_cookie))
}

/// Moves a session into a cookie, or refreshes the session of the cookie.
///
/// For the server's own web page: the cookie is `HttpOnly` and `SameSite=Strict`, and contains the refresh token,
/// which is replaced on each call. Works over TLS, and without TLS on a loopback address.
#[utoipa::path(
    post,
    path = "/api/v1/auth/cookie",
    tag = "auth",
    request_body = CreateCookie,
    responses(
        (status = 200, description = "A new access token", body = CookieToken, headers(("set-cookie" = String, description = "The new refresh token"))),
        (status = 401, description = "There is no session, or it has ended", body = crate::Problem, content_type = "application/problem+json"),
        (status = 403, description = "The request is not from a page of this server, or there is no TLS", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn create_cookie(
    State(state): State<AppState>,
    Client(origin): Client,
    jar: Jar,
    Json(body): Json<CreateCookie>,
) -> Result<Response> {
    let nothing = Error::Unauthenticated("there is no session; log in");
    let token = body.refresh_token.or(jar.token).ok_or(nothing)?;
    let token = token.expose_secret();
    match auth::refresh(&state.accounts, token, Rotation::Rotate, &origin).await {
        Ok(tokens) => {
            let answer = CookieToken {
                access_token: tokens.access_token,
                token_type: "Bearer".into(),
                expires_in_seconds: TOKEN_LIFETIME.as_secs(),
            };
            let cookie = jar.kind.set(tokens.refresh_token.expose_secret())?;
            Ok(([(SET_COOKIE, cookie)], JsonResponse(answer)).into_response())
        }
        Err(error @ (Error::Unauthenticated(_) | Error::UserGone)) => {
            let cookie = jar.kind.clear();
            Ok(([(SET_COOKIE, cookie)], ApiError::from(error)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

/// Ends the session of the cookie, and removes the cookie.
#[utoipa::path(
    delete,
    path = "/api/v1/auth/cookie",
    tag = "auth",
    responses(
        (status = 204, description = "The session has ended", headers(("set-cookie" = String, description = "Removes the cookie"))),
        (status = 400, description = "The request has two credentials", body = crate::Problem, content_type = "application/problem+json"),
        (status = 403, description = "The request is not from a page of this server, or there is no TLS", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn delete_cookie(
    State(state): State<AppState>,
    Client(origin): Client,
    jar: Jar,
) -> Result<Response> {
    if let Some(token) = &jar.token {
        auth::log_out_by_refresh_token(&state.accounts, token.expose_secret(), &origin).await?;
    }
    let cookie = jar.kind.clear();
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, cookie)]).into_response())
}

/// The session cookie of a request that one of the server's own pages sent.
struct Jar {
    kind: Kind,
    token: Option<SecretString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    OverTls,
    OnLoopback,
}

impl FromRequestParts<AppState> for Jar {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        let headers = &parts.headers;
        let host = text(headers, HOST.as_str()).unwrap_or_default();
        if !is_own_page(headers, state.behind_tls, host) {
            let error = Error::Forbidden("only pages of this server may use its cookie");
            return Err(ApiError::from(error).with_code("foreign_origin"));
        }
        let kind = match state.behind_tls {
            true => Kind::OverTls,
            false if is_loopback(host) => Kind::OnLoopback,
            false => {
                let detail = "a session in a cookie needs TLS: put a proxy with a certificate before the API and set --behind-tls";
                return Err(ApiError::from(Error::Forbidden(detail)).with_code("tls_needed"));
            }
        };
        let mut tokens = cookies(headers, kind.name());
        let token = tokens.next();
        if headers.contains_key(AUTHORIZATION) || tokens.next().is_some() {
            let detail = "the request has more than one credential";
            return Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "two_credentials",
                detail,
            ));
        }
        Ok(Self {
            kind,
            token: token.map(SecretString::from),
        })
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::OverTls => OVER_TLS,
            Self::OnLoopback => ON_LOOPBACK,
        }
    }

    fn set(self, token: &str) -> Result<HeaderValue> {
        let seconds = SESSION_LIFETIME.as_secs();
        let mut value = HeaderValue::try_from(self.cookie(token, seconds))
            .map_err(|_| Error::Internal("a token is not a cookie's value".into()))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn clear(self) -> HeaderValue {
        HeaderValue::try_from(self.cookie("", 0)).expect("an empty cookie is plain ASCII")
    }

    fn cookie(self, value: &str, seconds: u64) -> String {
        let secure = match self {
            Self::OverTls => "; Secure",
            Self::OnLoopback => "",
        };
        let name = self.name();
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
    }
}

/// Whether a page of this server sent the request. Browsers set these headers, and no page can forge them.
fn is_own_page(headers: &HeaderMap, behind_tls: bool, host: &str) -> bool {
    if let Some(site) = text(headers, "sec-fetch-site") {
        return site == "same-origin";
    }
    // Without TLS, and in older browsers, only the origin tells.
    let scheme = if behind_tls { "https" } else { "http" };
    text(headers, ORIGIN.as_str()) == Some(&format!("{scheme}://{host}"))
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

/// The values of all cookies with this name.
fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    let texts = headers.get_all(COOKIE).iter();
    let pairs = texts
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs
        .filter(move |(found, value)| *found == name && !value.is_empty())
        .map(|(_, value)| value)
}

/// The value of a header that occurs exactly once.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_page_is_let_in() {
        let check = |given: &[(&'static str, &str)], behind_tls: bool, expect: bool| {
            let mut headers = HeaderMap::new();
            for (name, value) in given {
                headers.append(*name, value.parse().unwrap());
            }
            let found = is_own_page(&headers, behind_tls, "bank.example.org");
            assert_eq!(found, expect, "{given:?}");
        };
        check(&[], true, false);
        check(&[("sec-fetch-site", "same-origin")], true, true);
        check(&[("sec-fetch-site", "same-site")], true, false);
        check(&[("sec-fetch-site", "cross-site")], true, false);
        check(&[("sec-fetch-site", "none")], true, false);
        check(&[("origin", "https://bank.example.org")], true, true);
        check(&[("origin", "http://bank.example.org")], true, false);
        check(&[("origin", "http://bank.example.org")], false, true);
        check(&[("origin", "https://evil.example.org")], true, false);
        check(&[("origin", "null")], true, false);
        check(
            &[
                ("sec-fetch-site", "cross-site"),
                ("origin", "https://bank.example.org"),
            ],
            true,
            false,
        );
        check(
            &[
                ("origin", "https://bank.example.org"),
                ("origin", "https://evil.example.org"),
            ],
            true,
            false,
        );
    }

    #[test]
    fn loopback_is_this_machine() {
        for host in [
            "localhost",
            "localhost:8080",
            "127.0.0.1:1",
            "[::1]:80",
            "[::1]",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "localhost.evil.org",
            "127.0.0.1.evil.org:80",
            "10.0.0.1",
            "[::2]:80",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, "a=1; opb-session=two;  b=3".parse().unwrap());
        headers.append(COOKIE, "xopb-session=4; opb-session=".parse().unwrap());
        let found: Vec<&str> = cookies(&headers, ON_LOOPBACK).collect();
        assert_eq!(found, ["two"]);
    }
}
