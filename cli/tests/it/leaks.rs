//! Canaries: a credential and an API key that must turn up nowhere but where they belong.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
};

use opb_testing::TestDatabase;
use serde_json::Value;

use crate::site::Site;

/// Without any shape by which a filter could know it.
const CREDENTIAL: &str = "canary.Credential/7";

/// A provider that answers every request with this head and its own request, which holds the credential.
fn echoing_provider(head: &'static str, key: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = vec![0; 65_536];
            let size = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..size]).into_owned();
            assert!(
                request.contains(CREDENTIAL),
                "the provider gets its credential"
            );
            let said = format!("Incorrect API key provided: <{CREDENTIAL}>. {request}");
            let body = match key {
                "error" => serde_json::json!({"error": {"message": said}}),
                _ => serde_json::json!({"choices": [{"message": {"content": said}, "finish_reason": CREDENTIAL}]}),
            }
            .to_string();
            let _ = write!(
                stream,
                "HTTP/1.1 {head}\r\ncontent-type: application/json\r\nwww-authenticate: {CREDENTIAL}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
        }
    });
    format!("http://{address}/v1")
}

/// Every value of every table, as text; bytes are in hexadecimal.
async fn dump(db: &TestDatabase) -> String {
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', schemaname, tablename) from pg_tables
         where schemaname not in ('pg_catalog', 'information_schema')",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    assert!(tables.len() > 15, "{tables:?}");
    let mut dump = String::new();
    for table in tables {
        let query = format!("select coalesce(string_agg(t::text, E'\\n'), '') from {table} t");
        let rows: String = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
            .fetch_one(&db.pool)
            .await
            .unwrap();
        dump.push_str(&rows);
    }
    dump
}

fn hexadecimal(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Every answer to a GET of the API document, asked with the key and without.
async fn answers(url: &str, key: &str, run: &str) -> Vec<(String, String)> {
    let http = reqwest::Client::new();
    let document: Value = serde_json::to_value(opb_api::document()).unwrap();
    let mut answers = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        if operations.get("get").is_none() {
            continue;
        }
        let path = path
            .replace("{run}", run)
            .replace("{benchmark}", "capitals")
            .replace("{prompt}", "capital-question");
        for token in [Some(key), None] {
            let mut request = http.get(format!("{url}{path}"));
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let mut response = request.send().await.unwrap();
            let mut text = format!("{} {:?}\n", response.status(), response.headers());
            // The run has ended, so that the stream of its events ends, too.
            while let Some(piece) = response.chunk().await.unwrap() {
                text.push_str(&String::from_utf8_lossy(&piece));
            }
            answers.push((path.clone(), text));
        }
    }
    assert!(answers.len() >= 30);
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_turn_up_nowhere() {
    let db = TestDatabase::new().await;
    let site = Site::new();
    let up = site.up(&[
        "--database-url",
        db.url(),
        "--log",
        "trace,sqlx=trace,apalis=trace,apalis_core=trace",
    ]);
    let key = fs::read_to_string(site.data().join("api-key")).unwrap();
    let key = key.trim();
    let master_key = fs::read_to_string(site.data().join("master-key")).unwrap();
    let mut printed = Vec::new();
    let mut runs = Vec::new();
    for (name, head, shape) in [
        ("refusing", "401 Unauthorized", "error"),
        ("talking", "200 OK", "completion"),
    ] {
        let base_url = echoing_provider(head, shape);
        let added = site
            .command(&[
                "provider",
                "add",
                name,
                "--base-url",
                &base_url,
                "--credential-env",
                "CANARY",
            ])
            .env("CANARY", CREDENTIAL)
            .output()
            .unwrap();
        assert!(added.status.success(), "{added:?}");
        let model = format!("--model={name}:any");
        let words = [
            "run",
            "--benchmark=capitals",
            "--prompt=capital-question",
            &model,
            "--json",
        ];
        let ran = site.opb(&words);
        let run: Value = serde_json::from_slice(&ran.stdout).unwrap();
        runs.push(run["id"].as_str().unwrap().to_owned());
        printed.push(format!(
            "{added:?} {}",
            String::from_utf8_lossy(&ran.stderr)
        ));
    }
    for words in [
        &["provider", "list", "--json"][..],
        &["runs", "--json"],
        &["doctor"],
    ] {
        printed.push(format!("{:?}", site.opb(words)));
    }
    let mut places = vec![
        ("what the commands print".to_owned(), printed.concat()),
        ("the log".to_owned(), site.up_log()),
        ("the database".to_owned(), dump(&db).await),
    ];
    let mut read = String::new();
    for run in &runs {
        let found = answers(&up.url, key, run).await;
        read.extend(found.iter().map(|(_, text)| text.as_str()));
        places.extend(found);
    }
    places.push(("the log after reading".to_owned(), site.up_log()));
    // The runs did happen, and their traces are where this test looks.
    assert!(
        read.contains("Incorrect API key provided: <[removed]>"),
        "{read}"
    );
    assert!(
        places[2]
            .1
            .contains("Incorrect API key provided: <[removed]>")
    );
    assert!(places[1].1.len() > 100_000, "the log is at trace");
    for (place, text) in places {
        for secret in [CREDENTIAL, key, master_key.trim()] {
            let hex = hexadecimal(secret);
            for form in [secret, &hex, &secret.replace('/', "\\/")] {
                if let Some(at) = text.find(form) {
                    let around = text[..at].chars().rev().take(200).collect::<String>();
                    let around: String = around.chars().rev().collect();
                    panic!("{place} holds a secret after: {around}");
                }
            }
        }
    }
}
