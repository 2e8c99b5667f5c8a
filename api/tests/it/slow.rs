//! Clients that take their time: over a body, over a head, and over nothing at all.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::server::Server;

/// Longer than any of the server's limits, and still an end.
const PATIENCE: Duration = Duration::from_secs(100);

/// Sends a beginning and then a byte after each pause, until the server answers or hangs up. Returns what it said, and
/// how long that took.
async fn drip(server: &Server, begin: &str, byte: &str, pause: Duration) -> (String, Duration) {
    let address = server.address.strip_prefix("http://").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let started = Instant::now();
    let (mut read, mut write) = stream.into_split();
    write.write_all(begin.as_bytes()).await.unwrap();
    let dripping = async {
        loop {
            sleep(pause).await;
            if byte.is_empty() || write.write_all(byte.as_bytes()).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let mut answer = Vec::new();
    let answered = async {
        // The connection may be cut instead of closed: that is an end, too.
        let _ = read.read_to_end(&mut answer).await;
    };
    let ended = timeout(PATIENCE, async {
        tokio::select! {
            () = dripping => unreachable!("dripping has no end"),
            () = answered => {}
        }
    });
    ended.await.expect("the server hangs up");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    (answer, started.elapsed())
}

#[tokio::test]
async fn a_body_has_to_come_in_time() {
    let server = Server::start_with(|settings| settings.request_timeout_seconds = 10).await;
    let pause = Duration::from_millis(100);
    let lengths = [
        ("content-length: 1000", "{"),
        ("transfer-encoding: chunked", "1\r\n{\r\n"),
    ];
    let paths = ["/api/v1/auth/login", "/login", "/api/auth/login/"];
    let requests = paths
        .into_iter()
        .flat_map(|path| lengths.map(|length| (path, length)));
    let checks = requests.map(async |(path, (length, byte))| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n{length}\r\n\r\n"
        );
        let (answer, _) = drip(&server, &head, byte, pause).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{path}: {answer}");
    });
    futures::future::join_all(checks).await;
}

#[tokio::test]
async fn heads_have_to_come_in_time_and_idle_connections_end() {
    let server = Server::start().await;
    let pause = Duration::from_millis(500);
    let request = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let ((slow, _), (silent, _), (idle, took)) = tokio::join!(
        drip(&server, "GET /healthz HTTP/1.1\r\nx: ", "x", pause),
        drip(&server, "", "", pause),
        drip(&server, request, "", pause),
    );
    assert!(!slow.starts_with("HTTP/1.1 200"), "{slow}");
    assert!(!silent.starts_with("HTTP/1.1 200"), "{silent}");
    assert!(idle.starts_with("HTTP/1.1 200") && took > pause, "{idle}");
}

#[tokio::test]
async fn one_connection_too_many_waits_for_another_to_end() {
    let server = Server::start_with(|settings| settings.max_connections = 2).await;
    let address = server.address.strip_prefix("http://").unwrap();
    let ask = async || {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
        stream.write_all(request).await.unwrap();
        stream
    };
    let answered = async |stream: &mut TcpStream| {
        let mut begin = [0; 15];
        stream.read_exact(&mut begin).await.unwrap();
        begin == *b"HTTP/1.1 200 OK"
    };
    let (mut first, mut second) = (ask().await, ask().await);
    assert!(answered(&mut first).await && answered(&mut second).await);
    let mut third = ask().await;
    let waited = timeout(Duration::from_secs(1), answered(&mut third)).await;
    assert!(waited.is_err(), "there is no place for a third");
    drop(first);
    let freed = timeout(PATIENCE, answered(&mut third)).await;
    assert_eq!(freed, Ok(true), "the place of the first is free");
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_cut() {
    let server = Server::start_with(|settings| settings.max_connections = 1).await;
    let address = server.address.strip_prefix("http://").unwrap();
    // Requests without end, and no answer read: the server is stuck in writing, soon.
    let deaf = TcpStream::connect(address).await.unwrap();
    let (unread, mut write) = deaf.into_split();
    let asking = async {
        let request = b"GET /api/openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n";
        while write.write_all(request).await.is_ok() {}
    };
    let cut = timeout(Duration::from_secs(90), asking).await;
    assert!(cut.is_ok(), "the connection is cut");
    drop(unread);
    let page = server.get("/healthz", "").await;
    assert_eq!(page.status, 200, "and its place is free");
}
