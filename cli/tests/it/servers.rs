//! What is said about servers: providers that are tried, banks that are sought, databases that cannot be used.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
};

use opb_testing::TestDatabase;
use serde_json::json;

use crate::site::{Site, signal, wait_until};

/// A server that answers each request by its first line, until the process ends. Returns its address.
pub fn serve(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut piece = [0; 4096];
            // Head and body; a request of these tests is small.
            while let Ok(count @ 1..) = stream.read(&mut piece) {
                request.extend_from_slice(&piece[..count]);
                if is_whole(&request) {
                    break;
                }
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let (status, body) = answer(&request);
            let head = format!(
                "HTTP/1.1 {status} Some\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(body.as_bytes());
        }
    });
    address
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .to_ascii_lowercase()
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
        .unwrap_or(0);
    body.len() >= length
}

/// A server of models that answers every question with `Paris`.
pub fn models(names: &[String]) -> String {
    let list: Vec<_> = names.iter().map(|name| json!({"id": name})).collect();
    let list = json!({"object": "list", "data": list}).to_string();
    let answer = json!({"choices": [{"message": {"content": "Paris"}, "finish_reason": "stop"}]});
    let answer = answer.to_string();
    serve(move |request| {
        if request.starts_with("GET /v1/models ") {
            (200, list.clone())
        } else {
            (200, answer.clone())
        }
    })
}

fn out(site: &Site, words: &[&str]) -> String {
    String::from_utf8(site.opb(words).stdout).unwrap()
}

/// A6: what is at the address of a provider is said when it is added.
#[test]
fn a_provider_is_tried_when_it_is_added() {
    let site = Site::new();
    let up = site.up(&[]);
    let add = |name: &str, url: &str, expect: &str| {
        let printed = site.check(&["provider", "add", name, "--base-url", url], 0);
        assert!(printed.out.contains(expect), "{name}: {}", printed.out);
    };
    let names: Vec<String> = (1..=12).map(|number| format!("model-{number}")).collect();
    let many = format!("{}/v1", models(&names));
    add("many", &many, "lists 12 models: model-1, model-2");
    let checked = site
        .check(&["provider", "check", "many", "--json"], 0)
        .json();
    assert_eq!(
        (&checked["outcome"], &checked["model_count"]),
        (&json!("ready"), &json!(12))
    );
    assert_eq!(checked["models"].as_array().unwrap().len(), 10);

    add(
        "dead",
        "http://127.0.0.1:1/v1",
        "nothing answers at http://127.0.0.1:1/v1: connection refused",
    );
    site.check(&["provider", "check", "dead"], 1);
    let strict = serve(|_| {
        (
            401,
            r#"{"error":{"message":"Incorrect API key"}}"#.to_owned(),
        )
    });
    add("strict", &strict, "needs a key, and none is stored");
    let words = ["provider", "set-key", "strict", "--credential-env", "KEY"];
    let set = site
        .command(&words)
        .env("KEY", "sk-wrong-canary")
        .output()
        .unwrap();
    assert!(set.status.success());
    let refused = site.check(&["provider", "check", "strict"], 1);
    assert!(
        refused.out.contains("refused the key") && refused.out.contains("Incorrect API key"),
        "{}",
        refused.out
    );
    assert!(!refused.out.contains("canary"), "{}", refused.out);
    let bare = serve(|_| (404, "{}".to_owned()));
    add("bare", &bare, "answers at");
    site.check(&["provider", "check", "bare"], 0);
    let neighbour = Site::new();
    let other = neighbour.up(&[]);
    add("other-bank", &other.url, "an OpenPromptBank answers");
    let itself = ["provider", "add", "itself", "--base-url", &up.url];
    let refused = site.check(&itself, 2);
    assert!(
        refused.error().contains("this server's own address"),
        "{}",
        refused.err
    );
    let preset = site.check(&["provider", "add", "openrouter"], 0);
    assert!(
        preset.out.contains("no key is set: put OPENROUTER_API_KEY"),
        "{}",
        preset.out
    );
}

/// A6: what cannot be asked is refused at once, with the reason; an estimate asks nobody.
#[test]
fn a_run_without_a_key_is_refused_when_it_is_submitted() {
    let site = Site::new();
    let _up = site.up(&[]);
    wait_until("the worker's first sign of life", || {
        out(&site, &["doctor"]).contains("1 worker")
    });
    let words = [
        "run",
        "--benchmark=first-steps",
        "--prompt=number-only",
        "--model=openai:gpt-5-mini",
    ];
    let refused = site.check(&words, 2);
    assert!(
        refused
            .error()
            .contains("no key is set: put OPENAI_API_KEY"),
        "{}",
        refused.err
    );
    site.check(&[&words[..], &["--estimate"]].concat(), 0);
}

