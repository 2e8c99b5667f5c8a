//! The HTTP client of all providers: no redirects, no retries, no proxies, limited in time and size, and restricted to
//! addresses that the policy for outbound connections allows.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use chrono::Utc;
use futures::{Stream, TryStreamExt as _, stream};
use opb_outbound::{Forbidden, Guarded, Lookup, SystemLookup};
use reqwest::{IntoUrl, Response};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{Instant, timeout};

use super::{
    Announced, CallError, CallErrorKind,
    connections::Connections,
    faults, rate_headers,
    room::{Place, Room},
};
use crate::settings::WorkerSettings;

/// Maximum size of a complete response held in memory, in bytes.
const MAX_WHOLE_BYTES: usize = 8 * 1024 * 1024;
/// Maximum held of a stream, in bytes: texts, and an unfinished event. No model generates that much.
const MAX_TEXT_BYTES: usize = 2 * 1024 * 1024;
/// Maximum length of a response's body, in bytes. A stream wraps each token in some hundred bytes that are not held.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// A response of which more than this is held, in bytes, waits for room.
const LARGE_BODY_BYTES: usize = 256 * 1024;
/// How much of an error's body is parsed, in bytes.
const MAX_ERROR_BYTES: usize = 64 * 1024;
/// How much of an error's body is kept, in characters.
const MAX_ERROR_CHARS: usize = 500;

/// A request that the server never read fails this soon, and is repeated this often at most.
const UNREAD_WITHIN: Duration = Duration::from_secs(5);
const MAX_REPEATS: u32 = 2;
/// Interval of TCP keepalive probes. They detect a lost peer, which silence cannot: a call may be silent for minutes.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Observes the responses of a provider, and knows the declared limits of its calls.
pub(crate) trait ResponseObserver: Send + Sync {
    /// Returns the time limit of a call, if one is declared for the model or its provider.
    fn call_timeout(&self) -> Option<Duration>;

    /// Notes a response, and the limits that its headers announce.
    fn note_announced(&self, announced: Announced);

    /// Notes that the response to the call of this task starts.
    fn note_answering(self: Arc<Self>);

    /// Whether the provider's current address has ever responded, to this worker or another.
    fn has_answered(&self) -> bool;
}

/// A client with our limits.
#[derive(Clone)]
pub(crate) struct HttpClient {
    guarded: Guarded,
    /// Time limit of a call where none is declared.
    call_timeout: Duration,
    room: Room,
    connections: Connections,
    observer: Option<Arc<dyn ResponseObserver>>,
}

impl HttpClient {
    /// Builds the client, once per process; its connections are shared.
    ///
    /// # Errors
    /// The system's TLS roots cannot be loaded.
    pub(crate) fn new(settings: &WorkerSettings) -> anyhow::Result<Self> {
        let lookup: Arc<dyn Lookup> = Arc::new(SystemLookup);
        Self::with_lookup(settings, &lookup)
    }

    pub(super) fn with_lookup(
        settings: &WorkerSettings,
        lookup: &Arc<dyn Lookup>,
    ) -> anyhow::Result<Self> {
        let policy = Arc::clone(&settings.outbound);
        let guarded = Guarded::new(policy, lookup, |builder| {
            builder
                .pool_max_idle_per_host(usize::MAX)
                .tcp_nodelay(true)
                .tcp_keepalive(KEEPALIVE)
                .tcp_keepalive_interval(KEEPALIVE)
                .tcp_keepalive_retries(3)
        })?;
        Ok(Self {
            guarded,
            call_timeout: Duration::from_secs(settings.call_timeout),
            room: Room::new(),
            connections: Connections::default(),
            observer: None,
        })
    }

    /// Returns the client for the calls of one model.
    pub(crate) fn observed(&self, observer: Arc<dyn ResponseObserver>) -> Self {
        Self {
            observer: Some(observer),
            room: self.room.shared(),
            ..self.clone()
        }
    }

    /// Returns the time limit of calls that begin now.
    pub(crate) fn call_timeout(&self) -> Duration {
        let declared = self.observer.as_ref().and_then(|it| it.call_timeout());
        declared.unwrap_or(self.call_timeout)
    }

    /// Starts a POST request.
    pub(crate) fn post(&self, url: impl IntoUrl) -> reqwest::RequestBuilder {
        self.guarded.post(url)
    }

