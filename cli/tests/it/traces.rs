//! Traces of a whole bank: off unless an address is set, and then from the request that submits a run down to its calls.

use std::{collections::BTreeSet, fs, time::Duration};

use opb_testing::{
    TestDatabase,
    collector::{CollectedSpan, Collector},
};
use serde_json::{Value, json};

use crate::site::{Site, Up, signal};

const CALLER_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER_SPAN: &str = "b7ad6b7169203331";

/// Everything that a span may say.
const ATTRIBUTES: [&str; 18] = [
    "error.type",
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "http.request.method",
    "http.response.status_code",
    "http.route",
    "opb.call.attempt",
    "opb.provider.name",
    "opb.request.id",
    "opb.run.id",
    "opb.shard.evaluations",
    "opb.shard.id",
    "opb.shard.outcome",
    "service.name",
    "service.version",
];

/// A request to a bank with the machine's own key.
async fn ask(site: &Site, up: &Up, path: &str, body: Option<Value>) -> (String, Value) {
    let key = fs::read_to_string(site.data().join("api-key")).unwrap();
    let address = format!("{}{path}", up.url);
    let client = reqwest::Client::new();
    let request = match body {
        Some(body) => client.post(address).json(&body),
        None => client.get(address),
    };
    let response = request
        .bearer_auth(key.trim())
        .header("traceparent", format!("00-{CALLER_TRACE}-{CALLER_SPAN}-01"))
        .send()
        .await
        .unwrap();
    let id = response.headers()["x-request-id"].to_str().unwrap();
    let id = id.to_owned();
    (id, response.json().await.unwrap())
}

