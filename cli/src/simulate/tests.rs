//! Tests of the simulated server over HTTP: every route, and every fault on the wire.

use std::io::{ErrorKind, Write as _};
use std::time::Duration;

use clap::Parser as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{SimulateSettings, serve};

#[derive(clap::Parser)]
struct Arguments {
    #[command(flatten)]
    settings: SimulateSettings,
}

/// A server on a free port that stops when dropped.
struct Server {
    base: String,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
    client: reqwest::Client,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn start(arguments: &str) -> Server {
    let arguments = format!("simulate --port 0 --threads 1 {arguments}");
    let settings = Arguments::parse_from(arguments.split_whitespace()).settings;
    let shutdown = CancellationToken::new();
    let (sender, address) = tokio::sync::oneshot::channel();
    let ready = move |address| sender.send(address).unwrap();
    let task = tokio::spawn(serve(settings, shutdown.clone(), ready));
    let base = format!("http://{}", address.await.unwrap());
    Server {
        base,
        shutdown,
        task,
        client: reqwest::Client::new(),
    }
}

impl Server {
    fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        self.client.post(format!("{}{path}", self.base)).body(body)
    }

    async fn chat(&self, change: Value) -> reqwest::Response {
        self.post("/v1/chat/completions", chat_body(change))
            .send()
            .await
            .unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.base);
        self.client
            .get(url)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    /// Sends a raw chat request, to see what an HTTP client would hide.
    async fn raw_chat(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.base.trim_start_matches("http://"))
            .await
            .unwrap();
        let body = chat_body(json!({}));
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        stream
    }
}

fn chat_body(change: Value) -> String {
    let mut body = json!({
        "model": "strong",
        "messages": [
            {"role": "system", "content": "Answer with only the number."},
            {"role": "user", "content": "Question: What is 6 times 7?"},
        ],
    });
    if let Value::Object(change) = change {
        body.as_object_mut().unwrap().extend(change);
    }
    body.to_string()
}

async fn error_of(response: reqwest::Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let mut body: Value = response.json().await.unwrap();
    (status, body["error"].take())
}

#[tokio::test]
async fn a_chat_is_answered_and_labelled() {
    let server = start("--latency none").await;
    let response = server.chat(json!({"seed": 3})).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-simulated"], "true");
    assert_eq!(response.headers()["content-type"], "application/json");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "strong");
    assert_eq!(body["system_fingerprint"], "simulated");
    assert_eq!(body["choices"][0]["message"]["role"], "assistant");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert!(
        !body["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .is_empty()
    );
    let usage = &body["usage"];
    assert_eq!(
        usage["total_tokens"].as_u64().unwrap(),
        usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap()
    );
    let without_prefix = server
        .post("/chat/completions", chat_body(json!({"seed": 3})))
        .send()
        .await
        .unwrap();
    let same: Value = without_prefix.json().await.unwrap();
    assert_eq!(same["choices"], body["choices"]);
}

#[tokio::test]
async fn right_answers_come_from_the_files() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, r#"{{"text": "What is 6 times 7?", "expected": 42}}"#).unwrap();
    let server = start(&format!(
        "--latency none --answers {}",
        file.path().display()
    ))
    .await;
    let mut right = 0;
    for seed in 0..50 {
        let body: Value = server
            .chat(json!({"seed": seed}))
            .await
            .json()
            .await
            .unwrap();
        right += u32::from(body["choices"][0]["message"]["content"] == "42");
    }
    assert!((25..50).contains(&right), "{right}");
}

#[tokio::test]
async fn max_tokens_cuts_with_the_reason_length() {
    let server = start("--latency none").await;
    for member in ["max_tokens", "max_completion_tokens"] {
        let body: Value = server.chat(json!({member: 2})).await.json().await.unwrap();
        assert_eq!(body["choices"][0]["finish_reason"], "length");
        assert_eq!(body["usage"]["completion_tokens"], 2);
    }
}

