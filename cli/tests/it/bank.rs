//! `opb up`: one process that serves a whole bank, and what it leaves behind.

use std::{fs, os::unix::fs::PermissionsExt as _};

use opb_testing::TestDatabase;

use crate::site::{Site, signal, wait_until};

#[test]
fn a_bank_serves_runs_and_ends_in_order() {
    let site = Site::new();
    let mut up = site.up(&[]);
    for file in ["api-key", "master-key"] {
        let mode = fs::metadata(site.data().join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }

    let words = [
        "run",
        "--benchmark=first-steps",
        "--prompt=step-by-step,number-only",
        "--model=simulated:strong,simulated:weak",
        "--json",
    ];
    let run = site.check(&words, 0).json();
    assert_eq!(
        (&run["state"], &run["recorded"], &run["simulated"]),
        (&"completed".into(), &240.into(), &true.into())
    );

    let board = site
        .check(&["leaderboard", "first-steps", "--json"], 0)
        .json();
    let standings = board["standings"].as_array().unwrap();
    assert_eq!(standings.len(), 4);
    for standing in standings {
        assert!(
            (1..=4).contains(&standing["rank_low"].as_i64().unwrap()),
            "{standing}"
        );
        assert!(
            standing["score_low"].as_f64().unwrap() < standing["score_high"].as_f64().unwrap(),
            "{standing}"
        );
    }
    assert_eq!(standings[0]["model"], "simulated:strong");
    let text = site.check(&["leaderboard", "first-steps"], 0).out;
    assert!(
        text.contains("SIMULATED") && text.contains(" % ["),
        "{text}"
    );

    let id = run["id"].as_str().unwrap();
    let compared = site.check(&["compare", id], 0).out;
    for part in ["SIMULATED comparison", "2 vs 1", "4 vs 3", "items needed"] {
        assert!(compared.contains(part), "{part}: {compared}");
    }
    let strong = format!("{id}/number-only/simulated:strong");
    let weak = format!("{id}/number-only/simulated:weak");
    let pair = site.check(&["compare", &weak, &strong, "--flips", "--json"], 0);
    let pair = pair.json();
    assert_eq!(pair["comparison"]["comparisons"][0]["verdict"], "better");
    assert_eq!(pair["flips"]["items"][0]["direction"], "gained");
    let refused = site.check(&["compare", id, "--flips"], 2);
    assert!(refused.error().contains("two columns"), "{}", refused.err);

    let second = site.check(&["up"], 1);
    assert!(
        second.error().contains("already serves") && second.err.contains(&up.url),
        "{}",
        second.err
    );

    let ready = format!("--health-url={}/readyz", up.url);
    assert_eq!(site.check(&["health", &ready], 0).out, "ready\n");
    let elsewhere = format!("--health-url={}/nowhere", up.url);
    let unhealthy = site.check(&["health", &elsewhere], 1);
    assert!(unhealthy.out.contains("404"), "{}", unhealthy.out);

    signal("TERM", up.id());
    let (code, rest) = up.wait();
    assert_eq!((code, rest.as_str()), (Some(0), ""), "{}", site.up_log());
    assert_eq!(site.processes(), Vec::<u32>::new());
    assert!(!site.data().join("url").exists());
    let ended = site.check(&["health", &ready], 1);
    assert!(ended.error().contains("does not answer"), "{}", ended.err);
}

#[test]
fn every_built_in_benchmark_runs_under_its_prompts() {
    let site = Site::new();
    let _up = site.up(&[]);
    for (benchmark, prompts) in [
        (
            "capitals",
            "capital-question,capital-one-name,capital-geographer",
        ),
        (
            "json-extraction",
            "extract-plainly,extract-strictly,extract-by-example",
        ),
        (
            "sentiment",
            "sentiment-question,sentiment-one-word,sentiment-by-example",
        ),
    ] {
        let run = site
            .check(
                &[
                    "run",
                    "--benchmark",
                    benchmark,
                    "--prompt",
                    prompts,
                    "--model=simulated:strong",
                    "--limit=20",
                    "--json",
                ],
                0,
            )
            .json();
        assert_eq!(
            (&run["recorded"], &run["errors"]),
            (&60.into(), &0.into()),
            "{run}"
        );
        assert!(run["passed"].as_i64().unwrap() >= 20, "{benchmark}: {run}");
    }
}

#[test]
fn the_key_is_kept_while_it_opens_the_bank() {
    let site = Site::new();
    let key = || fs::read_to_string(site.data().join("api-key")).unwrap();
    drop(site.up(&[]));
    let first = key();
    drop(site.up(&[]));
    assert_eq!(key(), first);
    fs::write(site.data().join("api-key"), "opb_wrong").unwrap();
    let _up = site.up(&[]);
    assert_ne!(key(), first);
    site.check(&["provider", "list"], 0);
    let old = site.check(&["provider", "list", "--api-key", first.trim()], 2);
    assert!(old.error().contains("invalid"), "{}", old.err);
}

#[test]
fn a_killed_bank_leaves_no_postgres_and_starts_again() {
    let site = Site::new();
    let mut up = site.up(&[]);
    signal("KILL", up.id());
    up.wait();
    wait_until("the end of Postgres", || site.processes().is_empty());
    let _up = site.up(&[]);
    site.check(&["runs"], 0);
}

#[test]
fn a_bank_without_its_postgres_ends_with_an_error() {
    let site = Site::new();
    let mut up = site.up(&[]);
    signal("KILL", site.postgres());
    let (code, _) = up.wait();
    assert_eq!(code, Some(1));
    let log = site.up_log();
    let last = log
        .lines()
        .rfind(|line| line.starts_with("error: "))
        .unwrap_or_default();
    assert!(last.contains("Postgres"), "{log}");
}

#[test]
fn a_taken_address_is_said() {
    let site = Site::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let printed = site.check(&["up", "--listen", &address, "--log=error"], 1);
    // This test holds it; what is proposed instead can be listened on, and nothing slow was begun.
    let error = printed.error();
    let holder = format!("{address} is already in use by ");
    assert!(error.contains(&holder), "{error}");
    assert!(
        error.contains(&format!("(process {})", std::process::id())),
        "{error}"
    );
    let (_, free) = error.split_once("--listen ").unwrap();
    std::net::TcpListener::bind(free).unwrap();
    assert!(!site.data().join("postgres").exists());
    assert_eq!(site.processes(), Vec::<u32>::new());
}

#[tokio::test]
async fn a_server_of_the_user_is_used_instead() {
    let database = TestDatabase::new().await;
    let site = Site::new();
    site.check(&["migrate", "--database-url", database.url()], 0);
    site.check(&["migrate", "--database-url", database.url()], 0);
    let mut up = site.up(&["--database-url", database.url()]);
    assert!(!site.data().join("postgres").exists());
    let report = site
        .check(&["doctor", "--json", "--database-url", database.url()], 0)
        .json();
    for name in ["database", "schema", "server", "key"] {
        let check = report
            .as_array()
            .unwrap()
            .iter()
            .find(|check| check["name"] == name)
            .unwrap();
        assert_eq!(check["verdict"], "ok", "{report}");
    }
    let second = site.check(&["up", "--database-url", database.url()], 1);
    assert!(second.error().contains("already serves"), "{}", second.err);
    signal("INT", up.id());
    assert_eq!(up.wait().0, Some(0), "{}", site.up_log());
}

/// What `opb up` would refuse, `opb doctor` finds before.
#[tokio::test]
async fn the_doctor_finds_what_up_refuses() {
    let database = TestDatabase::new().await;
    let site = Site::new();
    let both = |words: &[&str], name: &str, expect: &str| {
        let up = site.check(&[&["up", "--log=error"], words].concat(), 1);
        assert!(up.error().contains(expect), "{words:?}: {}", up.err);
        let report = site
            .check(&[&["doctor", "--json"], words].concat(), 1)
            .json();
        let mut checks = report.as_array().unwrap().iter();
        let found = checks.any(|check| {
            let message = check["message"].as_str().unwrap();
            check["name"] == name && check["verdict"] == "fail" && message.contains(expect)
        });
        assert!(found, "{words:?}: {report}");
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("--listen={}", taken.local_addr().unwrap());
    both(&[&listen], "address", "is already in use by");
    let free = "--listen=127.0.0.1:0";
    both(&[free, "--data=/proc/nothing/data"], "data folder", "/proc");
    let file = site.path().join("key");
    std::fs::write(&file, "no key").unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, private).unwrap();
    let key = format!("--master-key-file={}", file.display());
    both(&[free, &key], "master key", "does not hold a master key");
    let url = format!("--database-url={}", database.url());
    let newer = "insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
                 values (20990101000000, 'newer', true, '', 0)";
    sqlx::query(newer).execute(&database.pool).await.unwrap();
    both(&[free, &url], "schema", "made by another version");
    let remove = "delete from _sqlx_migrations where version = 20990101000000";
    sqlx::query(remove).execute(&database.pool).await.unwrap();
    let sealed = "update providers set sealed_credential = '\\x01' where name = 'openai'";
    drop(site.up(&["--database-url", database.url()]));
    sqlx::query(sealed).execute(&database.pool).await.unwrap();
    std::fs::remove_file(site.data().join("master-key")).unwrap();
    both(&[free, &url], "master key", "there is no master key at");
}
