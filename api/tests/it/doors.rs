//! Who may come in by which name, what strangers see of the process, and what is left of a body that nobody read.

use std::time::Duration;

use opb_api::ApiSettings;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::server::{Reply, Server, send, with_token};

async fn as_host(server: &Server, host: &str, path: &str) -> Reply {
    let request = server.request(reqwest::Method::GET, path);
    send(request.header("host", host)).await
}

/// L5: a page whose name leads to 127.0.0.1 is no page of this server.
#[tokio::test]
async fn names_that_are_not_its_own_are_refused() {
    let server = Server::start_with(|settings| {
        settings.public_url = Some("https://bank.example.org".parse().unwrap());
        settings.allow_hosts = vec!["bank.lan".into()];
    })
    .await;
    for host in [
        "localhost",
        "localhost:1",
        "127.0.0.1",
        "[::1]:8080",
        "bank.example.org",
        "BANK.LAN:80",
    ] {
        assert_eq!(
            as_host(&server, host, "/healthz").await.status,
            200,
            "{host}"
        );
    }
    for host in [
        "evil.example",
        "localhost.evil.example:8080",
        "10.1.2.3",
        "127.0.0.1.evil.example",
    ] {
        for path in [
            "/healthz",
            "/api/v1/prompts",
            "/api/docs",
            "/metrics",
            "/nowhere",
        ] {
            let reply = as_host(&server, host, path).await;
            reply.expect_problem(421, "wrong_host", None);
            assert!(reply.text.contains("--public-url"), "{}", reply.text);
        }
        let body =
            json!({"username": "eve", "email": "eve@example.org", "password": "correct horse"});
        // The dialects refuse in their own words.
        assert_eq!(as_host(&server, host, "/login").await.status, 421);
        let request = server.request(reqwest::Method::POST, "/api/v1/auth/register");
        let reply = send(request.header("host", host).json(&body)).await;
        reply.expect_problem(421, "wrong_host", None);
    }
}

/// What sends no name is no browser, so no page led it here; a name in the request line counts like one in the head.
#[tokio::test]
async fn requests_without_a_name_are_answered() {
    let server = Server::start().await;
    let address = server.address.strip_prefix("http://").unwrap();
    for (head, status) in [
        ("GET /healthz HTTP/1.0\r\n\r\n", "200"),
        ("GET /healthz HTTP/1.0\r\nhost: evil.example\r\n\r\n", "421"),
        ("GET http://evil.example/healthz HTTP/1.0\r\n\r\n", "421"),
        ("GET http://localhost/healthz HTTP/1.0\r\n\r\n", "200"),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let begin = answer.get(..12).unwrap_or(&answer);
        assert_eq!(begin, format!("HTTP/1.0 {status}"), "{head}: {answer}");
    }
}

#[tokio::test]
async fn at_other_addresses_any_name_does() {
    let server =
        Server::start_with(|settings| settings.listen = "0.0.0.0:0".parse().unwrap()).await;
    for host in [
        "api.bank.svc.cluster.local:8080",
        "10.1.2.3:8080",
        "anything",
    ] {
        assert_eq!(
            as_host(&server, host, "/healthz").await.status,
            200,
            "{host}"
        );
    }
}

const TOKEN: &str = "0123456789abcdef0123";

fn with_metrics_token(settings: &mut ApiSettings) {
    settings.metrics_token = Some(TOKEN.into());
}

