//! The client of the REST API that the commands use; it has no access that other programs lack.

mod address;
mod events;

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context as _, anyhow};
use futures::StreamExt as _;
use opb_core::FieldError;
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

pub use address::ClientSettings;
pub use events::follow_run;

use crate::text;

/// Timeout of a response; live events have none.
const TIMEOUT: Duration = Duration::from_mins(1);
/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of attempts of a request that a broken connection may have lost.
const ATTEMPTS: u32 = 3;

/// Maximum size of a response that is read into memory.
const MAX_ANSWER_BYTES: usize = 256 << 20;
/// Maximum size of an error response.
const MAX_REFUSAL_BYTES: usize = 1 << 20;

/// A server and its API key.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    key: Option<SecretString>,
    /// Advice for the case that the server does not answer.
    hint: String,
}

/// Advice for a rejected request without a key.
const LOG_IN: &str = "; log in with: opb login; or give a key with --api-key or OPB_API_KEY";
/// Advice for a rejected key.
const LOG_IN_AGAIN: &str = "; log in again with: opb login; or give another key with --api-key or OPB_API_KEY (the key of a local bank is in its data folder)";

/// The body of an error response (RFC 9457).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: String,
    detail: String,
    errors: Vec<FieldError>,
}

/// A request that the server rejected.
#[derive(Debug, thiserror::Error)]
#[error("{message}{hint}")]
pub struct RejectedRequest {
    /// The server's message, as text for the user.
    pub message: String,
    /// Advice that follows the message; may be empty.
    hint: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The status in words.
    pub title: String,
    /// The fields that are wrong.
    pub errors: Vec<FieldError>,
}

impl RejectedRequest {
    /// Whether the request conflicts with stored data.
    pub fn is_conflict(&self) -> bool {
        self.status == StatusCode::CONFLICT.as_u16()
    }

    /// Whether the body is invalid or too large; a part of it may still be accepted.
    pub fn is_about_the_body(&self) -> bool {
        matches!(self.status, 400 | 413 | 422)
    }

    /// Whether the request was not authenticated.
    pub fn is_unauthenticated(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED.as_u16()
    }

    /// Whether the same request would be rejected again.
    pub fn is_final(&self) -> bool {
        (400..500).contains(&self.status) && !matches!(self.status, 408 | 429)
    }
}

