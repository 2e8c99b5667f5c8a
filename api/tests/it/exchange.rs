//! Importing and exporting: a report for every row, nothing twice, and everything back to the byte.

use opb_api::ApiSettings;
use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Server, prompt, send, with_token};

const IMPORT: &str = "/api/v1/prompts/import";
const EXPORT: &str = "/api/v1/prompts/export";
const CSV: &str = include_str!("../../../core/tests/data/prompts-chat.csv");

fn csv(content: &str, dry_run: bool) -> Value {
    json!({"dry_run": dry_run, "source": {"format": "prompts-chat-csv", "content": content}})
}

fn counts(report: &Value) -> [u64; 4] {
    ["created", "updated", "unchanged", "refused"].map(|name| report[name].as_u64().unwrap())
}

/// Hundreds of prompts in one request take a while on a busy machine.
fn patient(settings: &mut ApiSettings) {
    settings.request_timeout_seconds = 600;
}

/// Imports what an export answered, in parts that a request may have.
async fn import_export(server: &Server, token: &str, exported: &str) -> [u64; 4] {
    let source: Value = serde_json::from_str(exported).unwrap();
    let (name, size) = if source["format"] == "json" {
        ("prompts", 100)
    } else {
        ("files", 100_000)
    };
    let mut total = [0; 4];
    for part in source[name].as_array().unwrap().chunks(size) {
        let body = json!({"source": {"format": source["format"], name: part}});
        let report = server.import_slowly(token, &body).await;
        for (sum, count) in total.iter_mut().zip(counts(&report)) {
            *sum += count;
        }
        assert_eq!(report["refused"], 0, "{report}");
    }
    total
}

/// Exports, imports into an empty library, and exports again.
async fn round_trip(server: &Server, token: &str) {
    for (format, name) in [("json", "dora"), ("files", "emil")] {
        let path = format!("{EXPORT}?format={format}");
        let exported = server.get(&path, token).await;
        assert_eq!(exported.status, 200);
        let other = Server::start_with(patient).await;
        let owner = other.user(name).await;
        let done = import_export(&other, &owner, &exported.text).await;
        let again = other.get(&path, &owner).await.text;
        assert!(again == exported.text, "{format}: the exports differ");
        let twice = import_export(&other, &owner, &exported.text).await;
        assert_eq!(
            twice,
            [0, 0, done[0], 0],
            "{format}: the second import changes nothing"
        );
        assert_eq!(other.get(&path, &owner).await.text, again);
    }
}

#[tokio::test]
async fn prompts_of_prompts_chat_come_in_once() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let dry = server.post(IMPORT, &ada, &csv(CSV, true)).await.expect(200);
    assert_eq!(counts(&dry), [5, 0, 0, 0]);
    let page = server.get("/api/v1/prompts", &ada).await.expect(200);
    assert_eq!(page["items"], json!([]), "a dry run keeps nothing");
    let done = server
        .post(IMPORT, &ada, &csv(CSV, false))
        .await
        .expect(200);
    insta::assert_json_snapshot!(done);
    let again = server
        .post(IMPORT, &ada, &csv(CSV, false))
        .await
        .expect(200);
    assert_eq!(counts(&again), [0, 0, 5, 0]);
    let guide = server
        .get("/api/v1/prompts/harbour-guide", "")
        .await
        .expect(200);
    assert_eq!(guide["latest_version"], 1);
    assert_eq!(guide["attribution"], "ada, bob in prompts.chat");
    let changed = CSV.replace("One line only", "Another line");
    let changed = server
        .post(IMPORT, &ada, &csv(&changed, false))
        .await
        .expect(200);
    assert_eq!(counts(&changed), [0, 1, 4, 0]);
    let picture = server.get("/api/v1/prompts/picture", "").await.expect(200);
    assert_eq!(
        (&picture["latest_version"], &picture["category"]),
        (&json!(2), &json!("images"))
    );
    let bob = server.user("bob").await;
    let foreign = server
        .post(IMPORT, &bob, &csv(CSV, false))
        .await
        .expect(200);
    assert_eq!(counts(&foreign), [0, 0, 0, 5], "slugs of somebody else");
    round_trip(&server, &ada).await;
}

