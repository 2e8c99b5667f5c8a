//! Votes and the orders that come of them.

use reqwest::Method;
use serde_json::{Value, json};

use super::{all_pages, ask, prompts};
use crate::server::{Server, send};

const VOTE: &str = "/api/v1/prompts/plain/vote";

async fn vote(server: &Server, token: &str, prompt: &str, vote: &str) {
    let path = format!("/api/v1/prompts/{prompt}/vote");
    ask(server, Method::PUT, &path, token, &json!({"vote": vote}))
        .await
        .expect(200);
}

#[tokio::test]
async fn a_vote_is_cast_changed_and_taken_back() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let bob = server.user("bob").await;
    prompts(&server, &ada, &["plain"], "public").await;
    let check = async |token: &str, expect: Value| {
        let votes = server.get(VOTE, token).await.expect(200);
        let found = json!([votes["up"], votes["down"], votes["mine"]]);
        assert_eq!(found, expect);
    };
    check("", json!([0, 0, null])).await;
    vote(&server, &bob, "plain", "up").await;
    vote(&server, &bob, "plain", "up").await;
    check(&bob, json!([1, 0, "up"])).await;
    check(&ada, json!([1, 0, null])).await;
    vote(&server, &bob, "plain", "down").await;
    check(&bob, json!([0, 1, "down"])).await;
    for _ in 0..2 {
        let reply = ask(&server, Method::DELETE, VOTE, &bob, &Value::Null).await;
        assert_eq!(reply.status, 204, "{}", reply.text);
    }
    check(&bob, json!([0, 0, null])).await;
    let trend: f64 = sqlx::query_scalar("select trend / vote_weight(now()) from prompt_ranks")
        .fetch_one(&server.database.pool)
        .await
        .unwrap();
    assert!(
        trend.abs() < 1e-9,
        "what comes and goes leaves no trace: {trend}"
    );
    ask(&server, Method::PUT, VOTE, &ada, &json!({"vote": "up"}))
        .await
        .expect_problem(403, "forbidden", None);
    ask(&server, Method::PUT, VOTE, &bob, &json!({"vote": "maybe"}))
        .await
        .expect_problem(422, "invalid", Some("vote"));
}

/// Two hundred people vote at once, change their minds at once, and a quarter of them leaves at once.
#[tokio::test]
async fn counters_are_right_under_two_hundred_parallel_voters() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    prompts(&server, &ada, &["plain"], "public").await;
    let keys = voters(&server, 200).await;
    // This client waits as long as it takes, and a busy server may say 503: nothing was counted then, and asking again
    // does no harm.
    let client = reqwest::Client::new();
    let insist = async |method: Method, key: &str, body: &Value| {
        loop {
            let request = client.request(method.clone(), format!("{}{VOTE}", server.address));
            let request = request.bearer_auth(key);
            let reply = send(if body.is_null() {
                request
            } else {
                request.json(body)
            })
            .await;
            if reply.status != 503 {
                assert!(reply.status < 300, "{}", reply.text);
                return;
            }
        }
    };
    let all = async |choose: &(dyn Fn(usize) -> &'static str + Sync)| {
        let requests = keys.iter().enumerate().map(|(number, key)| {
            let body = json!({"vote": choose(number)});
            let insist = &insist;
            async move { insist(Method::PUT, key, &body).await }
        });
        futures::future::join_all(requests).await;
    };
    let count = async || {
        let votes = server.get(VOTE, "").await.expect(200);
        (
            votes["up"].as_i64().unwrap(),
            votes["down"].as_i64().unwrap(),
        )
    };
    all(&|number| if number % 4 == 0 { "down" } else { "up" }).await;
    assert_eq!(count().await, (150, 50));
    all(&|number| if number % 4 == 1 { "down" } else { "up" }).await;
    assert_eq!(count().await, (150, 50));
    let leaving = keys
        .iter()
        .step_by(4)
        .map(|key| insist(Method::DELETE, key, &Value::Null));
    futures::future::join_all(leaving).await;
    assert_eq!(count().await, (100, 50));
    // The counters are what a recount says, and Postgres' Wilson is the one of the statistics.
    let recount: (i64, i64, f64, f64) = sqlx::query_as(
        "select count(*) filter (where direction = 'up'), count(*) filter (where direction = 'down'),
                (sum(case direction when 'up' then 1 else -1 end * vote_weight(cast_at)) - max(trend)) / vote_weight(now()),
                max(wilson)
         from prompt_votes join prompt_ranks using (prompt_id)",
    )
    .fetch_one(&server.database.pool)
    .await
    .unwrap();
    assert_eq!((recount.0, recount.1), (100, 50));
    // Sums of doubles in another order differ in their last digits.
    assert!(
        recount.2.abs() < 1e-9,
        "the trend is off by {} votes",
        recount.2
    );
    let expect = opb_core::stats::wilson(100, 150, 0.95).low;
    assert!((recount.3 - expect).abs() < 1e-12);
    // Users who are deleted take their votes along.
    server
        .sql("delete from users where username like 'voter%'")
        .await;
    assert_eq!(count().await, (0, 0));
}

