//! Security headers of every response: what it may load, who may frame it, who may read it.

use axum::{
    extract::{Request, State},
    http::{
        HeaderName, HeaderValue, Method,
        header::{
            AUTHORIZATION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH,
            LOCATION, REFERRER_POLICY, RETRY_AFTER, STRICT_TRANSPORT_SECURITY, X_FRAME_OPTIONS,
        },
    },
    middleware::Next,
    response::Response,
};
use tower_http::cors::CorsLayer;

use crate::{AppState, settings::CorsOrigin};

/// API responses are data: nothing in them may load or run anything.
const DATA_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";
/// The documentation page needs its own files, the icons inside its style sheet, and the style inside its logo, by
/// hash.
const DOCUMENTATION_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'sha256-RL3ie0nH+Lzz2YNqQN83mnU0J1ot4QL7b99vMdIX99w='; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// One year, which preload lists require.
const TRANSPORT: &str = "max-age=31536000; includeSubDomains";

/// Sets the headers; headers that a page set itself are kept.
pub(crate) async fn harden(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let is_documentation = request.uri().path().starts_with("/api/docs");
    let mut response = next.run(request).await;
    let policy = if is_documentation {
        DOCUMENTATION_POLICY
    } else {
        DATA_POLICY
    };
    let mut headers = vec![
        (CONTENT_SECURITY_POLICY, policy),
        (REFERRER_POLICY, "no-referrer"),
        (X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    if state.behind_tls {
        headers.push((STRICT_TRANSPORT_SECURITY, TRANSPORT));
    }
    for (name, value) in headers {
        response
            .headers_mut()
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Lets web pages of other origins call the API with a bearer token. Cookies are never accepted from them.
pub(crate) fn cross_origin(origins: &[CorsOrigin]) -> CorsLayer {
    let origins: Vec<HeaderValue> = origins.iter().map(|origin| origin.0.clone()).collect();
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ])
        .allow_headers([
            AUTHORIZATION,
            CONTENT_TYPE,
            IF_MATCH,
            IF_NONE_MATCH,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("last-event-id"),
        ])
        .expose_headers([
            ETAG,
            LOCATION,
            RETRY_AFTER,
            HeaderName::from_static("x-request-id"),
        ])
        .max_age(std::time::Duration::from_mins(10))
}
