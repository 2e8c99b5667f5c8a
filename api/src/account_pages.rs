//! The pages behind the links that come by mail, and the one at which a login at a provider ends.
//!
//! A token stands behind the `#`, so it is sent to no server but by the page's script, and is in no log.

use axum::Router;

use crate::{AppState, page_file::page_file};

pub(crate) fn pages() -> Router<AppState> {
    let page = || {
        page_file(
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
            page_file("text/javascript", include_str!("account_pages/script.js")),
        )
        .route(
            "/account/style.css",
            page_file("text/css", include_str!("account_pages/style.css")),
        )
}
