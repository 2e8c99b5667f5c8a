//! How the server lives: what it promises, who may use it, how it ends.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use secrecy::ExposeSecret;
use sqlx::{Connection, PgConnection};

use super::{Site, ask, server_pid, spawn_parent, tell, wait_for};
use crate::postgres::Cluster;
use crate::postgres::account::is_root;

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
    check("show unix_socket_directories", "").await;
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
    // Where the tests do not run as root, all of them are about an ordinary user.
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
    // The end of its input is the parent's sign to stop in order.
    drop(parent.stdin.take());
    assert!(parent.wait().unwrap().success());
    site.assert_empty();
    // Root can go on with the same data, as their owner.
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
