//! The program itself: how it starts, refuses to start, and stops.

use std::{
    fs::{OpenOptions, Permissions},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    process::{Child, Command, Stdio},
};

use opb_testing::TestDatabase;

/// Drawn once, for these tests.
const KEY: &str = "K0N4hJ2cQv7Zr9mTzW1uXe5bYp8sLd3fGa6HkRoVtEw=";

fn start(url: &str) -> Child {
    command(url).spawn().unwrap()
}

fn command(url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_opb-api"));
    command
        .env("DATABASE_URL", url)
        .env("OPB_MASTER_KEY", KEY)
        .env("OPB_LISTEN", "127.0.0.1:0")
        .env("NO_COLOR", "1")
        .env_remove("RUST_BACKTRACE")
        .env_remove("OPB_CONFIG")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
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
        "error: the database is not migrated; run: opb migrate"
    );
}

/// A17: one line, in the form of the log, with host, port and database and without the password.
#[tokio::test]
async fn it_says_in_one_line_why_the_database_cannot_be_used() {
    let database = TestDatabase::new().await;
    let address = url::Url::parse(database.url()).unwrap();
    let secret = format!(":{}@", address.password().unwrap_or("canary"));
    let say = |url: &str, format: &str| {
        let mut command = command(url);
        let ended = command
            .env("OPB_LOG_FORMAT", format)
            .env("RUST_BACKTRACE", "1")
            .output()
            .unwrap();
        assert_eq!(ended.status.code(), Some(1));
        let text = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.contains("canary"), "{text}");
        assert!(!text.contains(&secret), "{text}");
        text
    };
    let nowhere = "postgres://opb:canary@127.0.0.1:1/bank";
    assert!(
        say(nowhere, "text").starts_with(
            "error: the database `bank` at 127.0.0.1:1 cannot be used: nothing listens"
        ),
    );
    let line: serde_json::Value = serde_json::from_str(&say(nowhere, "json")).unwrap();
    assert_eq!(line["level"], "ERROR");
    assert!(
        line["fields"]["message"]
            .as_str()
            .unwrap()
            .contains("127.0.0.1:1"),
        "{line}"
    );
    // The server may ask for the password before it looks for the database: this one is right.
    let mut no_such = address.clone();
    no_such.set_path("no_such");
    if address.password().is_none() {
        no_such.set_password(Some("canary")).unwrap();
    }
    let no_name = say(no_such.as_str(), "text");
    assert!(
        no_name.contains("`no_such`") && no_name.contains("no database of this name"),
        "{no_name}"
    );
    let no_host = say("postgres://opb:canary@no-such-host.invalid/bank", "text");
    assert!(no_host.contains("no-such-host.invalid:5432"), "{no_host}");
}

/// A18: a taken address is said with what holds it and another one.
#[tokio::test]
async fn it_says_what_holds_its_address() {
    let database = TestDatabase::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = command(database.url())
        .env("OPB_LISTEN", &address)
        .output()
        .unwrap();
    let text = String::from_utf8(ended.stderr).unwrap();
    let last = text.lines().last().unwrap();
    let holder = format!("(process {})", std::process::id());
    assert!(
        last.starts_with("error: ") && last.contains(&holder) && last.contains("--listen"),
        "{text}"
    );
}

#[test]
fn it_refuses_keys_that_can_be_guessed() {
    let check_file = |key: Option<&str>, file: Option<&str>, mode: u32, expect: &str| {
        let folder = std::env::temp_dir().join(format!("opb-key-{}", uuid::Uuid::new_v4()));
        let mut command = Command::new(env!("CARGO_BIN_EXE_opb-api"));
        command
            .env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")
            .env_remove("OPB_CONFIG")
            .env_remove("OPB_MASTER_KEY")
            .env_remove("RUST_BACKTRACE");
        if let Some(key) = key {
            command.env("OPB_MASTER_KEY", key);
        }
        if let Some(text) = file {
            let mut private = OpenOptions::new();
            private.write(true).create_new(true).mode(0o600);
            let mut private = private.open(&folder).unwrap();
            private.write_all(text.as_bytes()).unwrap();
            private
                .set_permissions(Permissions::from_mode(mode))
                .unwrap();
            command.env("OPB_MASTER_KEY_FILE", &folder);
        }
        let ended = command.output().unwrap();
        let text = String::from_utf8(ended.stderr).unwrap();
        if file.is_some() {
            std::fs::remove_file(&folder).unwrap();
        }
        assert!(!ended.status.success(), "{key:?}");
        assert!(text.contains(expect), "{key:?}: {text}");
        assert!(
            !text.contains("does not answer"),
            "it asks no database before: {text}"
        );
    };
    let check = |key: Option<&str>, file: Option<&str>, expect: &str| {
        check_file(key, file, 0o600, expect);
    };
    let make = "openssl rand -base64 32";
    check(None, None, "OPB_MASTER_KEY");
    check(Some(""), None, make);
    check(Some("secret"), None, make);
    check(Some("changeme"), None, make);
    check(Some("c2hvcnQ="), None, make);
    check(
        Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        None,
        make,
    );
    check(
        Some("Y2hhbmdlbWVjaGFuZ2VtZWNoYW5nZW1lY2hhbmdlbWU="),
        None,
        make,
    );
    check(
        Some("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
        None,
        make,
    );
    check(None, Some(""), make);
    check(
        None,
        Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        make,
    );
    // A good key that others can read is as bad.
    for mode in [0o640, 0o604, 0o666] {
        check_file(None, Some(KEY), mode, "chmod 600");
    }
}

/// Reads what a program logs until it serves; returns its port.
fn wait_until_ready(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> u16 {
    let mut lines = lines.map(Result::unwrap);
    let ready = lines
        .find(|line| line.contains("the API is ready"))
        .unwrap();
    let address = ready.split("127.0.0.1:").nth(1).unwrap();
    address.trim().parse().unwrap()
}

#[tokio::test]
async fn a_replica_gets_its_share_of_the_connections() {
    let (database, replica) = (TestDatabase::new().await, TestDatabase::new().await);
    let mut program = command(database.url())
        .env("OPB_READ_DATABASE_URL", replica.url())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stderr.take().unwrap()).lines();
    let port = wait_until_ready(&mut lines);
    let metrics = reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await;
    let metrics = metrics.unwrap().text().await.unwrap();
    program.kill().unwrap();
    program.wait().unwrap();
    // With one for the doorbell and one that looks at the replica they are the ten of the default.
    for (pool, most) in [("opb-api", 5), ("opb-api replica", 3)] {
        let line = format!("opb_database_pool_connections_max{{pool=\"{pool}\"}} {most}\n");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn it_refuses_a_replica_that_is_no_address() {
    let database = TestDatabase::new().await;
    let ended = command(database.url())
        .env("OPB_READ_DATABASE_URL", "replica.example.org")
        .output()
        .unwrap();
    let text = String::from_utf8(ended.stderr).unwrap();
    assert!(
        !ended.status.success() && text.contains("OPB_READ_DATABASE_URL"),
        "{text}"
    );
}

#[tokio::test]
async fn it_stops_on_a_signal() {
    let database = TestDatabase::new().await;
    for signal in ["TERM", "INT"] {
        let mut program = start(database.url());
        let mut lines = BufReader::new(program.stderr.take().unwrap()).lines();
        let port = wait_until_ready(&mut lines);
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
