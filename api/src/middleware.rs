//! Middleware of every request: an id, a trace, metrics, a time limit, security headers, and the handling of panics.
//!
//! Bodies, credentials and raw paths are never logged, and never become labels or attributes.

use std::{any::Any, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS},
    },
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use opb_core::metrics::METRICS;
use opb_monitor::traces::{self, EXPORTED_SPANS};
use tracing::{Instrument as _, Span, field::Empty};
use uuid::Uuid;

use crate::{AppState, dialects, problem::ApiError};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static REQUEST_ID: Uuid;
}

/// The id of the request that this task serves.
pub(crate) fn request_id() -> Option<Uuid> {
    REQUEST_ID.try_with(|id| *id).ok()
}

/// Exports that this request has submitted a run, unless it only returns an existing one.
pub(crate) fn run_submitted(run_id: Uuid) {
    // Ids are ordered by time: a run that is older than the request was found by its idempotency key.
    if REQUEST_ID.try_with(|id| *id < run_id).unwrap_or(false) {
        traces::run_submitted(run_id);
    }
}

/// Gives the request an id and a trace, counts it, and sets the headers of every response.
pub(crate) async fn observe(request: Request, next: Next) -> Response {
    let started = Instant::now();
    // Never the client's own id: it would let a client write into the log.
    let id = Uuid::now_v7();
    let method = known(request.method());
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let matched = matched.as_ref().map(MatchedPath::as_str);
    let route = matched.unwrap_or("unmatched");
    let path = request.uri().path();
    let is_api = path.starts_with("/api/") || dialects::of(path).is_some();
    let exported = exported(id, method, matched, request.headers());
    let span = tracing::info_span!(
        "request",
        request.id = %id,
        http.method = method,
        http.route = route,
        trace_id = traces::trace_id(&exported)
    );
    let mut response = REQUEST_ID
        .scope(id, next.run(request))
        .instrument(span.clone())
        .instrument(exported.clone())
        .await;
    let elapsed = started.elapsed();
    let status = response.status();
    answered(&exported, status);
    METRICS
        .api
        .requests
        .with_label_values(&[method, route, status.as_str()])
        .inc();
    METRICS
        .api
        .duration
        .with_label_values(&[method, route])
        .observe(elapsed.as_secs_f64());
    span.in_scope(|| {
        tracing::debug!(
            http.status = status.as_u16(),
            http.duration_ms = elapsed.as_millis(),
            "request served"
        );
    });
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::try_from(id.to_string()) {
        headers.insert(X_REQUEST_ID, id);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if is_api && !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// The exported span of a request, by the semantic conventions for HTTP, without path and query.
fn exported(id: Uuid, method: &'static str, route: Option<&str>, headers: &HeaderMap) -> Span {
    let span = tracing::info_span!(
        target: EXPORTED_SPANS,
        parent: None,
        "request",
        otel.kind = "server",
        otel.name = route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}")),
        otel.status_code = Empty,
        error.type = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        opb.request.id = %id,
    );
    traces::continue_from(&span, headers);
    span
}

fn answered(exported: &Span, status: StatusCode) {
    if exported.is_disabled() {
        return;
    }
    exported.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        exported.record("otel.status_code", "ERROR");
        exported.record("error.type", status.as_str());
    }
}

/// Refuses a request whose host name is not one of this server's, as from pages that use DNS rebinding.
pub(crate) async fn check_host(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    if state.hosts.accept(request.uri(), request.headers()) {
        return next.run(request).await;
    }
    ApiError::new(
        StatusCode::MISDIRECTED_REQUEST,
        "wrong_host",
        "this server does not accept that host name; its operator sets the accepted names with \
         --public-url, and further ones with --allow-hosts",
    )
    .into_response()
}

/// Fails a request that takes too long.
pub(crate) async fn limit_time(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    match tokio::time::timeout(state.request_timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "timeout",
            format!(
                "the request took longer than {} seconds",
                state.request_timeout.as_secs()
            ),
        )
        .into_response(),
    }
}

/// The response to a request whose handler panicked.
#[expect(
    clippy::needless_pass_by_value,
    reason = "tower-http asks for a function of this type"
)]
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let error = opb_core::Error::Internal(format!("a handler panicked: {message}"));
    ApiError::from(error).into_response()
}

/// Responds to paths that no route has.
pub(crate) async fn no_route() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "no_route",
        "there is no such path; see /api/docs",
    )
}

/// Responds to methods that the route does not have; the header `allow` lists those that it has.
pub(crate) async fn wrong_method() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this method is not allowed here",
    )
}

/// A method as a label; the set is closed because a client can invent any method.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
