//! What was measured of a prompt, and the order by it.

use reqwest::Method;
use serde_json::{Value, json};

use super::{all_pages, ask, call_it_real, column, measure, prompts};
use crate::server::{Server, benchmark};

/// `ada` has the prompts `good`, `poor` and `unmeasured`, measured on `sums`.
async fn measured(server: &Server) -> String {
    let ada = server.user("ada").await;
    server.prepare_run(&ada).await;
    prompts(server, &ada, &["good", "poor", "unmeasured"], "public").await;
    measure(server, &ada, "sums", &["good", "poor"], |prompt, item| {
        prompt == 0 || item == 0
    })
    .await;
    ada
}

async fn evidence(server: &Server, query: &str) -> Vec<Value> {
    let path = format!("/api/v1/prompts/good/evidence{query}");
    let page = server.get(&path, "").await.expect(200);
    page["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn evidence_keeps_simulated_apart_and_grows_stale() {
    let server = Server::start().await;
    let ada = measured(&server).await;
    assert_eq!(evidence(&server, "").await, Vec::<Value>::new());
    let simulated = evidence(&server, "?simulated=true").await;
    assert_eq!(simulated.len(), 1);
    assert_eq!(simulated[0]["simulated"], true);
    call_it_real(&server).await;
    let real = evidence(&server, "").await;
    assert_eq!(real.len(), 1);
    let line = &real[0];
    assert_eq!(line["prompt"], "good@1");
    assert_eq!(line["benchmark"], "sums@1");
    assert_eq!(line["model"], "simulated:strong");
    assert_eq!(line["stale"], false);
    assert_eq!(line["score"], 1.0);
    assert!(line["score_low"].as_f64().unwrap() < 1.0);
    assert_eq!(line["rank_low"], 1);
    assert_eq!(line["cost_per_1000_microusd"], 7_000);
    assert_eq!(line["latency_p50_ms"], 100.0);
    let run = format!("/api/v1/runs/{}", line["run_id"].as_str().unwrap());
    server.get(&run, "").await.expect(200);
    assert!(evidence(&server, "?simulated=true").await.is_empty());
    assert!(evidence(&server, "?version=2").await.is_empty());
    assert!(evidence(&server, "?benchmark=other").await.is_empty());

    let mut next = benchmark("sums");
    next["items"][0]["vars"]["question"] = json!("2+0");
    server
        .post("/api/v1/benchmarks", &ada, &next)
        .await
        .expect(201);
    let old = evidence(&server, "").await;
    assert_eq!((old.len(), &old[0]["stale"]), (1, &json!(true)));
    assert!(evidence(&server, "?current=true").await.is_empty());
}

#[tokio::test]
async fn evidence_is_public_or_none() {
    let server = Server::start().await;
    let ada = measured(&server).await;
    let eve = server.user("eve").await;
    call_it_real(&server).await;
    let lines = async |token: &str| {
        let page = server.get("/api/v1/prompts/good/evidence", token).await;
        page.expect(200)["items"].as_array().unwrap().len()
    };
    // What was measured in private stands on one's own board, and proves nothing: not even to whoever measured it.
    for (narrow, widen) in [
        (
            "update benchmarks set visibility = 'private'",
            "update benchmarks set visibility = 'public'",
        ),
        (
            "update runs set visibility = 'private'",
            "update runs set visibility = 'public'",
        ),
        (
            "update runs set visibility = 'unlisted'",
            "update runs set visibility = 'public'",
        ),
        (
            "update prompts set visibility = 'private' where slug = 'poor'",
            "update prompts set visibility = 'public' where slug = 'poor'",
        ),
    ] {
        for token in ["", &eve, &ada] {
            assert_eq!(lines(token).await, 1, "before: {narrow}");
        }
        server.sql(narrow).await;
        for token in ["", &eve, &ada] {
            assert_eq!(lines(token).await, 0, "{narrow}");
        }
        server.sql(widen).await;
    }
}

#[tokio::test]
async fn quality_is_the_best_proven_real_standing_of_now() {
    let server = Server::start().await;
    let ada = measured(&server).await;
    let order = async || {
        let path = "/api/v1/leaderboards/community?sort=quality";
        let page = server.get(path, "").await.expect(200);
        let qualities: Vec<Value> = page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["quality"].clone())
            .collect();
        (column(&page, "slug"), qualities)
    };
    let (_, qualities) = order().await;
    assert_eq!(
        qualities,
        vec![Value::Null; 4],
        "simulated results prove nothing"
    );

    call_it_real(&server).await;
    let (slugs, qualities) = order().await;
    assert_eq!(slugs[..2], ["good", "poor"]);
    assert_eq!(qualities[0]["benchmark"], "sums@1");
    assert_eq!(qualities[0]["prompt"], "good@1");
    assert_eq!(qualities[0]["model"], "simulated:strong");
    assert!(qualities[0]["score_low"].as_f64() > qualities[1]["score_low"].as_f64());
    assert_eq!(qualities[2], Value::Null);
    let paged = all_pages(
        &server,
        "/api/v1/leaderboards/community?sort=quality",
        "",
        "slug",
    )
    .await;
    assert_eq!(paged, slugs, "pages hold every prompt once");

    // 3 of 3 items: Wilson's lower end, and 0.6 of it when nobody has voted.
    let low = opb_core::stats::wilson(3, 3, 0.95).low;
    let page = server
        .get("/api/v1/leaderboards/community?sort=combined&limit=1", "")
        .await
        .expect(200);
    let best = &page["items"][0];
    assert_eq!(best["slug"], "good");
    assert!((best["quality"]["score_low"].as_f64().unwrap() - low).abs() < 1e-12);
    assert!((best["combined"].as_f64().unwrap() - 0.6 * low).abs() < 1e-12);

    // The list of all prompts knows what was measured.
    let found = async |filter: &str| {
        let path = format!("/api/v1/prompts?{filter}");
        all_pages(&server, &path, "", "slug").await
    };
    assert_eq!(found("benchmark=sums&sort=quality").await, ["good", "poor"]);
    assert_eq!(found("benchmark=sums&min_score=0.9").await, ["good"]);
    assert_eq!(found("model=simulated:strong&min_score=1").await, ["good"]);
    assert!(found("benchmark=other").await.is_empty());
    assert!(found("model=simulated:weak").await.is_empty());
    server
        .get("/api/v1/prompts?min_score=2", "")
        .await
        .expect_problem(422, "invalid", Some("min_score"));

    // A private benchmark proves nothing to others, and an old version nothing of today.
    server
        .sql("update benchmarks set visibility = 'private'")
        .await;
    assert_eq!(order().await.1, vec![Value::Null; 4]);
    server
        .sql("update benchmarks set visibility = 'public'")
        .await;
    assert_eq!(order().await.1[0]["prompt"], "good@1");
    let mut next = benchmark("sums");
    next["items"][0]["vars"]["question"] = json!("2+0");
    server
        .post("/api/v1/benchmarks", &ada, &next)
        .await
        .expect(201);
    assert_eq!(order().await.1, vec![Value::Null; 4]);
    let measured_again = measure(&server, &ada, "sums", &["poor"], |_, _| true).await;
    call_it_real(&server).await;
    let (slugs, qualities) = order().await;
    assert_eq!(slugs[0], "poor");
    assert_eq!(qualities[0]["run_id"], measured_again.to_string());
    // A prompt that results point at keeps its row when it is deleted, and is in no list any more.
    let reply = ask(
        &server,
        Method::DELETE,
        "/api/v1/prompts/poor",
        &ada,
        &Value::Null,
    )
    .await;
    assert_eq!(reply.status, 204, "{}", reply.text);
    let (slugs, qualities) = order().await;
    assert!(!slugs.contains(&"poor".to_owned()), "{slugs:?}");
    assert_eq!(qualities, vec![Value::Null; 3]);
}
