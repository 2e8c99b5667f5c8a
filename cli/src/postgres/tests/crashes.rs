//! Tests of crashes of opb, Postgres and initdb.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Site, ask, kill, server_pid, spawn_parent, tell, wait_for};
use crate::postgres::account::Account;
use crate::postgres::binaries::Binaries;
use crate::postgres::{Cluster, free_port};

#[tokio::test]
async fn the_server_dies_with_a_killed_opb() {
    let site = Site::new();
    let mut parent = spawn_parent(&site.data(), None);
    wait_for("the server", || site.data().join("ready").exists());
    let server = server_pid(&site);
    assert!(site.processes().contains(&server));
    kill("KILL", parent.id());
    parent.wait().unwrap();
    site.wait_until_empty();

    let cluster = Cluster::start(&site.data()).await.unwrap();
    assert_eq!(ask(&cluster, "select 'well'").await, "well");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn an_orphan_is_stopped() {
    let site = Site::new();
    Cluster::start(&site.data())
        .await
        .unwrap()
        .stop()
        .await
        .unwrap();
    let folder = site.folder();
    let account = Account::for_server_of(&folder).unwrap();
    let binaries = Binaries::find_or_download(&folder).await.unwrap();
    let port = free_port().unwrap().to_string();
    // The shell ends at once and so orphans the server; `setpriv` applied to the shell only.
    let orphaned = account
        .command(Path::new("sh"))
        .args(["-c", "\"$0\" -D \"$1\" -p \"$2\" -k '' >/dev/null 2>&1 &"])
        .arg(binaries.program("postgres"))
        .arg(folder.cluster())
        .arg(port)
        .status()
        .unwrap();
    assert!(orphaned.success());
    wait_for("the orphan", || {
        fs::read_to_string(folder.cluster().join("postmaster.pid"))
            .is_ok_and(|text| text.contains("ready"))
    });
    let orphan = server_pid(&site);

    let cluster = Cluster::start(&site.data()).await.unwrap();
    assert_ne!(server_pid(&site), orphan);
    assert_eq!(ask(&cluster, "select 'well'").await, "well");
    cluster.stop().await.unwrap();
    site.assert_empty();
}

#[tokio::test]
async fn a_stale_process_file_is_removed() {
    let site = Site::new();
    Cluster::start(&site.data())
        .await
        .unwrap()
        .stop()
        .await
        .unwrap();
    let mut stranger = Command::new("sleep").arg("600").spawn().unwrap();
    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    let file = site.data().join("postgres/postmaster.pid");
    for content in [
        format!("{}\n", dead.id()),
        format!("{}\n", stranger.id()),
        format!("-{}\n", stranger.id()),
        String::new(),
    ] {
        fs::write(&file, &content).unwrap();
        Cluster::start(&site.data())
            .await
            .unwrap()
            .stop()
            .await
            .unwrap();
    }
    assert!(
        stranger.try_wait().unwrap().is_none(),
        "a stranger's process was ended"
    );
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn a_killed_server_is_noticed_and_its_data_recover() {
    let site = Site::new();
    let cluster = Cluster::start(&site.data()).await.unwrap();
    tell(
        &cluster,
        "create table kept (word text); insert into kept values ('here')",
    )
    .await;
    kill("KILL", server_pid(&site));
    let error = tokio::time::timeout(Duration::from_secs(30), cluster.wait_exit())
        .await
        .unwrap();
    assert!(
        error
            .to_string()
            .starts_with("the Postgres server ended unexpectedly (signal: 9 (SIGKILL))"),
        "{error}"
    );
    cluster.stop().await.unwrap();

    let cluster = Cluster::start(&site.data()).await.unwrap();
    assert_eq!(ask(&cluster, "select word from kept").await, "here");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_crash_while_the_data_are_made_heals() {
    let site = Site::new();
    let folder = site.folder();
    fs::create_dir_all(folder.new_cluster().join("base")).unwrap();
    fs::write(folder.new_cluster().join("PG_VERSION"), "15\n").unwrap();
    fs::write(folder.root.join("postgres-password.new"), "half").unwrap();
    fs::create_dir(folder.cluster()).unwrap();
    let cluster = Cluster::start(&site.data()).await.unwrap();
    assert_eq!(ask(&cluster, "select 'well'").await, "well");
    cluster.stop().await.unwrap();
    assert!(!folder.new_cluster().exists());
}
