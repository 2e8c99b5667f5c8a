//! What a benchmark calls things is shown in tables, terminals and reports of others: it has a length, and no character
//! that hides.

use serde_json::{Value, json};

use crate::server::{Server, benchmark};

#[tokio::test]
async fn metrics_and_sources_have_lengths_and_are_seen() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    let publish = async |change: &dyn Fn(&mut Value)| {
        let mut body = benchmark("named");
        change(&mut body);
        server.post("/api/v1/benchmarks", &token, &body).await
    };
    let scorer = |metric: &str| json!({"type": "equals", "value": "2", "metric": metric});
    for metric in [
        "",
        " ",
        "two\nlines",
        "\u{1b}[31mred",
        "\u{202e}turned",
        &"x".repeat(101),
    ] {
        let reply = publish(&|body| body["scorers"] = json!([scorer(metric)])).await;
        reply.expect_problem(422, "invalid", Some("scorers[0].metric"));
        let reply = publish(&|body| body["items"][1]["scorers"] = json!([scorer(metric)])).await;
        reply.expect_problem(422, "invalid", Some("items[1].scorers[0].metric"));
    }
    // A hundred by all items, and one more.
    let many = |count: usize| {
        let item = move |at: usize| {
            let metrics = [at, at + 1].map(|number| scorer(&number.to_string()));
            json!({"id": at.to_string(), "vars": {"question": "1+1"}, "scorers": metrics})
        };
        let items: Vec<Value> = (0..count).map(item).collect();
        move |body: &mut Value| body["items"] = json!(items)
    };
    let reply = publish(&many(100)).await;
    reply.expect_problem(422, "invalid", Some("items[99].scorers[1].metric"));
    publish(&many(99)).await.expect(201);

    for (source, path) in [
        (json!({"url": "\u{1b}[31mred"}), "source.url"),
        (json!({"papers": [{"title": "a\u{7}"}]}), "source.papers"),
        (json!({"\u{202e}turned": "x"}), "source"),
        (json!({"citation": "x".repeat(20_001)}), "source"),
    ] {
        let reply = publish(&|body| body["source"] = source.clone()).await;
        reply.expect_problem(422, "invalid", Some(path));
    }
    let source = json!({"citation": "A. Author:\n\t\"Sums\", 2026", "floor": 0.25});
    publish(&|body| body["source"] = source.clone())
        .await
        .expect(201);
}
