//! Reads that are polled: a strong `ETag`, and 304 when the client has the same body already.

use axum::{
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY},
    },
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use opb_core::Error;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::problem::Result;

/// A JSON body with its `ETag`, or 304.
pub(crate) fn tagged(request: &HeaderMap, value: &impl Serialize) -> Result<Response> {
    let body = serde_json::to_vec(value)
        .map_err(|error| Error::Internal(format!("an answer does not serialise: {error}")))?;
    Ok(tagged_bytes(request, body))
}

/// JSON text with its `ETag`, or 304.
pub(crate) fn tagged_bytes(request: &HeaderMap, body: Vec<u8>) -> Response {
    let hash = Sha256::digest(&body);
    let tag = format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(&hash[..16]));
    let mut response = if is_known(request, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, "application/json")], body).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(VARY, HeaderValue::from_static("authorization"));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(ETAG, tag);
    }
    response
}

/// The comparison is weak (RFC 9110, 13.1.2): proxies that compress turn strong tags into weak ones.
fn is_known(request: &HeaderMap, tag: &str) -> bool {
    request
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|candidate| candidate.trim().trim_start_matches("W/"))
        .any(|candidate| candidate == "*" || candidate == tag)
}
