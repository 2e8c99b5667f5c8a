//! Handling of the unread rest of a request's body when the response is sent early, usually an error.
//!
//! HTTP/1.1 cannot skip it. A small rest is read and discarded, so that the connection can be reused. With a larger
//! one, the response closes the connection, and the rest is still read for a moment: closing a connection while the
//! client sends would lose the response that the client has not read yet.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{
        HeaderMap, HeaderValue,
        header::{CONNECTION, CONTENT_LENGTH, EXPECT},
    },
    middleware::Next,
    response::Response,
};
use futures::StreamExt as _;
use hyper::body::{Frame, SizeHint};

/// Maximum rest that is read to keep a connection open, in bytes.
const SMALL_BYTES: u64 = 64 * 1024;
/// Maximum time for such a rest to arrive.
const SMALL_TIME: Duration = Duration::from_secs(2);
/// Maximum number of bytes that are read before a connection is closed.
const LINGER_BYTES: u64 = 16 * 1024 * 1024;
/// Maximum time for reading them.
const LINGER_TIME: Duration = Duration::from_secs(5);

/// Handles a request, then the unread rest of its body.
pub(crate) async fn finish_body(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let announced = announced_bytes(request.headers());
    // A client that sends `Expect` sends nothing before it gets permission.
    let waits = request.headers().contains_key(EXPECT);
    let rest = Rest::default();
    let request = request.map(|body| {
        Body::new(ReclaimedBody {
            body: Some(body),
            rest: Arc::clone(&rest),
        })
    });
    let mut response = next.run(request).await;
    let rest = rest.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(rest) = rest.filter(|rest| !rest.is_end_stream()) else {
        return response;
    };
    if !waits && is_read(rest, announced).await {
        return response;
    }
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}

/// True if the rest was small and has been read; a larger rest is read in the background while the response is sent.
async fn is_read(rest: Body, announced: Option<u64>) -> bool {
    if announced.is_some_and(|bytes| bytes > SMALL_BYTES) {
        linger(rest);
        return false;
    }
    match tokio::time::timeout(SMALL_TIME, drain(rest, SMALL_BYTES)).await {
        Ok(None) => true,
        Ok(Some(more)) => {
            linger(more);
            false
        }
        Err(_) => false,
    }
}

/// Reads a body to its end, or returns the rest of one that is too long. A broken body counts as ended.
async fn drain(body: Body, most_bytes: u64) -> Option<Body> {
    let mut pieces = body.into_data_stream();
    let mut read = 0;
    while let Some(Ok(piece)) = pieces.next().await {
        read += piece.len() as u64;
        if read > most_bytes {
            return Some(Body::from_stream(pieces));
        }
    }
    None
}

/// Keeps reading for a moment while the response is sent.
fn linger(rest: Body) {
    tokio::spawn(tokio::time::timeout(LINGER_TIME, drain(rest, LINGER_BYTES)));
}

fn announced_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The place to which a body is returned.
type Rest = Arc<Mutex<Option<Body>>>;

/// A body that is returned to its place when the reader drops it.
struct ReclaimedBody {
    body: Option<Body>,
    rest: Rest,
}

impl HttpBody for ReclaimedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for ReclaimedBody {
    fn drop(&mut self) {
        *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = self.body.take();
    }
}
