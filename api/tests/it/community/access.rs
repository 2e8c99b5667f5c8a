//! Who may what, on every route of the community: a stranger, another user, the owner.

use reqwest::Method;
use serde_json::{Value, json};

use super::{ask, prompts};
use crate::server::{Reply, Server, field};

/// The answer without what differs between any two requests.
fn essence(reply: &Reply, reference: &str) -> (u16, Value) {
    let text = reply.text.replace(reference, "<reference>");
    let mut body: Value = serde_json::from_str(&text).unwrap();
    body.as_object_mut().unwrap().remove("request_id");
    (reply.status, body)
}

const UNKNOWN: &str = "00000000-0000-7000-8000-000000000000";

/// What is private is to others as if it were not there, down to the letter.
#[tokio::test]
async fn private_things_are_not_found_by_others() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let bob = server.user("bob").await;
    prompts(&server, &ada, &["secret"], "private").await;
    let comment = server
        .post(
            "/api/v1/prompts/secret/comments",
            &ada,
            &json!({"body": "to myself"}),
        )
        .await;
    let comment = field(&comment.expect(201), "id");
    let collection = json!({"title": "mine", "visibility": "private"});
    let collection = server.post("/api/v1/collections", &ada, &collection).await;
    let collection = field(&collection.expect(201), "id");
    let (get, put, post, patch, delete) = (
        Method::GET,
        Method::PUT,
        Method::POST,
        Method::PATCH,
        Method::DELETE,
    );
    let none = Value::Null;
    let words = json!({"body": "x"});
    let report = json!({"reason": "spam"});
    let decision = json!({"hidden": false});
    let prompt = ["secret", "nothing"];
    let comment = [comment.as_str(), UNKNOWN];
    let collection = [collection.as_str(), UNKNOWN];
    let table: [(&Method, &str, [&str; 2], &Value, u16); 18] = [
        (&get, "prompts/{}/vote", prompt, &none, 404),
        (&put, "prompts/{}/vote", prompt, &json!({"vote": "up"}), 401),
        (&delete, "prompts/{}/vote", prompt, &none, 401),
        (&put, "prompts/{}/favourite", prompt, &none, 401),
        (&delete, "prompts/{}/favourite", prompt, &none, 401),
        (&get, "prompts/{}/evidence", prompt, &none, 404),
        (&get, "prompts/{}/comments", prompt, &none, 404),
        (&post, "prompts/{}/comments", prompt, &words, 401),
        (&get, "comments/{}/replies", comment, &none, 404),
        (&patch, "comments/{}", comment, &words, 401),
        (&delete, "comments/{}", comment, &none, 401),
        (&post, "comments/{}/reports", comment, &report, 401),
        (&put, "comments/{}/moderation", comment, &decision, 401),
        (&get, "collections/{}", collection, &none, 404),
        (&get, "collections/{}/prompts", collection, &none, 404),
        (&patch, "collections/{}", collection, &json!({}), 401),
        (&delete, "collections/{}", collection, &none, 401),
        (
            &put,
            "collections/{}/prompts",
            collection,
            &json!({"prompts": []}),
            401,
        ),
    ];
    for (method, path, [private, unknown], body, to_strangers) in table {
        let request = async |token: &str, reference: &str| {
            let path = format!("/api/v1/{}", path.replace("{}", reference));
            essence(
                &ask(&server, method.clone(), &path, token, body).await,
                reference,
            )
        };
        for (token, status) in [("", to_strangers), (bob.as_str(), 404)] {
            let (found, expect) = (request(token, private).await, request(token, unknown).await);
            assert_eq!(found, expect, "{method} {path}");
            assert_eq!(found.0, status, "{method} {path}");
        }
    }
    // The owner may, and nothing above has changed a thing.
    for path in [
        "prompts/secret/vote".to_owned(),
        "prompts/secret/evidence".to_owned(),
        format!("comments/{}/replies", comment[0]),
        format!("collections/{}/prompts", collection[0]),
    ] {
        server
            .get(&format!("/api/v1/{path}"), &ada)
            .await
            .expect(200);
    }
    let comments = server
        .get("/api/v1/prompts/secret/comments", &ada)
        .await
        .expect(200);
    assert_eq!(comments["items"][0]["body"], "to myself");
    let board = server.get("/api/v1/leaderboards/community", &ada).await;
    assert!(!board.text.contains("secret"), "{}", board.text);
}

/// What needs a user says so, and a key needs the scope.
#[tokio::test]
async fn writing_needs_a_user_with_the_scope() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let bob = server.user("bob").await;
    prompts(&server, &ada, &["plain"], "public").await;
    let reader = json!({"name": "reader", "scopes": ["prompts:read", "runs:read"]});
    let reader = server.post("/api/v1/api-keys", &bob, &reader).await;
    let reader = field(&reader.expect(201), "key");
    let writer = json!({"name": "writer", "scopes": ["prompts:write"]});
    let writer = server.post("/api/v1/api-keys", &bob, &writer).await;
    let writer = field(&writer.expect(201), "key");
    let table = [
        (
            Method::PUT,
            "prompts/plain/vote",
            json!({"vote": "up"}),
            200,
        ),
        (Method::PUT, "prompts/plain/favourite", Value::Null, 204),
        (
            Method::POST,
            "prompts/plain/comments",
            json!({"body": "x"}),
            201,
        ),
        (Method::POST, "collections", json!({"title": "x"}), 201),
        (
            Method::POST,
            "preferences",
            json!({"benchmark": "nothing"}),
            404,
        ),
    ];
    for (method, path, body, status) in table {
        let path = format!("/api/v1/{path}");
        let stranger = ask(&server, method.clone(), &path, "", &body).await;
        stranger.expect_problem(401, "unauthenticated", None);
        let read_only = ask(&server, method.clone(), &path, &reader, &body).await;
        read_only.expect_problem(403, "scope_missing", None);
        let found = ask(&server, method, &path, &writer, &body).await;
        assert_eq!(found.status, status, "{path}: {}", found.text);
    }
    for path in [
        "prompts/plain/vote",
        "prompts/plain/comments",
        "collections",
        "users/ada",
        "leaderboards/community",
    ] {
        server
            .get(&format!("/api/v1/{path}"), &reader)
            .await
            .expect(200);
    }
    let profile = json!({"display_name": "", "bio": "", "is_public": true, "shows_activity": true, "shows_favourites": true});
    ask(&server, Method::PUT, "/api/v1/me/profile", &writer, &profile)
        .await
        .expect_problem(403, "scope_missing", None);
}
