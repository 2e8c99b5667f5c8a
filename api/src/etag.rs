//! Responses to polled reads: a strong `ETag`, and 304 when the client already has the same body.

use axum::{
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY},
    },
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use opb_core::Error;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::problem::Result;

/// JSON text with its `ETag`, which can be sent many times.
#[derive(Debug, Clone)]
pub(crate) struct Tagged {
    body: Bytes,
    tag: String,
}

impl Tagged {
    /// Serialises a value as JSON.
    pub(crate) fn json(value: &impl Serialize) -> Result<Self> {
        let body = serde_json::to_vec(value)
            .map_err(|error| Error::Internal(format!("an answer does not serialise: {error}")))?;
        Ok(Self::text(body))
    }

    fn text(body: Vec<u8>) -> Self {
        let hash = Sha256::digest(&body);
        Self {
            tag: format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(&hash[..16])),
            body: body.into(),
        }
    }

    /// Size of the body and its tag in bytes.
    pub(crate) fn size_bytes(&self) -> usize {
        self.body.len()
    }

    /// Responds with the body, or with 304.
    pub(crate) fn respond(&self, request: &HeaderMap) -> Response {
        let mut response = if is_known(request, &self.tag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            ([(CONTENT_TYPE, "application/json")], self.body.clone()).into_response()
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(VARY, HeaderValue::from_static("authorization"));
        if let Ok(tag) = HeaderValue::try_from(&self.tag) {
            headers.insert(ETAG, tag);
        }
        response
    }
}

/// Responds with a value as JSON and its `ETag`, or with 304.
pub(crate) fn tagged(request: &HeaderMap, value: &impl Serialize) -> Result<Response> {
    Ok(Tagged::json(value)?.respond(request))
}

/// Responds with JSON text and its `ETag`, or with 304.
pub(crate) fn tagged_bytes(request: &HeaderMap, body: Vec<u8>) -> Response {
    Tagged::text(body).respond(request)
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
