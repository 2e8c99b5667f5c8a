//! The page behind the link that `opb up` prints while there is no administrator.
//!
//! The invitation stands behind the `#` of the link, so it is never sent to a server but by the form, and in no log.

use axum::{
    Router,
    http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    routing::get,
};

use crate::AppState;

/// The page may load its own script and call this API, and nothing else.
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
    let page = include_str!("first_admin/page.html");
    let script = include_str!("first_admin/script.js");
    let style = include_str!("first_admin/style.css");
    Router::new()
        .route("/first-admin", file("text/html; charset=utf-8", page))
        .route("/first-admin/script.js", file("text/javascript", script))
        .route("/first-admin/style.css", file("text/css", style))
}