#[tokio::test]
async fn prompts_are_ranked_by_votes_and_by_fresh_votes() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    prompts(
        &server,
        &ada,
        &["loved", "fresh", "mixed", "unknown", "hated"],
        "public",
    )
    .await;
    prompts(&server, &ada, &["hidden"], "private").await;
    prompts(&server, &ada, &["unlisted"], "unlisted").await;
    let keys = voters(&server, 12).await;
    for (number, key) in keys.iter().enumerate() {
        vote(&server, key, "loved", "up").await;
        if number < 3 {
            vote(&server, key, "fresh", "up").await;
            vote(&server, key, "hated", "down").await;
        }
        let mixed = if number % 2 == 0 { "up" } else { "down" };
        vote(&server, key, "mixed", mixed).await;
    }
    // The votes for `loved` are five weeks old: twelve of them weigh less than three of today.
    server
        .sql(
            "delete from prompt_votes where prompt_id = (select id from prompts where slug = 'loved')",
        )
        .await;
    server
        .sql(
            "insert into prompt_votes (prompt_id, user_id, direction, cast_at)
             select prompts.id, users.id, 'up', now() - interval '5 weeks' from prompts, users
             where slug = 'loved' and username like 'voter%'",
        )
        .await;
    let order = async |sort: &str| {
        let path = format!("/api/v1/leaderboards/community?sort={sort}");
        all_pages(&server, &path, "", "slug").await
    };
    assert_eq!(
        order("top").await,
        ["loved", "fresh", "mixed", "hated", "unknown"]
    );
    assert_eq!(
        order("trending").await,
        ["fresh", "loved", "unknown", "mixed", "hated"]
    );
    assert_eq!(order("combined").await, order("top").await);
    for sort in ["top", "trending", "quality", "combined"] {
        let listed = format!("/api/v1/prompts?sort={sort}");
        assert_eq!(
            all_pages(&server, &listed, "", "slug").await,
            order(sort).await,
            "{sort}"
        );
    }
    let page = server
        .get("/api/v1/leaderboards/community?sort=trending&limit=2", "")
        .await
        .expect(200);
    let trends: Vec<f64> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["trend"].as_f64().unwrap())
        .collect();
    assert!((trends[0] - 3.0).abs() < 0.01, "{trends:?}");
    assert!((trends[1] - 12.0 / 32.0).abs() < 0.01, "{trends:?}");
    let cursor = page["next_cursor"].as_str().unwrap();
    server
        .get(
            &format!("/api/v1/leaderboards/community?sort=top&cursor={cursor}"),
            "",
        )
        .await
        .expect_problem(422, "invalid", Some("cursor"));
    server
        .get("/api/v1/leaderboards/community?sort=best", "")
        .await
        .expect_problem(422, "invalid", Some("sort"));
}

/// Whoever is given a prompt loses the vote on it.
#[tokio::test]
async fn a_transferred_prompt_has_no_vote_of_its_owner() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let bob = server.user("bob").await;
    prompts(&server, &ada, &["plain"], "public").await;
    vote(&server, &bob, "plain", "up").await;
    server
        .sql("update prompts set owner_id = (select id from users where username = 'bob')")
        .await;
    let votes = server.get(VOTE, &bob).await.expect(200);
    assert_eq!(json!([votes["up"], votes["mine"]]), json!([0, null]));
}

/// API keys of new users, made without the price of their passwords.
async fn voters(server: &Server, count: i32) -> Vec<String> {
    use secrecy::ExposeSecret as _;
    let mut conn = server.database.pool.acquire().await.unwrap();
    let ids: Vec<i64> = sqlx::query_scalar(
        "insert into users (username, email)
         select 'voter' || number, 'voter' || number || '@example.org' from generate_series(1, $1) number
         returning id",
    )
    .bind(count)
    .fetch_all(&mut *conn)
    .await
    .unwrap();
    let mut keys = Vec::new();
    for id in ids {
        let key = opb_core::auth::create_api_key(&mut conn, id, "vote").await;
        keys.push(key.unwrap().expose_secret().to_owned());
    }
    keys
}