#[tokio::test]
async fn everything_that_a_prompt_says_survives() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let odd = "---\n<|user|>\n\\<|system|>\r\n{{ a }}\u{2028} <b>\n\n";
    let new = json!({
        "slug": "odd", "title": "a: \"b\" #c\u{a0}d", "description": odd, "category": "coding", "tags": ["yes", "x"],
        "language": "no", "licence": "MIT", "attribution": "- x", "visibility": "private",
        "body": {"kind": "chat", "messages": [{"role": "system", "content": odd}, {"role": "assistant", "content": ""}]},
        "variables": [{"name": "a", "type": "object", "default": {"k": [1, 2.5, null, "ü"]}, "description": odd}],
        "parameters": {"temperature": 0.3, "stop": ["\n"]},
    });
    server.post("/api/v1/prompts", &ada, &new).await.expect(201);
    for text in [odd, "{{ a }}", "\n{{ a }}\n", "second"] {
        let version = json!({"body": {"kind": "text", "text": text}, "note": text});
        server
            .post("/api/v1/prompts/odd/versions", &ada, &version)
            .await
            .expect(201);
    }
    let put = server.request(
        reqwest::Method::PUT,
        "/api/v1/prompts/odd/aliases/production",
    );
    send(with_token(put, &ada).json(&json!({"version": 2})))
        .await
        .expect(200);
    let archive = server.request(reqwest::Method::PATCH, "/api/v1/prompts/odd");
    send(with_token(archive, &ada).json(&json!({"archived": true})))
        .await
        .expect(200);
    server
        .post("/api/v1/prompts", &ada, &prompt("plain"))
        .await
        .expect(201);
    round_trip(&server, &ada).await;
    let bob = server.user("bob").await;
    let exported = server.get(EXPORT, &bob).await.text;
    assert_eq!(
        exported, "{\"format\":\"json\",\"prompts\":[\n]}\n",
        "only one's own"
    );
}

#[tokio::test]
async fn a_wrong_row_is_reported_and_harms_no_other() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let version = json!({"body": {"kind": "text", "text": "x"}});
    let broken = json!({"body": {"kind": "text", "text": "{{ x"}});
    let rows = json!([
        {"slug": "good", "title": "Good", "versions": [version]},
        {"slug": "broken", "title": "Broken", "versions": [version, broken]},
        {"slug": "empty", "title": "Empty", "versions": []},
        {"title": "No versions"},
        {"slug": "Not A Slug", "title": "x", "versions": [version]},
        {"slug": "import", "title": "x", "versions": [version]},
        {"slug": "lost", "title": "x", "category": "nowhere", "versions": [version]},
        {"slug": "alias", "title": "x", "aliases": {"production": 2}, "versions": [version]},
        {"slug": "kept", "title": "Kept", "versions": [version]},
    ]);
    let body = json!({"source": {"format": "json", "prompts": rows}});
    let report = server.post(IMPORT, &ada, &body).await.expect(200);
    insta::assert_json_snapshot!(report);
    let page = server
        .get("/api/v1/prompts?sort=title", &ada)
        .await
        .expect(200);
    let slugs: Vec<_> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["slug"].clone())
        .collect();
    assert_eq!(
        slugs,
        ["good", "kept"],
        "a row comes in whole or not at all"
    );
    let check = async |source: Value, path: &str| {
        let reply = server.post(IMPORT, &ada, &json!({"source": source})).await;
        reply.expect_problem(422, "invalid", Some(path));
    };
    check(
        json!({"format": "prompts-chat-csv", "content": "a,b\n"}),
        "content",
    )
    .await;
    check(
        json!({"format": "prompts-chat-csv", "content": "act,prompt\n\0"}),
        "source.content",
    )
    .await;
    check(
        json!({"format": "json", "prompts": vec![json!({}); 1_001]}),
        "source",
    )
    .await;
    check(json!({"format": "xml"}), "source.format").await;
    server
        .post(IMPORT, "", &body)
        .await
        .expect_problem(401, "unauthenticated", None);
}

/// The whole of prompts.chat; .config/nextest.toml leaves it out where the file may not be at hand.
#[tokio::test]
async fn with_data_the_real_library_survives() {
    let path = std::env::var("PROMPTS_CHAT_PATH")
        .expect("PROMPTS_CHAT_PATH names prompts.csv of prompts.chat");
    let content = std::fs::read_to_string(path).unwrap();
    let server = Server::start_with(patient).await;
    let ada = server.user("ada").await;
    let first = server.import_slowly(&ada, &csv(&content, false)).await;
    assert_eq!(counts(&first), [828, 0, 0, 0]);
    let second = server.import_slowly(&ada, &csv(&content, false)).await;
    assert_eq!(counts(&second), [0, 0, 828, 0]);
    round_trip(&server, &ada).await;
}