/// Submits a run; returns the request's id, and the run as it ended.
async fn run(site: &Site, up: &Up) -> (String, Value) {
    let body = json!({
        "benchmark": "sentiment", "limit": 10, "models": ["simulated:strong", "simulated:weak"],
        "prompts": ["sentiment-question", "sentiment-one-word"],
    });
    let (request, run) = ask(site, up, "/api/v1/runs", Some(body)).await;
    let path = format!("/api/v1/runs/{}?cursor=canary", run["id"].as_str().unwrap());
    let ended = async {
        loop {
            let (_, run) = ask(site, up, &path, None).await;
            if run["state"] == "completed" {
                return run;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_mins(1), ended).await;
    (request, ended.unwrap())
}

/// The log's lines that begin with this message.
fn lines(site: &Site, message: &str) -> Vec<Value> {
    let log = site.up_log();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let says = |line: &Value| {
        line["fields"]["message"]
            .as_str()
            .is_some_and(|text| text.starts_with(message))
    };
    lines.filter(says).collect()
}

fn end(mut up: Up, site: &Site) {
    signal("TERM", up.id());
    assert_eq!(up.wait().0, Some(0), "{}", site.up_log());
}

fn called<'a>(spans: &'a [CollectedSpan], name: &str) -> Vec<&'a CollectedSpan> {
    let of_name = spans.iter().filter(|span| span.name == name);
    of_name.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_followed_from_the_request_to_the_calls() {
    let collector = Collector::start().await;
    let database = TestDatabase::new().await;
    let site = Site::new();
    let up = site.up(&[
        "--database-url",
        database.url(),
        "--traces-endpoint",
        &collector.url,
        "--traces-headers=authorization=Basic%20abc",
        "--log-format=json",
    ]);
    let (request_id, run) = run(&site, &up).await;
    let run_id = run["id"].as_str().unwrap();
    assert_eq!(run["recorded"], 40, "{run}");
    // Its last spans are sent at the end, long before the next batch is due.
    end(up, &site);
    let spans = collector.spans();
    assert_eq!(collector.headers()["authorization"], "Basic abc");

    let requests = called(&spans, "POST /api/v1/runs");
    let [request] = requests[..] else {
        panic!("{spans:#?}");
    };
    assert_eq!((request.kind, request.failed), (2, false));
    assert_eq!(
        (&*request.trace_id, &*request.parent_id),
        (CALLER_TRACE, CALLER_SPAN)
    );
    for (name, expect) in [
        ("http.request.method", "POST"),
        ("http.route", "/api/v1/runs"),
        ("http.response.status_code", "202"),
        ("opb.request.id", &request_id),
        ("opb.run.id", run_id),
    ] {
        assert_eq!(request.get(name), expect, "{name}");
    }
    assert_eq!(request.service(), "opb");
    assert_eq!(request.resource["service.version"], "0.1.0");

    let submissions = called(&spans, "submit run");
    let [submission] = submissions[..] else {
        panic!("{spans:#?}");
    };
    assert_eq!((submission.kind, &*submission.parent_id), (4, ""));
    assert_eq!(submission.trace_id, run_id.replace('-', ""));
    let to_request = (request.trace_id.clone(), request.span_id.clone());
    assert_eq!(submission.links, [to_request]);

    let shards = called(&spans, "shard");
    let to_submission = (submission.trace_id.clone(), submission.span_id.clone());
    for shard in &shards {
        assert_eq!((shard.kind, &*shard.parent_id), (5, ""));
        assert_eq!(shard.links.first(), Some(&to_submission));
        assert_eq!(shard.get("opb.run.id"), run_id);
        assert_eq!(shard.get("opb.request.id"), request_id);
        assert_eq!(shard.get("opb.shard.outcome"), "complete");
    }
    let evaluations = shards
        .iter()
        .map(|shard| shard.get("opb.shard.evaluations"));
    let evaluations: i64 = evaluations.map(|size| size.parse::<i64>().unwrap()).sum();
    assert_eq!(evaluations, 40);

    let parents: BTreeSet<_> = shards
        .iter()
        .map(|shard| (&shard.trace_id, &shard.span_id))
        .collect();
    let mut input_tokens = 0;
    for name in ["chat strong", "chat weak"] {
        let calls = called(&spans, name);
        assert!(calls.len() >= 20, "{name}: {}", calls.len());
        for call in calls {
            assert_eq!(call.kind, 3);
            assert!(parents.contains(&(&call.trace_id, &call.parent_id)));
            assert_eq!(call.get("gen_ai.operation.name"), "chat");
            assert_eq!(call.get("gen_ai.provider.name"), "simulated");
            assert_eq!(format!("chat {}", call.get("gen_ai.request.model")), name);
            let tokens = call.get("gen_ai.usage.input_tokens").parse::<i64>();
            input_tokens += tokens.unwrap_or_default();
        }
    }
    assert_eq!(run["input_tokens"], input_tokens);

    for span in &spans {
        let names = span.attributes.keys().map(String::as_str);
        let unknown: Vec<_> = names.filter(|name| !ATTRIBUTES.contains(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        for text in ["canary", "Sentiment", "sentiment", "positive", "opb_"] {
            assert!(!span.text.contains(text), "{text}: {}", span.text);
        }
    }

    let submitted = lines(&site, "submitted run");
    assert_eq!(submitted[0]["span"]["trace_id"], CALLER_TRACE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_harms_nothing() {
    let database = TestDatabase::new().await;
    let site = Site::new();
    let up = site.up(&[
        "--database-url",
        database.url(),
        "--traces-endpoint=http://user:canary@127.0.0.1:1",
        "--log-format=json",
    ]);
    let (_, run) = run(&site, &up).await;
    assert_eq!((&run["recorded"], &run["errors"]), (&40.into(), &0.into()));
    end(up, &site);
    let said = lines(&site, "could not export traces");
    assert_eq!(said.len(), 1, "{}", site.up_log());
    assert!(!site.up_log().contains("canary"), "{}", site.up_log());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_address_there_are_no_traces() {
    let database = TestDatabase::new().await;
    let site = Site::new();
    // What is set for other programs does not matter then, even if it makes no sense to ours.
    let up = site.up(&[
        "--database-url",
        database.url(),
        "--traces-endpoint=",
        "--traces-sampler=xray",
        "--log-format=json",
        "--log=trace",
    ]);
    run(&site, &up).await;
    end(up, &site);
    let submitted = lines(&site, "submitted run");
    let span = &submitted[0]["span"];
    assert!(
        span["request.id"].is_string() && span["trace_id"].is_null(),
        "{span}"
    );
    // All is logged: a span that is made for export would be seen.
    for word in ["otel.kind", "gen_ai.request.model", "opb.shard.id"] {
        assert!(!site.up_log().contains(word), "{word}");
    }
}

#[test]
fn a_wrong_setting_is_said() {
    let site = Site::new();
    let check = |settings: &[&str], expect: &str| {
        let words = [&["up", "--listen=127.0.0.1:0"], settings].concat();
        let printed = site.check(&words, 1);
        assert!(printed.error().contains(expect), "{}", printed.err);
        assert!(!printed.err.contains("canary"), "{}", printed.err);
    };
    let endpoint = "--traces-endpoint=http://127.0.0.1:4318";
    check(
        &["--traces-endpoint=user:canary@collector"],
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    );
    check(
        &[endpoint, "--traces-sampler=xray"],
        "unknown sampler `xray`",
    );
    check(
        &[endpoint, "--traces-headers=canary"],
        "OTEL_EXPORTER_OTLP_HEADERS",
    );
}
