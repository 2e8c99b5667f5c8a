//! Routes requests to responses.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use opb_worker::simulation::{AnswerKey, FaultPlan, MODELS, Purpose};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};

use super::chat::Chat;
use super::embeddings::create_embeddings;
use super::faults::{ResetOnPurpose, misbehave};
use super::limiter::{Admission, Limiter};
use super::models::list_models;
use super::response::{ApiError, Body, EVENT_STREAM, JSON, streamed, to_json, whole};
use super::settings::Latency;
use super::stats::Stats;

/// Maximum size of a request body: 8 MiB.
const BODY_CAP_BYTES: usize = 8 * 1024 * 1024;

/// The shared state of the routes.
pub(super) struct Simulator {
    pub(super) answers: AnswerKey,
    pub(super) faults: FaultPlan,
    pub(super) latency: Latency,
    pub(super) seed: u64,
    pub(super) limiter: Option<Limiter>,
    /// Calls wait for one of these.
    pub(super) slots: Option<Arc<Semaphore>>,
    /// Calls are refused without one of these.
    pub(super) most: Option<Arc<Semaphore>>,
    pub(super) api_key: Option<SecretString>,
    pub(super) stats: Stats,
    pub(super) started: Instant,
}

#[derive(Clone, Copy)]
enum Route {
    Health,
    Stats,
    Models,
    Model(Purpose),
}

/// Handles one request; an error drops the connection.
pub(super) async fn handle(
    simulator: &Simulator,
    request: Request<Incoming>,
) -> Result<Response<Body>, ResetOnPurpose> {
    simulator.stats.count_request();
    let mut response = match find_route(simulator, &request) {
        Ok(Route::Health) => json_response(&json!({"status": "ok", "simulated": true})),
        Ok(Route::Stats) => json_response(&simulator.stats.to_json()),
        Ok(Route::Models) => json_response(&list_models()),
        Ok(Route::Model(purpose)) => call_model(simulator, purpose, request).await?,
        Err(response) => *response,
    };
    let labelled = HeaderValue::from_static("true");
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-simulated"), labelled);
    simulator.stats.count_status(response.status());
    Ok(response)
}

fn find_route(
    simulator: &Simulator,
    request: &Request<Incoming>,
) -> Result<Route, Box<Response<Body>>> {
    let path = request.uri().path();
    let (route, method) = match path.strip_prefix("/v1").unwrap_or(path) {
        "/chat/completions" => (Route::Model(Purpose::Text), Method::POST),
        "/embeddings" => (Route::Model(Purpose::Embedding), Method::POST),
        "/models" => (Route::Models, Method::GET),
        "/health" => return Ok(Route::Health),
        "/stats" => (Route::Stats, Method::GET),
        _ => {
            let error = ApiError::new(
                StatusCode::NOT_FOUND,
                "invalid_request_error",
                None,
                "no such path",
            );
            return Err(Box::new(error.into_response()));
        }
    };
    if request.method() != method {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        let error = ApiError::new(status, "invalid_request_error", None, "no such method here");
        let mut response = error.into_response();
        let allowed = HeaderValue::from_static(if method == Method::GET { "GET" } else { "POST" });
        response.headers_mut().insert(ALLOW, allowed);
        return Err(Box::new(response));
    }
    if !is_authorized(simulator.api_key.as_ref(), request.headers()) {
        let status = StatusCode::UNAUTHORIZED;
        let error = ApiError::new(
            status,
            "invalid_request_error",
            Some("invalid_api_key"),
            "incorrect api key",
        );
        let mut response = error.into_response();
        response
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return Err(Box::new(response));
    }
    Ok(route)
}

fn is_authorized(api_key: Option<&SecretString>, headers: &HeaderMap) -> bool {
    let Some(api_key) = api_key else {
        return true;
    };
    headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .is_some_and(|token| token == api_key.expose_secret())
}

async fn call_model(
    simulator: &Simulator,
    purpose: Purpose,
    request: Request<Incoming>,
) -> Result<Response<Body>, ResetOnPurpose> {
    let body = match read_body(request).await {
        Ok(body) => body,
        Err(error) => return Ok(error.into_response()),
    };
    let Some(limiter) = &simulator.limiter else {
        return answer(simulator, purpose, &body).await;
    };
    let admission = limiter.admit(simulator.started.elapsed());
    let mut response = if admission.retry_after.is_zero() {
        answer(simulator, purpose, &body).await?
    } else {
        ApiError::rate_limit().into_response()
    };
    announce(&admission, response.headers_mut());
    Ok(response)
}

