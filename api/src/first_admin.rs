//! The page of the link that `opb up` prints while there is no administrator.
//!
//! The invitation is in the URL fragment, so only the form sends it to a server, and it never appears in a log.

use axum::Router;

use crate::{AppState, page_file::page_file};

pub(crate) fn pages() -> Router<AppState> {
    let page = include_str!("first_admin/page.html");
    let script = include_str!("first_admin/script.js");
    let style = include_str!("first_admin/style.css");
    Router::new()
        .route("/first-admin", page_file("text/html; charset=utf-8", page))
        .route(
            "/first-admin/script.js",
            page_file("text/javascript", script),
        )
        .route("/first-admin/style.css", page_file("text/css", style))
}
