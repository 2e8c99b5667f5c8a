//! State that all handlers share.

use std::{ops::Deref, sync::Arc, time::Duration};

use ipnet::IpNet;
use opb_core::{
    auth::{Accounts, CurrentUser, Limits, PasswordHasher, TokenKeys},
    computing::Computing,
    doorbell::Doorbell,
    library::Estimates,
    mail::Outbox,
    models::OperatorKeys,
    outbound::OutboundPolicy,
    runs::RunRules,
    sealing::MasterKey,
};
use opb_monitor::Hosts;
use secrecy::SecretString;
use sqlx::{PgPool, Postgres, pool::PoolConnection};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use url::{Host, Url};

use crate::{
    ApiSettings, Replica, bodies::Bodies, import_places::ImportPlaces, oidc::Oidc, prober::Prober,
    problem::Result, response_cache::ResponseCache, seats::Seats, webhook_sender::WebhookPolicies,
};

/// State that all handlers share; clones are cheap and share everything.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// Maximum number of concurrent library searches; further ones wait. A search is CPU-bound: more of them at once make
/// each slower, and would take all connections.
const SEARCHES_AT_ONCE: usize = 3;

/// Maximum number of concurrent checks of imports and benchmarks.
const CHECKS_AT_ONCE: usize = 2;

/// The fields of [`AppState`].
pub struct Shared {
    pub(crate) pool: PgPool,
    replica: Option<Replica>,
    pub(crate) master_key: Arc<MasterKey>,
    pub(crate) accounts: Accounts,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) doorbell: Doorbell,
    pub(crate) response_cache: ResponseCache,
    pub(crate) seats: Seats,
    pub(crate) body_limit_bytes: u64,
    pub(crate) bodies: Bodies,
    pub(crate) request_timeout: Duration,
    pub(crate) outbound: Arc<OutboundPolicy>,
    pub(crate) webhooks: WebhookPolicies,
    pub(crate) prober: Prober,
    pub(crate) operator_keys: OperatorKeys,
    pub(crate) behind_tls: bool,
    pub(crate) rules: RunRules,
    pub(crate) reading_needs_login: bool,
    pub(crate) public_url: Option<Url>,
    pub(crate) oidc: Oidc,
    pub(crate) hides_metrics: bool,
    pub(crate) metrics_token: Option<SecretString>,
    pub(crate) hosts: Hosts,
    /// Permits for further searches.
    pub(crate) searches: Semaphore,
    /// The places of prompt imports.
    pub(crate) imports: ImportPlaces,
    /// Turns for short computations: rendering, comparing, parsing a large body.
    pub(crate) computing: Computing,
    /// Turns for checks of imports and benchmarks, which may take seconds. They are separate, so that checks do not
    /// delay short computations.
    pub(crate) checking: Computing,
    /// Turns for comparisons and boards, which may take minutes.
    pub(crate) statistics: Computing,
    /// Postgres's row estimates of searches, cached for all of them.
    pub(crate) estimates: Estimates,
    /// Cancelled when the process shuts down; live streams end with it.
    pub(crate) stop: CancellationToken,
}

impl AppState {
    /// Derives the keys, reads the login providers, and listens to the doorbell until `stop` is cancelled.
    ///
    /// # Errors
    /// The settings of mail or of login providers contradict each other.
    ///
    /// # Panics
    /// There is no Tokio runtime.
    pub fn new(
        pool: PgPool,
        doorbell: Doorbell,
        master_key: Arc<MasterKey>,
        settings: &ApiSettings,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let public_url = settings.public_url.clone();
        let outbox = match (&settings.mail.smtp_url, &public_url) {
            (Some(_), Some(public_url)) => Some(Outbox {
                master_key: Arc::clone(&master_key),
                public_url: public_url.clone(),
            }),
            _ => None,
        };
        if settings.rules.require_verified_email && outbox.is_none() {
            anyhow::bail!(
                "--require-verified-email needs --smtp-url: without mail, users cannot verify their address"
            );
        }
        let oidc = Oidc::new(&settings.oidc, public_url.as_ref(), &settings.outbound)?;
        Ok(Self(Arc::new(Shared {
            accounts: Accounts {
                pool: pool.clone(),
                passwords: PasswordHasher::new(),
                tokens: TokenKeys::new(&master_key),
                limits: Limits {
                    login_failures_per_account: settings.login_failures_per_account,
                    login_failures_per_address: settings.login_failures_per_address,
                    registrations_per_address: settings.registrations_per_address,
                },
                outbox,
                registration: settings.registration,
                strict_rotation: settings.require_rotation,
            },
            trusted_proxies: settings.trusted_proxies.clone(),
            response_cache: ResponseCache::new(&doorbell, stop.clone()),
            doorbell,
            seats: Seats::default(),
            body_limit_bytes: settings.body_limit_bytes,
            bodies: Bodies::new(settings.body_limit_bytes),
            request_timeout: Duration::from_secs(settings.request_timeout_seconds),
            webhooks: WebhookPolicies::new(&settings.webhooks, &settings.outbound),
            outbound: Arc::clone(&settings.outbound),
            prober: Prober::new(&settings.outbound)?,
            operator_keys: settings.operator_keys.clone(),
            rules: settings.rules.clone(),
            reading_needs_login: settings.reading_needs_login,
            behind_tls: settings.behind_tls,
            public_url,
            oidc,
            hides_metrics: settings.hides_metrics,
            metrics_token: settings.metrics_token.clone(),
            hosts: settings.hosts(settings.listen),
            searches: Semaphore::new(SEARCHES_AT_ONCE),
            imports: ImportPlaces::default(),
            computing: Computing::default(),
            checking: Computing::new(CHECKS_AT_ONCE),
            statistics: Computing::default(),
            estimates: Estimates::default(),
            pool,
            replica: settings.replica.clone(),
            master_key,
            stop,
        })))
    }

    /// True if browsers reach this server through TLS only, so that its cookies may be marked as secure.
    pub(crate) fn is_secure(&self) -> bool {
        let public = self.public_url.as_ref();
        public.map_or(self.behind_tls, |url| url.scheme() == "https")
    }

    /// True if, by the settings, only programs on this machine reach this server; then a local client is not a proxy.
    pub(crate) fn is_local(&self) -> bool {
        let is_public = |url: &Url| match url.host() {
            Some(Host::Domain(name)) => name != "localhost" && !name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => !address.is_loopback(),
            Some(Host::Ipv6(address)) => !address.is_loopback(),
            None => true,
        };
        !self.behind_tls && !self.public_url.as_ref().is_some_and(is_public)
    }

    /// A database connection; returned to the pool on drop.
    pub(crate) async fn conn(&self) -> Result<PoolConnection<Postgres>> {
        Ok(self
            .pool
            .acquire()
            .await
            .map_err(opb_core::Error::Database)?)
    }

    /// A connection for anonymous reads of leaderboards, search and explore: to the replica, if it can be used and
    /// the caller is not logged in, otherwise to the database itself.
    pub(crate) async fn conn_for(
        &self,
        viewer: Option<&CurrentUser>,
    ) -> Result<PoolConnection<Postgres>> {
        if viewer.is_none()
            && let Some(replica) = &self.replica
            && let Some(conn) = replica.conn().await
        {
            return Ok(conn);
        }
        self.conn().await
    }
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
