//! The operator's door of a process: `/healthz`, `/readyz` and `/metrics` on an address of their own, so that workers
//! and schedulers can be watched, and the API can keep its metrics from the public. It reads, and changes nothing.

mod hosts;
pub mod traces;

pub use hosts::Hosts;

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use anyhow::Context as _;
use clap::Args;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use opb_core::{database, metrics::METRICS};
use sqlx::PgPool;
use tokio::net::{TcpListener, TcpStream};

/// Whoever asks for readiness asks again soon, and wants an answer now.
const READY_TIME: Duration = Duration::from_secs(2);
/// How long a client may take over the head of a request, and how long an idle connection is kept.
const HEAD_TIME: Duration = Duration::from_mins(1);
/// How long nothing is accepted after accepting failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const METRICS_TEXT: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Where operators look.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Monitoring")]
pub struct MonitorSettings {
    /// Address and port for /healthz, /readyz and /metrics; the API then shows its metrics only there
    #[arg(long, env = "OPB_MONITOR_LISTEN", value_name = "ADDRESS")]
    pub monitor_listen: Option<SocketAddr>,
}

/// Serves the operator's door beside the work of a process, until the work ends. Without an address there is no door.
/// `bound` is told where it is.
///
/// # Errors
/// The address cannot be listened on, or the work fails.
pub async fn beside(
    work: impl Future<Output = anyhow::Result<()>>,
    settings: &MonitorSettings,
    pool: PgPool,
    bound: impl FnOnce(SocketAddr),
) -> anyhow::Result<()> {
    let Some(address) = settings.monitor_listen else {
        return work.await;
    };
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} for monitoring"))?;
    let address = listener.local_addr()?;
    tracing::info!(monitor.address = %address, "the process can be watched");
    bound(address);
    tokio::select! {
        ended = work => ended,
        never = serve(listener, pool) => match never {},
    }
}

/// Serves for ever; connections end with the process.
pub async fn serve(listener: TcpListener, pool: PgPool) -> Infallible {
    // A listener that does not know its address is one that nobody reaches.
    let address = listener.local_addr();
    let address = address.unwrap_or_else(|_| ([127, 0, 0, 1], 0).into());
    let hosts = Hosts::of(address, &[], false);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve_connection(stream, pool.clone(), hosts.clone()));
            }
            Err(error) => {
                // Most likely too many open files: it passes when connections end.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, pool: PgPool, hosts: Hosts) {
    let (pool, hosts) = (&pool, &hosts);
    let service = service_fn(move |request| async move {
        Ok::<_, Infallible>(answer(&request, pool, hosts).await)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection broke");
    }
}

async fn answer(
    request: &Request<Incoming>,
    pool: &PgPool,
    hosts: &Hosts,
) -> Response<Full<Bytes>> {
    if !hosts.accept(request.uri(), request.headers()) {
        let refusal = "this address answers to localhost and 127.0.0.1 only\n";
        return text(StatusCode::MISDIRECTED_REQUEST, refusal);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "ask with GET\n");
        refusal
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match tokio::time::timeout(READY_TIME, is_migrated(pool)).await {
            Ok(Ok(true)) => text(StatusCode::OK, "ready\n"),
            Ok(Ok(false)) => not_ready("the database is not migrated\n"),
            Ok(Err(_)) | Err(_) => not_ready("the database does not answer\n"),
        },
        "/metrics" => {
            let mut metrics = text(StatusCode::OK, METRICS.text());
            metrics.headers_mut().insert(CONTENT_TYPE, METRICS_TEXT);
            metrics
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /healthz, /readyz and /metrics\n",
        ),
    }
}

async fn is_migrated(pool: &PgPool) -> opb_core::Result<bool> {
    let mut conn = pool.acquire().await?;
    database::is_migrated(&mut conn).await
}

fn not_ready(reason: &'static str) -> Response<Full<Bytes>> {
    text(StatusCode::SERVICE_UNAVAILABLE, reason)
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}
