//! The server: binds, serves, and finishes requests in progress when it is stopped.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, middleware::from_fn, middleware::from_fn_with_state};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use opb_core::{
    auth, doorbell::Doorbell, leaderboards, mail, quotas::set_default_quotas, runs,
    sealing::MasterKey, webhooks,
};
use sqlx::PgPool;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower_http::{add_extension::AddExtension, catch_panic::CatchPanicLayer};

use crate::{
    ApiSettings, AppState, CorsOrigin, bodies, client::Peer, dialects, headers, listen::listen,
    middleware, openapi, unread, webhook_sender::WebhookSender,
};

/// Maximum time for requests in progress to finish after the process was asked to stop.
const DRAIN_TIME: Duration = Duration::from_secs(10);
/// Maximum time for a client to send the head of a request, and for an idle connection to stay open.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// Maximum time that a client may stop reading a response that does not fit into the buffers.
const UNREAD_TIME: Duration = Duration::from_secs(30);
/// Pause after accepting a connection failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The channels of the doorbell that the API listens to.
pub const BELLS: &[&str] = &[
    runs::DOORBELL,
    leaderboards::DOORBELL,
    mail::DOORBELL,
    webhooks::DOORBELL,
];

/// Serves until `stop` is cancelled; then ends live streams and waits for requests in progress, at most ten seconds.
/// `doorbell` rings for [`BELLS`]. `ready` is called with the bound address as soon as connections are accepted.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve(
    pool: PgPool,
    doorbell: Doorbell,
    master_key: Arc<MasterKey>,
    settings: ApiSettings,
    stop: CancellationToken,
    ready: impl FnOnce(SocketAddr),
) -> anyhow::Result<()> {
    // Contradictory settings are reported before the first request is served.
    let mail_sender = settings.mail.mail_sender(settings.public_url.as_ref())?;
    let state = AppState::new(
        pool.clone(),
        doorbell.clone(),
        Arc::clone(&master_key),
        &settings,
        stop.clone(),
    )?;
    let listener = listen(settings.listen).await?;
    let address = listener.local_addr()?;
    set_default_quotas(&mut *pool.acquire().await?, settings.rules.quotas()).await?;
    if let Some(secret) = &settings.first_admin_invitation {
        auth::accept_first_admin(&mut *pool.acquire().await?, secret).await?;
    }
    let outbox = state.accounts.outbox.clone();
    settings.outbound.own().listens(address);
    if let Some(url) = &settings.public_url {
        settings.outbound.own().serves(url);
    }
    let webhook_sender = WebhookSender::new(
        &settings.webhooks,
        state.webhooks.clone(),
        pool.clone(),
        master_key,
    )?;
    let webhook_sender = tokio::spawn(webhook_sender.carry(doorbell.clone(), stop.clone()));
    let mail_sender = mail_sender.zip(outbox).map(|(mail_sender, outbox)| {
        tokio::spawn(mail_sender.carry(pool, doorbell, outbox, stop.clone()))
    });
    let router = router(state, &settings.cors_origins);
    tracing::info!(api.address = %address, "the API is ready");
    ready(address);
    let connections = accept(&listener, &router, settings.max_connections, &stop).await;
    drop(listener);
    if tokio::time::timeout(DRAIN_TIME, connections.shutdown())
        .await
        .is_err()
    {
        tracing::warn!(
            "some requests did not finish within {} s of shutdown and were aborted",
            DRAIN_TIME.as_secs()
        );
    }
    if let Some(mail_sender) = mail_sender {
        // A mail whose attempt is aborted here is sent by the next process.
        let _ = tokio::time::timeout(DRAIN_TIME, mail_sender).await;
    }
    let _ = tokio::time::timeout(DRAIN_TIME, webhook_sender).await;
    Ok(())
}

