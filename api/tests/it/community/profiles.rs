//! Profiles, reputation, badges, and the export of one's own data.

use reqwest::Method;
use serde_json::{Value, json};

use super::{ask, call_it_real, measure, prompts};
use crate::server::{Server, field, send, with_token};

const OWN: &str = "/api/v1/me/profile";

fn settings(change: &Value) -> Value {
    let mut settings = json!({
        "display_name": "Ada Lovelace", "bio": "I *measure*.",
        "is_public": true, "shows_activity": true, "shows_favourites": false,
    });
    for (name, value) in change.as_object().unwrap() {
        settings[name] = value.clone();
    }
    settings
}

#[tokio::test]
async fn a_profile_shows_what_its_user_wants() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let bob = server.user("bob").await;
    let admin = server.admin().await;
    let profile = async |token: &str| server.get("/api/v1/users/Ada", token).await;
    let fresh = profile("").await.expect(200);
    assert_eq!(fresh["username"], "ada");
    assert_eq!(fresh["display_name"], "ada");
    assert_eq!(fresh["avatar"]["initials"], "A");
    assert_eq!(fresh["reputation"], 0);
    assert!(!profile(&ada).await.text.contains("example.org"));
    let save = async |change: Value| {
        let body = settings(&change);
        ask(&server, Method::PUT, OWN, &ada, &body).await
    };
    save(json!({})).await.expect(200);
    let named = profile("").await.expect(200);
    assert_eq!(named["display_name"], "Ada Lovelace");
    assert_eq!(named["avatar"]["initials"], "AL");
    assert_eq!(named["bio"], "I *measure*.");
    assert_eq!(
        server.get(OWN, &ada).await.expect(200),
        settings(&json!({}))
    );

    save(json!({"shows_activity": false})).await.expect(200);
    let quiet = profile(&bob).await.expect(200);
    for name in ["contributions", "reputation", "badges"] {
        assert_eq!(quiet[name], Value::Null, "{name}");
        assert!(!profile(&ada).await.json()[name].is_null(), "{name}");
    }
    save(json!({"is_public": false, "shows_favourites": true}))
        .await
        .expect(200);
    for token in ["", &bob] {
        let hidden = profile(token).await;
        hidden.expect_problem(404, "not_found", None);
        let unknown = server.get("/api/v1/users/nobody", token).await;
        assert_eq!(
            hidden.json()["detail"]
                .as_str()
                .unwrap()
                .replace("Ada", "nobody"),
            unknown.json()["detail"].as_str().unwrap()
        );
        let path = "/api/v1/users/ada/favourites";
        server
            .get(path, token)
            .await
            .expect_problem(404, "not_found", None);
    }
    profile(&ada).await.expect(200);
    profile(&admin).await.expect(200);
    for (name, value) in [
        ("display_name", json!("x".repeat(81))),
        ("display_name", json!("two\nlines")),
        ("bio", json!("x".repeat(2_001))),
    ] {
        let mut change = json!({});
        change[name] = value;
        save(change)
            .await
            .expect_problem(422, "invalid", Some(name));
    }
    save(json!({"avatar": "https://elsewhere.example/pixel.gif"}))
        .await
        .expect_problem(422, "invalid", Some("avatar"));
}

#[tokio::test]
async fn reputation_and_badges_follow_from_what_is_public() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let bob = server.user("bob").await;
    server.prepare_run(&ada).await;
    prompts(&server, &ada, &["good", "poor"], "public").await;
    prompts(&server, &ada, &["secret"], "private").await;
    prompts(&server, &bob, &["rival"], "public").await;
    let put = async |token: &str, path: &str, body: Value| {
        let reply = ask(&server, Method::PUT, path, token, &body).await;
        assert!(reply.status < 300, "{}", reply.text);
    };
    put(&bob, "/api/v1/prompts/good/vote", json!({"vote": "up"})).await;
    put(&bob, "/api/v1/prompts/poor/vote", json!({"vote": "down"})).await;
    put(&bob, "/api/v1/prompts/good/favourite", Value::Null).await;
    put(&ada, "/api/v1/prompts/good/favourite", Value::Null).await;
    server
        .post(
            "/api/v1/prompts/good/comments",
            &ada,
            &json!({"body": "Try it."}),
        )
        .await
        .expect(201);
    let profile = async |name: &str| {
        let path = format!("/api/v1/users/{name}");
        server.get(&path, "").await.expect(200)
    };
    let found = profile("ada").await;
    // One vote for, one favourite of somebody else; the vote against takes nothing from another prompt.
    assert_eq!(found["reputation"], 10 + 5);
    assert_eq!(found["badges"], json!([]));
    assert_eq!(
        found["contributions"],
        json!({"prompts": 3, "versions": 3, "benchmarks": 1, "runs": 0, "comments": 1, "collections": 0})
    );

    measure(&server, &ada, "sums", &["good", "poor"], |prompt, _| {
        prompt == 0
    })
    .await;
    measure(&server, &bob, "sums", &["rival"], |_, _| false).await;
    assert_eq!(
        profile("ada").await["badges"],
        json!([]),
        "simulated answers earn nothing"
    );
    call_it_real(&server).await;
    let found = profile("ada").await;
    let badge = &found["badges"][0];
    assert_eq!(badge["kind"], "unbeaten");
    assert_eq!(badge["prompt"], "good@1");
    assert_eq!(badge["benchmark"], "sums@1");
    assert_eq!(found["badges"].as_array().unwrap().len(), 1);
    assert_eq!(found["reputation"], 10 + 5 + 25);
    assert_eq!(found["contributions"]["runs"], 1);
    // Whoever competes with nobody is only measured.
    server
        .sql("update prompts set visibility = 'private' where slug = 'rival'")
        .await;
    assert_eq!(profile("ada").await["badges"][0]["kind"], "measured");
    // What not everybody may read earns nothing: a run with a prompt that was taken back, a private run, a private
    // benchmark.
    for (narrow, widen) in [
        (
            "update prompts set visibility = 'private' where slug = 'poor'",
            "update prompts set visibility = 'public' where slug = 'poor'",
        ),
        (
            "update runs set visibility = 'private'",
            "update runs set visibility = 'public'",
        ),
        (
            "update benchmarks set visibility = 'private'",
            "update benchmarks set visibility = 'public'",
        ),
    ] {
        server.sql(narrow).await;
        assert_eq!(profile("ada").await["badges"], json!([]), "{narrow}");
        server.sql(widen).await;
        assert_eq!(
            profile("ada").await["badges"][0]["kind"],
            "measured",
            "{widen}"
        );
    }
}

