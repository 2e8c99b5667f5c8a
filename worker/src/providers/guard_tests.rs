//! Tests of the outbound guard with real sockets. 127.0.0.1 represents the internal network, 127.0.0.2 the public
//! internet.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use clap::Parser;
use futures::{FutureExt as _, future::BoxFuture};
use opb_outbound::Lookup;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::{
    providers::{CallError, CallErrorKind, HttpClient},
    settings::WorkerSettings,
};

const INSIDE: [u8; 4] = [127, 0, 0, 1];
const OUTSIDE: [u8; 4] = [127, 0, 0, 2];

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    worker: WorkerSettings,
    #[command(flatten)]
    outbound: opb_core::outbound::OutboundSettings,
}

/// Counts its connections and sends each the same response.
struct Listener(Arc<AtomicUsize>);

impl Listener {
    async fn start(address: [u8; 4], port: u16, answer: String) -> (Self, u16) {
        let listener = TcpListener::bind((std::net::Ipv4Addr::from(address), port))
            .await
            .unwrap();
        let port = listener.local_addr().unwrap().port();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        (Self(count), port)
    }

    fn connections(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// An internal and an external listener, on the same port.
async fn listeners(outside_answers: impl Fn(u16) -> String) -> (Listener, Listener, u16) {
    let ok = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
    let (inside, port) = Listener::start(INSIDE, 0, ok.to_owned()).await;
    let (outside, _) = Listener::start(OUTSIDE, port, outside_answers(port)).await;
    (inside, outside, port)
}

fn ok(_: u16) -> String {
    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok".to_owned()
}

/// Returns one list of addresses after the other, and then starts over.
struct Turns(Vec<Vec<[u8; 4]>>, AtomicUsize);

impl Lookup for Turns {
    fn addresses(&self, _name: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let turn = self.1.fetch_add(1, Ordering::SeqCst) % self.0.len();
        let addresses = self.0[turn].iter().map(|address| (*address, 0).into());
        futures::future::ready(Ok(addresses.collect())).boxed()
    }
}

fn client(allowed: &str, turns: &[&[[u8; 4]]]) -> HttpClient {
    let words = ["worker", "--call-timeout=5", "--allow-outbound", allowed];
    let program = Program::parse_from(words);
    let settings = WorkerSettings {
        outbound: Arc::new(program.outbound.policy()),
        ..program.worker
    };
    let turns = turns.iter().map(|turn| turn.to_vec()).collect();
    let lookup: Arc<dyn Lookup> = Arc::new(Turns(turns, AtomicUsize::new(0)));
    HttpClient::with_lookup(&settings, &lookup).unwrap()
}

async fn ask(client: &HttpClient, url: &str) -> Result<(), CallError> {
    client
        .send(client.post(url).body("x"), &[])
        .await
        .map(|_| ())
}

#[tokio::test]
async fn no_spelling_reaches_the_inside() {
    let (inside, outside, port) = listeners(ok).await;
    let guarded = client("127.0.0.2", &[&[INSIDE]]);
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "localhost",
        "localhost.",
        "api.localhost",
        "１２７.0.0.1",
        "127.0.0.1.",
        "a-name.example",
        "user:word@127.0.0.1",
    ] {
        let error = ask(&guarded, &format!("http://{host}:{port}/v1"))
            .await
            .unwrap_err();
        assert_eq!(error.kind, CallErrorKind::Forbidden, "{host}: {error}");
        assert!(!error.kind.may_pass());
        assert_eq!(error.kind.name(), "connect");
    }
    assert_eq!((inside.connections(), outside.connections()), (0, 0));
    // The listener does count: without the guard it is reached.
    ask(
        &client("127.0.0.0/8", &[&[INSIDE]]),
        &format!("http://a-name.example:{port}/"),
    )
    .await
    .unwrap();
    assert_eq!(inside.connections(), 1);
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_caught_every_time() {
    let (inside, outside, port) = listeners(ok).await;
    let url = format!("http://rebinding.example:{port}/v1");
    let alternating = client("127.0.0.2", &[&[OUTSIDE], &[INSIDE]]);
    for _ in 0..10 {
        ask(&alternating, &url).await.unwrap();
        let error = ask(&alternating, &url).await.unwrap_err();
        assert_eq!(error.kind, CallErrorKind::Forbidden);
    }
    assert_eq!((inside.connections(), outside.connections()), (0, 10));
    // One forbidden address among allowed ones is enough.
    for mixed in [[OUTSIDE, INSIDE], [INSIDE, OUTSIDE]] {
        let error = ask(&client("127.0.0.2", &[&mixed]), &url)
            .await
            .unwrap_err();
        assert_eq!(error.kind, CallErrorKind::Forbidden);
    }
    assert_eq!((inside.connections(), outside.connections()), (0, 10));
}

#[tokio::test]
async fn a_redirect_leads_nowhere() {
    for status in [301, 302, 303, 307, 308] {
        for target in [
            "http://127.0.0.1:PORT/",
            "http://rebinding.example:PORT/",
            "file:///etc/passwd",
        ] {
            let (inside, outside, port) = listeners(|port| {
                let target = target.replace("PORT", &port.to_string());
                format!("HTTP/1.1 {status} Elsewhere\r\nlocation: {target}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            })
            .await;
            let guarded = client("127.0.0.2", &[&[OUTSIDE], &[INSIDE]]);
            let error = ask(&guarded, &format!("http://rebinding.example:{port}/"))
                .await
                .unwrap_err();
            assert_eq!(error.kind, CallErrorKind::Refused, "{error}");
            assert_eq!((inside.connections(), outside.connections()), (0, 1));
        }
    }
}

#[tokio::test]
async fn errors_do_not_tell_what_listens_where() {
    let (_inside, _outside, open) = listeners(ok).await;
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let guarded = client("127.0.0.2", &[&[INSIDE]]);
    let mut messages = Vec::new();
    for port in [open, closed] {
        for host in ["127.0.0.1", "a-name.example"] {
            messages.push(ask(&guarded, &format!("http://{host}:{port}/")).await);
        }
    }
    // Where calls are allowed, a closed port gets the same message.
    let allowed = client("127.0.0.0/8", &[&[INSIDE]]);
    messages.push(ask(&allowed, &format!("http://127.0.0.1:{closed}/")).await);
    for message in messages {
        assert_eq!(
            message.unwrap_err().message,
            "the provider's address is not allowed or cannot be reached; an administrator sees why with: opb provider check"
        );
    }
}

/// The server itself is never called: not by number, not by name, not by a name that changes its address, not even if
/// the whole host is allowed. Only its port is blocked.
#[tokio::test]
async fn nobody_sends_a_worker_to_the_bank_itself() {
    let (bank, other_address, port) = listeners(ok).await;
    let (neighbour, free_port) = Listener::start(INSIDE, 0, ok(0)).await;
    let words = [
        "worker",
        "--call-timeout=5",
        "--allow-outbound=0.0.0.0/0,::/0,localhost,a-name.example",
    ];
    let program = Program::parse_from(words);
    let outbound = Arc::new(program.outbound.policy());
    outbound.own().listens((INSIDE, port).into());
    let settings = WorkerSettings {
        outbound,
        ..program.worker
    };
    let public = [93, 184, 215, 14];
    let turns = vec![
        vec![INSIDE],
        vec![public, INSIDE],
        vec![OUTSIDE],
        vec![[0, 0, 0, 0]],
    ];
    let lookup: Arc<dyn Lookup> = Arc::new(Turns(turns, AtomicUsize::new(0)));
    let client = HttpClient::with_lookup(&settings, &lookup).unwrap();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "127.0.0.2",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "[::]",
        "localhost",
        "x.localhost",
        "a-name.example",
        "a-name.example",
        "A-NAME.example.",
        "a-name.example",
    ] {
        let url = format!("http://{host}:{port}/api/v1/auth/register");
        let error = ask(&client, &url).await.unwrap_err();
        assert_eq!(error.kind, CallErrorKind::Forbidden, "{host}: {error}");
    }
    assert_eq!((bank.connections(), other_address.connections()), (0, 0));
    ask(&client, &format!("http://127.0.0.1:{free_port}/v1"))
        .await
        .unwrap();
    assert_eq!(neighbour.connections(), 1);
}