#[tokio::test]
async fn a_response_format_of_json_is_kept() {
    let server = start("--latency none").await;
    let change = json!({"response_format": {"type": "json_object"}});
    let body: Value = server.chat(change).await.json().await.unwrap();
    let content = body["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(
        serde_json::from_str::<Value>(content).unwrap().is_object(),
        "{content}"
    );
}

async fn events(server: &Server, change: Value) -> (String, Vec<Value>) {
    let response = server.chat(change).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = response.text().await.unwrap();
    let payloads: Vec<&str> = text
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("data: "))
        .collect();
    let (last, chunks) = payloads.split_last().unwrap();
    assert_eq!(*last, "[DONE]");
    let chunks: Vec<Value> = chunks
        .iter()
        .map(|chunk| serde_json::from_str(chunk).unwrap())
        .collect();
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["system_fingerprint"] == "simulated")
    );
    let content = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    (content, chunks)
}

#[tokio::test]
async fn a_stream_says_the_same_and_ends_with_usage_and_done() {
    for latency in ["none", "real", "30"] {
        let server = start(&format!("--latency {latency}")).await;
        let whole: Value = server.chat(json!({})).await.json().await.unwrap();
        let (content, chunks) = events(&server, json!({"stream": true})).await;
        assert_eq!(whole["choices"][0]["message"]["content"], content);
        let last = chunks.last().unwrap();
        assert_eq!(last["choices"][0]["finish_reason"], "stop");
        assert_eq!(last["usage"], whole["usage"]);

        let change = json!({"stream": true, "stream_options": {"include_usage": true}});
        let (content, chunks) = events(&server, change).await;
        assert_eq!(whole["choices"][0]["message"]["content"], content);
        let last = chunks.last().unwrap();
        assert_eq!(last["choices"], json!([]));
        assert_eq!(last["usage"], whole["usage"]);
        assert!(chunks[chunks.len() - 2].get("usage").is_none());
    }
}

#[tokio::test]
async fn a_real_stream_takes_its_time() {
    let server = start("--latency real").await;
    let started = std::time::Instant::now();
    let response = server.chat(json!({"stream": true})).await;
    let text = response.text().await.unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(started.elapsed() > Duration::from_millis(30));
}

