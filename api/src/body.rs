//! Extractors of request bodies: JSON or JSON Lines, limited in size; errors name the path of the invalid field.

use std::time::Duration;

use axum::{
    body::BodyDataStream,
    extract::{FromRequest, FromRequestParts as _, Request},
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT},
    },
};
use futures::StreamExt as _;
use opb_core::{FieldError, exact_json::find_inexact, texts::path_of_nul};
use serde::de::DeserializeOwned;
use serde_json::{Value, error::Category};

use crate::{
    AppState,
    bodies::{BodyPermitSlot, SMALL_BYTES},
    caller::{Turn, UserId},
    problem::{ApiError, Result},
};

/// Maximum number of bytes of an oversized body that are read and discarded, so that the client receives the error
/// instead of a broken connection.
const DRAIN_BYTES: u64 = 64 * 1024 * 1024;
/// Maximum time for reading them.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// A JSON body. What could not be stored exactly is refused: numbers with too many digits, and duplicate names in an
/// object.
pub(crate) struct Json<T>(pub(crate) T);

/// A JSON body in a third party's format, which may be rounded because nothing of it is stored exactly.
pub(crate) struct LenientJson<T>(pub(crate) T);

/// A JSON Lines body, not parsed yet.
pub(crate) struct JsonLines(pub(crate) Vec<u8>);

/// Larger bodies are parsed outside the threads that serve connections.
const LARGE: usize = 64 * 1024;

impl<T: DeserializeOwned + Send + 'static> FromRequest<AppState> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self> {
        receive_json(request, state, parse_exactly).await.map(Self)
    }
}

impl<T: DeserializeOwned + Send + 'static> FromRequest<AppState> for LenientJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self> {
        receive_json(request, state, parse).await.map(Self)
    }
}

async fn receive_json<T: Send + 'static>(
    request: Request,
    state: &AppState,
    parse: fn(&[u8]) -> Result<T>,
) -> Result<T> {
    let kind = media_type(request.headers());
    if kind != "application/json" && !(kind.starts_with("application/") && kind.ends_with("+json"))
    {
        return Err(unsupported("JSON", "application/json"));
    }
    let (mut parts, body) = request.into_parts();
    let Ok(Turn(asker)) = Turn::from_request_parts(&mut parts, state).await;
    let body = receive(Request::from_parts(parts, body), state).await?;
    if body.len() > LARGE {
        return state.computing.run(asker, move || parse(&body)).await?;
    }
    parse(&body)
}

impl FromRequest<AppState> for JsonLines {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self> {
        let kind = media_type(request.headers());
        if !["application/x-ndjson", "application/jsonl"].contains(&kind.as_str()) {
            return Err(unsupported("JSON Lines", "application/x-ndjson"));
        }
        receive(request, state).await.map(Self)
    }
}

/// The media type of the request, without its parameters.
fn media_type(headers: &HeaderMap) -> String {
    let text = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let kind = text.and_then(|text| text.split(';').next());
    kind.unwrap_or_default().trim().to_ascii_lowercase()
}

fn unsupported(what: &str, media_type: &str) -> ApiError {
    ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        format!("the body must be {what}, with the header `content-type: {media_type}`"),
    )
}

/// Receives a body within half of the request's time limit, leaving the other half for the response. The credential
/// has been checked before: without one, only a small body is accepted.
async fn receive(request: Request, state: &AppState) -> Result<Vec<u8>> {
    if is_encoded(request.headers()) {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_content_encoding",
            "the body must not be compressed; send it without the header `content-encoding`",
        ));
    }
    let body = read(request, state);
    let body = tokio::time::timeout(state.request_timeout / 2, body).await;
    body.unwrap_or_else(|_| {
        Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "slow_body",
            "the body did not arrive in time",
        ))
    })
}

