//! The program itself: how it starts, refuses to start, and stops.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use opb_testing::TestDatabase;

fn start(url: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_opb-api"))
        .env("DATABASE_URL", url)
        .env(
            "OPB_MASTER_KEY",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        )
        .env("OPB_LISTEN", "127.0.0.1:0")
        .env("NO_COLOR", "1")
        .env_remove("RUST_BACKTRACE")
        .env_remove("OPB_CONFIG")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn it_refuses_a_database_that_is_not_migrated() {
    let database = TestDatabase::new().await;
    sqlx::query("drop table _sqlx_migrations")
        .execute(&database.pool)
        .await
        .unwrap();
    let ended = start(database.url()).wait_with_output().unwrap();
    let text = String::from_utf8(ended.stderr).unwrap();
    assert!(!ended.status.success());
    assert_eq!(
        text.trim_end(),
        "Error: the database is not migrated: run `opb migrate`"
    );
}

#[tokio::test]
async fn it_stops_on_a_signal() {
    let database = TestDatabase::new().await;
    for signal in ["TERM", "INT"] {
        let mut program = start(database.url());
        let mut lines = BufReader::new(program.stderr.take().unwrap()).lines();
        let ready = lines
            .find(|line| line.as_ref().unwrap().contains("the API is ready"))
            .unwrap()
            .unwrap();
        let address = ready.split("127.0.0.1:").nth(1).unwrap();
        let port: u16 = address.trim().parse().unwrap();
        let health = reqwest::get(format!("http://127.0.0.1:{port}/healthz")).await;
        assert_eq!(health.unwrap().status(), 200);
        let sent = Command::new("kill")
            .args(["-s", signal, &program.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
        let ended = program.wait().unwrap();
        assert!(ended.success(), "{signal}: {ended}");
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        assert!(
            rest.iter().any(|line| line.contains("asked to stop")),
            "{rest:?}"
        );
    }
}
