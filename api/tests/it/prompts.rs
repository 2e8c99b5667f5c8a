//! Prompts and their versions.

use serde_json::{Value, json};

use crate::server::{Server, prompt};

#[tokio::test]
async fn a_prompt_has_numbered_versions() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    let created = server
        .post("/api/v1/prompts", &token, &prompt("plain"))
        .await;
    let first = created.expect(201);
    assert_eq!(created.header("location"), "/api/v1/prompts/plain");
    assert_eq!(first["owner"], "ada");
    assert_eq!(first["latest_version"], 1);
    let address = "/api/v1/prompts/plain/versions";
    let changed = json!({"body": {"kind": "text", "text": "{{ question }}"}, "note": "shorter"});
    let second = server.post(address, &token, &changed).await.expect(201);
    assert_eq!(second["number"], 2);
    let again = server.post(address, &token, &changed).await.expect(201);
    assert_eq!(again["id"], second["id"], "the same content adds nothing");
    let by_id = format!("/api/v1/prompts/{}", first["id"].as_str().unwrap());
    for path in ["/api/v1/prompts/plain", &by_id] {
        assert_eq!(
            server.get(path, "").await.expect(200)["latest_version"],
            2,
            "{path}"
        );
    }
    let page = server
        .get(&format!("{address}?limit=1"), "")
        .await
        .expect(200);
    assert_eq!(numbers(&page), [2]);
    let next = page["next_cursor"].as_str().unwrap();
    let page = server
        .get(&format!("{address}?limit=1&cursor={next}"), "")
        .await
        .expect(200);
    assert_eq!(numbers(&page), [1]);
    assert_eq!(page["next_cursor"], Value::Null);
}

#[tokio::test]
async fn a_prompt_belongs_to_its_owner() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let bob = server.user("bob").await;
    server
        .post("/api/v1/prompts", &ada, &prompt("plain"))
        .await
        .expect(201);
    server
        .post("/api/v1/prompts", &bob, &prompt("plain"))
        .await
        .expect_problem(409, "conflict", None);
    let version = json!({"body": {"kind": "text", "text": "mine now"}});
    server
        .post("/api/v1/prompts/plain/versions", &bob, &version)
        .await
        .expect_problem(403, "forbidden", None);
    server
        .post("/api/v1/prompts/plain/versions", "", &version)
        .await
        .expect_problem(401, "unauthenticated", None);
}

#[tokio::test]
async fn pages_hold_every_prompt_once_newest_first() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    let mut expect = Vec::new();
    for number in 0..5 {
        let slug = format!("prompt-{number}");
        server
            .post("/api/v1/prompts", &token, &prompt(&slug))
            .await
            .expect(201);
        expect.insert(0, slug);
    }
    let mut found = Vec::new();
    let mut path = "/api/v1/prompts?limit=2".to_owned();
    loop {
        let page = server.get(&path, "").await.expect(200);
        let items = page["items"].as_array().unwrap();
        assert!((1..=2).contains(&items.len()));
        found.extend(
            items
                .iter()
                .map(|prompt| prompt["slug"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("/api/v1/prompts?limit=2&cursor={cursor}");
    }
    assert_eq!(found, expect);
}

fn numbers(page: &Value) -> Vec<i64> {
    let items = page["items"].as_array().unwrap().iter();
    items
        .map(|version| version["number"].as_i64().unwrap())
        .collect()
}