/// True if the body has a content encoding.
fn is_encoded(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    encodings.any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

async fn read(request: Request, state: &AppState) -> Result<Vec<u8>> {
    let user = request.extensions().get::<UserId>().copied();
    let kept = request.extensions().get::<BodyPermitSlot>().cloned();
    let mut portion = user.map(|UserId(id)| state.bodies.begin(id));
    let limit_bytes = match user {
        Some(_) => state.body_limit_bytes,
        None => state.body_limit_bytes.min(SMALL_BYTES),
    };
    let too_large = || {
        let remedy = if limit_bytes < state.body_limit_bytes {
            "; larger ones need a login"
        } else {
            ""
        };
        ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("the body is larger than {limit_bytes} bytes{remedy}"),
        )
    };
    let announced: Option<u64> = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let announces_too_much = announced.is_some_and(|bytes| bytes > limit_bytes);
    // A client that sends `Expect` waits for permission to send the body, so there is nothing to drain.
    if announces_too_much && request.headers().contains_key(EXPECT) {
        return Err(too_large());
    }
    let mut stream = request.into_body().into_data_stream();
    let mut body = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| {
            ApiError::new(
                StatusCode::BAD_REQUEST,
                "broken_body",
                "the body ended too early",
            )
        })?;
        let bytes = (body.len() + chunk.len()) as u64;
        let fits = match &mut portion {
            _ if announces_too_much || bytes > limit_bytes => Err(too_large()),
            Some(portion) => portion.grow(bytes),
            None => Ok(()),
        };
        if let Err(refusal) = fits {
            // The response is the same whether or not the rest arrives in time.
            drop((portion, body));
            let _ = tokio::time::timeout(DRAIN_TIME, drain(stream)).await;
            return Err(refusal);
        }
        body.extend_from_slice(&chunk);
    }
    if let (Some(kept), Some(portion)) = (kept, portion) {
        kept.put(portion);
    }
    Ok(body)
}

async fn drain(mut stream: BodyDataStream) {
    let mut read = 0;
    while let Some(Ok(chunk)) = stream.next().await {
        read += chunk.len() as u64;
        if read > DRAIN_BYTES {
            return;
        }
    }
}

fn parse_exactly<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    let parsed = parse(body)?;
    match find_inexact(body) {
        Some(inexact) => Err(ApiError::invalid(inexact.path, inexact.message)),
        None => Ok(parsed),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    if let Some(path) = find_nul(body) {
        return Err(ApiError::invalid(path, "must not hold a NUL character"));
    }
    // Files that editors of Windows saved are sent as they are.
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    // serde accepts a list for an object, field by field.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(ApiError::invalid("", "must be an object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let parsed: T = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        refuse(path.trim_matches('.'), error.inner())
    })?;
    deserializer.end().map_err(|error| refuse("", &error))?;
    Ok(parsed)
}

fn refuse(path: &str, error: &serde_json::Error) -> ApiError {
    let text = error.to_string();
    let reason = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(reason, _)| reason);
    match error.classify() {
        Category::Data => {
            let (path, message) = explain(path, reason);
            ApiError::invalid(path, message)
        }
        Category::Syntax | Category::Eof | Category::Io => {
            let (line, column) = (error.line(), error.column());
            let message = format!("{reason} (line {line}, column {column})");
            ApiError::new(
                StatusCode::BAD_REQUEST,
                "malformed_json",
                format!("the body is not JSON: {message}"),
            )
            .with_errors(vec![FieldError::new(path, message)])
        }
    }
}

/// Rewords the deserializer's message without our type names, and adds the field to the path.
fn explain(path: &str, reason: &str) -> (String, String) {
    let child = |name: &str| match path {
        "" => name.to_owned(),
        path if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
        path => format!("{path}.{name}"),
    };
    let quoted = reason.split('`').nth(1).unwrap_or_default();
    if reason.starts_with("missing field") {
        return (child(quoted), "is missing".into());
    }
    if reason.starts_with("duplicate field") {
        return (child(quoted), "is given twice".into());
    }
    if reason.starts_with("unknown field") {
        let known = reason.split_once(", ").map_or("", |(_, known)| known);
        return (child(quoted), format!("is not known, {known}"));
    }
    if reason.starts_with("unknown variant") {
        let known = reason
            .split_once(", expected ")
            .map_or("", |(_, known)| known);
        return (path.to_owned(), format!("must be {known}"));
    }
    if reason.starts_with("data did not match any variant") {
        return (path.to_owned(), "has none of the forms allowed here".into());
    }
    let message = match reason
        .strip_prefix("invalid ")
        .and_then(|rest| rest.split_once(", expected "))
    {
        Some((_, wanted)) => format!("must be {}", plain(wanted)),
        None => reason.to_owned(),
    };
    (path.to_owned(), message)
}

fn plain(wanted: &str) -> &str {
    match wanted {
        "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" => "a whole number in range",
        "f32" | "f64" => "a number",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        other if other.starts_with("struct ") || other == "a map" => "an object",
        other if other.contains("enum ") => "one of the forms allowed here",
        other => other,
    }
}

/// The path of a NUL character, which Postgres cannot store. In valid JSON it is always escaped.
fn find_nul(body: &[u8]) -> Option<String> {
    if !body.windows(6).any(|window| window == b"\\u0000") {
        return None;
    }
    // Invalid JSON is refused later with its own message.
    let value: Value = serde_json::from_slice(body).ok()?;
    path_of_nul(&value)
}