/// Lets Ada do one of each thing that a user can do, some of them to what is Bob's. Returns her API key.
async fn do_a_little_of_everything(server: &Server, ada: &str) -> String {
    let bob = server.user("bob").await;
    server.prepare_run(ada).await;
    prompts(server, ada, &["mine"], "private").await;
    prompts(server, &bob, &["of-bob"], "public").await;
    measure(server, ada, "sums", &["plain", "of-bob"], |_, _| true).await;
    let key = json!({"name": "laptop", "scopes": ["prompts:read"]});
    let key = server.post("/api/v1/api-keys", ada, &key).await.expect(201);
    let key = field(&key, "key");
    ask(server, Method::PUT, OWN, ada, &settings(&json!({})))
        .await
        .expect(200);
    for (path, body) in [
        ("/api/v1/prompts/of-bob/vote", json!({"vote": "up"})),
        ("/api/v1/prompts/of-bob/favourite", Value::Null),
    ] {
        let reply = ask(server, Method::PUT, path, ada, &body).await;
        assert!(reply.status < 300, "{}", reply.text);
    }
    let said = json!({"body": "What Ada said"});
    server
        .post("/api/v1/prompts/of-bob/comments", ada, &said)
        .await
        .expect(201);
    let bobs = json!({"body": "What Bob said"});
    let bobs = server
        .post("/api/v1/prompts/of-bob/comments", &bob, &bobs)
        .await;
    let reports = format!(
        "/api/v1/comments/{}/reports",
        field(&bobs.expect(201), "id")
    );
    let report = json!({"reason": "other", "note": "What Ada reported"});
    assert_eq!(server.post(&reports, ada, &report).await.status, 204);
    let collection = json!({"title": "What Ada collected"});
    let collection = server.post("/api/v1/collections", ada, &collection).await;
    let list = format!(
        "/api/v1/collections/{}/prompts",
        field(&collection.expect(201), "id")
    );
    ask(
        server,
        Method::PUT,
        &list,
        ada,
        &json!({"prompts": ["of-bob"]}),
    )
    .await
    .expect(200);
    let pair = server
        .post("/api/v1/preferences", ada, &json!({"benchmark": "sums"}))
        .await
        .expect(201);
    let pair = format!("/api/v1/preferences/{}", field(&pair, "id"));
    ask(server, Method::PUT, &pair, ada, &json!({"choice": "tie"}))
        .await
        .expect(200);
    key
}

#[tokio::test]
async fn the_export_holds_everything_of_one_user_and_no_secret() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let key = do_a_little_of_everything(&server, &ada).await;
    let reply = server.get("/api/v1/me/export", &ada).await;
    let data = reply.expect(200);
    assert_eq!(reply.header("cache-control"), "no-store");
    assert!(
        reply
            .header("content-disposition")
            .starts_with("attachment")
    );
    assert_eq!(data["account"]["email"], "ada@example.org");
    assert_eq!(data["profile"]["display_name"], "Ada Lovelace");
    let lengths: Vec<(&str, usize)> = data
        .as_object()
        .unwrap()
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_array()?.len())))
        .collect();
    assert_eq!(
        lengths,
        [
            ("api_keys", 1),
            ("audit_log", 2),
            ("benchmarks", 1),
            ("collections", 1),
            ("comments", 1),
            ("favourites", 1),
            ("identities", 0),
            ("preferences", 1),
            ("prompts", 2),
            ("reports", 1),
            ("runs", 1),
            ("saved_searches", 0),
            ("sessions", 1),
            ("versions_of_others_prompts", 0),
            ("votes", 1),
        ]
    );
    let bodies = data["prompts"][1]["versions"][0]["body"]["text"].clone();
    assert_eq!(bodies, "mine: {{ question }}");
    assert_eq!(data["collections"][0]["prompts"], json!(["of-bob"]));
    assert_eq!(data["preferences"][0]["choice"], "tie");
    let items = field(&data["benchmarks"][0]["versions"][0], "items_at");
    server.get(&items, &ada).await.expect(200);
    let hashes: Vec<String> = sqlx::query_scalar(
        "select password_hash from users where password_hash is not null
         union all select encode(secret_hash, 'hex') from api_keys",
    )
    .fetch_all(&server.database.pool)
    .await
    .unwrap();
    assert_eq!(hashes.len(), 3);
    for secret in hashes.iter().chain([&key, &ada]) {
        assert!(!reply.text.contains(secret), "a secret is exported");
    }
    for foreign in ["What Bob said", "bob@example.org"] {
        assert!(!reply.text.contains(foreign), "{foreign}");
    }
    let by_key = with_token(server.request(Method::GET, "/api/v1/me/export"), &key);
    send(by_key).await.expect_problem(403, "login_needed", None);
    server
        .get("/api/v1/me/export", "")
        .await
        .expect_problem(401, "unauthenticated", None);
}
