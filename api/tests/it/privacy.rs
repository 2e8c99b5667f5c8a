//! What is private is to others as if it were not there.

use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Reply, Server, benchmark, prompt, run, send, with_token};

/// The answer without what differs between any two requests.
fn essence(reply: &Reply, reference: &str) -> (u16, Value) {
    let text = reply.text.replace(reference, "<reference>");
    let mut body: Value = serde_json::from_str(&text).unwrap();
    body.as_object_mut().unwrap().remove("request_id");
    (reply.status, body)
}

#[tokio::test]
async fn private_things_are_not_found_by_others() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let bob = server.user("bob").await;
    server.prepare_run(&ada).await;
    let private = |mut body: Value| {
        body["visibility"] = json!("private");
        body
    };
    let created = server
        .post("/api/v1/prompts", &ada, &private(prompt("secret")))
        .await;
    created.expect(201);
    let created = server
        .post("/api/v1/benchmarks", &ada, &private(benchmark("secret")))
        .await;
    created.expect(201);
    let created = server.post("/api/v1/runs", &ada, &private(run())).await;
    let run_id = created.expect(202)["id"].as_str().unwrap().to_owned();
    let unknown_id = "00000000-0000-7000-8000-000000000000";

    let check = async |method: Method, path: &str, name: &str, unknown: &str| {
        for token in ["", &bob] {
            let ask = async |reference: &str| {
                let path = path.replace("{}", reference);
                let request = with_token(server.request(method.clone(), &path), token);
                let body = json!({"body": {"kind": "text", "text": "x"}});
                essence(&send(request.json(&body)).await, reference)
            };
            let (private, unknown) = (ask(name).await, ask(unknown).await);
            assert_eq!(private, unknown, "{path}");
            assert_eq!(
                private.0,
                if method == Method::POST && token.is_empty() {
                    401
                } else {
                    404
                },
                "{path}"
            );
        }
    };
    check(Method::GET, "/api/v1/prompts/{}", "secret", "nothing").await;
    check(
        Method::GET,
        "/api/v1/prompts/{}/versions",
        "secret",
        "nothing",
    )
    .await;
    check(
        Method::POST,
        "/api/v1/prompts/{}/versions",
        "secret",
        "nothing",
    )
    .await;
    check(Method::GET, "/api/v1/benchmarks/{}", "secret", "nothing").await;
    check(
        Method::GET,
        "/api/v1/benchmarks/{}/items",
        "secret",
        "nothing",
    )
    .await;
    check(Method::GET, "/api/v1/leaderboards/{}", "secret", "nothing").await;
    check(Method::GET, "/api/v1/runs/{}", &run_id, unknown_id).await;
    check(
        Method::GET,
        "/api/v1/runs/{}/evaluations",
        &run_id,
        unknown_id,
    )
    .await;
    check(Method::GET, "/api/v1/runs/{}/events", &run_id, unknown_id).await;
    check(Method::POST, "/api/v1/runs/{}/cancel", &run_id, unknown_id).await;
    server
        .get(&format!("/api/v1/runs/{run_id}"), &ada)
        .await
        .expect(200);
    for list in ["prompts", "benchmarks", "runs"] {
        let path = format!("/api/v1/{list}");
        let mine = server.get(&path, &ada).await.text;
        let theirs = server.get(&path, &bob).await.text;
        assert!(mine.contains("private"), "{list}");
        assert!(!theirs.contains("private"), "{list}");
    }
}