    /// Sends a request and returns the response once its head has arrived. Every other status than success is an error,
    /// and no error contains one of the secrets.
    pub(crate) async fn send(
        &self,
        request: reqwest::RequestBuilder,
        secrets: &[SecretString],
    ) -> Result<Response, CallError> {
        let request = request.build().map_err(describe)?;
        let client = self
            .guarded
            .client(request.url())
            .map_err(|Forbidden| unreachable(CallErrorKind::Forbidden))?;
        let asked = Instant::now();
        let limit = self.call_timeout();
        let mut response = timeout(limit, self.execute(client, request))
            .await
            .map_err(|_| CallError::new(CallErrorKind::Timeout, out_of_time("begin", limit)))?
            .map_err(|error| self.no_response(error))?;
        response.extensions_mut().insert(Timing {
            limit,
            taken: asked.elapsed(),
        });
        if let Some(observer) = &self.observer {
            observer.note_announced(rate_headers::announced(response.headers(), Utc::now()));
        }
        if response.status().is_success() {
            if let Some(observer) = &self.observer {
                Arc::clone(observer).note_answering();
            }
            return Ok(response);
        }
        Err(self.refusal(response, secrets).await)
    }

    /// Executes a request, and repeats it if the server never read it.
    async fn execute(
        &self,
        client: &reqwest::Client,
        mut request: reqwest::Request,
    ) -> reqwest::Result<Response> {
        let mut repeats = 0;
        loop {
            let copy = request.try_clone();
            let sent = Instant::now();
            match (client.execute(request).await, copy) {
                (Err(error), Some(copy))
                    if repeats < MAX_REPEATS
                        && sent.elapsed() < UNREAD_WITHIN
                        && self.connections.was_unread(&error) =>
                {
                    repeats += 1;
                    request = copy;
                }
                (result, _) => {
                    if let Ok(response) = &result {
                        self.connections.note_response(response);
                    }
                    return result;
                }
            }
        }
    }

    /// The error for a missing response. If no server listens there and none ever has, waiting cannot help.
    fn no_response(&self, error: reqwest::Error) -> CallError {
        let is_refused = is_refused(&error);
        let mut error = describe(error);
        let is_new = |observer: &Arc<dyn ResponseObserver>| !observer.has_answered();
        if is_refused && self.observer.as_ref().is_some_and(is_new) {
            error.kind = CallErrorKind::Absent;
        }
        error
    }

    /// Streams the body, limited in size and time. Callers that keep only a part of it report that with `held`.
    pub(crate) fn body(
        &self,
        response: Response,
        held: HeldBytes,
    ) -> impl Stream<Item = Result<Bytes, CallError>> + use<> {
        let timing = response.extensions().get().copied();
        let reading = Reading {
            response,
            timing: timing.unwrap_or(Timing {
                limit: self.call_timeout(),
                taken: Duration::ZERO,
            }),
            room: self.room.clone(),
            size: 0,
            held,
            place: None,
        };
        Box::pin(stream::try_unfold(reading, Reading::next))
    }

    /// Reads the start of an error's body, as far as it arrives.
    async fn read_error(&self, response: Response) -> Vec<u8> {
        let mut body = self.body(response, HeldBytes::whole());
        let mut beginning = Vec::new();
        while let Ok(Some(piece)) = body.try_next().await
            && beginning.len() < MAX_ERROR_BYTES
        {
            beginning.extend_from_slice(&piece);
        }
        beginning
    }

    async fn refusal(&self, response: Response, secrets: &[SecretString]) -> CallError {
        let status = response.status();
        let headers = response.headers().clone();
        let body = self.read_error(response).await;
        let retry_after = rate_headers::retry_after(&headers, &body, Utc::now());
        let error: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
        let is_used_up = error.as_ref().and_then(faults::kind_of) == Some(CallErrorKind::Quota);
        // Some use the same words for a limit per minute, with a time to retry.
        let kind = if is_used_up && retry_after.is_none() {
            CallErrorKind::Quota
        } else {
            faults::of_status(status.as_u16().into()).unwrap_or(CallErrorKind::Refused)
        };
        let said = error_message(&body, secrets);
        CallError {
            kind,
            message: format!("the provider answered {}{said}", status.as_u16()),
            retry_after,
        }
    }
}

/// Returns an error if a response is too large according to its head.
pub(crate) fn check_length(response: &Response) -> Result<(), CallError> {
    match response.content_length() {
        Some(announced) if announced > MAX_WHOLE_BYTES as u64 => Err(too_large(MAX_WHOLE_BYTES)),
        _ => Ok(()),
    }
}

/// Reads the rest of a body and returns all of it.
pub(crate) async fn collect(
    beginning: Vec<u8>,
    body: impl Stream<Item = Result<Bytes, CallError>>,
) -> Result<Vec<u8>, CallError> {
    body.try_fold(beginning, |mut whole, piece| async move {
        if whole.len() + piece.len() > whole.capacity().max(LARGE_BODY_BYTES) {
            // Once, instead of copying the data at each doubling.
            whole.reserve_exact(MAX_WHOLE_BYTES.saturating_sub(whole.len()));
        }
        whole.extend_from_slice(&piece);
        Ok(whole)
    })
    .await
}

