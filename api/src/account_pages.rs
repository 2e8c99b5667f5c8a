//! The pages that links in mails open, and the page at which a login through an OpenID Connect provider ends.
//!
//! The token is in the URL fragment, so only the page's script sends it to a server, and it never appears in a log.

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
