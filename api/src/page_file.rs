//! Serves the files of the few pages that are part of the binary.

use axum::{
    http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    routing::{MethodRouter, get},
};

use crate::AppState;

/// A page may load its own script and call this API, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A route that serves one file.
pub(crate) fn page_file(kind: &'static str, text: &'static str) -> MethodRouter<AppState> {
    get(async move || {
        let headers = [
            (CONTENT_TYPE, kind),
            (CONTENT_SECURITY_POLICY, POLICY),
            (CACHE_CONTROL, "no-store"),
        ];
        (headers, text)
    })
}