impl Client {
    /// A client of the server at `url`, an address without a path.
    ///
    /// # Errors
    /// The system's TLS or network library does not start.
    pub fn new(url: &str, key: Option<SecretString>) -> anyhow::Result<Self> {
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("opb/", env!("CARGO_PKG_VERSION")))
            // A redirected request may lose its method, its body or its key.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT);
        if address::is_local(url) {
            // A proxy from the environment cannot reach this machine's own address.
            http = http.no_proxy();
        }
        let http = http.build().context("the HTTP client cannot start")?;
        Ok(Self {
            http,
            url: url.trim_end_matches('/').to_owned(),
            key,
            hint: "is it still running?".to_owned(),
        })
    }

    /// The same client with other advice for the case that the server does not answer.
    pub fn with_hint(self, hint: String) -> Self {
        Self { hint, ..self }
    }

    /// A client of the same server with another key.
    pub fn with_key(&self, key: Option<SecretString>) -> Self {
        Self {
            key,
            ..self.clone()
        }
    }

    /// The API key.
    pub fn key(&self) -> Option<&SecretString> {
        self.key.as_ref()
    }

    /// The server's address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Reads the resource at a path such as `/api/v1/runs`.
    ///
    /// # Errors
    /// The server does not answer, or rejects the request.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let response = self
            .send(self.request(Method::GET, path).timeout(TIMEOUT))
            .await?;
        self.read(path, response).await
    }

    /// Posts a body. It is sent only once, since the request may not be idempotent.
    ///
    /// # Errors
    /// The server does not answer, or rejects the request: [`RejectedRequest`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let request = self.request(Method::POST, path).timeout(TIMEOUT).json(body);
        let response = self.send(request).await?;
        self.read(path, response).await
    }

    /// Changes the resource at a path.
    ///
    /// # Errors
    /// Those of [`Client::post`].
    pub async fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.change(Method::PATCH, path, body).await
    }

    /// Sets the resource at a path.
    ///
    /// # Errors
    /// Those of [`Client::post`].
    pub async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.change(Method::PUT, path, body).await
    }

    /// Puts JSON Lines to a path where this is idempotent; retries when the connection breaks or the server is busy.
    ///
    /// # Errors
    /// Those of [`Client::post`], after the last attempt.
    pub async fn put_lines<T: DeserializeOwned>(
        &self,
        path: &str,
        lines: Vec<u8>,
    ) -> anyhow::Result<T> {
        let lines = bytes::Bytes::from(lines);
        let mut attempt = 1;
        loop {
            let request = self.request(Method::PUT, path).timeout(TIMEOUT);
            let request = request
                .header(reqwest::header::CONTENT_TYPE, "application/x-ndjson")
                .body(lines.clone());
            let sent = async {
                let response = self.send(request).await?;
                self.read(path, response).await
            };
            match sent.await {
                Err(error) if attempt < ATTEMPTS && !is_final(&error) => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    async fn change<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let request = self.request(method, path).timeout(TIMEOUT);
        let response = self.send(request.json(body)).await?;
        self.read(path, response).await
    }

    /// Downloads the file at a path into `out`. There is no timeout, since the file may be of any size.
    ///
    /// # Errors
    /// The server does not answer or rejects the request, the download is incomplete, or `out` cannot be written.
    pub async fn download(&self, path: &str, out: &mut impl std::io::Write) -> anyhow::Result<()> {
        let response = self.send(self.request(Method::GET, path)).await?;
        let mut pieces = response.bytes_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| self.unreachable(&error))?;
            out.write_all(&piece)?;
        }
        Ok(out.flush()?)
    }

    /// Deletes the resource at a path.
    ///
    /// # Errors
    /// Those of [`Client::post`].
    pub async fn delete(&self, path: &str) -> anyhow::Result<()> {
        let request = self.request(Method::DELETE, path).timeout(TIMEOUT);
        self.send(request).await.map(|_| ())
    }

    /// Deletes the resource at a path, and returns the response.
    ///
    /// # Errors
    /// Those of [`Client::post`].
    pub async fn delete_saying<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let request = self.request(Method::DELETE, path).timeout(TIMEOUT);
        let response = self.send(request).await?;
        self.read(path, response).await
    }

    /// Posts without a body, for an action without a result.
    ///
    /// # Errors
    /// Those of [`Client::post`].
    pub async fn ask(&self, path: &str) -> anyhow::Result<()> {
        let request = self.request(Method::POST, path).timeout(TIMEOUT);
        self.send(request).await.map(|_| ())
    }

    /// Posts a body with a new idempotency key, and retries when the connection breaks: the server acts once.
    ///
    /// # Errors
    /// Those of [`Client::post`].
    pub async fn post_once<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let key = Uuid::new_v4().to_string();
        let mut attempt = 1;
        loop {
            let request = self.request(Method::POST, path).timeout(TIMEOUT);
            let sent = request
                .header("Idempotency-Key", &key)
                .json(body)
                .send()
                .await;
            match sent {
                Err(error) if attempt < ATTEMPTS && !error.is_connect() => {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    attempt += 1;
                }
                Err(error) => return Err(self.unreachable(&error)),
                Ok(response) => {
                    let response = self.accept(response).await?;
                    return self.read(path, response).await;
                }
            }
        }
    }

    /// Opens a stream of events; it has no timeout.
    async fn open_events(&self, path: &str) -> anyhow::Result<reqwest::Response> {
        self.send(
            self.request(Method::GET, path)
                .header("accept", "text/event-stream"),
        )
        .await
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.key {
            Some(key) => request.bearer_auth(key.expose_secret()),
            None => request,
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<reqwest::Response> {
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        self.accept(response).await
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        if error.is_connect() {
            anyhow!("nothing answers at {}: {}", self.url, self.hint)
        } else if error.is_timeout() {
            anyhow!("{} did not answer in time", self.url)
        } else {
            // The error's own text repeats the address; its source is the actual error.
            let source = std::error::Error::source(error).map(ToString::to_string);
            anyhow!(
                "the connection to {} broke: {}",
                self.url,
                source.unwrap_or_else(|| error.to_string())
            )
        }
    }

    /// Reads a JSON response; any other type comes from a server that is not a bank.
    async fn read<T: DeserializeOwned>(
        &self,
        path: &str,
        response: reqwest::Response,
    ) -> anyhow::Result<T> {
        if !is_of_type(&response, "application/json") {
            return Err(self.foreign(response.status()));
        }
        let bytes = self.whole(response, MAX_ANSWER_BYTES).await?;
        serde_json::from_slice(&bytes)
            .with_context(|| format!("the response to {path} could not be parsed"))
    }

    /// Reads a response into memory, unless it is longer than `most_bytes`.
    async fn whole(
        &self,
        mut response: reqwest::Response,
        most_bytes: usize,
    ) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(piece) = response
            .chunk()
            .await
            .map_err(|error| self.unreachable(&error))?
        {
            if bytes.len() + piece.len() > most_bytes {
                let (url, most) = (&self.url, most_bytes >> 20);
                return Err(anyhow!(
                    "{url} sent more than {most} MiB, which is not an OpenPromptBank response; check --url or OPB_URL"
                ));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// The error for a redirect, such as from http to https.
    fn redirected(&self, response: &reqwest::Response) -> anyhow::Error {
        let (url, status) = (&self.url, response.status());
        let location = response.headers().get(reqwest::header::LOCATION);
        let target = location
            .and_then(|location| location.to_str().ok())
            .and_then(|location| response.url().join(location).ok());
        match target.and_then(|target| address::base_of(&target, response.url(), url)) {
            Some(base) => anyhow!(
                "{url} redirects to {0} ({status}); if you trust that address, give it as --url {0} or OPB_URL",
                text::plain(&base)
            ),
            None => anyhow!(
                "{url} redirects ({status}) to an address that opb cannot use; check --url or OPB_URL"
            ),
        }
    }

    /// The error for a response that does not come from a bank.
    fn foreign(&self, status: StatusCode) -> anyhow::Error {
        let url = &self.url;
        match status {
            StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                anyhow!("{url} answers {status}: a proxy without an OpenPromptBank behind it")
            }
            _ => anyhow!(
                "{url} is not an OpenPromptBank (another server answers there, {status}); check --url or OPB_URL"
            ),
        }
    }

    /// Returns a successful response, or turns an error response into an error.
    async fn accept(&self, response: reqwest::Response) -> anyhow::Result<reqwest::Response> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status.is_redirection() {
            return Err(self.redirected(&response));
        }
        if !is_of_type(&response, "application/problem+json") {
            return Err(self.foreign(status));
        }
        let bytes = self.whole(response, MAX_REFUSAL_BYTES).await?;
        let problem: Problem = serde_json::from_slice(&bytes).unwrap_or_default();
        let refused = RejectedRequest {
            status: status.as_u16(),
            title: match problem.title.as_str() {
                "" => status.canonical_reason().unwrap_or("Refused").to_owned(),
                title => text::plain(title),
            },
            message: message(status, &problem),
            hint: match (status, &self.key) {
                (StatusCode::UNAUTHORIZED, None) => LOG_IN,
                (StatusCode::UNAUTHORIZED, Some(_)) => LOG_IN_AGAIN,
                _ => "",
            },
            errors: problem.errors,
        };
        Err(refused.into())
    }
}

/// Whether the server has rejected the request and would again.
fn is_final(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<RejectedRequest>();
    refused.is_some_and(RejectedRequest::is_final)
}

/// Whether the response has this media type.
fn is_of_type(response: &reqwest::Response, media_type: &str) -> bool {
    let header = response.headers().get(reqwest::header::CONTENT_TYPE);
    let found = header.and_then(|value| value.to_str().ok());
    found.is_some_and(|found| {
        let found = found.split(';').next().unwrap_or_default();
        found.trim().eq_ignore_ascii_case(media_type)
    })
}

fn message(status: StatusCode, problem: &Problem) -> String {
    if !problem.errors.is_empty() {
        let line = |error: &FieldError| match error.path.as_str() {
            "" => text::plain(&error.message),
            path => format!("{}: {}", text::plain(path), text::plain(&error.message)),
        };
        return problem
            .errors
            .iter()
            .map(line)
            .collect::<Vec<_>>()
            .join("; ");
    }
    match (problem.detail.as_str(), problem.title.as_str()) {
        ("", "") => format!("HTTP status {status}"),
        ("", title) => text::plain(title),
        (detail, _) => text::plain(detail),
    }
}

/// Percent-encodes user input as a path segment, so that a slash or a question mark in it is harmless.
pub fn segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'@' => {
                segment.push(char::from(byte));
            }
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(segment, "%{byte:02X}");
            }
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_stay_segments() {
        for (text, expect) in [
            ("gsm8k@2", "gsm8k@2"),
            ("a/../b?c#d", "a%2F..%2Fb%3Fc%23d"),
            ("ü", "%C3%BC"),
        ] {
            assert_eq!(segment(text), expect);
        }
    }

    #[test]
    fn problems_are_told_by_field() {
        let json = r#"{"title": "Unprocessable Entity", "detail": "not valid", "status": 422,
            "errors": [{"path": "prompts[0]", "message": "was not found"}, {"path": "", "message": "too \u001b[31mlarge"}]}"#;
        let problem: Problem = serde_json::from_str(json).unwrap();
        assert_eq!(
            message(StatusCode::UNPROCESSABLE_ENTITY, &problem),
            "prompts[0]: was not found; too large"
        );
        assert_eq!(
            message(StatusCode::BAD_GATEWAY, &Problem::default()),
            "HTTP status 502 Bad Gateway"
        );
    }
}
