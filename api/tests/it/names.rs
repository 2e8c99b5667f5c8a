//! Names: as good as ids wherever one is asked for, and helped along when they are misspelt.

use reqwest::Method;
use serde_json::json;

use crate::server::{Server, send, with_token};

#[tokio::test]
async fn a9_names_are_as_good_as_ids() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let eve = server.user("eve").await;
    server.prepare_run(&ada).await;
    let benchmark = json!({"slug": "triage", "title": "Triage", "scorers": [{"type": "equals"}],
        "items": [{"id": "1", "vars": {"question": "2+2"}, "expected": "4"}]});
    server
        .post("/api/v1/benchmarks", &ada, &benchmark)
        .await
        .expect(201);
    let prompt = json!({"slug": "triage-terse", "title": "Terse", "body": {"kind": "text", "text": "{{ question }}"}});
    server
        .post("/api/v1/prompts", &ada, &prompt)
        .await
        .expect(201);
    let request =
        json!({"benchmark": "triage", "prompts": ["triage-terse"], "models": ["simulated:strong"]});
    let schedule = |name: &str| json!({"name": name, "cron": "0 * * * *", "request": request});
    for name in ["nightly", "a/b ü"] {
        server
            .post("/api/v1/schedules", &ada, &schedule(name))
            .await
            .expect(201);
    }
    let path = |name: &str| format!("/api/v1/schedules/{name}");
    let found = server.get(&path("nightly"), &ada).await.expect(200);
    let id = found["id"].as_str().unwrap();
    assert_eq!(
        server.get(&path(id), &ada).await.expect(200)["name"],
        "nightly"
    );
    assert_eq!(
        server.get(&path("a%2Fb%20%C3%BC"), &ada).await.expect(200)["name"],
        "a/b ü"
    );
    let paused = server
        .post(&path("nightly/pause"), &ada, &json!({}))
        .await
        .expect(200);
    assert!(paused["paused_at"].is_string());
    let misspelt = server.get(&path("nihtly"), &ada).await.expect(404);
    assert!(
        misspelt["detail"]
            .as_str()
            .unwrap()
            .contains("did you mean `nightly`?"),
        "{misspelt}"
    );
    // The names of others are nobody else's business.
    let other = server.get(&path("nightly"), &eve).await.expect(404);
    assert_eq!(other["detail"], "the schedule `nightly` was not found");

    let alert =
        json!({"name": "dear", "schedule": "nightly", "kind": "cost", "threshold": 500_000});
    let made = server
        .post("/api/v1/alerts", &ada, &alert)
        .await
        .expect(201);
    assert_eq!(
        (&made["schedule"], &made["schedule_id"]),
        (&json!("nightly"), &json!(id))
    );
    let changed = with_token(server.request(Method::PATCH, "/api/v1/alerts/dear"), &ada);
    let changed = send(changed.json(&json!({"threshold": 1})))
        .await
        .expect(200);
    assert_eq!(changed["threshold"], 1.0);
    let wrong = json!({"name": "dear", "schedule": "nihtly", "kind": "cost", "threshold": 1});
    let wrong = server
        .post("/api/v1/alerts", &ada, &wrong)
        .await
        .expect(422);
    assert!(
        wrong["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("did you mean `nightly`?"),
        "{wrong}"
    );
    let gone = with_token(server.request(Method::DELETE, "/api/v1/alerts/dear"), &ada);
    let gone = send(gone).await;
    assert_eq!(gone.status, 204, "{}", gone.text);
}

#[tokio::test]
async fn a_misspelt_slug_is_answered_with_the_nearest_that_the_caller_may_find() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let benchmark = |slug: &str, visibility: &str| {
        json!({"slug": slug, "title": "B", "visibility": visibility, "scorers": [{"type": "equals"}],
            "items": [{"id": "1", "vars": {"question": "2+2"}, "expected": "4"}]})
    };
    server
        .post("/api/v1/benchmarks", &ada, &benchmark("triage", "public"))
        .await
        .expect(201);
    server
        .post(
            "/api/v1/benchmarks",
            &ada,
            &benchmark("zebraprivate", "private"),
        )
        .await
        .expect(201);
    let prompt = json!({"slug": "triage-terse", "title": "Terse", "visibility": "public",
        "body": {"kind": "text", "text": "{{ question }}"}});
    server
        .post("/api/v1/prompts", &ada, &prompt)
        .await
        .expect(201);
    let detail = async |path: &str| {
        let refused = server.get(path, "").await.expect(404);
        refused["detail"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        detail("/api/v1/benchmarks/triag").await,
        "the benchmark `triag` (did you mean `triage`?) was not found"
    );
    assert_eq!(
        detail("/api/v1/prompts/triage-ters").await,
        "the prompt `triage-ters` (did you mean `triage-terse`?) was not found"
    );
    assert!(
        detail("/api/v1/leaderboards/triag")
            .await
            .contains("`triage`")
    );
    assert_eq!(
        detail("/api/v1/benchmarks/zebraprivat").await,
        "the benchmark `zebraprivat` was not found"
    );
    let request =
        json!({"benchmark": "triage", "prompts": ["triage-ters"], "models": ["simulated:strong"]});
    let refused = server
        .post("/api/v1/runs", &ada, &request)
        .await
        .expect(422);
    let message = refused["errors"][0]["message"].as_str().unwrap();
    assert!(
        message.contains("did you mean `triage-terse`?"),
        "{message}"
    );
}
