//! What a worker process exports, also of calls that fail.

use std::process::{Child, Command, Stdio};

use opb_core::{
    models::{NewProvider, ProviderKind, create_provider},
    outbound::OutboundPolicy,
    runs::RunState,
};
use opb_testing::{TestDatabase, collector::Collector, fixtures};
use serde_json::{Map, json};
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

use crate::{
    harness::{MASTER_KEY, master_key, wait_for},
    stand_in::receive,
};

/// A worker process that is told of the collector as every program is.
fn start(db: &TestDatabase, collector: &Collector) -> Child {
    Command::new(env!("CARGO_BIN_EXE_opb-worker"))
        .args(["--log", "error", "--allow-outbound", "127.0.0.1"])
        .env("DATABASE_URL", db.url())
        .env("OPB_MASTER_KEY", MASTER_KEY)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

/// Refuses every request, and says why with words of the prompt.
async fn refuse_all(listener: TcpListener) {
    let body = r#"{"error":{"message":"What is canary?"}}"#;
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let answer = answer.clone();
        tokio::spawn(async move {
            let mut received = Vec::new();
            while receive(&mut stream, &mut received).await.is_some() {
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_call_says_of_which_kind_it_is() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 2).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = NewProvider {
        name: "ours".into(),
        kind: ProviderKind::Anthropic,
        base_url: Some(format!("http://{}/v1", listener.local_addr().unwrap())),
        settings: Map::new(),
        free: None,
        credential: Some("sk-canary".into()),
    };
    create_provider(
        conn,
        &fixtures::administrator(),
        &master_key(),
        &OutboundPolicy::local(),
        provider,
    )
    .await
    .unwrap();
    tokio::spawn(refuse_all(listener));
    let models = json!(["ours:any", "simulated:strong"]);
    let run = fixtures::submit(conn, &owner, models, 1).await;
    let collector = Collector::start().await;
    let mut worker = start(&db, &collector);
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    assert_eq!(
        (run.state, run.errors),
        (RunState::Completed, 4),
        "{run:#?}"
    );
    let told = Command::new("kill")
        .args(["-s", "TERM", &worker.id().to_string()])
        .status();
    assert!(told.unwrap().success());
    assert_eq!(worker.wait().unwrap().code(), Some(0));

    let spans = collector.spans();
    let refused: Vec<_> = spans
        .iter()
        .filter(|span| span.name == "chat any")
        .collect();
    assert_eq!(refused.len(), 4, "{spans:#?}");
    for span in refused {
        assert!(span.failed);
        assert_eq!(span.service(), "opb-worker");
        assert_eq!(span.get("error.type"), "refused");
        assert_eq!(span.get("gen_ai.provider.name"), "anthropic");
        assert_eq!(span.get("opb.provider.name"), "ours");
        assert_eq!(span.get("gen_ai.usage.input_tokens"), "");
    }
    let answered = spans.iter().filter(|span| span.name == "chat strong");
    assert!(
        answered
            .filter(|span| !span.failed && span.get("error.type").is_empty())
            .count()
            >= 4
    );
    let shard = spans.iter().find(|span| span.name == "shard").unwrap();
    let of_run = run.id.simple().to_string();
    assert_eq!(shard.links, [(of_run.clone(), of_run[16..].to_owned())]);
    for span in &spans {
        for text in ["canary", "What is", "answer"] {
            assert!(!span.text.contains(text), "{text}: {}", span.text);
        }
    }
}
