//! `opb admin`: the first administrator, and replacing the master key.

use std::{
    fs,
    io::Write as _,
    process::{Output, Stdio},
};

use serde_json::{Value, json};

use crate::site::{Site, signal};

/// Runs `opb` with this on its standard input.
fn with_input(site: &Site, words: &[&str], input: &str) -> Output {
    let mut command = site.command(words);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

async fn post(url: &str, path: &str, body: Value) -> (u16, Value) {
    let client = reqwest::Client::new();
    let response = client
        .post(format!("{url}{path}"))
        .json(&body)
        .send()
        .await
        .unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

/// Whether a token opens the door; anything but an answer to that fails.
async fn knows(url: &str, token: &str) -> bool {
    let client = reqwest::Client::new();
    let request = client.get(format!("{url}/api/v1/me")).bearer_auth(token);
    let response = request.send().await.unwrap();
    let (status, text) = (response.status().as_u16(), response.text().await.unwrap());
    assert!([200, 401].contains(&status), "{status}: {text}");
    status == 200
}

fn user(name: &str) -> Value {
    json!({"username": name, "email": format!("{name}@example.org"), "password": "correct horse"})
}

fn stop(mut up: crate::site::Up) {
    signal("TERM", up.id());
    assert_eq!(up.wait().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_are_made_while_the_bank_serves_and_while_it_does_not() {
    let site = Site::new();
    let words = [
        "admin",
        "create",
        "ada",
        "--email",
        "ada@example.org",
        "--json",
    ];
    let made = with_input(&site, &words, "correct horse\n");
    let text = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(made.status.success(), "{text}");
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(
        (&made["created"], &made["user"]["role"]),
        (&json!(true), &json!("admin"))
    );

    let up = site.up(&[]);
    assert!(
        !site.up_log().contains("/first-admin#"),
        "there is an administrator"
    );
    let login = json!({"username": "ada", "password": "correct horse"});
    let (status, session) = post(&up.url, "/api/v1/auth/login", login).await;
    assert_eq!((status, &session["user"]["role"]), (200, &json!("admin")));
    let (status, _) = post(&up.url, "/api/v1/auth/register", user("bob")).await;
    assert_eq!(status, 201);
    let promoted = site.check(&["admin", "create", "bob", "--json"], 0).json();
    assert_eq!(
        (&promoted["created"], &promoted["user"]["role"]),
        (&json!(false), &json!("admin"))
    );

    for (words, input, expect) in [
        (
            &["admin", "create", "cyd"][..],
            "correct horse\n",
            "give --email",
        ),
        (
            &["admin", "create", "cyd", "--email", "cyd@example.org"],
            "",
            "standard input",
        ),
        (
            &["admin", "create", "cyd", "--email", "cyd@example.org"],
            "password\n",
            "password",
        ),
        (
            &["admin", "create", "cyd", "--email", "ADA@example.org"],
            "correct horse\n",
            "already registered",
        ),
        (
            &["admin", "create", "a/b", "--email", "cyd@example.org"],
            "correct horse\n",
            "username",
        ),
        (&["admin", "create", "openpromptbank"], "", "program itself"),
    ] {
        let refused = with_input(&site, words, input);
        let text = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{words:?}: {text}");
        assert!(text.contains(expect), "{words:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_that_up_prints_makes_one_administrator() {
    let site = Site::new();
    let up = site.up(&[]);
    let log = site.up_log();
    let link = log
        .lines()
        .find(|line| line.contains("/first-admin#"))
        .unwrap()
        .trim();
    let (page, secret) = link.split_once('#').unwrap();
    assert!(
        reqwest::get(page)
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
            .contains("administrator")
    );
    stop(up);
    // Another start prints another one, and the old one is void.
    let up = site.up(&[]);
    let with = |name: &str, secret: &str| {
        let mut body = user(name);
        body["invitation"] = json!(secret);
        body
    };
    let (status, _) = post(&up.url, "/api/v1/auth/register", with("eve", secret)).await;
    assert_eq!(status, 422);
    let log = site.up_log();
    let (_, secret) = log
        .lines()
        .find_map(|line| line.split_once("/first-admin#"))
        .unwrap();
    let (status, made) = post(&up.url, "/api/v1/auth/register", with("ada", secret.trim())).await;
    assert_eq!((status, &made["user"]["role"]), (201, &json!("admin")));
    let (status, _) = post(&up.url, "/api/v1/auth/register", with("eve", secret.trim())).await;
    assert_eq!(status, 422);
}

/// T17: tokens of the old key work while it is known, and no longer.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_outlive_a_new_master_key_while_the_old_one_is_known() {
    let site = Site::new();
    let up = site.up(&[]);
    let (status, session) = post(&up.url, "/api/v1/auth/register", user("ada")).await;
    assert_eq!(status, 201);
    let token = session["access_token"].as_str().unwrap().to_owned();
    let refresh = json!({"refresh_token": session["refresh_token"]});
    let old = fs::read_to_string(site.data().join("master-key")).unwrap();
    stop(up);
    site.check(&["admin", "rotate-master-key"], 0);
    assert_ne!(
        fs::read_to_string(site.data().join("master-key")).unwrap(),
        old
    );

    let up = site.up(&["--previous-master-key", old.trim()]);
    assert!(knows(&up.url, &token).await);
    let (status, newer) = post(&up.url, "/api/v1/auth/refresh", refresh.clone()).await;
    assert_eq!(status, 200, "{newer}");
    let newer_token = newer["access_token"].as_str().unwrap().to_owned();
    stop(up);

    let up = site.up(&[]);
    assert!(
        !knows(&up.url, &token).await,
        "signed with a key that is forgotten"
    );
    assert!(
        knows(&up.url, &newer_token).await,
        "signed with the new key"
    );
    let (status, _) = post(&up.url, "/api/v1/auth/refresh", refresh).await;
    assert_eq!(status, 401);
    let newer = json!({"refresh_token": newer["refresh_token"]});
    let (status, _) = post(&up.url, "/api/v1/auth/refresh", newer).await;
    assert_eq!(status, 200);
    let login = json!({"username": "ada", "password": "correct horse"});
    let (status, _) = post(&up.url, "/api/v1/auth/login", login).await;
    assert_eq!(status, 200, "passwords know no key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_for_a_lost_password_is_printed_while_the_bank_serves() {
    let site = Site::new();
    let up = site.up(&[]);
    let (status, _) = post(&up.url, "/api/v1/auth/register", user("ada")).await;
    assert_eq!(status, 201);
    let link = site.check(&["admin", "reset-link", "ada"], 0).out;
    let (page, token) = link.trim().split_once("#token=").unwrap();
    assert_eq!(page, format!("{}/account/reset-password", up.url));
    assert!(reqwest::get(page).await.unwrap().status().is_success());
    let body = json!({"token": token, "password": "staple battery 7"});
    let client = reqwest::Client::new();
    let path = format!("{}/api/v1/auth/password-reset/confirm", up.url);
    let reset = client.post(path).json(&body).send().await.unwrap();
    assert_eq!(reset.status(), 204);
    let login = json!({"username": "ada", "password": "staple battery 7"});
    assert_eq!(post(&up.url, "/api/v1/auth/login", login).await.0, 200);
    let unknown = site.check(&["admin", "reset-link", "bob"], 2);
    assert!(unknown.err.contains("`bob`"), "{}", unknown.err);
    stop(up);
    let nowhere = site.check(&["admin", "reset-link", "ada"], 2);
    assert!(nowhere.err.contains("--public-url"), "{}", nowhere.err);
}

/// Another key would open nothing that is stored, and nobody would know before a run fails.
#[test]
fn no_key_is_made_where_a_lost_one_is_needed() {
    let site = Site::new();
    let file = site.data().join("master-key");
    stop(site.up(&[]));
    // Nothing is sealed yet.
    fs::remove_file(&file).unwrap();
    let up = site.up(&[]);
    let words = ["provider", "add", "groq", "--credential-env", "KEY"];
    let added = site.command(&words).env("KEY", "gsk-canary").output();
    assert!(added.unwrap().status.success());
    stop(up);
    let kept = site.path().join("kept");
    fs::rename(&file, &kept).unwrap();
    let refused = site.check(&["up", "--listen=127.0.0.1:0", "--log=error"], 1);
    let error = refused.error();
    let expect = format!("there is no master key at {}", file.display());
    assert!(
        error.contains(&expect) && error.contains("put the key back"),
        "{error}"
    );
    assert!(!file.exists());
    let report = site.check(&["doctor", "--listen=127.0.0.1:0"], 0).out;
    assert!(report.contains("warn  master key"), "{report}");
    // With the key, from wherever, the bank serves again.
    drop(site.up(&["--master-key-file", kept.to_str().unwrap()]));
    fs::rename(&kept, &file).unwrap();
    drop(site.up(&[]));
}
