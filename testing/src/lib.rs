//! Code that the tests of several crates share: a migrated database for each test, on the server that nextest
//! started, and a trace collector.

pub mod collector;
pub mod fixtures;
pub mod without_rules;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use secrecy::SecretString;
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool, postgres::PgConnectOptions};
use uuid::Uuid;

/// A migrated, empty database for one test. It is not dropped; the server is deleted after the tests.
#[derive(Clone)]
pub struct TestDatabase {
    /// Connections to the database.
    pub pool: PgPool,
    url: String,
}

impl TestDatabase {
    /// Creates a database as a copy of a template that is migrated once per server.
    ///
    /// # Panics
    /// There is no server: the tests were not started by nextest.
    pub async fn new() -> Self {
        let server = std::env::var("OPB_TEST_DATABASE_URL").expect(
            "OPB_TEST_DATABASE_URL names the server for tests; `cargo nextest run` starts one and sets it",
        );
        let options: PgConnectOptions = server
            .parse()
            .expect("OPB_TEST_DATABASE_URL is a postgres:// URL");
        let name = format!("test_{}", Uuid::new_v4().simple());
        let mut conn = PgConnection::connect_with(&options)
            .await
            .expect("the test server answers");
        let template = template(&mut conn, &options).await;
        // A template cannot be copied while it has connections; only the test that creates it connects to it.
        let copy = format!("create database {name} template {template}");
        conn.execute(sqlx::AssertSqlSafe(copy))
            .await
            .expect("the test database is created");
        conn.close().await.expect("the connection closes");
        let url = with_database(&server, &name);
        let pool = connect(&SecretString::from(url.clone())).await;
        Self { pool, url }
    }

    /// The database's address, for programs that the test starts.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// A pool; a machine that is busy with many tests may take its time.
async fn connect(url: &SecretString) -> PgPool {
    let mut tries = 0;
    loop {
        match opb_core::database::connect(url, 20, "test").await {
            Ok(pool) => return pool,
            Err(error) if tries == 10 => panic!("the test database does not answer: {error:#}"),
            Err(_) => tries += 1,
        }
    }
}

/// The name of the migrated template, which the first test that needs it creates.
async fn template(conn: &mut PgConnection, options: &PgConnectOptions) -> String {
    let name = format!("template_{:016x}", schema_hash());
    conn.execute("select pg_advisory_lock(716253)")
        .await
        .expect("the template's lock is acquired");
    let exists: bool =
        sqlx::query_scalar("select exists(select 1 from pg_database where datname = $1)")
            .bind(&name)
            .fetch_one(&mut *conn)
            .await
            .expect("the server lists its databases");
    if !exists {
        make_template(conn, options, &name).await;
    }
    conn.execute("select pg_advisory_unlock(716253)")
        .await
        .expect("the template's lock is released");
    name
}

/// A hash that changes with the migrations, also when an old one was edited: a server may outlive many builds.
fn schema_hash() -> u64 {
    let mut hasher = DefaultHasher::new();
    for migration in opb_core::database::MIGRATIONS.iter() {
        (migration.version, &migration.checksum).hash(&mut hasher);
    }
    hasher.finish()
}

async fn make_template(conn: &mut PgConnection, options: &PgConnectOptions, name: &str) {
    let unfinished = format!("{name}_unfinished");
    for statement in [
        format!("drop database if exists {unfinished} with (force)"),
        format!("create database {unfinished}"),
    ] {
        conn.execute(sqlx::AssertSqlSafe(statement))
            .await
            .expect("the template is made");
    }
    let pool = PgPool::connect_with(options.clone().database(&unfinished))
        .await
        .expect("the template answers");
    opb_core::database::migrate(&pool)
        .await
        .expect("the migrations apply");
    pool.close().await;
    let rename = format!("alter database {unfinished} rename to {name}");
    conn.execute(sqlx::AssertSqlSafe(rename))
        .await
        .expect("the template is renamed");
}

fn with_database(server: &str, name: &str) -> String {
    let (address, parameters) = server
        .split_once('?')
        .map_or((server, None), |(a, p)| (a, Some(p)));
    let authority = address
        .rfind('/')
        .filter(|slash| address[..*slash].contains("://") && !address[..*slash].ends_with('/'));
    let base = authority.map_or(address, |slash| &address[..slash]);
    match parameters {
        Some(parameters) => format!("{base}/{name}?{parameters}"),
        None => format!("{base}/{name}"),
    }
}