/// Accepts connections until `stop` is cancelled; returns the open ones. Above `most` connections, further ones wait
/// until others end. `axum::serve` is not used because it lets a client take forever over the head of a request.
async fn accept(
    listener: &TcpListener,
    router: &Router,
    most: u32,
    stop: &CancellationToken,
) -> GracefulShutdown {
    let connections = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
    let places = Arc::new(Semaphore::new(most as usize));
    let accept = async || {
        let place = Arc::clone(&places).acquire_owned().await;
        (place, listener.accept().await)
    };
    while let Some((place, accepted)) = stop.run_until_cancelled(accept()).await {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Most likely too many open files, which passes when connections end.
                tracing::warn!(%error, "could not accept a connection to the API");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Responses are small and written whole: waiting to fill a packet only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "could not turn off the send delay of a connection");
        }
        let service = TowerToHyperService::new(AddExtension::new(router.clone(), Peer(peer.ip())));
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(UNREAD_TIME));
        let connection = http.serve_connection(TokioIo::new(Box::pin(stream)), service);
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the API broke");
            }
            drop(place);
        });
    }
    connections
}

/// All routes with their middleware.
pub fn router(state: AppState, cors_origins: &[CorsOrigin]) -> Router {
    let (routes, document) = openapi::routes().split_for_parts();
    let served = around(routes.merge(openapi::pages(document)), state);
    if cors_origins.is_empty() {
        return served;
    }
    served.layer(headers::cross_origin(cors_origins))
}

/// Adds the middleware of every request; the last layer is the outermost.
fn around(routes: Router<AppState>, state: AppState) -> Router {
    routes
        .fallback(middleware::no_route)
        .method_not_allowed_fallback(middleware::wrong_method)
        .layer(from_fn_with_state(state.clone(), middleware::limit_time))
        .layer(from_fn(bodies::give_back))
        .layer(CatchPanicLayer::custom(middleware::panicked))
        .layer(from_fn_with_state(state.clone(), middleware::check_host))
        .layer(from_fn(dialects::respell))
        .layer(from_fn(middleware::observe))
        .layer(from_fn_with_state(state.clone(), headers::harden))
        .layer(from_fn(unread::finish_body))
        .with_state(state)
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, extract::Request, routing::get};
    use tower::ServiceExt as _;

    use super::*;
    use crate::Problem;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        api: ApiSettings,
    }

    /// Requests routes that misbehave, on a server whose database is unreachable.
    async fn ask(path: &str) -> (u16, Problem) {
        let words = [
            "test",
            "--listen=127.0.0.1:0",
            "--request-timeout-seconds=1",
        ];
        let settings = <Program as clap::Parser>::parse_from(words).api;
        let pool = sqlx::postgres::PgPoolOptions::new()
            .acquire_timeout(Duration::from_millis(200))
            .connect_lazy("postgres://nobody@127.0.0.1:1/none")
            .unwrap();
        let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into();
        let key = Arc::new(MasterKey::parse(&key).unwrap());
        let stop = CancellationToken::new();
        let state = AppState::new(
            pool.clone(),
            Doorbell::listen(pool, BELLS, stop.clone()),
            key,
            &settings,
            stop.clone(),
        )
        .unwrap();
        let (routes, _) = openapi::routes().split_for_parts();
        let routes = routes
            .route("/panic", get(panics))
            .route("/slow", get(std::future::pending::<()>));
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = around(routes, state).oneshot(request).await.unwrap();
        stop.cancel();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 10_000)
            .await
            .unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn panics() {
        panic!("a secret of the inside");
    }

    #[tokio::test]
    async fn whatever_breaks_inside_is_a_problem_outside() {
        let check = async |path: &str, status: u16, code: &str| {
            let (found, problem) = ask(path).await;
            assert_eq!((found, problem.code.as_str()), (status, code), "{path}");
            assert!(problem.request_id.is_some(), "{path}");
            assert!(!problem.detail.contains("secret"), "{path}");
        };
        check("/panic", 500, "internal").await;
        check("/slow", 503, "timeout").await;
        check("/nothing", 404, "no_route").await;
        check("/readyz", 503, "not_ready").await;
        check("/api/v1/prompts", 503, "unavailable").await;
    }
}
