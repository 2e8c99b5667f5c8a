//! Providers that misbehave in every way there is: each call ends in a typed, recorded error or a sound answer, within
//! its bounds in time and memory, and no worker dies of it.

use std::{fs, time::Duration};

use opb_core::{
    auth::CurrentUser,
    models::{NewProvider, ProviderKind, create_provider},
    outbound::OutboundPolicy,
    runs::{RunState, list_evaluations},
};
use opb_testing::{TestDatabase, fixtures};
use serde_json::json;
use sqlx::PgConnection;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::{
    harness::{master_key, wait_for},
    killed::WorkerProcess,
    runs::assert_counted_once,
    stand_in::receive,
};

/// How much memory the worker may need for all of it, over what it had before, in KiB. Of a body without an end 8 MiB are
/// held, and how the calls meet moves the peak from 38 to 71 MiB; with 60 MiB held instead it is beyond this.
const MOST_GROWTH_KIB: i64 = 100 * 1024;
/// Evaluations of each kind.
const EACH: i64 = 8;

/// What is sent on a connection after a request was read.
#[derive(Debug, Clone, Copy)]
enum Answer {
    /// Bytes, and then the connection stays open.
    Say(&'static str),
    /// Bytes, and then the connection ends.
    SayAndEnd(&'static str),
    /// A head, and the same bytes for ever: large pieces, since what counts is how much comes, and not in how many.
    Repeat(&'static str, fn() -> String),
    /// One byte a second.
    Drip(&'static str),
    /// A body as long as this; its head says so.
    Long(usize),
    /// The connection is reset.
    Reset,
}

use Answer::{Drip, Long, Repeat, Reset, Say, SayAndEnd};

/// Every kind, and the errors that it may end in; none where the answer counts.
const KINDS: [(&str, Answer, &[&str]); 25] = [
    ("reset", Reset, &["read"]),
    ("hang", Say(""), &["timeout"]),
    ("closed", SayAndEnd(""), &["read"]),
    (
        "drip",
        Drip("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n{\"choices\": []"),
        &["timeout"],
    ),
    (
        "endless",
        Repeat(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            || format!("1000\r\n{}\r\n", "0123456789abcdef".repeat(256)),
        ),
        &["too_large"],
    ),
    ("gigabyte", Long(1 << 30), &["too_large"]),
    (
        "wrong-length",
        SayAndEnd("HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{\"choices\":[]}"),
        &["read"],
    ),
    (
        "truncated",
        SayAndEnd("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"cho\r\n"),
        &["read"],
    ),
    (
        "garbage",
        SayAndEnd("\u{1}\u{2}\u{3} this is no HTTP\r\n\r\n"),
        &["read"],
    ),
    (
        "html",
        Say(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 22\r\n\r\n<html>hello you</html>",
        ),
        &["protocol"],
    ),
    (
        "no-json",
        Say("HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{\"choices\":[}}"),
        &["protocol"],
    ),
    (
        "500",
        Say("HTTP/1.1 500 Oh No\r\ncontent-length: 0\r\n\r\n"),
        &["server"],
    ),
    (
        "502",
        Say("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"),
        &["server"],
    ),
    (
        "503",
        Say("HTTP/1.1 503 Too Much\r\ncontent-length: 0\r\n\r\n"),
        &["overloaded"],
    ),
    (
        "529",
        Say("HTTP/1.1 529 Overloaded\r\ncontent-length: 0\r\n\r\n"),
        &["overloaded"],
    ),
    (
        "redirect",
        Say("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"),
        &["refused"],
    ),
    (
        "teapot",
        Say("HTTP/1.1 418 Teapot\r\ncontent-length: 0\r\n\r\n"),
        &["refused"],
    ),
    (
        "slow-stream",
        Drip(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"4\"}}]}\n\n",
        ),
        &["timeout"],
    ),
    (
        "silent-stream",
        Say(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"4\"}}]}\n\n",
        ),
        &["timeout"],
    ),
    (
        "endless-stream",
        Repeat(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n",
            || {
                let text = "and so on ".repeat(400);
                format!(
                    "data: {}\n\n",
                    json!({"choices": [{"delta": {"content": text}}]})
                )
            },
        ),
        &["too_large"],
    ),
    (
        "unmarked-stream",
        SayAndEnd(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"4\"}}]}\n\n",
        ),
        &["read"],
    ),
    (
        "no-usage",
        Say(
            "HTTP/1.1 200 OK\r\ncontent-length: 49\r\n\r\n{\"choices\":[{\"message\":{\"content\":\"forty-two\"}}]}",
        ),
        &[],
    ),
    (
        "negative-usage",
        SayAndEnd(
            "HTTP/1.1 200 OK\r\n\r\n{\"choices\":[{\"message\":{\"content\":\"4\"}}],\"usage\":{\"prompt_tokens\":-5,\"completion_tokens\":-7}}",
        ),
        &[],
    ),
    (
        "absurd-usage",
        SayAndEnd(
            "HTTP/1.1 200 OK\r\n\r\n{\"choices\":[{\"message\":{\"content\":\"4\"}}],\"usage\":{\"prompt_tokens\":999999999999999999,\"completion_tokens\":3}}",
        ),
        &[],
    ),
    (
        "no-number-usage",
        SayAndEnd(
            "HTTP/1.1 200 OK\r\n\r\n{\"choices\":[{\"message\":{\"content\":\"4\"}}],\"usage\":{\"prompt_tokens\":1e300,\"completion_tokens\":3}}",
        ),
        &[],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_misbehaviour_ends_in_a_recorded_error() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, usize::try_from(EACH).unwrap() / 2).await;
    let mut expected: Vec<(String, &[&str])> = Vec::new();
    for (name, answer, errors) in KINDS {
        let name = format!("bad-{name}");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        tokio::spawn(misbehave(listener, answer));
        add(conn, &name, &base_url).await;
        expected.push((name, errors));
    }
    // 100,000 brackets and bytes that are no text do not fit into the table.
    let errors: [&[&str]; 2] = [&["read"], &[]];
    for ((name, body), errors) in [
        ("bad-deep", b"[".repeat(100_000)),
        (
            "bad-utf8",
            b"{\"choices\":[{\"message\":{\"content\":\"\xff\xfe\"}}]}".to_vec(),
        ),
    ]
    .into_iter()
    .zip(errors)
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        tokio::spawn(answer_with(listener, body));
        add(conn, name, &base_url).await;
        expected.push((name.into(), errors));
    }
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let no_tls = format!("https://{}/v1", plain.local_addr().unwrap());
    tokio::spawn(speak_first(plain));
    for (name, base_url) in [
        ("bad-refused", "http://127.0.0.1:1/v1"),
        ("bad-tls", &no_tls),
        ("bad-host", "http://no-such-host.invalid/v1"),
    ] {
        add(conn, name, base_url).await;
        expected.push((name.into(), &["connect"]));
    }

    // What never ends by itself meets short bounds, and everything else none that it could reach: a busy machine changes
    // neither.
    let (endless, ending): (Vec<_>, Vec<_>) = expected
        .into_iter()
        .partition(|(_, errors)| *errors == ["timeout"]);
    check_recorded(&db, &owner, "3600", &ending).await;
    check_recorded(&db, &owner, "1", &endless).await;
}

/// Runs on all of these, whose calls may take so many seconds; the errors are those that are expected.
async fn check_recorded(
    db: &TestDatabase,
    owner: &CurrentUser,
    seconds: &str,
    expected: &[(String, &[&str])],
) {
    let conn = &mut db.pool.acquire().await.unwrap();
    let models: Vec<String> = expected
        .iter()
        .map(|(name, _)| format!("{name}:any"))
        .collect();
    let settings = [
        &format!("--call-timeout={seconds}"),
        "--max-attempts=2",
        // These providers never come back.
        "--patience=0",
        "--allow-outbound=127.0.0.1",
    ];
    let worker = WorkerProcess::start(db, &settings);
    // What a worker needs for any work at all is there after its first run.
    let warm = fixtures::submit(conn, owner, json!(["simulated:weak"]), 1).await;
    wait_for(db, owner, warm.id, |run| run.state.has_ended()).await;
    let before = peak_kib(&worker);
    let run = fixtures::submit(conn, owner, json!(models), 1).await;
    let run = wait_for(db, owner, run.id, |run| run.state.has_ended()).await;
    let growth = peak_kib(&worker) - before;

    // A run without a single answer has failed.
    let state = if expected.iter().any(|(_, errors)| errors.is_empty()) {
        RunState::Completed
    } else {
        RunState::Failed
    };
    assert_eq!(run.state, state, "{}", run.state_reason);
    assert_eq!(run.recorded, EACH * i64::try_from(expected.len()).unwrap());
    assert_counted_once(db, &run).await;
    let evaluations = list_evaluations(
        conn,
        &run,
        &opb_core::runs::EvaluationFilter::default(),
        None,
        10_000,
    )
    .await
    .unwrap()
    .evaluations;
    for (place, (name, errors)) in expected.iter().enumerate() {
        let of_kind = evaluations
            .iter()
            .filter(|evaluation| usize::try_from(evaluation.model_position).unwrap() == place);
        let mut count = 0;
        for evaluation in of_kind {
            count += 1;
            let fits = match &evaluation.error_kind {
                Some(kind) => errors.contains(&kind.as_str()),
                None => errors.is_empty(),
            };
            assert!(fits, "{name}: {evaluation:#?}");
            let tokens = evaluation.input_tokens.unwrap_or(0);
            assert!(tokens >= 0, "{name}: {evaluation:#?}");
        }
        assert_eq!(count, EACH, "{name}");
    }
    assert!(growth <= MOST_GROWTH_KIB, "the worker grew by {growth} KiB");
}

async fn add(conn: &mut PgConnection, name: &str, base_url: &str) {
    let provider = NewProvider {
        name: name.into(),
        kind: ProviderKind::Openai,
        base_url: Some(base_url.into()),
        free: None,
        credential: None,
        settings: serde_json::Map::new(),
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
}

/// The most memory that a process ever had.
fn peak_kib(worker: &WorkerProcess) -> i64 {
    let status = fs::read_to_string(format!("/proc/{}/status", worker.name())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

async fn answer_with(listener: TcpListener, body: Vec<u8>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let body = body.clone();
        tokio::spawn(async move {
            let mut received = Vec::new();
            while receive(&mut stream, &mut received).await.is_some() {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all(head.as_bytes()).await.ok()?;
                stream.write_all(&body).await.ok()?;
            }
            Some(())
        });
    }
}

/// Speaks before it is asked, and no TLS.
async fn speak_first(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(b"220 this is another protocol\r\n").await;
    }
}

async fn misbehave(listener: TcpListener, answer: Answer) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut received = Vec::new();
            while receive(&mut stream, &mut received).await.is_some() {
                if let Reset = answer {
                    stream.set_zero_linger().ok()?;
                    return None;
                }
                if !say(&mut stream, answer).await? {
                    return None;
                }
            }
            Some(())
        });
    }
}

/// Says it; false when the connection is to end. Nothing when the worker has gone.
async fn say(stream: &mut (impl AsyncWrite + Unpin), answer: Answer) -> Option<bool> {
    match answer {
        Say(text) => stream.write_all(text.as_bytes()).await.ok()?,
        SayAndEnd(text) => {
            stream.write_all(text.as_bytes()).await.ok()?;
            return Some(false);
        }
        Repeat(head, piece) => {
            stream.write_all(head.as_bytes()).await.ok()?;
            let piece = piece();
            loop {
                stream.write_all(piece.as_bytes()).await.ok()?;
            }
        }
        Drip(text) => {
            for byte in text.bytes().cycle() {
                stream.write_all(&[byte]).await.ok()?;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
        Long(length) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.ok()?;
            let piece = vec![b' '; 1 << 16];
            for _ in 0..length / piece.len() {
                stream.write_all(&piece).await.ok()?;
            }
        }
        Reset => return Some(false),
    }
    Some(true)
}
