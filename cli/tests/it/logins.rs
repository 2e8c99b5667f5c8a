//! Logging in, keys, and what a user who is no administrator may run.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    process::{Output, Stdio},
};

use serde_json::{Value, json};

use crate::{servers::models, site::Site};

/// Runs `opb` with this on its standard input.
fn with_input(site: &Site, words: &[&str], input: &str) -> Output {
    let mut command = site.command(words);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

#[track_caller]
fn text(output: &Output, code: i32) -> String {
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{out} {err}");
    if code == 0 { out } else { err }
}

async fn register(url: &str, name: &str) -> Value {
    let body = json!({"username": name, "email": format!("{name}@example.org"), "password": "correct horse"});
    let client = reqwest::Client::new();
    let request = client.post(format!("{url}/api/v1/auth/register"));
    let response = request.json(&body).send().await.unwrap();
    assert_eq!(response.status(), 201);
    response.json().await.unwrap()
}

/// B8: a colleague logs in, and runs the team's own model without a budget; what costs money needs one.
#[tokio::test(flavor = "multi_thread")]
async fn a_colleague_logs_in_and_runs_the_teams_own_model() {
    let site = Site::new();
    let up = site.up(&[]);
    let url = format!("{}/v1", models(&["small".to_owned()]));
    let added = site.check(&["provider", "add", "local", "--base-url", &url], 0);
    assert!(added.out.contains("models are free"), "{}", added.out);
    site.check(
        &["provider", "add", "gateway", "--base-url", &url, "--paid"],
        0,
    );
    register(&up.url, "ada").await;

    let away = Site::new();
    let login = ["login", "--url", &up.url];
    let wrong = with_input(&away, &[&login[..], &["ada"]].concat(), "wrong horse\n");
    let wrong = text(&wrong, 2);
    assert!(
        wrong.contains("the username or the password is wrong"),
        "{wrong}"
    );
    let done = text(&with_input(&away, &login, "ada\ncorrect horse\n"), 0);
    assert!(done.contains("as ada"), "{done}");
    let file = away.path().join(".config/openpromptbank/logins.json");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!fs::read_to_string(&file).unwrap().contains("correct horse"));
    assert!(away.check(&["whoami"], 0).out.starts_with("ada at "));

    let run = |model: &str, code| {
        let model = format!("--model={model}");
        let words = [
            "run",
            "--benchmark=capitals",
            "--prompt=capital-question",
            &model,
            "--limit=3",
            "--json",
        ];
        away.check(&words, code)
    };
    let free = run("local:small", 0).json();
    assert_eq!(
        (&free["state"], &free["cost_microusd"]),
        (&json!("completed"), &json!(0))
    );
    let dear = run("gateway:small", 2);
    assert!(dear.err.contains("models that cost money"), "{}", dear.err);
    // A price of zero is free, and the word of an administrator.
    let zero = [
        "provider",
        "set-price",
        "gateway",
        "small",
        "--input=0",
        "--output=0",
    ];
    site.check(&zero, 0);
    run("gateway:small", 0);
    let price = [
        "provider",
        "set-price",
        "local",
        "small",
        "--input=1",
        "--output=1",
    ];
    site.check(&price, 0);
    let dear = run("local:small", 2);
    assert!(dear.err.contains("models that cost money"), "{}", dear.err);

    away.check(&["logout"], 0);
    let out = away.check(&["whoami", "--url", &up.url], 2);
    assert!(out.error().contains("opb login"), "{}", out.err);
    away.check(&["logout", "--url", &up.url], 2);
}

/// A24: a key is made by who logs in, and says which scope it lacks; writing includes reading.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_listed_and_revoked_by_who_logs_in() {
    let site = Site::new();
    let up = site.up(&[]);
    let session = register(&up.url, "ada").await;
    let away = Site::new();
    let key = |words: &[&str], input: &str| {
        let words = [&["key"], words, &["--url", &up.url]].concat();
        with_input(&away, &words, input)
    };
    let new = ["create", "ci", "--scope", "runs:write"];
    let made = text(&key(&new, "ada\ncorrect horse\n"), 0);
    let secret = made.trim();
    assert!(secret.starts_with("opb_"), "{made}");
    let with_key = ["--url", &up.url, "--api-key", secret];
    let run = [
        "run",
        "--benchmark=capitals",
        "--prompt=capital-question",
        "--model=simulated:fast",
        "--limit=3",
    ];
    away.check(&[&run[..], &with_key].concat(), 0);
    let lacks = away.check(&[&["prompts", "export", "out"][..], &with_key].concat(), 2);
    assert!(
        lacks.error().contains("lacks the scope `prompts:read`"),
        "{}",
        lacks.err
    );
    let by_key = text(&key(&["list", "--token-stdin"], secret), 2);
    assert!(by_key.contains("an API key cannot do this"), "{by_key}");

    let token = session["access_token"].as_str().unwrap();
    let listed = text(&key(&["list", "--token-stdin"], token), 0);
    assert!(
        listed.contains("ci") && listed.contains("runs:write"),
        "{listed}"
    );
    text(
        &key(&["revoke", "ci", "--username", "ada"], "correct horse\n"),
        0,
    );
    away.check(&[&["whoami"][..], &with_key].concat(), 2);
    let unknown = text(&key(&["revoke", "ci", "--token-stdin"], token), 2);
    assert!(unknown.contains("no key `ci`"), "{unknown}");
    let wrong = text(&key(&["create", "ci", "--scope", "everything"], ""), 2);
    assert!(wrong.contains("runs:write"), "{wrong}");

    // Where there are no passwords, a token is as good.
    let login = ["login", "--url", &up.url, "--token-stdin"];
    text(&with_input(&away, &login, token), 0);
    assert!(away.check(&["whoami"], 0).out.starts_with("ada at "));
}
