//! `opb postgres`: a throw-away server for one command.

use std::{fs, process::Stdio};

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
