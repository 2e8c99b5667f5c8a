//! What bodies of requests may take: little without a login, and a part of the whole with one.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::server::Server;

const LIMIT: usize = 256 * 1024;

/// Announces a body of `announced` bytes, sends `sent` bytes of it, and keeps the connection.
async fn send_part(
    server: &Server,
    path: &str,
    token: &str,
    announced: usize,
    sent: usize,
) -> TcpStream {
    let address = server.address.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let authorization = match token {
        "" => String::new(),
        token => format!("authorization: Bearer {token}\r\n"),
    };
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n{authorization}content-length: {announced}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server may refuse the body before it has come.
    let _ = stream.write_all(&vec![b' '; sent]).await;
    stream
}

async fn status(stream: &mut TcpStream) -> String {
    let mut begin = [0; 12];
    stream.read_exact(&mut begin).await.unwrap();
    String::from_utf8_lossy(&begin).into_owned()
}

#[tokio::test]
async fn strangers_send_small_bodies_only() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let paths = [
        "/api/v1/auth/register",
        "/api/v1/auth/login",
        "/api/v1/auth/refresh",
        "/api/v1/auth/password-reset",
        "/api/v1/compare",
        "/register",
        "/login",
        "/refresh",
        "/api/auth/register/",
        "/api/auth/login/",
        "/api/auth/token/refresh/",
    ];
    let refusals = paths.map(async |path| {
        let mut stream = send_part(&server, path, "", 8_000_000, 100_000).await;
        assert_eq!(status(&mut stream).await, "HTTP/1.1 413", "{path}");
    });
    futures::future::join_all(refusals).await;
    // Where a login is needed, it is asked for before the body.
    for (token, path) in [
        ("", "/api/v1/benchmarks"),
        ("opb_wrong", "/api/v1/benchmarks"),
        ("opb_wrong", "/api/v1/compare"),
    ] {
        let mut stream = send_part(&server, path, token, 8_000_000, 100_000).await;
        assert_eq!(status(&mut stream).await, "HTTP/1.1 401", "{token} {path}");
    }
    let large = json!({"title": "Large", "body": {"kind": "text", "text": "x".repeat(100_000)}});
    let reply = server.post("/api/v1/prompts", &ada, &large).await;
    reply.expect_problem(422, "invalid", Some("body.text"));
}

/// The status of the first of these requests that is answered, and the others, which wait.
async fn first_answered(mut held: Vec<TcpStream>) -> (String, Vec<TcpStream>) {
    let answers = held.iter_mut().map(|stream| Box::pin(status(stream)));
    let (answer, at, _) = futures::future::select_all(answers).await;
    held.remove(at);
    (answer, held)
}

#[tokio::test]
async fn large_bodies_share_a_budget_of_which_each_user_has_a_part() {
    let server = Server::start_with(|settings| {
        settings.body_limit_bytes = LIMIT as u64;
        settings.request_timeout_seconds = 600;
    })
    .await;
    let path = "/api/v1/prompts";
    let users = ["ada", "bob", "cleo", "dora"].map(async |name| {
        let token = server.user(name).await;
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(send_part(&server, path, &token, LIMIT, LIMIT - 1).await);
        }
        // Whichever comes last finds no room.
        let (refused, held) = first_answered(held).await;
        assert_eq!(refused, "HTTP/1.1 429", "{name}");
        let body = json!({"kind": "text", "text": "x"});
        let small = json!({"slug": name, "title": "Small", "body": body});
        server.post(path, &token, &small).await.expect(201);
        held
    });
    let held = futures::future::join_all(users).await;
    let mut held: Vec<TcpStream> = held.into_iter().flatten().collect();
    let eve = server.user("eve").await;
    held.push(send_part(&server, path, &eve, LIMIT, LIMIT - 1).await);
    let (refused, held) = first_answered(held).await;
    assert_eq!((refused.as_str(), held.len()), ("HTTP/1.1 503", 8));
    drop(held);
    // The server learns by and by that they have gone.
    let large = json!({"title": "Large", "description": "x".repeat(LIMIT / 2)});
    loop {
        let reply = server.post(path, &eve, &large).await;
        if reply.status == 422 {
            break;
        }
        reply.expect_problem(503, "busy", None);
        assert_eq!(reply.header("retry-after"), "1");
    }
}