#[tokio::test]
async fn prompts_with_images_are_shown_found_and_come_back_to_the_byte() {
    const PIXEL: &str =
        "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==";
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let new = json!({
        "slug": "receipt", "title": "Sums up",
        "body": {"kind": "chat", "messages": [
            {"role": "system", "content": "You read receipts."},
            {"role": "user", "content": [
                {"type": "text", "text": "Which zebra costs {{ sum }}?\n<|part:image|>"},
                {"type": "image", "url": "{{ photo }}"},
                {"type": "image", "url": PIXEL},
            ]},
        ]},
        "variables": [{"name": "photo"}, {"name": "sum"}],
    });
    let made = server.post("/api/v1/prompts", &ada, &new).await;
    made.expect(201);
    let render = async |photo: &str| {
        let body = json!({"variables": {"photo": photo, "sum": "1"}});
        let path = "/api/v1/prompts/receipt/render";
        server.post(path, "", &body).await
    };
    let shown = render("https://example.org/a.png").await.expect(200);
    assert_eq!(
        shown["messages"][1]["content"][1],
        json!({"type": "image", "url": "https://example.org/a.png"})
    );
    for wrong in ["javascript:alert(1)", "https://10.0.0.1/a.png", ""] {
        let path = "body.messages[1].content[1].url";
        render(wrong)
            .await
            .expect_problem(400, "unrenderable", Some(path));
    }
    let found = server.get("/api/v1/prompts?q=zebra", "").await.expect(200);
    assert_eq!(found["items"][0]["slug"], "receipt", "by its text");
    let found = server.get("/api/v1/prompts?q=gif", "").await.expect(200);
    assert_eq!(found["items"], json!([]), "not by its data");
    let mut wrong = new.clone();
    wrong["slug"] = json!("wrong");
    wrong["body"]["messages"][1]["content"][2]["url"] = json!("data:text/html;base64,PHNjcmlwdD4=");
    server
        .post("/api/v1/prompts", &ada, &wrong)
        .await
        .expect_problem(422, "invalid", Some("body.messages[1].content[2].url"));
    round_trip(&server, &ada).await;
}

/// YAML has an escape of its own for a character that Postgres cannot store.
#[tokio::test]
async fn a_nul_in_one_file_refuses_that_file_alone() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let wrong = "title: n\nbody: {kind: text, text: \"x\\0y\"}";
    let files = json!([
        {"path": "a-good.md", "text": "good"},
        {"path": "bad.yaml", "text": wrong},
        {"path": "z-good.md", "text": "good"},
    ]);
    let body = json!({"source": {"format": "files", "files": files}});
    let report = server.post("/api/v1/prompts/import", &ada, &body).await;
    let report = report.expect(200);
    assert_eq!(
        (&report["created"], &report["refused"]),
        (&json!(2), &json!(1))
    );
    let error = &report["rows"][1]["errors"][0];
    assert_eq!(
        error["message"], "must not hold a NUL character",
        "{report}"
    );
}

/// So long as there is something to send: what the network holds already has been sent.
#[tokio::test]
async fn an_export_takes_a_seat_and_ends_with_its_credential() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    for number in 0..3 {
        let prompts: Vec<Value> = (0..10)
            .map(|place| {
                let versions: Vec<Value> = (0..10)
                    .map(|version| {
                        let text = format!("{version} {}", "x".repeat(60_000));
                        json!({"body": {"kind": "text", "text": text}})
                    })
                    .collect();
                let slug = format!("large-{number}-{place}");
                json!({"slug": slug, "title": "Large", "versions": versions})
            })
            .collect();
        let source = json!({"source": {"format": "json", "prompts": prompts}});
        let report = server.import_slowly(&ada, &source).await;
        assert_eq!(counts(&report), [10, 0, 0, 0], "{report}");
    }
    let open = async || {
        let request = with_token(server.request(Method::GET, EXPORT), &ada);
        request.send().await.unwrap()
    };
    let mut exports = Vec::new();
    for _ in 0..16 {
        let response = open().await;
        assert_eq!(response.status(), 200);
        exports.push(response);
    }
    assert_eq!(open().await.status(), 429, "the seats are taken");
    server.sql("update users set disabled_at = now()").await;
    for response in exports {
        assert!(response.text().await.is_err(), "it breaks off");
    }
}
