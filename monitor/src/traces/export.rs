//! Sends batches of spans to the collector: a thread of OpenTelemetry hands them over, and the process's runtime
//! posts them.
//!
//! A batch that the collector does not accept is dropped, with a rate-limited warning.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use hyper::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use reqwest::redirect;
use tokio::runtime::Handle;

/// Timeout for sending one batch to the collector.
const EXPORT_TIME: Duration = Duration::from_secs(10);
/// Minimum time between two warnings about dropped batches.
const SILENCE: Duration = Duration::from_mins(5);

/// Posts batches to the collector.
#[derive(Debug)]
pub(super) struct Sender {
    client: reqwest::Client,
    runtime: Handle,
    complained_at: Mutex<Option<Instant>>,
}

impl Sender {
    /// Must be called inside the runtime that posts the batches.
    pub(super) fn new() -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .timeout(EXPORT_TIME)
            .redirect(redirect::Policy::none())
            .build()
            .context("traces cannot be exported")?;
        Ok(Self {
            client,
            runtime: Handle::current(),
            complained_at: Mutex::new(None),
        })
    }

    fn complain(&self, error: &anyhow::Error) {
        let Ok(mut complained_at) = self.complained_at.lock() else {
            return;
        };
        if complained_at.is_none_or(|at| at.elapsed() > SILENCE) {
            *complained_at = Some(Instant::now());
            tracing::warn!(
                error = format!("{error:#}"),
                "could not export traces to the collector; they are dropped, and other work continues"
            );
        }
    }
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let posted = self.runtime.spawn(post(self.client.clone(), request));
        // The task is only cancelled when the runtime shuts down with the process.
        let posted = posted.await?;
        posted
            .inspect_err(|error| self.complain(error))
            .map_err(Into::into)
    }
}

async fn post(client: reqwest::Client, request: Request<Bytes>) -> anyhow::Result<Response<Bytes>> {
    let request = request.try_into().context("the request cannot be made")?;
    // The address may contain a password.
    let response = client
        .execute(request)
        .await
        .and_then(reqwest::Response::error_for_status)
        .map_err(reqwest::Error::without_url)?;
    let status = response.status();
    let body = response
        .bytes()
        .await
        .map_err(reqwest::Error::without_url)?;
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    Ok(answer)
}
