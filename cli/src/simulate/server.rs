//! Accepts connections, assigns them to threads, and stops cleanly.

use std::error::Error as _;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::pin::Pin;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::Context as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{LocalPoolHandle, TaskTracker};

use super::answers::read_answers;
use super::faults::ResetOnPurpose;
use super::limiter::Limiter;
use super::routes::{Simulator, handle};
use super::settings::SimulateSettings;
use super::stats::Stats;

/// How long requests may take after the stop; a hang would otherwise last forever.
const GRACE: Duration = Duration::from_secs(2);

/// A semaphore for `count` calls.
fn places(count: NonZeroU32) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(
        usize::try_from(count.get()).unwrap_or(Semaphore::MAX_PERMITS),
    ))
}

/// Serves until `shutdown`; `ready` receives the address once connections are accepted.
///
/// Each thread has its own runtime and connections, so a request never crosses threads.
///
/// # Errors
/// An answer file cannot be read, or the address cannot be listened on.
pub async fn serve(
    settings: SimulateSettings,
    shutdown: CancellationToken,
    ready: impl FnOnce(SocketAddr),
) -> anyhow::Result<()> {
    let simulator = Arc::new(Simulator {
        answers: read_answers(&settings.answers)?,
        faults: settings.fault_plan(),
        latency: settings.latency,
        seed: settings.seed,
        limiter: settings.rpm.map(Limiter::new),
        slots: settings.slots.map(places),
        most: settings.max_concurrent.map(places),
        api_key: settings.api_key,
        stats: Stats::default(),
        started: Instant::now(),
    });
    let address = SocketAddr::new(settings.listen_host, settings.port);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {address}"))?;
    let threads = settings
        .threads
        .or_else(|| available_parallelism().ok())
        .map_or(1, NonZeroUsize::get);
    let pool = LocalPoolHandle::new(threads);
    let connections = TaskTracker::new();
    ready(
        listener
            .local_addr()
            .context("read the address listened on")?,
    );

    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        let Ok(stream) = accepted.and_then(|(stream, _)| stream.into_std()) else {
            // Most likely out of file descriptors: some connections have to end first.
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (simulator, shutdown) = (Arc::clone(&simulator), shutdown.clone());
        let tracked = connections.token();
        pool.spawn_pinned(move || async move {
            let _tracked = tracked;
            // Registered with the runtime of this thread.
            if let Ok(stream) = TcpStream::from_std(stream) {
                serve_connection(&simulator, stream, shutdown).await;
            }
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
    Ok(())
}

async fn serve_connection(simulator: &Simulator, stream: TcpStream, shutdown: CancellationToken) {
    let _open = simulator.stats.open_connection();
    // Otherwise a small response may wait for an acknowledgement; a failure only costs speed.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| handle(simulator, request));
    let mut connection = http1::Builder::new()
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(stream), service);

    let mut finished = shutdown.run_until_cancelled(&mut connection).await;
    if finished.is_none() {
        Pin::new(&mut connection).graceful_shutdown();
        finished = timeout(GRACE, &mut connection).await.ok();
    }
    // Other errors of a connection are the client's.
    if matches!(finished, Some(Err(error)) if is_reset_on_purpose(&error)) {
        let _ = connection.into_parts().io.into_inner().set_zero_linger();
    }
}

fn is_reset_on_purpose(error: &hyper::Error) -> bool {
    error
        .source()
        .is_some_and(<dyn std::error::Error>::is::<ResetOnPurpose>)
}
