//! The connection to Postgres and the schema in it.

use std::{
    io,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{
    Connection as _, Executor as _, PgConnection, PgPool,
    migrate::MigrateError,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{metrics::METRICS, queue};

/// Our own migrations, in the order of their file names.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

/// Held while migrating, so that processes that start together do not race. The number is arbitrary.
const MIGRATION_LOCK: i64 = 0x6f70_622d_6d69_6772;

/// A process that is frozen or cut off in the middle of a transaction must not keep its locks for ever: after so long
/// without a word Postgres ends its session. No transaction of ours is idle for that long.
const SILENT_TRANSACTION: &str = "set idle_in_transaction_session_timeout = '10s'";

/// A replica refuses to be written to, and whatever else an operator names as one has to refuse it, too.
const ONLY_READ: &str = "set default_transaction_read_only = on";

/// A connection that was used so short a time ago is taken to be alive, without asking the server each time.
const FRESH: Duration = Duration::from_millis(100);

/// How long a server may take over a connection before it counts as one that does not answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(3);

/// How long a server is waited for that nobody listens for yet.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(2);

/// How long a server is waited for that is starting, or has no connection to spare.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// How long somebody waits for a connection to a replica.
const REPLICA_PATIENCE: Duration = Duration::from_secs(1);

/// Opens a pool of at most `connections` connections and checks that the server answers.
/// `name` is what Postgres and the metrics call it, so it must be one of few.
///
/// # Errors
/// The address does not parse, or the database cannot be used. The message names host, port and database, and why; a
/// wrong address, name or password is said at once, a server that does not answer after three seconds, one that is still
/// starting after ten.
pub async fn connect(url: &SecretString, connections: u32, name: &str) -> anyhow::Result<PgPool> {
    let options = parse(url)?.application_name(name);
    // The pool itself would only say that time is up, and try a wrong host for all of it.
    knock(&options).await?;
    let pool = pool_options()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(10))
        .after_connect(|conn, _| {
            Box::pin(async { conn.execute(SILENT_TRANSACTION).await.map(drop) })
        })
        .connect_with(options.clone())
        .await
        .map_err(|error| cannot_use(&options, &reason(&options, &error)))?;
    METRICS.watch_pool(name, &pool);
    Ok(pool)
}

/// Connects once, and again while the server is starting or nothing listens yet.
async fn knock(options: &PgConnectOptions) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let connecting = PgConnection::connect_with(options);
        let error = match tokio::time::timeout(ANSWER_PATIENCE, connecting).await {
            Ok(Ok(conn)) => {
                // Closing is a courtesy to the server.
                let _ = conn.close().await;
                return Ok(());
            }
            Ok(Err(error)) => error,
            Err(_) => return Err(cannot_use(options, "does not answer")),
        };
        let patience = match &error {
            sqlx::Error::Io(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => {
                REFUSAL_PATIENCE
            }
            // cannot_connect_now, too_many_connections
            sqlx::Error::Database(cause)
                if matches!(cause.code().as_deref(), Some("57P03" | "53300")) =>
            {
                START_PATIENCE
            }
            _ => Duration::ZERO,
        };
        if began.elapsed() >= patience {
            return Err(cannot_use(options, &reason(options, &error)));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Where a database is, and why it cannot be used; never the password.
fn cannot_use(options: &PgConnectOptions, reason: &str) -> anyhow::Error {
    let place = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    let name = options.get_database().unwrap_or(options.get_username());
    anyhow::anyhow!("the database `{name}` at {place} cannot be used: {reason}")
}

/// Why a connection failed, in the operator's words.
fn reason(options: &PgConnectOptions, error: &sqlx::Error) -> String {
    let user = options.get_username();
    match error {
        sqlx::Error::Io(cause) => match cause.kind() {
            io::ErrorKind::ConnectionRefused => {
                "nothing listens there (connection refused); is the server started, and the port right?".to_owned()
            }
            io::ErrorKind::NotFound => "there is no such socket; is the server started?".to_owned(),
            io::ErrorKind::TimedOut => "does not answer".to_owned(),
            // The resolver's errors have no kind of their own.
            _ if cause.to_string().contains("failed to lookup address") => {
                "the host name is not known".to_owned()
            }
            _ => cause.to_string(),
        },
        sqlx::Error::Database(cause) => match cause.code().as_deref() {
            Some("28P01") => format!("the password of the user `{user}` is wrong"),
            Some("28000") => format!("the user `{user}` may not connect: {}", cause.message()),
            Some("3D000") => "there is no database of this name; make it with createdb".to_owned(),
            _ => cause.message().to_owned(),
        },
        sqlx::Error::Tls(cause) => format!("no TLS connection: {cause}"),
        sqlx::Error::PoolTimedOut => "does not answer".to_owned(),
        other => other.to_string(),
    }
}

/// Options of a pool that asks whether a connection is alive before it gives it out, unless that was just used.
fn pool_options() -> PgPoolOptions {
    PgPoolOptions::new()
        .test_before_acquire(false)
        .before_acquire(|conn, used| {
            Box::pin(async move {
                if used.idle_for > FRESH {
                    conn.ping().await?;
                }
                Ok(true)
            })
        })
}

/// A pool for a replica, which only reads. Its connections are opened when they are needed, and whoever waits for one is
/// told after a second that there is none, so as to ask the primary instead.
///
/// # Errors
/// The address does not parse.
pub fn connect_replica(url: &SecretString, connections: u32, name: &str) -> anyhow::Result<PgPool> {
    let options = parse(url)?.application_name(name);
    let pool = pool_options()
        .max_connections(connections)
        .acquire_timeout(REPLICA_PATIENCE)
        .after_connect(|conn, _| {
            Box::pin(async {
                conn.execute(SILENT_TRANSACTION).await?;
                conn.execute(ONLY_READ).await.map(drop)
            })
        })
        .connect_lazy_with(options);
    METRICS.watch_pool(name, &pool);
    Ok(pool)
}

/// A pool of one connection, which is opened when it is needed; for what needs a session of its own.
///
/// # Errors
/// The address does not parse.
pub fn connect_lazily(url: &SecretString, name: &str) -> anyhow::Result<PgPool> {
    let options = parse(url)?.application_name(name);
    Ok(PgPoolOptions::new()
        .max_connections(1)
        .connect_lazy_with(options))
}

fn parse(url: &SecretString) -> anyhow::Result<PgConnectOptions> {
    url.expose_secret()
        .parse()
        // The parser's own message may quote the address with its password.
        .map_err(|_| anyhow::anyhow!("the database address is not a valid postgres:// URL"))
}

/// Brings the schema of the queue and our own up to date. Safe to run from many processes at once.
///
/// # Errors
/// A migration fails, or another version of the program made the database.
pub async fn migrate(pool: &PgPool) -> anyhow::Result<()> {
    // The lock lives on a connection of its own: apalis migrates through the pool.
    let mut conn = PgConnection::connect_with(&pool.connect_options()).await?;
    sqlx::query_scalar!(
        r#"-- database::migrate
        select pg_advisory_lock($1) is null as "locked""#,
        MIGRATION_LOCK
    )
    .fetch_one(&mut conn)
    .await?;
    let migrated = async {
        queue::migrate(pool).await?;
        // A statement that waits for a lock lets everybody else wait behind it: better to give up and be run again.
        conn.execute("set lock_timeout = '10s'").await?;
        match MIGRATIONS.run(&mut conn).await {
            Err(MigrateError::VersionMissing(version) | MigrateError::VersionMismatch(version)) => {
                Err(made_by_another_version(version))
            }
            migrated => migrated.context(
                "the schema could not be migrated; run it again if a lock could not be had",
            ),
        }
    }
    .await;
    conn.close().await?;
    migrated
}

/// Why a database with a migration that this program does not know, or knows otherwise, is left alone.
fn made_by_another_version(migration: i64) -> anyhow::Error {
    anyhow::anyhow!(
        "the database was made by another version of OpenPromptBank, whose migration {migration} this program does not know; \
         run that version or a newer one, or begin with an empty database: another data folder (--data) or another --database-url"
    )
}

/// Refuses what [`migrate`] would refuse: a database of another version of the program. Nothing is changed.
///
/// # Errors
/// Another version made the database, or it does not answer.
pub async fn require_own_version(pool: &PgPool) -> anyhow::Result<()> {
    let conn = pool.acquire().await;
    let mut conn = conn.context("the database does not answer")?;
    // Not a checked query, for the same reason as in `is_migrated`; the table may not be there at all.
    let applied = sqlx::query_as::<_, (i64, Vec<u8>)>(
        "select version, checksum from _sqlx_migrations where success order by version",
    );
    let applied = match applied.fetch_all(&mut *conn).await {
        Ok(applied) => applied,
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => {
            return Ok(());
        }
        Err(error) => return Err(error).context("the database does not say what made it"),
    };
    let is_ours = |version: i64, checksum: &[u8]| {
        let mut ours = MIGRATIONS.iter();
        ours.any(|ours| ours.version == version && *ours.checksum == *checksum)
    };
    match applied
        .iter()
        .find(|(version, checksum)| !is_ours(*version, checksum))
    {
        Some((version, _)) => Err(made_by_another_version(*version)),
        None => Ok(()),
    }
}

/// True when every migration of this program is applied; a newer program may have applied others since.
///
/// # Errors
/// The database does not answer.
pub async fn is_migrated(conn: &mut PgConnection) -> crate::Result<bool> {
    let ours: Vec<i64> = MIGRATIONS
        .iter()
        .map(|migration| migration.version)
        .collect();
    let known = sqlx::query_scalar!(
        r#"-- database::is_migrated
        select to_regclass('public._sqlx_migrations') is not null as "known!""#
    )
    .fetch_one(&mut *conn)
    .await?;
    if !known {
        return Ok(false);
    }
    // Not a checked query: the table belongs to sqlx and is not there while queries are checked.
    let missing: bool = sqlx::query_scalar(
        "select exists (select from unnest($1::bigint[]) as ours (version)
                        where not exists (select from _sqlx_migrations
                                          where _sqlx_migrations.version = ours.version and success))",
    )
    .bind(&ours)
    .fetch_one(conn)
    .await?;
    Ok(!missing)
}

/// Refuses a database whose schema is not the one of this program.
///
/// # Errors
/// The schema is older; the message says how to mend it.
pub async fn require_migrated(pool: &PgPool) -> anyhow::Result<()> {
    let mut conn = pool
        .acquire()
        .await
        .context("the database does not answer")?;
    anyhow::ensure!(
        is_migrated(&mut conn).await?,
        "the database is not migrated; run: opb migrate"
    );
    Ok(())
}
