//! The simulated faults, on the wire.

use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use hyper::header::{CONTENT_LENGTH, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use opb_worker::simulation::Fault;
use tokio::time::sleep;

use super::response::{ApiError, Body, JSON, streamed, whole};

const SLOW_INTERVAL: Duration = Duration::from_secs(1);
const FLUSH_PAUSE: Duration = Duration::from_millis(20);
const HUGE_PIECE: Bytes = Bytes::from_static(&[b'a'; 64 * 1024]);
/// Number of pieces, half a gibibyte in total.
const HUGE_PIECES: usize = 8 * 1024;

/// Drops the connection without a response.
#[derive(Debug, thiserror::Error)]
#[error("the connection is reset on purpose")]
pub(super) struct ResetOnPurpose;

/// The faulty response; `call` selects between the variants of a fault, and `good` is the correct response.
pub(super) async fn misbehave(
    fault: Fault,
    call: u64,
    content_type: &'static str,
    good: Bytes,
) -> Result<Response<Body>, ResetOnPurpose> {
    let other_kind = call % 2 == 1;
    let response = match fault {
        Fault::RateLimitWithRetryAfter => {
            let mut response = ApiError::rate_limit().into_response();
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("1"));
            response
        }
        Fault::RateLimit => ApiError::rate_limit().into_response(),
        Fault::ServerError => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            ApiError::new(status, "server_error", None, "the server had an error").into_response()
        }
        Fault::Overloaded => overloaded(other_kind),
        Fault::Hang => pending().await,
        Fault::SlowStream => slow(content_type, good),
        Fault::TruncatedJson => truncated(other_kind, content_type, good),
        Fault::Garbage if other_kind => whole(
            StatusCode::OK,
            JSON,
            Bytes::from_static(b"\x00\xff\xfe\x80\xc3(\x9d"),
        ),
        Fault::Garbage => {
            let page = b"<!doctype html><title>502</title><h1>Bad gateway</h1>";
            whole(StatusCode::OK, "text/html", Bytes::from_static(page))
        }
        Fault::HugeBody => huge(content_type),
        Fault::Reset => return Err(ResetOnPurpose),
    };
    Ok(response)
}

fn overloaded(other_kind: bool) -> Response<Body> {
    let status = if other_kind {
        StatusCode::from_u16(529).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    ApiError::new(status, "overloaded_error", None, "the model is overloaded").into_response()
}

/// The correct body at one byte per second.
fn slow(content_type: &'static str, good: Bytes) -> Response<Body> {
    let bytes = stream::iter(0..good.len()).then(move |place| {
        let byte = good.slice(place..=place);
        async move {
            sleep(SLOW_INTERVAL).await;
            byte
        }
    });
    streamed(content_type, bytes)
}

/// Half of the correct body: with a clean end, or with a content length that promises all of it.
fn truncated(promises_all: bool, content_type: &'static str, mut good: Bytes) -> Response<Body> {
    let promised = good.len();
    good.truncate(promised / 2);
    if !promises_all {
        return whole(StatusCode::OK, content_type, good);
    }
    // The pause flushes the half before the missing rest is noticed and the connection closed.
    let pause = stream::once(sleep(FLUSH_PAUSE)).filter_map(async |()| None);
    let half = stream::iter([good]).chain(pause);
    let mut response = streamed(content_type, half);
    response
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from(promised));
    response
}

/// A huge text that is generated while it is sent.
fn huge(content_type: &'static str) -> Response<Body> {
    let start = Bytes::from_static(br#"{"id":""#);
    let pieces =
        stream::iter(std::iter::once(start).chain(std::iter::repeat_n(HUGE_PIECE, HUGE_PIECES)));
    streamed(content_type, pieces)
}
