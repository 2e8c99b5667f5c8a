//! The pages behind the links that come by mail, and the one at which a login at a provider ends.
//!
//! A token stands behind the `#`, so it is sent to no server but by the page's script, and is in no log.

use axum::{
    Router,
    http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    routing::get,
};

use crate::AppState;

/// The pages may load their own script and call this API, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) fn pages() -> Router<AppState> {
    let file = |kind: &'static str, text: &'static str| {
        get(async move || {
            let headers = [
                (CONTENT_TYPE, kind),
                (CONTENT_SECURITY_POLICY, POLICY),
                (CACHE_CONTROL, "no-store"),
            ];
            (headers, text)
        })
    };
    let page = || {
        file(
            "text/html; charset=utf-8",
            include_str!("account_pages/page.html"),
        )
    };
    Router::new()
        .route("/account/reset-password", page())
        .route("/account/verify-email", page())
        .route("/account/oidc", page())
        .route(
            "/account/script.js",
            file("text/javascript", include_str!("account_pages/script.js")),
        )
        .route(
            "/account/style.css",
            file("text/css", include_str!("account_pages/style.css")),
        )
}