/// L4: metrics are for programs of this machine, and for who brings the token.
#[tokio::test]
async fn strangers_see_no_metrics() {
    let server = Server::start_with(with_metrics_token).await;
    let ask = async |header: Option<(&str, &str)>, token: &str| {
        let mut request = server.request(reqwest::Method::GET, "/metrics");
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        send(with_token(request, token)).await
    };
    assert_eq!(ask(None, "").await.status, 200);
    for proxied in [
        ("x-forwarded-for", "198.51.100.7"),
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "for=198.51.100.7"),
        ("x-real-ip", "127.0.0.1"),
        ("via", "1.1 proxy"),
    ] {
        let reply = ask(Some(proxied), "").await;
        reply.expect_problem(401, "unauthenticated", None);
        assert!(!reply.text.contains("opb_"), "{}", reply.text);
        ask(Some(proxied), "wrong")
            .await
            .expect_problem(401, "unauthenticated", None);
        assert_eq!(ask(Some(proxied), TOKEN).await.status, 200);
    }
    // A user's credential is none for this.
    let user = server.user("eve").await;
    ask(Some(("via", "1.1 proxy")), &user)
        .await
        .expect_problem(401, "unauthenticated", None);
}

/// Whoever has told where people reach the server has a proxy before it, and proxies often add nothing.
#[tokio::test]
async fn behind_a_proxy_this_machine_is_no_credential() {
    let server = Server::start_with(|settings| {
        with_metrics_token(settings);
        settings.public_url = Some("https://bank.example.org".parse().unwrap());
    })
    .await;
    server
        .get("/metrics", "")
        .await
        .expect_problem(401, "unauthenticated", None);
    assert_eq!(server.get("/metrics", TOKEN).await.status, 200);
    server
        .sql("delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)")
        .await;
    let reply = server.get("/readyz", "").await;
    reply.expect_problem(503, "not_ready", None);
    assert!(!reply.text.contains("migrated"), "{}", reply.text);
}

/// Sends a head, and after a moment the body, and reads one answer; the connection has to live on unless it says otherwise.
async fn ask(stream: &mut TcpStream, head: &str, body: &[u8], apart: bool) -> String {
    let head = format!("{head}content-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    if apart {
        stream.flush().await.unwrap();
        // Long enough that the server sees the head alone, whatever it then does.
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    stream.write_all(body).await.unwrap();
    let mut bytes = Vec::new();
    loop {
        let mut buffer = vec![0; 16_384];
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(
            count > 0,
            "closed without an answer: {}",
            String::from_utf8_lossy(&bytes)
        );
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, rest)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.to_lowercase();
        let length = length.split("content-length: ").nth(1).unwrap_or("0");
        if rest.len() >= length.lines().next().unwrap().parse::<usize>().unwrap() {
            return text;
        }
    }
}

/// D1: a refusal that comes before the body breaks no connection.
#[tokio::test]
async fn a_connection_survives_refusals() {
    let server = Server::start().await;
    let address = server.address.strip_prefix("http://").unwrap();
    for (path, extra, status, size) in [
        (
            "POST /api/v1/runs",
            "authorization: Bearer expired\r\n",
            "401",
            5_000,
        ),
        ("POST /api/v1/nowhere", "", "404", 5_000),
        ("DELETE /api/v1/auth/login", "", "405", 5_000),
        (
            "POST /api/v1/auth/login",
            "content-type: text/plain\r\n",
            "415",
            60_000,
        ),
        ("GET /healthz", "", "200", 1_000),
    ] {
        for apart in [false, true] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let head = format!("{path} HTTP/1.1\r\nhost: localhost\r\n{extra}");
            for number in 0..60 {
                let answer = ask(&mut stream, &head, &vec![b'x'; size], apart).await;
                assert!(
                    answer.starts_with(&format!("HTTP/1.1 {status}")),
                    "{number}: {answer}"
                );
                assert!(
                    !answer.to_lowercase().contains("connection: close"),
                    "{answer}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_connection_that_ends_says_so_and_its_answer_arrives() {
    let server = Server::start().await;
    let address = server.address.strip_prefix("http://").unwrap();
    let head = "POST /api/v1/runs HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer expired\r\n";
    for _ in 0..10 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let answer = ask(&mut stream, head, &vec![b'x'; 4_000_000], true).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        assert!(
            answer.to_lowercase().contains("connection: close"),
            "{answer}"
        );
    }
    // Who asks first sends nothing.
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{head}expect: 100-continue\r\ncontent-length: 1000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(
        answer.to_lowercase().contains("connection: close"),
        "{answer}"
    );
}
