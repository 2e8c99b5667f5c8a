//! Runs over real HTTP against a server that misbehaves in every way it can: each fault is a retry or a recorded error.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
};

use serde_json::Value;

use crate::site::Site;

/// A running `opb simulate`; dropping it ends it.
pub struct Simulated {
    child: Child,
    pub url: String,
}

impl Simulated {
    pub fn start(site: &Site, words: &[&str]) -> Self {
        let words = [&["simulate", "--port=0", "--latency=none"], words].concat();
        let mut child = site
            .command(&words)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("ready ").unwrap().to_owned();
        Self { child, url }
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads JSON, with the key of the bank where there is one.
fn get(url: &str, key: Option<&str>) -> Value {
    let mut request = reqwest::Client::new().get(url);
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let text = runtime.block_on(async { request.send().await.unwrap().text().await.unwrap() });
    serde_json::from_str(&text).unwrap()
}

/// Adds a provider for the server and runs both prompts on it.
fn run(site: &Site, provider: &str, server: &Simulated, limit: &str, code: i32) -> Value {
    let base_url = format!("{}/v1", server.url);
    site.check(&["provider", "add", provider, "--base-url", &base_url], 0);
    let model = format!("{provider}:strong");
    let words = [
        "run",
        "--benchmark=first-steps",
        "--prompt=step-by-step,number-only",
        "--json",
    ];
    let words = [&words[..], &["--model", &model, "--limit", limit]].concat();
    site.check(&words, code).json()
}

/// How many errors of each kind a run recorded.
fn error_kinds(site: &Site, bank: &str, run: &Value) -> BTreeMap<String, usize> {
    let id = run["id"].as_str().unwrap();
    let url = format!("{bank}/api/v1/runs/{id}/evaluations?state=error&limit=100");
    // Nobody but its owner sees a run that does not say otherwise.
    let key = fs::read_to_string(site.data().join("api-key")).unwrap();
    let page = get(&url, Some(key.trim()));
    let mut kinds = BTreeMap::new();
    for evaluation in page["items"].as_array().unwrap() {
        assert!(evaluation["score"].is_null(), "an error is never a score");
        let kind = evaluation["error_kind"].as_str().unwrap();
        *kinds.entry(kind.to_owned()).or_default() += 1;
    }
    kinds
}

#[test]
fn a_run_with_a_fifth_of_its_calls_failing_is_completed() {
    let site = Site::new();
    let bank = site.up(&[]);
    // Every fault but silence, which is a matter of time and which a busy machine may add to, and a reset, which on a
    // connection that was used before is not counted.
    let faults = "--faults=rate_limit,rate_limit_with_retry_after,server_error,overloaded,truncated_json,garbage,huge_body";
    let server = Simulated::start(&site, &["--fault-rate=0.2", "--seed=3", faults]);
    let run = run(&site, "faulty", &server, "60", 0);
    let number = |field: &str| run[field].as_i64().unwrap();
    assert_eq!(
        (run["state"].as_str(), number("recorded")),
        (Some("completed"), 120),
        "{run}"
    );

    // What the server says it did is what the run says it saw.
    let stats = get(&format!("{}/stats", server.url), None);
    let faults = &stats["by_fault"];
    let fault = |name: &str| faults[name].as_i64().unwrap_or(0);
    let waits = fault("rate_limit") + fault("rate_limit_with_retry_after");
    let all: i64 = faults
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_i64)
        .sum();
    assert!(waits > 0 && all > waits, "{stats}");
    assert_eq!(
        number("retries") + number("errors"),
        all - waits,
        "{stats} {run}"
    );
    let kinds = error_kinds(&site, &bank.url, &run);
    assert_eq!(
        kinds.values().sum::<usize>(),
        usize::try_from(number("errors")).unwrap()
    );
    assert_eq!(
        kinds.get("too_large").copied().unwrap_or(0),
        usize::try_from(fault("huge_body")).unwrap()
    );
}

#[test]
fn every_fault_has_its_kind() {
    // What ends by itself has all the time there is: on a busy machine half a gibibyte may take minutes.
    check_faults(
        "3600",
        &[
            ("server_error", "server"),
            ("overloaded", "overloaded"),
            ("truncated_json", "read"),
            ("garbage", "protocol"),
            ("huge_body", "too_large"),
            ("reset", "read"),
        ],
    );
}

#[test]
fn silence_and_dawdling_are_timeouts() {
    // These never end by themselves, so a busy machine can only make them later.
    check_faults("4", &[("hang", "timeout"), ("slow_stream", "timeout")]);
}

/// Every call of a run shows one fault; the errors that are recorded have its kind.
fn check_faults(seconds: &str, faults: &[(&str, &str)]) {
    let site = Site::new();
    let call = format!("--call-timeout={seconds}");
    let bank = site.up(&[&call, "--max-attempts=1"]);
    for &(fault, kind) in faults {
        let faults = format!("--faults={fault}");
        let server = Simulated::start(&site, &["--fault-rate=1", &faults]);
        let run = run(&site, &fault.replace('_', "-"), &server, "2", 3);
        assert_eq!(run["state"], "failed", "{fault}: {run}");
        let expected = BTreeMap::from([(kind.to_owned(), 4)]);
        assert_eq!(error_kinds(&site, &bank.url, &run), expected, "{fault}");
    }
}
