//! The two inherited authentication APIs, for clients of the older services.
//!
//! A dialect holds no rules: it reads its own fields, calls the domain, and writes the response in its own shape.
//! Errors that arise before or around its handlers (invalid JSON, wrong method, too large, throttled …) are rewritten
//! by [`respell`].

pub(crate) mod django;
pub(crate) mod flask;

use std::sync::Arc;

use axum::{
    Json as JsonResponse,
    extract::Request,
    http::{
        HeaderValue, Method, StatusCode,
        header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;

use crate::Problem;

/// The dialect of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Below `/api/auth/`.
    Django,
    /// At the root.
    Flask,
}

/// An error of the server, before a dialect has rewritten it.
struct Trouble<'a> {
    problem: &'a Problem,
    method: &'a Method,
    path: &'a str,
    retry_after: &'a str,
}

/// The dialect of a path.
pub(crate) fn of(path: &str) -> Option<Dialect> {
    if path.starts_with("/api/auth/") {
        return Some(Dialect::Django);
    }
    flask::PATHS.contains(&path).then_some(Dialect::Flask)
}

/// Rewrites a problem in the shape of the request's dialect.
pub(crate) async fn respell(request: Request, next: Next) -> Response {
    let Some(dialect) = of(request.uri().path()) else {
        return next.run(request).await;
    };
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let Some(problem) = response.extensions().get::<Arc<Problem>>().cloned() else {
        return response;
    };
    let retry_after = response.headers().get(RETRY_AFTER);
    let trouble = Trouble {
        problem: &problem,
        method: &method,
        path: &path,
        retry_after: retry_after.map_or("1", |text| text.to_str().unwrap_or("1")),
    };
    let (status, body) = match dialect {
        Dialect::Django => django::spell(&trouble),
        Dialect::Flask => flask::spell(&trouble),
    };
    let (mut parts, _) = response.into_parts();
    parts.status = status;
    parts.headers.remove(CONTENT_LENGTH);
    let json = HeaderValue::from_static("application/json");
    parts.headers.insert(CONTENT_TYPE, json);
    Response::from_parts(parts, body.to_string().into())
}

/// A response in a dialect's own shape.
fn answer(status: StatusCode, body: impl Serialize) -> Response {
    let mut response = (status, JsonResponse(body)).into_response();
    if status == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
    }
    response
}

/// The text of a field that is a non-empty string.
fn text(field: Option<&Value>) -> Option<&str> {
    field
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}
