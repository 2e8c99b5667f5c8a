//! Collections and favourites.

use reqwest::Method;
use serde_json::{Value, json};

use super::{all_pages, ask, column, prompts};
use crate::server::{Server, field};

async fn collection(server: &Server, token: &str, title: &str, visibility: &str) -> String {
    let body = json!({"title": title, "description": "My *best*.", "visibility": visibility});
    let reply = server.post("/api/v1/collections", token, &body).await;
    let collection = reply.expect(201);
    let address = format!("/api/v1/collections/{}", field(&collection, "id"));
    assert_eq!(reply.header("location"), address);
    address
}

#[tokio::test]
async fn a_collection_keeps_its_order_and_shows_no_private_prompt() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let bob = server.user("bob").await;
    prompts(&server, &ada, &["one", "two", "three"], "public").await;
    prompts(&server, &ada, &["adas-secret"], "private").await;
    prompts(&server, &bob, &["bobs-secret"], "private").await;
    let address = collection(&server, &ada, "For the start", "public").await;
    let list = format!("{address}/prompts");
    let set = async |token: &str, slugs: &[&str]| {
        ask(
            &server,
            Method::PUT,
            &list,
            token,
            &json!({"prompts": slugs}),
        )
        .await
    };
    let kept = set(&ada, &["three", "adas-secret", "one", "two"])
        .await
        .expect(200);
    assert_eq!(kept["prompts"], 4);
    assert_eq!(
        all_pages(&server, &list, &ada, "slug").await,
        ["three", "adas-secret", "one", "two"]
    );
    for token in ["", &bob] {
        assert_eq!(
            all_pages(&server, &list, token, "slug").await,
            ["three", "one", "two"]
        );
        let found = server.get(&address, token).await.expect(200);
        assert_eq!(found["prompts"], 3, "private prompts are not even counted");
    }
    // What others keep to themselves is to Ada as if it were not there.
    let foreign = set(&ada, &["one", "bobs-secret"]).await;
    foreign.expect_problem(422, "invalid", Some("prompts[1]"));
    let unknown = set(&ada, &["one", "nothing"]).await;
    unknown.expect_problem(422, "invalid", Some("prompts[1]"));
    assert_eq!(
        foreign.json()["errors"][0]["message"],
        unknown.json()["errors"][0]["message"]
    );
    set(&ada, &["one", "one"])
        .await
        .expect_problem(422, "invalid", Some("prompts[1]"));
    set(&bob, &["one"])
        .await
        .expect_problem(403, "forbidden", None);
    set(&ada, &["two", "three"]).await.expect(200);
    assert_eq!(
        all_pages(&server, &list, "", "slug").await,
        ["two", "three"]
    );
    // A prompt that becomes private later is not shown any more either.
    server
        .sql("update prompts set visibility = 'private' where slug = 'two'")
        .await;
    assert_eq!(all_pages(&server, &list, &bob, "slug").await, ["three"]);
}

#[tokio::test]
async fn collections_are_listed_changed_and_deleted() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let bob = server.user("bob").await;
    let public = collection(&server, &ada, "Public", "public").await;
    collection(&server, &ada, "Unlisted", "unlisted").await;
    collection(&server, &ada, "Private", "private").await;
    collection(&server, &bob, "Of Bob", "public").await;
    let titles = async |query: &str, token: &str| {
        let path = format!("/api/v1/collections{query}");
        all_pages(&server, &path, token, "title").await
    };
    assert_eq!(titles("", "").await, ["Of Bob", "Public"]);
    assert_eq!(
        titles("?owner=Ada", &ada).await,
        ["Private", "Unlisted", "Public"]
    );
    assert_eq!(titles("?owner=ada", &bob).await, ["Public"]);
    let change = json!({"title": "Renamed", "visibility": "private"});
    for (token, status) in [("", 401), (bob.as_str(), 403)] {
        let reply = ask(&server, Method::PATCH, &public, token, &change).await;
        assert_eq!(reply.status, status);
        let reply = ask(&server, Method::DELETE, &public, token, &Value::Null).await;
        assert_eq!(reply.status, status);
    }
    let changed = ask(&server, Method::PATCH, &public, &ada, &change).await;
    let changed = changed.expect(200);
    assert_eq!(changed["title"], "Renamed");
    assert_eq!(changed["description"], "My *best*.");
    server
        .get(&public, &bob)
        .await
        .expect_problem(404, "not_found", None);
    let reply = ask(&server, Method::DELETE, &public, &ada, &Value::Null).await;
    assert_eq!(reply.status, 204);
    server
        .get(&public, &ada)
        .await
        .expect_problem(404, "not_found", None);
    ask(
        &server,
        Method::POST,
        "/api/v1/collections",
        &ada,
        &json!({"title": " "}),
    )
    .await
    .expect_problem(422, "invalid", Some("title"));
}

#[tokio::test]
async fn favourites_are_ones_own_unless_shown() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let bob = server.user("bob").await;
    prompts(&server, &ada, &["one", "two", "three"], "public").await;
    prompts(&server, &bob, &["bobs-secret"], "private").await;
    for slug in ["two", "one", "bobs-secret", "three", "one"] {
        let path = format!("/api/v1/prompts/{slug}/favourite");
        let reply = ask(&server, Method::PUT, &path, &bob, &Value::Null).await;
        assert_eq!(reply.status, 204, "{}", reply.text);
    }
    let list = "/api/v1/users/bob/favourites";
    assert_eq!(
        all_pages(&server, list, &bob, "slug").await,
        ["three", "bobs-secret", "one", "two"]
    );
    for token in ["", &ada] {
        server
            .get(list, token)
            .await
            .expect_problem(404, "not_found", None);
    }
    let settings = json!({"display_name": "", "bio": "", "is_public": true, "shows_activity": true, "shows_favourites": true});
    ask(&server, Method::PUT, "/api/v1/me/profile", &bob, &settings)
        .await
        .expect(200);
    assert_eq!(
        all_pages(&server, list, &ada, "slug").await,
        ["three", "one", "two"],
        "Bob's private prompt stays private"
    );
    let path = "/api/v1/prompts/one/favourite";
    for _ in 0..2 {
        let reply = ask(&server, Method::DELETE, path, &bob, &Value::Null).await;
        assert_eq!(reply.status, 204);
    }
    assert_eq!(all_pages(&server, list, "", "slug").await, ["three", "two"]);
    let page = server
        .get("/api/v1/leaderboards/community?sort=top", "")
        .await
        .expect(200);
    let counts: Vec<i64> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["favourites"].as_i64().unwrap())
        .collect();
    assert_eq!(column(&page, "slug"), ["three", "two", "one"]);
    assert_eq!(counts, [1, 1, 0]);
}