/// The time of a call.
#[derive(Debug, Clone, Copy)]
struct Timing {
    /// Maximum time that the provider may take.
    limit: Duration,
    /// The time that it has taken so far, without our own waits.
    taken: Duration,
}

/// The number of bytes held of a response that is being read.
#[derive(Debug, Clone)]
pub(crate) struct HeldBytes {
    bytes: Arc<AtomicUsize>,
    /// How long the response has waited for room, in microseconds.
    waited: Arc<AtomicU64>,
    /// Maximum number of bytes held.
    most: Arc<AtomicUsize>,
}

impl HeldBytes {
    /// For a response that is read completely, unless it proves to be a stream.
    pub(crate) fn whole() -> Self {
        Self {
            bytes: Arc::default(),
            waited: Arc::default(),
            most: Arc::new(AtomicUsize::new(MAX_WHOLE_BYTES)),
        }
    }

    /// Marks the response as a stream, of which only the texts are kept.
    pub(crate) fn is_stream(&self) {
        self.most.store(MAX_TEXT_BYTES, Ordering::Relaxed);
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Reports that all data so far was processed; `bytes` are still held.
    pub(crate) fn keep(&self, bytes: usize) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// How long the response has waited for room, which is not the provider's fault.
    pub(crate) fn waited(&self) -> Duration {
        Duration::from_micros(self.waited.load(Ordering::Relaxed))
    }

    /// Adds received bytes. Returns the number held.
    fn add(&self, bytes: usize) -> usize {
        self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes
    }
}

/// A body that is being read.
struct Reading {
    response: Response,
    timing: Timing,
    room: Room,
    /// Number of received bytes.
    size: usize,
    held: HeldBytes,
    place: Option<Place>,
}

impl Reading {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, CallError> {
        let Timing { limit, taken } = self.timing;
        let late = || CallError::new(CallErrorKind::Unfinished, out_of_time("end", limit));
        let left = limit.checked_sub(taken).ok_or_else(late)?;
        let began = Instant::now();
        let piece = timeout(left, self.response.chunk())
            .await
            .map_err(|_| late())?
            .map_err(describe)?;
        self.timing.taken += began.elapsed();
        let Some(piece) = piece else {
            return Ok(None);
        };
        self.size += piece.len();
        let held = self.held.add(piece.len());
        if held > self.held.most() {
            return Err(too_large(self.held.most()));
        }
        if self.size > MAX_BODY_BYTES {
            return Err(too_large(MAX_BODY_BYTES));
        }
        if held > LARGE_BODY_BYTES && self.place.is_none() {
            let taking = timeout(limit, self.room.take(self.held.most()));
            let (place, waited) = taking.await.map_err(|_| {
                let message = "too many large responses are being read at the moment";
                CallError::new(CallErrorKind::Unfinished, message)
            })?;
            let waited = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
            self.held.waited.fetch_add(waited, Ordering::Relaxed);
            self.place = Some(place);
        }
        Ok(Some((piece, self)))
    }
}

fn too_large(most: usize) -> CallError {
    let message = format!("the answer is larger than {most} bytes");
    CallError::new(CallErrorKind::TooLarge, message)
}

/// The message for a response that did not `begin` or `end` in time, with the setting that limits it.
fn out_of_time(phase: &str, limit: Duration) -> String {
    format!(
        "the response did not {phase} within {} s, the time limit of a call (opb provider limits NAME --call-timeout SECONDS)",
        limit.as_secs()
    )
}

/// The error for a failed connection, the same for every cause: otherwise callers could probe what listens where.
fn unreachable(kind: CallErrorKind) -> CallError {
    CallError::new(
        kind,
        "the provider's address is not allowed or cannot be reached; an administrator sees why with: opb provider check",
    )
}

/// Describes a failure below HTTP, without the URL, which may contain a secret.
fn describe(error: reqwest::Error) -> CallError {
    if error.is_connect() {
        let error = error.without_url();
        let is_forbidden = causes(&error).any(<dyn std::error::Error>::is::<Forbidden>);
        tracing::debug!(error = %explain(&error), "could not connect to a provider");
        return unreachable(if is_forbidden {
            CallErrorKind::Forbidden
        } else {
            CallErrorKind::Connect
        });
    }
    let kind = if error.is_timeout() {
        CallErrorKind::Timeout
    } else if error.is_builder() {
        CallErrorKind::Request
    } else {
        CallErrorKind::Read
    };
    CallError::new(kind, explain(&error.without_url()))
}

/// Returns whether the host refused the connection, or the name does not exist.
fn is_refused(error: &reqwest::Error) -> bool {
    // The resolver's errors have no kind of their own; a temporary failure has another text.
    let no_name = [
        "Name or service not known",
        "nodename nor servname provided",
    ];
    causes(error).any(|cause| {
        let cause = cause.downcast_ref::<std::io::Error>();
        cause.is_some_and(|cause| {
            let said = || cause.to_string();
            cause.kind() == std::io::ErrorKind::ConnectionRefused
                || no_name.iter().any(|text| said().contains(text))
        })
    })
}

/// An error and all its causes.
fn explain(error: &reqwest::Error) -> String {
    causes(error)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

pub(super) fn causes(
    error: &reqwest::Error,
) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |cause| cause.source())
}

