//! A provider over HTTP that keeps its own books: what it answered, and what it would bill.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use opb_core::models::{
    NewProvider, Price, ProviderKind, Tokens, cost_microusd, create_provider, set_price,
};
use opb_core::outbound::OutboundPolicy;
use serde_json::Value;
use sqlx::PgConnection;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Mutex,
};

use crate::harness::master_key;

/// The price of the model `counted:any`: dear, so that a few calls make a dollar.
pub const PRICE: Price = Price::new(10_000_000, 100_000_000);

/// What the stand-in did since its start.
#[derive(Default)]
pub struct Books {
    calls: AtomicU64,
    answers: AtomicU64,
    billed_microusd: AtomicI64,
    running: AtomicU64,
    most_running: AtomicU64,
    is_down: AtomicBool,
    is_gone: AtomicBool,
    refuses: AtomicBool,
}

impl Books {
    /// Answers that count, without failures.
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::SeqCst)
    }

    /// Every call, failures counted.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// The most calls that ran at once.
    pub fn most_running(&self) -> u64 {
        self.most_running.load(Ordering::SeqCst)
    }

    /// Every call is answered with 503 from now on.
    pub fn go_down(&self) {
        self.is_down.store(true, Ordering::SeqCst);
    }

    /// Every call is told to come back in an hour from now on.
    pub fn refuse(&self) {
        self.refuses.store(true, Ordering::SeqCst);
    }

    /// Every connection ends without an answer from now on.
    pub fn hang_up(&self) {
        self.is_gone.store(true, Ordering::SeqCst);
    }

    /// Calls are answered again.
    pub fn come_back(&self) {
        self.is_gone.store(false, Ordering::SeqCst);
        self.is_down.store(false, Ordering::SeqCst);
    }

    /// What its owner would have to pay.
    pub fn billed_microusd(&self) -> i64 {
        self.billed_microusd.load(Ordering::SeqCst)
    }
}

/// Starts the stand-in as the provider `counted`. One call in so many fails, if any shall.
pub async fn start(conn: &mut PgConnection, delay: Duration, fails: Option<u64>) -> Arc<Books> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = NewProvider {
        name: "counted".into(),
        kind: ProviderKind::Openai,
        base_url: Some(format!("http://{}/v1", listener.local_addr().unwrap())),
        settings: serde_json::Map::new(),
        free: None,
        credential: None,
    };
    let provider = create_provider(
        conn,
        &opb_testing::fixtures::administrator(),
        &master_key(),
        &OutboundPolicy::local(),
        provider,
    )
    .await
    .unwrap();
    set_price(conn, provider.id, "any", PRICE).await.unwrap();
    let books = Arc::new(Books::default());
    let kept = Arc::clone(&books);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, Arc::clone(&kept), delay, fails));
        }
    });
    books
}

/// Gives every request the same whole answer, and keeps what was asked.
pub async fn answer_all(listener: TcpListener, asked: Arc<Mutex<Vec<Value>>>, answer: String) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (asked, answer) = (Arc::clone(&asked), response("200 OK", &answer));
        tokio::spawn(async move {
            let mut received = Vec::new();
            while let Some(body) = receive(&mut stream, &mut received).await {
                asked
                    .lock()
                    .await
                    .push(serde_json::from_slice(&body).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
    }
}

/// Answers requests on one connection until it ends.
async fn serve(
    mut stream: TcpStream,
    books: Arc<Books>,
    delay: Duration,
    fails: Option<u64>,
) -> Option<()> {
    let mut received = Vec::new();
    loop {
        let body = receive(&mut stream, &mut received).await?;
        let call = books.calls.fetch_add(1, Ordering::SeqCst);
        if books.is_gone.load(Ordering::SeqCst) {
            return None;
        }
        // Billed when the work begins: a caller that is killed meanwhile pays all the same.
        let answer = if books.refuses.load(Ordering::SeqCst) {
            response("429 Slow Down\r\nretry-after: 3600", "{}")
        } else if books.is_down.load(Ordering::SeqCst) {
            response("503 Too Much", "{}")
        } else if fails.is_some_and(|every| call % every == every - 1) {
            let (status, text) = [
                ("500 Oh No", "{}"),
                ("503 Too Much", "{}"),
                ("200 OK", "{\"cho"),
            ][usize::try_from(call / 7 % 3).unwrap()];
            response(status, text)
        } else {
            // As many tokens as a real tokenizer might count, and answers of every length that is allowed.
            let (input, output) = (body.len() as u64 / 5, call % 100 + 1);
            let cost = cost_microusd(
                PRICE,
                Tokens::new(input.cast_signed(), output.cast_signed()),
            );
            books.billed_microusd.fetch_add(cost, Ordering::SeqCst);
            books.answers.fetch_add(1, Ordering::SeqCst);
            let text = format!(
                r#"{{"choices":[{{"index":0,"message":{{"role":"assistant","content":"42"}},"finish_reason":"stop",
                "logprobs":{{"content":[{{"token":"42","logprob":-0.5}}]}}}}],
                "usage":{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{}}}}}"#,
                input + output
            );
            response("200 OK", &text)
        };
        let running = books.running.fetch_add(1, Ordering::SeqCst) + 1;
        books.most_running.fetch_max(running, Ordering::SeqCst);
        tokio::time::sleep(delay).await;
        books.running.fetch_sub(1, Ordering::SeqCst);
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

fn response(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The body of the next request; nothing when the connection ended.
pub async fn receive(stream: &mut TcpStream, received: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        let text = String::from_utf8_lossy(received);
        if let Some(head) = text.find("\r\n\r\n") {
            let length = text[..head]
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .map_or(0, |(_, length)| length.trim().parse().unwrap());
            let end = head + 4 + length;
            if received.len() >= end {
                let rest = received.split_off(end);
                let request = std::mem::replace(received, rest);
                return Some(request[head + 4..].to_vec());
            }
        }
        if stream.read_buf(received).await.ok()? == 0 {
            return None;
        }
    }
}
