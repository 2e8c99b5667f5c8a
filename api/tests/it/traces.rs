//! What the API's process exports of requests, and what its log says of it.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use opb_testing::{TestDatabase, collector::Collector};
use serde_json::Value;

const KEY: &str = "K0N4hJ2cQv7Zr9mTzW1uXe5bYp8sLd3fGa6HkRoVtEw=";
const CALLER_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_a_span_without_its_path_and_query() {
    let database = TestDatabase::new().await;
    let collector = Collector::start().await;
    let mut program = Command::new(env!("CARGO_BIN_EXE_opb-api"))
        .env("DATABASE_URL", database.url())
        .env("OPB_MASTER_KEY", KEY)
        .env("OPB_LISTEN", "127.0.0.1:0")
        .env("OPB_LOG", "debug")
        .env("OPB_LOG_FORMAT", "json")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("{}/", collector.url))
        .env(
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=test",
        )
        .env_remove("OPB_CONFIG")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(program.stderr.take().unwrap()).lines();
    let mut lines = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let address = lines.find_map(|line| Some(line["fields"]["api.address"].as_str()?.to_owned()));
    let address = address.unwrap();
    let client = reqwest::Client::new();
    let ask = async |path: &str, flags: &str| {
        let parent = format!("00-{CALLER_TRACE}-b7ad6b7169203331-{flags}");
        client
            .get(format!("http://{address}{path}"))
            .bearer_auth("opb_canary")
            .header("cookie", "canary=canary")
            .header("traceparent", parent)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!(
        ask("/api/v1/benchmarks/canary?page=canary", "01").await,
        401
    );
    assert_eq!(ask("/canary", "01").await, 404);
    // The caller's trace is not kept, so neither is our part of it.
    assert_eq!(ask("/healthz", "00").await, 200);
    // What is no parent is none.
    assert_eq!(ask("/healthz", "canary").await, 200);
    database.pool.close().await;
    let told = Command::new("kill")
        .args(["-s", "TERM", &program.id().to_string()])
        .status();
    assert!(told.unwrap().success());
    assert!(program.wait().unwrap().success());

    let spans = collector.spans();
    let found: Vec<_> = spans
        .iter()
        .map(|span| {
            let status = span.get("http.response.status_code");
            (span.name.as_str(), span.get("http.route"), status)
        })
        .collect();
    let route = "/api/v1/benchmarks/{benchmark}";
    assert_eq!(
        found,
        [
            ("GET /api/v1/benchmarks/{benchmark}", route, "401"),
            ("GET", "", "404"),
            ("GET /healthz", "/healthz", "200"),
        ]
    );
    assert_eq!(spans[0].trace_id, CALLER_TRACE);
    assert_ne!(spans[2].trace_id, CALLER_TRACE);
    assert_eq!(spans[2].parent_id, "");
    for span in &spans {
        assert_eq!((span.service(), span.failed), ("opb-api", false));
        assert_eq!(span.resource["deployment.environment.name"], "test");
        assert!(!span.text.contains("canary"), "{}", span.text);
    }

    let served: Vec<Value> = lines
        .filter(|line| line["fields"]["message"] == "request served")
        .collect();
    let trace_ids: Vec<_> = served
        .iter()
        .map(|line| line["span"]["trace_id"].as_str().unwrap())
        .collect();
    assert_eq!(trace_ids[..3], [CALLER_TRACE; 3]);
    assert_eq!(trace_ids[3], spans[2].trace_id);
}