/// The provider's error message, without our credential and anything that looks like one.
fn error_message(body: &[u8], secrets: &[SecretString]) -> String {
    let text = without(String::from_utf8_lossy(body).into_owned(), secrets);
    let parsed: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let said = parsed
        .as_ref()
        .and_then(faults::message_of)
        .unwrap_or_else(|| text.trim().to_owned());
    // Again, for a credential that was escaped in JSON.
    let said: String = redact(&without(said, secrets))
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_ERROR_CHARS)
        .collect();
    if said.is_empty() {
        String::new()
    } else {
        format!(": {said}")
    }
}

/// Removes the credential from a text: a provider that repeats it must not reveal it to the readers of the run. It is
/// also found with control characters inside, which terminals do not show.
pub(super) fn without(mut text: String, secrets: &[SecretString]) -> String {
    for secret in secrets.iter().map(SecretString::expose_secret) {
        while let Some(range) = place_of(&text, secret) {
            text.replace_range(range, "[removed]");
        }
    }
    text
}

/// Where a text contains the secret, with any control characters inside.
fn place_of(text: &str, secret: &str) -> Option<Range<usize>> {
    if secret.is_empty() {
        return None;
    }
    if let Some(start) = text.find(secret) {
        return Some(start..start + secret.len());
    }
    if !text.contains(char::is_control) {
        return None;
    }
    let seen = text.char_indices().filter(|(_, it)| !it.is_control());
    let (mut plain, mut places) = (String::new(), Vec::new());
    for (at, character) in seen {
        plain.push(character);
        places.resize(plain.len(), at);
    }
    let start = plain.find(secret)?;
    let last = start
        + secret
            .chars()
            .next_back()
            .map_or(0, |last| secret.len() - last.len_utf8());
    let end = places[last]
        + text[places[last]..]
            .chars()
            .next()
            .map_or(0, char::len_utf8);
    Some(places[start]..end)
}