async fn read_body(request: Request<Incoming>) -> Result<Bytes, ApiError> {
    match Limited::new(request.into_body(), BODY_CAP_BYTES)
        .collect()
        .await
    {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!("the body is larger than {BODY_CAP_BYTES} bytes");
            Err(ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "invalid_request_error",
                None,
                message,
            ))
        }
        Err(_) => Err(ApiError::invalid("the body could not be read")),
    }
}

/// The state of the limit, in the headers that providers use.
fn announce(admission: &Admission, headers: &mut HeaderMap) {
    let mut insert = |name, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    insert("x-ratelimit-limit-requests", admission.limit.to_string());
    insert(
        "x-ratelimit-remaining-requests",
        admission.remaining.to_string(),
    );
    insert(
        "x-ratelimit-reset-requests",
        format!("{}ms", admission.full_after.as_millis()),
    );
    if !admission.retry_after.is_zero() {
        // Whole seconds, rounded up, as the header has no fractions.
        insert(
            "retry-after",
            admission
                .retry_after
                .as_millis()
                .div_ceil(1_000)
                .to_string(),
        );
    }
}

async fn answer(
    simulator: &Simulator,
    purpose: Purpose,
    body: &[u8],
) -> Result<Response<Body>, ResetOnPurpose> {
    let call = simulator.stats.count_model_call();
    let fault = simulator.faults.pick(call);
    if let Some(fault) = fault {
        simulator.stats.count_fault(fault);
    }
    let made = match purpose {
        Purpose::Text => {
            Chat::create(body, &simulator.answers, simulator.seed, call).map(PreparedResponse::Chat)
        }
        Purpose::Embedding => create_embeddings(body).map(PreparedResponse::Embeddings),
    };
    let made = match made {
        Ok(made) => made,
        Err(error) => return Ok(error.into_response()),
    };
    if let Some(fault) = fault {
        let (content_type, good) = made.to_body();
        return misbehave(fault, call, content_type, good).await;
    }
    let held = match hold(simulator).await {
        Ok(held) => held,
        Err(error) => return Ok(error.into_response()),
    };
    Ok(made.into_response(simulator.latency, held).await)
}

/// What a call holds until its answer is complete.
type Held = [Option<OwnedSemaphorePermit>; 2];

/// Waits for a slot, if there are slots.
///
/// # Errors
/// There are too many concurrent calls.
async fn hold(simulator: &Simulator) -> Result<Held, ApiError> {
    let most = match &simulator.most {
        Some(most) => match Arc::clone(most).try_acquire_owned() {
            Ok(place) => Some(place),
            Err(_) => return Err(ApiError::rate_limit()),
        },
        None => None,
    };
    // The semaphore is never closed.
    let slot = match &simulator.slots {
        Some(slots) => Arc::clone(slots).acquire_owned().await.ok(),
        None => None,
    };
    Ok([most, slot])
}

/// A good response, created but not yet sent.
enum PreparedResponse {
    Chat(Chat),
    Embeddings(Bytes),
}

impl PreparedResponse {
    /// The whole body with its content type.
    fn to_body(&self) -> (&'static str, Bytes) {
        match self {
            Self::Chat(chat) if chat.streams() => (EVENT_STREAM, chat.to_events()),
            Self::Chat(chat) => (JSON, chat.to_json()),
            Self::Embeddings(body) => (JSON, body.clone()),
        }
    }

    /// The response after its latency. What it holds is released when it is complete.
    async fn into_response(self, latency: Latency, held: Held) -> Response<Body> {
        let real = match self {
            Self::Chat(chat) if chat.streams() && latency != Latency::None => {
                let events = chat.into_timed_events(latency).inspect(move |_| {
                    let _ = &held;
                });
                return streamed(EVENT_STREAM, events);
            }
            Self::Chat(ref chat) => chat.total(),
            Self::Embeddings(_) => embedding_latency(),
        };
        let wait = latency.of(real);
        if !wait.is_zero() {
            sleep(wait).await;
        }
        let (content_type, body) = self.to_body();
        whole(StatusCode::OK, content_type, body)
    }
}

fn embedding_latency() -> Duration {
    let model = MODELS
        .iter()
        .find(|model| model.purpose == Purpose::Embedding);
    model.map_or(Duration::ZERO, |model| {
        Duration::from_micros(model.latency.first_token_us)
    })
}

fn json_response(value: &Value) -> Response<Body> {
    whole(StatusCode::OK, JSON, to_json(value))
}