/// A12: what is not named stays, also of a published price.
#[test]
fn set_price_keeps_what_is_not_named() {
    let site = Site::new();
    let _up = site.up(&[]);
    let set = |words: &[&str]| {
        let words = [
            &["provider", "set-price", "openai", "gpt-5-mini", "--json"],
            words,
        ]
        .concat();
        site.check(&words, 0).json()
    };
    let price = set(&["--input", "0.30", "--output", "2.50"]);
    assert_eq!(price["input_microusd_per_mtok"], 300_000);
    assert_eq!(price["cached_input_microusd_per_mtok"], 25_000, "{price}");
    assert_eq!(price["max_output_tokens"], 128_000, "{price}");
    let price = set(&["--max-output-tokens", "none", "--cached-input", "0.01"]);
    assert_eq!(price["output_microusd_per_mtok"], 2_500_000);
    assert_eq!(price["cached_input_microusd_per_mtok"], 10_000);
    assert!(price["max_output_tokens"].is_null(), "{price}");
    site.check(&["provider", "set-price", "openai", "gpt-5-mini"], 2);
    let new = site.check(
        &[
            "provider",
            "set-price",
            "openai",
            "new-model",
            "--input",
            "1",
        ],
        2,
    );
    assert!(
        new.error().contains("output_microusd_per_mtok: is missing"),
        "{}",
        new.err
    );
}

/// A8: the doctor looks at the bank that is meant, and counts who works for it.
#[test]
fn the_doctor_looks_at_the_bank_that_is_meant() {
    let site = Site::new();
    let up = site.up(&[]);
    let key = std::fs::read_to_string(site.data().join("api-key")).unwrap();
    let away = Site::new();
    let words = ["doctor", "--url", &up.url, "--api-key", key.trim()];
    wait_until("signs of life", || {
        let found = out(&away, &words);
        found.contains("1 worker, version") && found.contains("1 scheduler, version")
    });
    let report = away.check(&words, 0).out;
    for local in ["data folder", "disk", "embedded"] {
        assert!(!report.contains(local), "{local}: {report}");
    }
    assert!(site.check(&["doctor"], 0).out.contains("data folder"));
}

/// A19: who finds no bank is told which one was meant and how to start it.
#[test]
fn a_bank_that_is_stopped_is_named_with_its_folder() {
    let site = Site::new();
    let folder = site.data();
    let start = format!("opb up --data {}", folder.display());
    let mut up = site.up(&[]);
    signal("KILL", up.id());
    up.wait();
    let stopped = site.check(&["runs"], 1);
    let error = stopped.error();
    assert!(error.contains(&up.url) && error.contains(&start), "{error}");
    wait_until("the end of Postgres", || site.processes().is_empty());

    let foreign = serve(|_| (404, r#"{"error":{"code":404}}"#.to_owned()));
    let other = serve(|_| (502, "<html>".to_owned()));
    for (url, expect) in [
        (foreign, "is not an OpenPromptBank"),
        (other, "without an OpenPromptBank behind it"),
    ] {
        let printed = site.check(&["runs", "--url", &url], 1);
        assert!(printed.error().contains(expect), "{}", printed.err);
    }
}

/// A17: an operator is told what is wrong with the database, once, in one line, and never the password.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_used_is_named_with_the_reason() {
    let database = TestDatabase::new().await;
    let site = Site::new();
    // The password is asked before the database is looked for: that one is right here.
    let mut missing = url::Url::parse(database.url()).unwrap();
    missing.set_path("no_such");
    let port = missing.port().unwrap_or(5432);
    for (url, expect) in [
        (
            "postgres://opb:canary@127.0.0.1:1/bank".to_owned(),
            "the database `bank` at 127.0.0.1:1 cannot be used: nothing listens there",
        ),
        (missing.to_string(), "there is no database of this name"),
        (
            format!("postgres://nobody_known:canary@127.0.0.1:{port}/postgres"),
            "cannot be used",
        ),
    ] {
        let address = url::Url::parse(&url).unwrap();
        for words in [
            &["migrate"][..],
            &["admin", "create", "ada"],
            &["up", "--listen=127.0.0.1:0"],
        ] {
            let words = [words, &["--database-url", &url]].concat();
            let printed = site.check(&words, 1);
            let error = printed.error();
            let leaks = address.password().is_some_and(|word| error.contains(word));
            assert!(error.contains(expect) && !leaks, "{words:?}: {error}");
        }
    }
}
