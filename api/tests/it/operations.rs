//! What operators ask.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::server::{Server, run};

#[tokio::test]
async fn a_process_says_how_it_is() {
    let server = Server::start().await;
    assert_eq!(server.get("/healthz", "").await.expect(200)["status"], "ok");
    assert_eq!(
        server.get("/readyz", "").await.expect(200)["status"],
        "ready"
    );
    let empty =
        "delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)";
    sqlx::query(empty)
        .execute(&server.database.pool)
        .await
        .unwrap();
    let reply = server.get("/readyz", "").await;
    reply.expect_problem(503, "not_ready", None);
    assert_eq!(reply.header("retry-after"), "1");
    server.get("/healthz", "").await.expect(200);
}

#[tokio::test]
async fn a_client_that_never_ends_its_request_is_cut_off() {
    let server = Server::start().await;
    let address = server.address.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: ")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_mins(5), read)
        .await
        .expect("the server closes the connection")
        .unwrap();
}

#[tokio::test]
async fn metrics_count_routes_and_hold_no_ids() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    server.prepare_run(&token).await;
    let run = server
        .post("/api/v1/runs", &token, &run())
        .await
        .expect(202);
    let id = run["id"].as_str().unwrap();
    server
        .get(&format!("/api/v1/runs/{id}"), "")
        .await
        .expect(200);
    server.get("/api/v1/prompts/plain", "").await.expect(200);
    server.get("/an/address/of/nobody", "").await;
    let metrics = server.get("/metrics", "").await;
    assert_eq!(metrics.status, 200);
    assert_eq!(
        metrics.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    for line in metrics.text.lines() {
        assert!(is_metric(line), "not Prometheus' format: {line}");
    }
    let counts = |labels: &str| {
        let line = format!("opb_http_requests_total{{{labels}}} 1");
        assert!(metrics.text.lines().any(|found| found == line), "{line}");
    };
    counts(r#"method="GET",route="/api/v1/runs/{run}",status="200""#);
    counts(r#"method="POST",route="/api/v1/runs",status="202""#);
    counts(r#"method="GET",route="unmatched",status="404""#);
    for secret in [id, "plain", "ada", "nobody"] {
        assert!(!metrics.text.contains(secret), "{secret} is a label");
    }
}

#[tokio::test]
async fn metrics_can_be_kept_from_the_public() {
    let server = Server::start_with(|settings| settings.hides_metrics = true).await;
    let reply = server.get("/metrics", "").await;
    reply.expect_problem(404, "no_route", None);
    server.get("/healthz", "").await.expect(200);
}

/// A comment, or `name{labels} value`.
fn is_metric(line: &str) -> bool {
    if line.starts_with("# HELP ") || line.starts_with("# TYPE ") {
        return true;
    }
    let Some((metric, value)) = line.rsplit_once(' ') else {
        return false;
    };
    let name = metric.split('{').next().unwrap_or_default();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    !name.is_empty()
        && name.chars().all(plain)
        && (name == metric || metric.ends_with('}'))
        && value.parse::<f64>().is_ok()
}
