//! Tests of clear errors: what cannot work is reported, and nothing is damaged.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::process::Command;

use super::Site;
use crate::postgres::account::Account;
use crate::postgres::binaries::{Binaries, find};
use crate::postgres::server::{Durability, Server};
use crate::postgres::{Cluster, Error, SILENCE, mends_itself, readiness};

#[tokio::test]
async fn a_failed_start_quotes_the_log() {
    let site = Site::new();
    Cluster::start(&site.data())
        .await
        .unwrap()
        .stop()
        .await
        .unwrap();
    let config = site.data().join("postgres/postgresql.conf");
    let mut file = File::options().append(true).open(config).unwrap();
    writeln!(file, "no_such_setting = 1").unwrap();
    let message = Cluster::start(&site.data()).await.unwrap_err().to_string();
    assert!(
        message.starts_with("the Postgres server did not start (exit status: 1)"),
        "{message}"
    );
    assert!(message.contains("no_such_setting"), "{message}");
    site.assert_empty();
}

#[tokio::test]
async fn a_taken_port_is_worth_another_try() {
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
    let stranger = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = stranger.local_addr().unwrap().port();
    let log_start = folder.log().size();
    let server = Server::spawn(&folder, &account, &binaries, Durability::Kept, port).unwrap();
    let result = readiness::prepare_database(&server, &folder, &account, SILENCE, log_start).await;
    let Err(Error::Start { log, .. }) = result else {
        panic!("{result:?}");
    };
    assert!(mends_itself(&log), "{log}");
}

#[tokio::test]
async fn what_is_not_ours_is_not_touched() {
    let site = Site::new();
    let folder = site.folder();
    fs::create_dir(folder.cluster()).unwrap();
    fs::write(folder.cluster().join("diary.txt"), "mine").unwrap();
    let error = Cluster::start(&site.data()).await.unwrap_err();
    assert!(matches!(error, Error::NotData { .. }), "{error}");
    assert_eq!(
        fs::read_to_string(folder.cluster().join("diary.txt")).unwrap(),
        "mine"
    );
}

#[tokio::test]
async fn a_lost_or_wrong_password_is_named() {
    let site = Site::new();
    Cluster::start(&site.data())
        .await
        .unwrap()
        .stop()
        .await
        .unwrap();
    let file = site.data().join("postgres-password");
    fs::write(&file, "wrong").unwrap();
    let error = Cluster::start(&site.data()).await.unwrap_err();
    assert!(matches!(error, Error::PasswordRejected { .. }), "{error}");
    fs::remove_file(&file).unwrap();
    let error = Cluster::start(&site.data()).await.unwrap_err();
    assert!(matches!(error, Error::PasswordMissing { .. }), "{error}");
    site.assert_empty();
}

#[test]
fn a_large_log_is_put_aside() {
    let site = Site::new();
    let log = site.folder().log();
    log.open().unwrap().set_len(11 * 1024 * 1024).unwrap();
    log.rotate().unwrap();
    assert_eq!(log.size(), 0);
    assert!(site.data().join("postgres.log.1").exists());
    log.open().unwrap().write_all(b"short").unwrap();
    log.rotate().unwrap();
    assert_eq!(log.tail(0), "short");
}

#[test]
fn the_newest_fitting_programs_are_found() {
    check_programs(&[], None, "none");
    check_programs(&["15.3", "17.2", "16.9"], None, "17.2");
    check_programs(&["15.3", "18.0", "19beta1"], None, "18.0");
    check_programs(&["15.3", "17.2"], Some(15), "15.3");
    check_programs(
        &["9.6.1"],
        None,
        "found Postgres 9.6.1 in ROOT/9.6.1/bin, but opb needs version 15, 16, 17 or 18; install one of these, or set DATABASE_URL to a server of your own",
    );
    check_programs(
        &["17.2"],
        Some(16),
        "the data in DATA/postgres belong to Postgres 16, but only Postgres 17.2 in ROOT/17.2/bin is here; install Postgres 16 (on Debian: apt-get install postgresql-16), or choose another folder with --data",
    );
}

fn check_programs(installed: &[&str], data: Option<u32>, expect: &str) {
    let site = Site::new();
    let folder = site.folder();
    let root = site.0.path().join("root");
    for version in installed {
        let bin = root.join(version).join("bin");
        fs::create_dir_all(&bin).unwrap();
        File::create(bin.join("initdb")).unwrap();
        let script = format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version} (Debian)'\n");
        // Written by a child: a concurrent fork in this process would keep the script open for writing.
        let write = ["-c", "printf %s \"$0\" > \"$1\"; chmod 755 \"$1\"", &script];
        assert!(
            Command::new("sh")
                .args(write)
                .arg(bin.join("postgres"))
                .status()
                .unwrap()
                .success()
        );
    }
    if let Some(version) = data {
        fs::create_dir(folder.cluster()).unwrap();
        fs::write(folder.cluster().join("PG_VERSION"), format!("{version}\n")).unwrap();
    }
    let answer = match find("".as_ref(), &[&root], &folder) {
        Ok(found) => found.map_or_else(|| "none".to_owned(), |binaries| binaries.version),
        Err(error) => error.to_string(),
    };
    let answer = answer
        .replace(root.to_str().unwrap(), "ROOT")
        .replace(folder.root.to_str().unwrap(), "DATA");
    assert_eq!(answer, expect);
}