/// Removes words that look like keys, since some providers repeat the key that they refuse.
pub(super) fn redact(text: &str) -> String {
    let secret = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        word.starts_with("sk-")
            || word.starts_with("opb_")
            || (word.len() >= 32
                && word
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_*".contains(c)))
    };
    let words = text.split_inclusive(char::is_whitespace);
    words
        .map(|word| {
            if secret(word.trim()) {
                "[removed] "
            } else {
                word
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use opb_core::outbound::OutboundPolicy;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        sync::oneshot,
    };

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A client whose calls may take an hour.
    fn client() -> HttpClient {
        let lookup: Arc<dyn Lookup> = Arc::new(SystemLookup);
        HttpClient {
            guarded: Guarded::new(Arc::new(OutboundPolicy::local()), &lookup, |it| it).unwrap(),
            call_timeout: 3_600 * SECOND,
            room: Room::new(),
            connections: Connections::default(),
            observer: None,
        }
    }

    /// F27: the second request on a connection is never answered, as if the server had closed it just before.
    #[tokio::test]
    async fn a_request_that_nobody_read_is_sent_again_on_a_new_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let accepted = Arc::clone(&connections);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                // The last one is closed without a response to the first request.
                if accepted.fetch_add(1, Ordering::SeqCst) == 3 {
                    let _ = stream.read(&mut [0; 4096]).await.unwrap();
                    continue;
                }
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 4096]).await.unwrap();
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                    stream.write_all(answer).await.unwrap();
                    let _ = stream.read(&mut [0; 4096]).await.unwrap();
                });
            }
        });
        let client = client();
        let ask = async || {
            let response = client
                .send(client.post(url.as_str()).body("x"), &[])
                .await?;
            collect(Vec::new(), client.body(response, HeldBytes::whole())).await
        };
        for number in 1..=3 {
            assert_eq!(ask().await.unwrap(), b"{}", "{number}");
            assert_eq!(connections.load(Ordering::SeqCst), number);
        }
        // A new connection that ends without a response may have been read.
        assert_eq!(ask().await.unwrap_err().kind, CallErrorKind::Read);
        assert_eq!(connections.load(Ordering::SeqCst), 4);
    }

    /// Lets so much time pass at once.
    async fn pass(time: Duration) {
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
    }

    /// Together with the provider's own time longer than a call may take.
    #[tokio::test]
    async fn our_own_wait_is_not_the_providers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (room_is_free, go_on) = oneshot::channel();
        let half = vec![b'x'; LARGE_BODY_BYTES + 1];
        let size = 2 * half.len();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&half).await.unwrap();
            go_on.await.unwrap();
            pass(1_000 * SECOND).await;
            stream.write_all(&half).await.unwrap();
        });
        let client = client();
        let other = client.room.take(MAX_WHOLE_BYTES).await;
        let response = client.send(client.post(url).body("x"), &[]).await.unwrap();
        let held = HeldBytes::whole();
        let other_ends = async {
            while held.bytes.load(Ordering::Relaxed) <= LARGE_BODY_BYTES {
                tokio::task::yield_now().await;
            }
            // It waits for room now.
            pass(3_000 * SECOND).await;
            drop(other);
            room_is_free.send(()).unwrap();
        };
        let body = client.body(response, held.clone());
        let (answer, ()) = tokio::join!(collect(Vec::new(), body), other_ends);
        assert_eq!(answer.unwrap().len(), size);
        assert!(held.waited() > Duration::ZERO, "it is told apart");
    }

    /// The kind of the error for such a response.
    async fn refused(status: &str, headers: &str, body: &str) -> CallErrorKind {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{body}");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let client = client();
        let response = client.send(client.post(url).body("x"), &[]).await;
        response.unwrap_err().kind
    }

    #[tokio::test]
    async fn an_account_that_is_used_up_is_not_waited_for() {
        use CallErrorKind::{Overloaded, Quota, RateLimit, Refused};
        let used_up = r#"{"error":{"code":"insufficient_quota","type":"insufficient_quota","message":"You exceeded your current quota"}}"#;
        for (status, headers, body, expect) in [
            ("429", "", used_up, Quota),
            ("429", "retry-after: 7\r\n", used_up, RateLimit),
            (
                "429",
                "",
                r#"{"error":{"type":"exceeded_current_quota_error"}}"#,
                Quota,
            ),
            (
                "400",
                "",
                r#"{"error":{"message":"Your credit balance is too low to access the API"}}"#,
                Quota,
            ),
            ("402", "", "", Quota),
            (
                "429",
                "",
                r#"{"error":{"type":"tokens","code":"rate_limit_exceeded"}}"#,
                RateLimit,
            ),
            ("498", "", "", Overloaded),
            (
                "400",
                "",
                r#"{"error":{"message":"no such model"}}"#,
                Refused,
            ),
        ] {
            assert_eq!(
                refused(status, headers, body).await,
                expect,
                "{status} {body}"
            );
        }
    }

    #[test]
    fn control_characters_hide_no_key() {
        let secrets = ["kéy-of-many-words".into()];
        for said in ["kéy-of-many-words", "k\u{1}éy-of\0-many-word\u{7f}s"] {
            let text = format!("a\nü {said} {said}é\u{1}");
            let kept = without(text, &secrets);
            assert_eq!(kept, "a\nü [removed] [removed]é\u{1}", "{said:?}");
        }
        assert_eq!(without("k\u{1}éy".to_owned(), &secrets), "k\u{1}éy");
    }

    #[test]
    fn keeps_the_reason_and_no_key() {
        let check = |body: &str, expect: &str| {
            assert_eq!(error_message(body.as_bytes(), &["canary-7".into()]), expect);
        };
        check(
            r#"{"error":{"message":"Incorrect API key provided: sk-abc123."}}"#,
            ": Incorrect API key provided: [removed] ",
        );
        check(r#"{"message":"no such model"}"#, ": no such model");
        check(
            "<html>\u{1b}[31mbad gateway</html>",
            ": <html>[31mbad gateway</html>",
        );
        check("", "");
        check(
            r#"{"error":{"message":"no such key: <canary-7> or \u0063anary-7"}}"#,
            ": no such key: <[removed]> or [removed]",
        );
        check("canary-7", ": [removed]");
        assert!(error_message("x ".repeat(10_000).as_bytes(), &[]).len() <= MAX_ERROR_CHARS + 2);
    }
}