#[tokio::test]
async fn a_fixed_latency_is_waited_for() {
    let server = start("--latency 80").await;
    let started = std::time::Instant::now();
    server.chat(json!({})).await;
    assert!(started.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn embeddings_are_unit_vectors_in_either_encoding() {
    let server = start("--latency none").await;
    let ask = async |body: Value| -> Value {
        server
            .post("/v1/embeddings", body.to_string())
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    };
    let body = ask(json!({"model": "embedding", "input": ["a cat", "a dog"]})).await;
    assert_eq!(body["data"][1]["index"], 1);
    assert_eq!(body["usage"]["total_tokens"], 4);
    let vector: Vec<f64> = serde_json::from_value(body["data"][0]["embedding"].clone()).unwrap();
    let length: f64 = vector.iter().map(|value| value * value).sum();
    assert!(
        vector.len() == 64 && (length - 1.0).abs() < 1e-5,
        "{length}"
    );
    let packed =
        ask(json!({"model": "embedding", "input": "a cat", "encoding_format": "base64"})).await;
    let packed = packed["data"][0]["embedding"].as_str().unwrap().to_owned();
    assert_eq!(packed.len(), (64 * 4_usize).div_ceil(3) * 4);
}

#[tokio::test]
async fn models_health_and_stats_are_served() {
    let server = start("--latency none").await;
    let models = server.get("/v1/models").await;
    let names: Vec<&str> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|model| model["id"].as_str())
        .collect();
    assert_eq!(names, ["strong", "balanced", "fast", "weak", "embedding"]);
    assert_eq!(
        server.get("/health").await,
        json!({"status": "ok", "simulated": true})
    );
    server.chat(json!({})).await;
    server.chat(json!({"model": "unknown"})).await;
    let stats = server.get("/stats").await;
    assert_eq!(
        (&stats["requests"], &stats["model_calls"]),
        (&json!(5), &json!(2))
    );
    assert_eq!(stats["by_status"], json!({"200": 3, "404": 1}));
    assert!(stats["open_connections"].as_u64().unwrap() >= 1);
}

#[tokio::test]
async fn mistakes_get_errors_in_the_shape_of_openai() {
    let server = start("--latency none").await;
    let (status, error) = error_of(server.chat(json!({"model": "gpt"})).await).await;
    assert_eq!((status, &error["code"]), (404, &json!("model_not_found")));
    assert_eq!(error["message"], "the model \"gpt\" does not exist here");
    assert_eq!(error["type"], "invalid_request_error");
    for (path, body, expect) in [
        ("/v1/chat/completions", "{".to_owned(), 400),
        (
            "/v1/chat/completions",
            chat_body(json!({"model": "embedding"})),
            404,
        ),
        ("/v1/embeddings", "[]".to_owned(), 400),
        (
            "/v1/embeddings",
            json!({"model": "strong", "input": "a"}).to_string(),
            404,
        ),
        (
            "/v1/embeddings",
            json!({"model": "embedding", "input": []}).to_string(),
            400,
        ),
        (
            "/v1/embeddings",
            json!({"model": "embedding", "input": "a", "dimensions": 3}).to_string(),
            400,
        ),
        ("/v1/models", String::new(), 405),
        ("/v2/chat/completions", String::new(), 404),
        ("/v1/chat/completions", " ".repeat(9 * 1024 * 1024), 413),
    ] {
        let response = server.post(path, body).send().await.unwrap();
        assert_eq!(response.headers()["x-simulated"], "true");
        assert_eq!(error_of(response).await.0, expect, "{path}");
    }
}

#[tokio::test]
async fn an_api_key_is_asked_for() {
    let server = start("--latency none --api-key secret").await;
    let (status, error) = error_of(server.chat(json!({})).await).await;
    assert_eq!((status, &error["code"]), (401, &json!("invalid_api_key")));
    for (token, expect) in [("wrong", 401), ("secre", 401), ("secret", 200)] {
        let request = server
            .post("/v1/chat/completions", chat_body(json!({})))
            .bearer_auth(token);
        assert_eq!(request.send().await.unwrap().status(), expect, "{token}");
    }
    assert_eq!(server.get("/health").await["status"], "ok");
}

#[tokio::test]
async fn the_rate_limit_holds_and_says_when_to_come_back() {
    let server = start("--latency none --rpm 3").await;
    for remaining in ["2", "1", "0"] {
        let response = server.chat(json!({})).await;
        assert_eq!(response.status(), 200);
        assert_eq!(
            response.headers()["x-ratelimit-remaining-requests"],
            remaining
        );
    }
    let response = server.chat(json!({})).await;
    assert_eq!(response.headers()["x-ratelimit-limit-requests"], "3");
    let seconds: u32 = response.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=20).contains(&seconds), "{seconds}");
    let (status, error) = error_of(response).await;
    assert_eq!(
        (status, &error["code"]),
        (429, &json!("rate_limit_exceeded"))
    );
}

#[tokio::test]
async fn fault_statuses_are_sent() {
    for (fault, statuses, retry_after) in [
        ("rate_limit_with_retry_after", [429, 429], Some("1")),
        ("rate_limit", [429, 429], None),
        ("server_error", [500, 500], None),
        ("overloaded", [503, 529], None),
    ] {
        let server = start(&format!("--latency none --fault-rate 1 --faults {fault}")).await;
        for expect in statuses {
            let response = server.chat(json!({})).await;
            let found = response
                .headers()
                .get("retry-after")
                .map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(found.as_deref(), retry_after, "{fault}");
            assert_eq!(error_of(response).await.0, expect, "{fault}");
        }
        assert_eq!(server.get("/stats").await["by_fault"], json!({fault: 2}));
    }
}

