//! Tests of the server's life cycle, durability and access control.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use secrecy::ExposeSecret;
use sqlx::{Connection, PgConnection};

use super::{Site, ask, server_pid, spawn_parent, tell, wait_for};
use crate::postgres::account::{Account, is_root};
use crate::postgres::binaries::Binaries;
use crate::postgres::folder::create_password;
use crate::postgres::server::{Durability, Server};
use crate::postgres::{Cluster, free_port};

#[tokio::test]
async fn a_stopped_server_leaves_no_process_and_keeps_its_data() {
    let site = Site::new();
    let cluster = Cluster::start(&site.data()).await.unwrap();
    tell(
        &cluster,
        "create table kept (word text); insert into kept values ('here')",
    )
    .await;
    let first_address = cluster.database_url().expose_secret().to_owned();
    cluster.stop().await.unwrap();
    site.assert_empty();
    assert!(!site.data().join("postgres/postmaster.pid").exists());

    let cluster = Cluster::start(&site.data()).await.unwrap();
    assert_eq!(ask(&cluster, "select word from kept").await, "here");
    assert!(first_address.starts_with("postgres://opb:"));
    drop(cluster);
    site.assert_empty();
}

#[tokio::test]
async fn the_server_is_durable_private_and_knows_what_we_need() {
    let site = Site::new();
    let cluster = Cluster::start(&site.data()).await.unwrap();
    let check = async |statement: &'static str, expect: &str| {
        assert_eq!(ask(&cluster, statement).await, expect, "{statement}");
    };
    check("show fsync", "on").await;
    check("show full_page_writes", "on").await;
    check("show synchronous_commit", "on").await;
    check("show listen_addresses", "127.0.0.1").await;
    // Only a superuser may ask.
    let admin = cluster.admin_database_url().unwrap();
    let mut admin = PgConnection::connect(admin.expose_secret()).await.unwrap();
    let sockets: String = sqlx::query_scalar("show unix_socket_directories")
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert_eq!(sockets, "");
    admin.close().await.unwrap();
    check("show server_encoding", "UTF8").await;
    check("show jit", "off").await;
    check("select current_database()::text", "opb").await;
    check("select lower('ÄÉ')", "äé").await;
    check("select string_agg(word, '' order by word) from (values ('b'), ('A'), ('a'), ('B')) as words (word)", "ABab").await;
    tell(
        &cluster,
        "create extension pgcrypto; create extension hstore",
    )
    .await;

    let password = site.data().join("postgres-password");
    assert_eq!(
        fs::metadata(password).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let wrong = cluster
        .database_url()
        .expose_secret()
        .replace("opb:", "opb:0");
    let refusal = PgConnection::connect(&wrong).await.unwrap_err().to_string();
    assert!(
        refusal.contains("password authentication failed"),
        "{refusal}"
    );
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_folder_has_one_opb() {
    let site = Site::new();
    let cluster = Cluster::start(&site.data()).await.unwrap();
    let message = Cluster::start(&site.data()).await.unwrap_err().to_string();
    let expect = format!(
        "another opb (process {}) already uses {}; stop it or choose another folder with --data",
        std::process::id(),
        site.data().display()
    );
    assert_eq!(message, expect);
    assert_eq!(ask(&cluster, "select 'unharmed'").await, "unharmed");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn an_ordinary_user_runs_the_server_as_himself() {
    let site = Site::new();
    // If the tests do not run as root, all of them run as an ordinary user.
    let uid = is_root().then_some(65_534);
    fs::set_permissions(site.0.path(), Permissions::from_mode(0o777)).unwrap();
    let mut parent = spawn_parent(&site.data(), uid);
    wait_for("the server", || site.data().join("ready").exists());
    let status = fs::read_to_string(format!("/proc/{}/status", server_pid(&site))).unwrap();
    if let Some(uid) = uid {
        assert!(
            status.contains(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}")),
            "{status}"
        );
    }
    // Closing its input tells the parent to stop in order.
    drop(parent.stdin.take());
    assert!(parent.wait().unwrap().success());
    site.assert_empty();
    // Root can use the same data, as their owner.
    Cluster::start(&site.data())
        .await
        .unwrap()
        .stop()
        .await
        .unwrap();
}

#[tokio::test]
async fn root_learns_that_its_home_is_closed_to_the_server() {
    if !is_root() {
        return;
    }
    let site = Site::new();
    fs::set_permissions(site.0.path(), Permissions::from_mode(0o700)).unwrap();
    let message = Cluster::start(&site.data()).await.unwrap_err().to_string();
    assert!(
        message.contains("cannot enter") && message.contains("--data"),
        "{message}"
    );
}

/// The server's error for a statement of the bank's role.
async fn refusal(cluster: &Cluster, statement: &'static str) -> String {
    let mut conn = PgConnection::connect(cluster.database_url().expose_secret())
        .await
        .unwrap();
    let refused = sqlx::raw_sql(statement).execute(&mut conn).await;
    refused.unwrap_err().to_string()
}

async fn assert_the_bank_may_little(cluster: &Cluster) {
    assert_eq!(ask(cluster, "select current_user::text").await, "opb");
    let rights =
        "select (rolsuper or rolcreaterole or rolcreatedb or rolbypassrls or rolreplication)::text
                  from pg_roles where rolname = current_user";
    assert_eq!(ask(cluster, rights).await, "false");
    for statement in [
        "select pg_read_binary_file('/proc/self/environ')",
        "select pg_read_file('postgresql.conf')",
        "select pg_ls_dir('/')",
        "copy (select 1) to program 'true'",
        "create temp table t (line text); copy t from program 'env'",
        "create temp table t (line text); copy t from '/etc/passwd'",
        "copy (select 1) to '/tmp/from-the-bank'",
        "select lo_import('/etc/passwd')",
        "alter system set fsync = off",
        "create role other",
        "set role opb_admin",
        "alter role opb superuser",
    ] {
        let refusal = refusal(cluster, statement).await;
        assert!(
            refusal.contains("permission denied")
                || refusal.contains("must be superuser")
                || refusal.contains("must have"),
            "{statement}: {refusal}"
        );
    }
}

#[tokio::test]
async fn the_bank_is_no_superuser_and_children_have_no_secrets() {
    let site = Site::new();
    let cluster = Cluster::start(&site.data()).await.unwrap();
    assert_the_bank_may_little(&cluster).await;
    tell(&cluster, "create schema own; create table own.t (id int)").await;
    for file in ["postgres-password", "postgres-admin-password", "opb.lock"] {
        let metadata = fs::metadata(site.data().join(file)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{file}");
    }
    // Test runners and shells set a dozen variables of their own.
    let environment = fs::read(format!("/proc/{}/environ", server_pid(&site))).unwrap();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    let names: Vec<&str> = environment
        .split('\0')
        .filter_map(|entry| entry.split_once('=').map(|(name, _)| name))
        .collect();
    for name in &names {
        let harmless = [
            "PATH",
            "LANG",
            "LANGUAGE",
            "LD_LIBRARY_PATH",
            "NIX_LD",
            "TMPDIR",
            "TZ",
        ];
        // Postgres sets these for its own children.
        let is_own = name.starts_with("LC_") || name.starts_with("PG") || *name == "OOM_SCORE_ADJ";
        assert!(harmless.contains(name) || is_own, "{name}");
    }
    assert!(names.contains(&"PATH"), "{names:?}");
    cluster.stop().await.unwrap();
}

/// A data folder in the format of an older opb, with one role.
async fn old_folder(site: &Site) {
    let folder = site.folder();
    let account = Account::for_server_of(&folder).unwrap();
    let binaries = Binaries::find_or_download(&folder).await.unwrap();
    let password = folder.password_file();
    create_password(&password, &account).unwrap();
    fs::create_dir(folder.cluster()).unwrap();
    account.give(&folder.cluster()).unwrap();
    let made = account
        .command(&binaries.program("initdb"))
        .args(["--username=opb", "--auth=scram-sha-256", "--encoding=UTF8"])
        .args(["--locale=C", "--no-sync", "--pwfile"])
        .arg(&password)
        .arg("--pgdata")
        .arg(folder.cluster())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let server = Server::spawn(
        &folder,
        &account,
        &binaries,
        Durability::Kept,
        free_port().unwrap(),
    )
    .unwrap();
    let bank = folder.bank().unwrap();
    let connect = async |database: &str| loop {
        match PgConnection::connect(bank.url(server.port, database).expose_secret()).await {
            Ok(conn) => return conn,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(25)).await,
        }
    };
    let mut conn = connect("postgres").await;
    sqlx::raw_sql("create database opb")
        .execute(&mut conn)
        .await
        .unwrap();
    let mut conn = connect("opb").await;
    sqlx::raw_sql(
        "create extension pgcrypto; create extension hstore;
         create schema apalis;
         create type mood as enum ('well', 'ill'); create domain positive as int check (value > 0);
         create table kept (id serial primary key, word text, mood mood, at int generated always as identity);
         create table apalis.jobs (id int); create sequence alone; create view seen as select word from kept;
         create table parts (id int) partition by list (id); create table part_1 partition of parts for values in (1);
         create function nothing() returns trigger language plpgsql as 'begin return new; end';
         create function apalis.twice(x int) returns int language sql as 'select x * 2';
         create trigger nothing before insert on kept for each row execute function nothing();
         insert into kept (word, mood) values ('here', 'well')",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    server.halt().unwrap();
}

#[tokio::test]
async fn a_folder_of_an_older_opb_is_converted() {
    let site = Site::new();
    old_folder(&site).await;
    for _ in 0..2 {
        let cluster = Cluster::start(&site.data()).await.unwrap();
        assert_the_bank_may_little(&cluster).await;
        assert_eq!(ask(&cluster, "select word from kept").await, "here");
        // Migrations can change anything that the role owns.
        tell(
            &cluster,
            "alter type mood add value if not exists 'so so';
             alter domain positive drop not null;
             insert into kept (word, mood) values ('more', 'ill'); delete from kept where word = 'more';
             alter table kept add column if not exists n int; alter table apalis.jobs add column if not exists n int;
             alter sequence alone increment 2; create or replace view seen as select word from kept;
             alter table parts add column if not exists n int; alter table part_1 alter column id set default 1;
             create or replace function apalis.twice(x int) returns int language sql as 'select x + x';
             create table if not exists more (id int); create schema if not exists other",
        )
        .await;
        let left = "select count(*)::text from pg_class join pg_roles on pg_roles.oid = relowner
                    join pg_namespace on pg_namespace.oid = relnamespace
                    where rolsuper and nspname in ('public', 'apalis')";
        assert_eq!(ask(&cluster, left).await, "0");
        let roles = "select string_agg(rolname, ' ' order by rolname) from pg_roles where rolname not like 'pg\\_%'";
        assert_eq!(ask(&cluster, roles).await, "opb opb_admin");
        cluster.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_conversion_that_was_cut_short_goes_on() {
    let site = Site::new();
    old_folder(&site).await;
    // A power failure after the password was written.
    let folder = site.folder();
    let account = Account::for_server_of(&folder).unwrap();
    create_password(&folder.admin_password_file(), &account).unwrap();
    let cluster = Cluster::start(&site.data()).await.unwrap();
    assert_the_bank_may_little(&cluster).await;
    cluster.stop().await.unwrap();
    // Without the superuser's password nothing is converted.
    fs::remove_file(folder.admin_password_file()).unwrap();
    let error = Cluster::start(&site.data()).await.unwrap_err();
    assert!(
        matches!(error, crate::postgres::Error::PasswordMissing { .. }),
        "{error}"
    );
}
