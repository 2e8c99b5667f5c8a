//! A whole bank in one process: Postgres, the API, a worker and a scheduler.
//!
//! It starts them in the order of their dependencies, and stops them in the reverse order.
//! If one of them ends unexpectedly, all are stopped: a bank without one of its parts would only look alive.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use clap::Args;
use opb_api::ApiSettings;
use opb_core::{
    auth::{self, TokenKeys},
    database,
    doorbell::Doorbell,
    outbound::OutboundSettings,
    sealing::{MasterKey, write_private},
};
use opb_monitor::MonitorSettings;
use opb_scheduler::SchedulerSettings;
use opb_settings::SecretSettings;
use opb_worker::WorkerSettings;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::PgPool;
use tokio::{sync::oneshot, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{data_folder::DataFolder, folder_lock::FolderLock, packs, postgres::Cluster};

/// The name of the API key that commands on this machine use.
const LOCAL_KEY: &str = "local";
/// Lifetime of the invitation for the first administrator.
const FIRST_ADMIN_LIFETIME: chrono::Duration = chrono::Duration::hours(1);
/// Default number of connections per part. The embedded server allows many more, so memory is the limit.
const CONNECTIONS: u32 = 10;
/// How long the parts have to stop after a failure.
const FALL: Duration = Duration::from_secs(3);

/// Settings of a bank.
#[derive(Debug, Clone, Args)]
pub struct BankSettings {
    /// Folder for the database, the keys and the log; without it, the user's own
    #[arg(
        long,
        env = "OPB_DATA_DIR",
        value_name = "DIR",
        help_heading = "Database"
    )]
    pub data: Option<PathBuf>,
    /// Address of a Postgres server to use instead of an embedded one: `postgres://user:password@host:port/name`
    #[arg(
        long,
        env = "DATABASE_URL",
        value_name = "URL",
        hide_env_values = true,
        help_heading = "Database"
    )]
    pub database_url: Option<SecretString>,
    /// File that holds the password for that server; it takes precedence over one in the address
    #[arg(
        long,
        env = "OPB_DATABASE_PASSWORD_FILE",
        value_name = "FILE",
        help_heading = "Database"
    )]
    pub database_password_file: Option<PathBuf>,
    /// Maximum number of connections of each part (API, worker, queue)
    #[arg(long, env = "OPB_DATABASE_CONNECTIONS", value_name = "N", default_value_t = CONNECTIONS, value_parser = clap::value_parser!(u32).range(3..=1000), help_heading = "Database")]
    pub database_connections: u32,
    #[command(flatten)]
    pub secrets: SecretSettings,
    #[command(flatten)]
    pub api: ApiSettings,
    #[command(flatten)]
    pub worker: WorkerSettings,
    #[command(flatten)]
    pub scheduler: SchedulerSettings,
    #[command(flatten)]
    pub monitor: MonitorSettings,
    #[command(flatten)]
    pub outbound: OutboundSettings,
}

impl BankSettings {
    /// The server that the user named; an empty address counts as none.
    fn own_server(&self) -> Option<&SecretString> {
        self.database_url
            .as_ref()
            .filter(|url| !url.expose_secret().is_empty())
    }
}

/// A running bank.
pub struct Bank {
    /// Its address.
    pub url: String,
    /// The local API key.
    pub key: SecretString,
    /// The invitation for the first administrator, as long as there is none.
    pub first_admin: Option<SecretString>,
    parts: JoinSet<(&'static str, anyhow::Result<()>)>,
    pools: [PgPool; 3],
    stop: CancellationToken,
    /// Cancelled only after the address file is removed: once the API has stopped, any process may listen there.
    parts_stop: CancellationToken,
    // The order matters: fields are dropped from the top, and the lock must outlive the server.
    cluster: Option<Cluster>,
    folder: DataFolder,
    _lock: FolderLock,
}

/// What a bank needs before its parts start.
struct Foundation {
    master_key: Arc<MasterKey>,
    key: SecretString,
    first_admin: Option<SecretString>,
    pools: [PgPool; 3],
    cluster: Option<Cluster>,
    folder: DataFolder,
    lock: FolderLock,
}

impl Bank {
    /// Starts a bank that runs until `stop` is cancelled; returns `None` if that happens during the start.
    ///
    /// # Errors
    /// The folder is in use, the database is not available, or the address is taken.
    pub async fn start(
        settings: BankSettings,
        stop: CancellationToken,
    ) -> anyhow::Result<Option<Self>> {
        let Some(foundation) = stop
            .run_until_cancelled(prepare_foundation(&settings))
            .await
        else {
            return Ok(None);
        };
        let foundation = foundation?;
        let (ready, is_ready) = oneshot::channel();
        let parts_stop = CancellationToken::new();
        let parts = spawn_parts(&foundation, settings, &parts_stop, ready);
        let mut bank = Self {
            url: String::new(),
            key: foundation.key,
            first_admin: foundation.first_admin,
            parts,
            pools: foundation.pools,
            stop,
            parts_stop,
            cluster: foundation.cluster,
            folder: foundation.folder,
            _lock: foundation.lock,
        };
        let Ok(address) = is_ready.await else {
            // The API ended before it was ready; its error says why.
            let ended = bank.wait().await;
            return ended.map(|()| None);
        };
        bank.url = format!("http://{}", reachable(address));
        bank.folder.write_url(&bank.url)?;
        Ok(Some(bank))
    }