#[tokio::test]
async fn garbage_is_no_json() {
    let server = start("--latency none --fault-rate 1 --faults garbage").await;
    let page = server.chat(json!({})).await;
    assert_eq!(
        (
            page.status().as_u16(),
            page.headers()["content-type"].as_bytes()
        ),
        (200, &b"text/html"[..])
    );
    let binary = server.chat(json!({})).await;
    assert_eq!(binary.status(), 200);
    assert!(std::str::from_utf8(&binary.bytes().await.unwrap()).is_err());
}

#[tokio::test]
async fn truncated_json_ends_early_in_both_ways() {
    let server = start("--latency none --fault-rate 1 --faults truncated_json").await;
    let clean = server.chat(json!({})).await.text().await.unwrap();
    assert!(
        clean.starts_with('{') && serde_json::from_str::<Value>(&clean).is_err(),
        "{clean}"
    );
    let short = server.chat(json!({})).await;
    assert!(short.content_length().unwrap() > clean.len() as u64);
    let error = format!("{:?}", short.bytes().await.unwrap_err());
    assert!(
        error.contains("IncompleteMessage") || error.contains("UnexpectedEof"),
        "{error}"
    );
}

#[tokio::test]
async fn a_hang_never_answers_but_does_not_keep_the_server_from_stopping() {
    let mut server = start("--latency none --fault-rate 1 --faults hang").await;
    let mut stream = server.raw_chat().await;
    let mut byte = [0];
    assert!(
        timeout(Duration::from_millis(300), stream.read(&mut byte))
            .await
            .is_err()
    );
    while server.get("/stats").await["by_fault"]["hang"] != 1 {
        tokio::task::yield_now().await;
    }
    server.shutdown.cancel();
    timeout(Duration::from_secs(100), &mut server.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(matches!(stream.read(&mut byte).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn a_client_that_leaves_a_hang_frees_the_connection() {
    let server = start("--latency none --fault-rate 1 --faults hang").await;
    let stream = server.raw_chat().await;
    // The second connection is the one that reads the counters.
    let wait_for = async |expect: u64| {
        while server.get("/stats").await["open_connections"] != expect {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(100), wait_for(2))
        .await
        .unwrap();
    drop(stream);
    timeout(Duration::from_secs(100), wait_for(1))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_slow_stream_drips() {
    let server = start("--latency none --fault-rate 1 --faults slow_stream").await;
    let started = std::time::Instant::now();
    let mut response = server.chat(json!({})).await;
    for byte in [b"{", b"\""] {
        assert_eq!(response.chunk().await.unwrap().unwrap().as_ref(), byte);
    }
    assert!(started.elapsed() > Duration::from_millis(1_500));
}

#[tokio::test]
async fn a_huge_body_goes_on_and_on() {
    let server = start("--latency none --fault-rate 1 --faults huge_body").await;
    let mut response = server.chat(json!({})).await;
    assert_eq!(response.content_length(), None);
    let mut size = 0;
    while size < 64 * 1024 * 1024 {
        size += response.chunk().await.unwrap().unwrap().len();
    }
}

#[tokio::test]
async fn a_reset_drops_the_connection_without_an_answer() {
    let server = start("--latency none --fault-rate 1 --faults reset").await;
    let mut stream = server.raw_chat().await;
    let error = stream.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn the_server_stops_when_told() {
    let mut server = start("--latency none").await;
    server.chat(json!({})).await;
    server.shutdown.cancel();
    timeout(Duration::from_secs(100), &mut server.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(
        server
            .client
            .get(format!("{}/health", server.base))
            .send()
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_taken_port_is_an_error() {
    let server = start("--latency none").await;
    let port = server.base.rsplit(':').next().unwrap();
    let settings = Arguments::parse_from(["simulate", "--port", port]).settings;
    let error = serve(settings, CancellationToken::new(), |_| ())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), format!("listen on 127.0.0.1:{port}"));
}
