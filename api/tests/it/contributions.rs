//! What people do with prompts of others: forks and change requests.

use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Server, field, prompt, send, with_token};

#[tokio::test]
async fn a_fork_remembers_where_it_came_from() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    server
        .post("/api/v1/prompts", &ada, &prompt("plain"))
        .await
        .expect(201);
    let fork = server
        .post("/api/v1/prompts/plain/forks", &bob, &json!({}))
        .await
        .expect(201);
    assert_eq!(fork["slug"], "plain-bob");
    assert_eq!(fork["forked_from"], "plain@1");
    assert_eq!(
        (&fork["owner"], &fork["attribution"]),
        (&json!("bob"), &json!("ada in the prompt plain"))
    );
    server
        .post("/api/v1/prompts/plain/forks", &bob, &json!({}))
        .await
        .expect_problem(409, "conflict", None);
    server
        .post(
            "/api/v1/prompts/plain/forks",
            &bob,
            &json!({"version": "9", "slug": "x"}),
        )
        .await
        .expect_problem(404, "not_found", None);
    let own = json!({"slug": "mine", "title": "Mine", "visibility": "private"});
    server
        .post("/api/v1/prompts/plain/forks", &bob, &own)
        .await
        .expect(201);
    let slugs = async |token: &str| -> Vec<Value> {
        let page = server
            .get("/api/v1/prompts/plain/forks", token)
            .await
            .expect(200);
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["slug"].clone())
            .collect()
    };
    assert_eq!(slugs(&bob).await, ["mine", "plain-bob"]);
    assert_eq!(
        slugs(&ada).await,
        ["plain-bob"],
        "a private fork is its owner's affair"
    );
    // The origin becomes private: the fork does not tell of it any more.
    server
        .sql("update prompts set visibility = 'private' where slug = 'plain'")
        .await;
    let fork = server
        .get("/api/v1/prompts/plain-bob", &bob)
        .await
        .expect(200);
    assert_eq!(fork["forked_from"], Value::Null);
    let fork = server
        .get("/api/v1/prompts/plain-bob", &ada)
        .await
        .expect(200);
    assert_eq!(fork["forked_from"], "plain@1");
}

