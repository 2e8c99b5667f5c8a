//! `opb postgres`: a throw-away server for one command.

use std::{fs, process::Stdio};

use sqlx::Connection as _;

use crate::site::{Site, signal, wait_for_end, wait_until};

#[test]
fn the_command_finds_the_server_and_its_exit_code_counts() {
    let site = Site::new();
    let script =
        r#"test "$DATABASE_URL" = "$OPB_TEST_DATABASE_URL" && echo "$DATABASE_URL" && exit 7"#;
    let printed = site.check(&["postgres", "--", "sh", "-c", script], 7);
    assert!(printed.out.starts_with("postgres://"), "{}", printed.out);
    let none = site.check(&["postgres", "--", "/nowhere/program"], 1);
    assert!(none.error().contains("/nowhere/program"), "{}", none.err);
}

#[test]
fn signals_are_passed_on() {
    let site = Site::new();
    let started = site.path().join("started");
    // The command ends by itself some time, so that a test that fails leaves nothing behind.
    let script = format!(
        "trap 'exit 9' TERM; touch {}; for i in $(seq 600); do sleep 0.05; done",
        started.display()
    );
    let mut child = site
        .command(&["postgres", "--", "sh", "-c", &script])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the command", || fs::exists(&started).unwrap());
    signal("TERM", child.id());
    assert_eq!(wait_for_end(&mut child).code(), Some(9));
}

/// Tests write a lot, and nobody keeps what they write.
#[tokio::test]
async fn the_server_waits_for_no_disk() {
    let site = Site::new();
    let [address, asked] = ["address", "asked"].map(|name| site.path().join(name));
    let script = format!(
        r#"echo "$DATABASE_URL" >{0}.new && mv {0}.new {0}; for i in $(seq 600); do test -e {1} && exit; sleep 0.05; done"#,
        address.display(),
        asked.display()
    );
    let mut child = site
        .command(&["postgres", "--", "sh", "-c", &script])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the command", || fs::exists(&address).unwrap());
    let address = fs::read_to_string(&address).unwrap();
    let mut conn = sqlx::PgConnection::connect(address.trim()).await.unwrap();
    for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        let value: String = sqlx::query_scalar("select current_setting($1)")
            .bind(setting)
            .fetch_one(&mut conn)
            .await
            .unwrap();
        assert_eq!(value, "off", "{setting}");
    }
    conn.close().await.unwrap();
    fs::write(&asked, "").unwrap();
    assert_eq!(wait_for_end(&mut child).code(), Some(0));
}
