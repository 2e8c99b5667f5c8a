//! What every handler shares.

use std::{ops::Deref, sync::Arc, time::Duration};

use ipnet::IpNet;
use opb_core::{
    auth::{Accounts, Limits, PasswordHasher, TokenKeys},
    doorbell::Doorbell,
    outbound::OutboundPolicy,
    runs,
    sealing::MasterKey,
};
use sqlx::{PgPool, Postgres, pool::PoolConnection};
use tokio_util::sync::CancellationToken;

use crate::{ApiSettings, Registration, problem::Result, seats::Seats};

/// What every handler shares; clones are cheap and share everything.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// The fields of [`AppState`].
pub struct Shared {
    pub(crate) pool: PgPool,
    pub(crate) master_key: Arc<MasterKey>,
    pub(crate) accounts: Accounts,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) doorbell: Doorbell,
    pub(crate) seats: Seats,
    pub(crate) registration: Registration,
    pub(crate) body_limit_bytes: u64,
    pub(crate) request_timeout: Duration,
    pub(crate) outbound: Arc<OutboundPolicy>,
    pub(crate) behind_tls: bool,
    /// The quota of users that are no administrators and have none of their own.
    pub(crate) user_daily_budget_microusd: i64,
    /// Cancelled when the process ends; live streams end with it.
    pub(crate) stop: CancellationToken,
}

impl AppState {
    /// Derives the keys and starts to listen for moving runs, until `stop` is cancelled.
    ///
    /// # Panics
    /// There is no Tokio runtime.
    #[must_use]
    pub fn new(
        pool: PgPool,
        master_key: Arc<MasterKey>,
        settings: &ApiSettings,
        stop: CancellationToken,
    ) -> Self {
        Self(Arc::new(Shared {
            accounts: Accounts {
                pool: pool.clone(),
                passwords: PasswordHasher::new(),
                tokens: TokenKeys::new(&master_key),
                limits: Limits {
                    login_failures_per_account: settings.login_failures_per_account,
                    login_failures_per_address: settings.login_failures_per_address,
                    registrations_per_address: settings.registrations_per_address,
                },
            },
            trusted_proxies: settings.trusted_proxies.clone(),
            doorbell: Doorbell::listen(pool.clone(), &[runs::DOORBELL], stop.clone()),
            seats: Seats::default(),
            registration: settings.registration,
            body_limit_bytes: settings.body_limit_bytes,
            request_timeout: Duration::from_secs(settings.request_timeout_seconds),
            outbound: Arc::clone(&settings.outbound),
            user_daily_budget_microusd: settings.user_daily_budget,
            behind_tls: settings.behind_tls,
            pool,
            master_key,
            stop,
        }))
    }

    /// A connection to the database, given back when it is dropped.
    pub(crate) async fn conn(&self) -> Result<PoolConnection<Postgres>> {
        Ok(self
            .pool
            .acquire()
            .await
            .map_err(opb_core::Error::Database)?)
    }
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