    /// Waits until the bank has stopped: in order, because `stop` was cancelled, or because a part failed.
    ///
    /// # Errors
    /// A part failed.
    pub async fn wait(mut self) -> anyhow::Result<()> {
        let broke = self.first_break().await;
        self.stop.cancel();
        self.folder.remove_url();
        self.parts_stop.cancel();
        let ended = self.end_parts(broke.is_err()).await;
        for pool in &self.pools {
            // A connection that is still in use is cut when the server stops.
            let _ = tokio::time::timeout(FALL, pool.close()).await;
        }
        if let Some(cluster) = self.cluster.take() {
            cluster.stop().await?;
        }
        broke.and(ended)
    }

    /// Waits until the user stops the bank or a part fails.
    async fn first_break(&mut self) -> anyhow::Result<()> {
        let database_ends = async {
            match &self.cluster {
                Some(cluster) => cluster.wait_exit().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Ok(()),
            error = database_ends => Err(error.into()),
            Some(ended) = self.parts.join_next() => Err(part_error(ended)),
        }
    }

    /// Waits for the parts to stop by themselves; after a failure only for a short time.
    async fn end_parts(&mut self, is_broken: bool) -> anyhow::Result<()> {
        let parts = &mut self.parts;
        let all = async {
            let mut result = Ok(());
            while let Some(ended) = parts.join_next().await {
                if let Ok((name, Err(error))) = ended {
                    result = Err(error.context(format!("the {name} did not stop cleanly")));
                }
            }
            result
        };
        if !is_broken {
            return all.await;
        }
        // Further errors follow from the first one.
        let _ = tokio::time::timeout(FALL, all).await;
        self.parts.shutdown().await;
        Ok(())
    }
}

/// Prepares everything that serving needs: folder, database, schema, built-in contents, keys.
async fn prepare_foundation(settings: &BankSettings) -> anyhow::Result<Foundation> {
    let folder = DataFolder::new(settings.data.as_deref()).create()?;
    let lock = folder.lock()?;
    // Checked before the slow steps: a first start creates a database.
    opb_api::check_address(settings.api.listen)?;
    // Loaded before a server is started in vain.
    let master_key = settings.secrets.load(Some(&folder.master_key_file()))?;
    let cluster = match settings.own_server() {
        Some(_) => None,
        None => Some(Cluster::start(folder.path()).await?),
    };
    let address = match (&cluster, settings.own_server()) {
        (Some(cluster), _) => cluster.database_url().clone(),
        (None, Some(address)) => {
            opb_settings::with_password(address, settings.database_password_file.as_deref())?
        }
        (None, None) => return Err(anyhow!("there is no database")),
    };
    let address = &address;
    let connections = settings.database_connections;
    let pools = [
        database::connect(address, connections, "opb api").await?,
        database::connect(address, connections, "opb worker").await?,
        database::connect(address, connections, "opb queue").await?,
    ];
    let pool = &pools[0];
    database::migrate(pool).await?;
    let master_key = Arc::new(master_key.or_new(pool).await?);
    let mut conn = pool
        .acquire()
        .await
        .context("the database does not answer")?;
    opb_worker::seed_providers(&mut conn).await?;
    packs::load_built_in(&mut conn).await?;
    let first_admin = auth::invite_first_admin(&mut conn, FIRST_ADMIN_LIFETIME).await?;
    drop(conn);
    let key = local_key(pool, &master_key, &folder).await?;
    Ok(Foundation {
        master_key,
        key,
        first_admin,
        pools,
        cluster,
        folder,
        lock,
    })
}

fn spawn_parts(
    foundation: &Foundation,
    settings: BankSettings,
    stop: &CancellationToken,
    ready: oneshot::Sender<SocketAddr>,
) -> JoinSet<(&'static str, anyhow::Result<()>)> {
    let [api_pool, worker_pool, queue_pool] = foundation.pools.clone();
    let scheduler_pool = worker_pool.clone();
    let (api_key, worker_key) = (
        Arc::clone(&foundation.master_key),
        Arc::clone(&foundation.master_key),
    );
    let (api_stop, worker_stop, scheduler_stop) = (stop.clone(), stop.clone(), stop.clone());
    let BankSettings {
        mut api,
        mut worker,
        mut scheduler,
        monitor,
        outbound,
        ..
    } = settings;
    // A local bank must reach models on this machine, and only administrators add providers.
    let outbound = Arc::new(outbound.local_policy());
    api.outbound = Arc::clone(&outbound);
    worker.outbound = Arc::clone(&outbound);
    scheduler.rules = api.rules.clone();
    api.operator_keys = worker.operator_keys.clone();
    api.hides_metrics = monitor.monitor_listen.is_some();
    let mut parts = JoinSet::new();
    parts.spawn(async move {
        // The receiver is gone if the bank was stopped meanwhile.
        let say = |address| {
            let _ = ready.send(address);
        };
        let doorbell = Doorbell::listen(api_pool.clone(), opb_api::BELLS, api_stop.clone());
        let work = opb_api::serve(api_pool.clone(), doorbell, api_key, api, api_stop, say);
        let bound = |address| outbound.own().listens(address);
        (
            "API",
            opb_monitor::beside(work, &monitor, api_pool, bound).await,
        )
    });
    parts.spawn(async move {
        (
            "worker",
            opb_worker::run(worker_pool, queue_pool, worker_key, worker, worker_stop).await,
        )
    });
    parts.spawn(async move {
        (
            "scheduler",
            opb_scheduler::run(scheduler_pool, scheduler, scheduler_stop).await,
        )
    });
    parts
}

fn part_error(
    ended: Result<(&'static str, anyhow::Result<()>), tokio::task::JoinError>,
) -> anyhow::Error {
    match ended {
        Ok((name, Ok(()))) => anyhow!("the {name} stopped unexpectedly"),
        Ok((name, Err(error))) => error.context(format!("the {name} failed")),
        Err(error) => anyhow!(error).context("a part of the bank panicked"),
    }
}

/// The key in the data folder if the bank still accepts it, else a new one; older keys are then revoked.
async fn local_key(
    pool: &PgPool,
    master_key: &MasterKey,
    folder: &DataFolder,
) -> anyhow::Result<SecretString> {
    let mut conn = pool
        .acquire()
        .await
        .context("the database does not answer")?;
    let owner = auth::system_user(&mut conn).await?;
    if let Some(key) = folder.api_key()? {
        let tokens = TokenKeys::new(master_key);
        match auth::authenticate(pool, &tokens, key.expose_secret()).await {
            Ok(caller) if caller.user.id == owner.id => return Ok(key),
            Ok(_) | Err(opb_core::Error::Unauthenticated(_) | opb_core::Error::UserGone) => {}
            Err(error) => return Err(error.into()),
        }
    }
    auth::revoke_api_keys_named(&mut conn, owner.id, LOCAL_KEY).await?;
    let key = auth::create_api_key(&mut conn, owner.id, LOCAL_KEY).await?;
    write_private(&folder.api_key_file(), key.expose_secret())?;
    Ok(key)
}

/// The address for clients on this machine: 0.0.0.0 is replaced by a loopback address.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => ([127, 0, 0, 1], v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => ([127, 0, 0, 1], v6.port()).into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_for_everybody_is_called_locally() {
        for (bound, expect) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "127.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
            ("192.0.2.1:80", "192.0.2.1:80"),
        ] {
            assert_eq!(reachable(bound.parse().unwrap()).to_string(), expect);
        }
    }
}
