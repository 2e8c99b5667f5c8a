//! The monitoring server of a process: `/healthz`, `/readyz` and `/metrics` on a separate address, so that workers
//! and schedulers can be monitored and the API can keep its metrics private. It only reads.

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

/// Timeout of the readiness check: probes repeat often and need a prompt answer.
const READY_TIME: Duration = Duration::from_secs(2);
/// Maximum time for a client to send the head of a request, and for an idle connection to stay open.
const HEAD_TIME: Duration = Duration::from_mins(1);
/// Pause after accepting a connection failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const METRICS_TEXT: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Settings of the monitoring server.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Monitoring")]
pub struct MonitorSettings {
    /// Address and port for /healthz, /readyz and /metrics; with it, the API serves its metrics only there
    #[arg(long, env = "OPB_MONITOR_LISTEN", value_name = "ADDRESS")]
    pub monitor_listen: Option<SocketAddr>,
}

/// Runs the monitoring server beside a process's work, until the work ends. Without an address there is no server.
/// `bound` receives the address that it listens on.
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
    tracing::info!(monitor.address = %address, "monitoring server listens on {address}");
    bound(address);
    tokio::select! {
        ended = work => ended,
        never = serve(listener, pool) => match never {},
    }
}

/// Serves forever; connections end with the process.
pub async fn serve(listener: TcpListener, pool: PgPool) -> Infallible {
    // If the listener does not know its address, no client can reach it.
    let address = listener.local_addr();
    let address = address.unwrap_or_else(|_| ([127, 0, 0, 1], 0).into());
    let hosts = Hosts::of(address, &[], false);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve_connection(stream, pool.clone(), hosts.clone()));
            }
            Err(error) => {
                // Most likely too many open files, which passes when connections end.
                tracing::warn!(%error, "could not accept a connection to the monitoring server");
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
        tracing::debug!(%error, "a connection to the monitoring server broke");
    }
}

async fn answer(
    request: &Request<Incoming>,
    pool: &PgPool,
    hosts: &Hosts,
) -> Response<Full<Bytes>> {
    if !hosts.accept(request.uri(), request.headers()) {
        let refusal = "this server accepts only the host names localhost and 127.0.0.1\n";
        return text(StatusCode::MISDIRECTED_REQUEST, refusal);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD are allowed\n",
        );
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
            "not found; the paths are /healthz, /readyz and /metrics\n",
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