#[tokio::test]
#[expect(
    clippy::too_many_lines,
    reason = "one change is followed from its proposal to its version"
)]
async fn an_accepted_change_is_a_version_of_its_author() {
    let server = Server::start().await;
    let (ada, bob, eve) = (
        server.user("ada").await,
        server.user("bob").await,
        server.user("eve").await,
    );
    server
        .post("/api/v1/prompts", &ada, &prompt("plain"))
        .await
        .expect(201);
    let path = "/api/v1/prompts/plain/change-requests";
    let propose = |text: &str| json!({"title": "Better", "version": {"note": "shorter", "body": {"kind": "text", "text": text}}});
    server
        .post(path, &bob, &propose("{{ question"))
        .await
        .expect_problem(422, "invalid", Some("version.body.text"));
    server
        .post(path, &bob, &propose("Q: {{ question }}\nA:"))
        .await
        .expect_problem(409, "conflict", None);
    let request = server
        .post(path, &bob, &propose("{{ question }}"))
        .await
        .expect(201);
    assert_eq!(
        (&request["state"], &request["base_version"]),
        (&json!("open"), &json!(1))
    );
    let request = format!("/api/v1/change-requests/{}", field(&request, "id"));
    let decide = async |verb: &str, token: &str| {
        server
            .post(
                &format!("{request}/{verb}"),
                token,
                &json!({"reason": "because"}),
            )
            .await
    };
    for (verb, token) in [
        ("accept", &bob),
        ("accept", &eve),
        ("decline", &bob),
        ("withdraw", &ada),
    ] {
        decide(verb, token)
            .await
            .expect_problem(403, "forbidden", None);
    }
    let comments = format!("{request}/comments");
    for (token, text) in [(&eve, "I like **it**"), (&ada, "Me too")] {
        server
            .post(&comments, token, &json!({"text": text}))
            .await
            .expect(201);
    }
    server
        .post(&comments, &ada, &json!({"text": " "}))
        .await
        .expect_problem(422, "invalid", Some("text"));
    let said = server.get(&comments, "").await.expect(200);
    let said: Vec<_> = said["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["author"].clone(), c["html"].clone()))
        .collect();
    assert_eq!(
        said[0],
        (json!("eve"), json!("<p>I like <strong>it</strong></p>\n"))
    );
    assert_eq!(said.len(), 2);
    let version = decide("accept", &ada).await.expect(200);
    assert_eq!(
        (&version["number"], &version["author"], &version["note"]),
        (&json!(2), &json!("bob"), &json!("shorter"))
    );
    for (verb, token) in [("accept", &ada), ("decline", &ada), ("withdraw", &bob)] {
        decide(verb, token)
            .await
            .expect_problem(409, "conflict", None);
    }
    let decided = server.get(&request, "").await.expect(200);
    assert_eq!(
        (
            &decided["state"],
            &decided["version"],
            &decided["decided_by"]
        ),
        (&json!("accepted"), &json!(2), &json!("ada"))
    );

    for (verb, token, state) in [
        ("decline", &ada, "declined"),
        ("withdraw", &bob, "withdrawn"),
    ] {
        let other = server.post(path, &bob, &propose(state)).await.expect(201);
        let other = format!("/api/v1/change-requests/{}/{verb}", field(&other, "id"));
        assert_eq!(
            server.post(&other, token, &json!({})).await.expect(200)["state"],
            state
        );
    }
    let count = async |query: &str| {
        let page = server.get(&format!("{path}{query}"), "").await.expect(200);
        page["items"].as_array().unwrap().len()
    };
    assert_eq!(
        (
            count("").await,
            count("?state=open").await,
            count("?state=declined").await
        ),
        (3, 0, 1)
    );
    assert_eq!(
        server.get("/api/v1/prompts/plain", "").await.expect(200)["latest_version"],
        2
    );
}

#[tokio::test]
async fn two_owners_accept_one_change_once() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    server
        .post("/api/v1/prompts", &ada, &prompt("plain"))
        .await
        .expect(201);
    let new =
        json!({"title": "Better", "version": {"body": {"kind": "text", "text": "{{ question }}"}}});
    let request = server
        .post("/api/v1/prompts/plain/change-requests", &bob, &new)
        .await
        .expect(201);
    let accept = format!("/api/v1/change-requests/{}/accept", field(&request, "id"));
    let decision = json!({});
    let answers = tokio::join!(
        server.post(&accept, &ada, &decision),
        server.post(&accept, &ada, &decision),
        server.post(&accept, &ada, &decision),
    );
    let mut statuses = [answers.0.status, answers.1.status, answers.2.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409]);
}

/// A bound that is asked when a thing is made is asked when it is changed, too.
#[tokio::test]
async fn a_fork_is_never_wider_than_somebody_elses_prompt() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let mut hidden = prompt("hidden");
    hidden["visibility"] = json!("unlisted");
    let origin = server.post("/api/v1/prompts", &ada, &hidden).await;
    let origin = field(&origin.expect(201), "id");
    let fork = json!({"slug": "mine", "visibility": "private"});
    let forks = format!("/api/v1/prompts/{origin}/forks");
    server.post(&forks, &bob, &fork).await.expect(201);
    let change = async |visibility: &str| {
        let body = json!({"visibility": visibility});
        let request = server.request(Method::PATCH, "/api/v1/prompts/mine");
        send(with_token(request, &bob).json(&body)).await
    };
    change("public")
        .await
        .expect_problem(422, "invalid", Some("visibility"));
    change("unlisted").await.expect(200);
    let request = server.request(Method::PATCH, &format!("/api/v1/prompts/{origin}"));
    let hidden = json!({"visibility": "private"});
    let reply = send(with_token(request, &ada).json(&hidden)).await;
    reply.expect(200);
    change("private").await.expect(200);
    change("unlisted")
        .await
        .expect_problem(422, "invalid", Some("visibility"));
}
