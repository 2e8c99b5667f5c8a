//! Responses and errors in `OpenAI`'s format.

use std::convert::Infallible;

use bytes::Bytes;
use futures::Stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Either, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;

/// Most bodies are one piece; only streams and faults need a box.
pub(super) type Body = Either<Full<Bytes>, UnsyncBoxBody<Bytes, Infallible>>;

pub(super) const JSON: &str = "application/json";
pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// An error that is sent to the client.
#[derive(Debug)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) message: String,
    kind: &'static str,
    code: Option<&'static str>,
}

impl ApiError {
    pub(super) fn new(
        status: StatusCode,
        kind: &'static str,
        code: Option<&'static str>,
        message: impl Into<String>,
    ) -> Self {
        let message = message.into();
        Self {
            status,
            message,
            kind,
            code,
        }
    }

    /// 400.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "invalid_request_error",
            None,
            message,
        )
    }

    /// 404 for a model that does not exist, or not for this purpose.
    pub(super) fn no_model(name: &str) -> Self {
        let message = format!("the model {name:?} does not exist here");
        Self::new(
            StatusCode::NOT_FOUND,
            "invalid_request_error",
            Some("model_not_found"),
            message,
        )
    }

    /// 429.
    pub(super) fn rate_limit() -> Self {
        let message = "rate limit reached for requests";
        let code = Some("rate_limit_exceeded");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "requests", code, message)
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let body = json!({"error": {
            "message": self.message,
            "type": self.kind,
            "param": null,
            "code": self.code,
        }});
        whole(self.status, JSON, to_json(&body))
    }
}

/// A response in one piece.
pub(super) fn whole(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Body> {
    respond(status, content_type, Either::Left(Full::new(body)))
}

/// A response with status 200 whose pieces arrive over time.
pub(super) fn streamed(
    content_type: &'static str,
    pieces: impl Stream<Item = Bytes> + Send + 'static,
) -> Response<Body> {
    use futures::StreamExt as _;
    let frames = pieces.map(|piece| Ok(Frame::data(piece)));
    let body = Either::Right(StreamBody::new(frames).boxed_unsync());
    respond(StatusCode::OK, content_type, body)
}

/// The JSON text of a value.
pub(super) fn to_json(value: &impl Serialize) -> Bytes {
    let text = serde_json::to_vec(value).expect("only maps with odd keys fail, and none is sent");
    Bytes::from(text)
}

fn respond(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
