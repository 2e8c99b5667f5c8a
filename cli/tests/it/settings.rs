//! The command line: what it explains, and how it refuses.

use crate::site::Site;

/// `opb` with these words ends with code 2 and one line that contains `expect`.
#[track_caller]
fn check(words: &[&str], expect: &str) {
    let site = Site::new();
    let printed = site.check(words, 2);
    assert!(printed.out.is_empty(), "{}", printed.out);
    assert!(
        printed.error().contains(expect),
        "{words:?}: {}",
        printed.err
    );
}

/// What `opb` explains where the environment says nothing.
fn help(words: &[&str]) -> String {
    let output = Site::new()
        .command(words)
        .env_remove("OPB_DATA_DIR")
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

#[test]
fn a_bad_setting_is_one_line_and_code_2() {
    check(&["serve"], "serve");
    check(&["up", "--listen", "everywhere"], "--listen");
    check(&["up", "--concurrency", "0"], "--concurrency");
    check(&["up", "--lisen", "127.0.0.1:0"], "--lisen");
    check(&["run", "--benchmark", "a"], "--prompt");
    check(
        &[
            "run",
            "--benchmark",
            "a",
            "--prompt",
            "b",
            "--model",
            "c",
            "--repeats=-1",
        ],
        "1..=1000",
    );
    check(
        &[
            "run",
            "--benchmark",
            "a",
            "--prompt",
            "b",
            "--model",
            "c",
            "--param",
            "temperature",
        ],
        "NAME=VALUE",
    );
    check(
        &["leaderboard", "a", "--real", "--simulated"],
        "cannot be used",
    );
    check(
        &["leaderboard", "a", "--url", "nowhere"],
        "not a server address",
    );
    check(&["run", "cancel"], "<RUN>");
    check(
        &["--config", "/nowhere/opb.toml", "up"],
        "/nowhere/opb.toml",
    );
    check(
        &[
            "provider",
            "add",
            "x",
            "--base-url",
            "http://x",
            "--credential-env",
            "NOT_SET",
        ],
        "NOT_SET",
    );
}

#[test]
fn a_setting_comes_from_the_environment_and_the_file_too() {
    let site = Site::new();
    let output = site
        .command(&["up"])
        .env("OPB_LISTEN", "everywhere")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(
        text.contains("'everywhere' for the environment variable OPB_LISTEN"),
        "{text}"
    );
    assert!(!text.contains("--listen"), "{text}");

    let file = site.path().join("opb.toml");
    std::fs::write(&file, "listen = 'from-the-file'\n").unwrap();
    let printed = site.check(&["--config", file.to_str().unwrap(), "up"], 2);
    assert!(printed.error().contains("from-the-file"), "{}", printed.err);
}

#[test]
fn nothing_answers_is_said_with_the_way_to_mend_it() {
    let site = Site::new();
    for words in [
        ["leaderboard", "a"].as_slice(),
        &["runs"],
        &["run", "--benchmark=a", "--prompt=b", "--model=c:d"],
    ] {
        let words = [words, &["--url", "http://127.0.0.1:1"]].concat();
        let printed = site.check(&words, 1);
        let error = printed.error();
        assert!(
            error.starts_with("error: nothing answers at http://127.0.0.1:1: check --url"),
            "{error}"
        );
    }
}

#[test]
fn the_help_of_up_lists_every_setting() {
    insta::assert_snapshot!(help(&["up", "--help"]));
}

#[test]
fn the_help_lists_the_commands_and_exit_codes() {
    insta::assert_snapshot!(help(&["--help"]));
}

#[test]
fn shells_complete_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let printed = Site::new().check(&["completions", shell], 0);
        assert!(printed.out.contains("leaderboard"), "{shell}");
    }
}

#[test]
fn the_doctor_names_what_is_missing() {
    let site = Site::new();
    let report = site.check(&["doctor", "--listen=127.0.0.1:0", "--json"], 0);
    let report = report.json();
    let verdict = |name: &str| {
        report
            .as_array()
            .unwrap()
            .iter()
            .find(|check| check["name"] == name)
            .unwrap()["verdict"]
            .clone()
    };
    assert_eq!(
        (verdict("postgres"), verdict("server")),
        ("ok".into(), "warn".into())
    );
    let text = site
        .check(
            &[
                "doctor",
                "--database-url",
                "postgres://nobody@127.0.0.1:1/none",
            ],
            1,
        )
        .out;
    assert!(
        text.contains("FAIL  database") && text.contains("fix:"),
        "{text}"
    );
}

/// `VARIABLE=` in a file of settings, and `${VARIABLE:-}` in Compose, mean that nothing is set.
#[test]
fn an_empty_variable_is_not_set() {
    let site = Site::new();
    let help = help(&["up", "--help"]);
    let variables: Vec<&str> = help
        .split("[env: ")
        .skip(1)
        .filter_map(|rest| rest.split(['=', ']']).next())
        .collect();
    assert!(variables.len() > 60, "{variables:?}");
    // An address that is taken is said when all settings were read, and before anything is started.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("--listen={}", taken.local_addr().unwrap());
    let mut command = site.command(&["up", &listen]);
    for variable in variables.iter().filter(|name| **name != "OPB_DATA_DIR") {
        command.env(variable, "");
    }
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("is already in use by"), "{text}");

    let words = ["provider", "add", "x", "--credential-env", "EMPTY"];
    let output = site.command(&words).env("EMPTY", "").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("EMPTY is not set"), "{text}");
    // Help names them all the same.
    let help = site
        .command(&["up", "--help"])
        .env("OPB_LISTEN", "")
        .output();
    let help = String::from_utf8(help.unwrap().stdout).unwrap();
    assert!(help.contains("[env: OPB_LISTEN="), "{help}");
}
