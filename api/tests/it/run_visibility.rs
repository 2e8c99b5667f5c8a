//! Who sees a run: nobody who may not see every part of it, now (H4).

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    boards::{measure, prepared, publish},
    server::{Reply, Server, field, prompt, send, with_token},
};

pub async fn patch(server: &Server, path: &str, token: &str, body: &Value) -> Reply {
    send(with_token(server.request(Method::PATCH, path), token).json(body)).await
}

pub async fn delete(server: &Server, path: &str, token: &str) -> Reply {
    send(with_token(server.request(Method::DELETE, path), token)).await
}

/// A server where Ada has the prompt `zebra` and the benchmark `herd`, and has measured the one on the other in public.
async fn zoo() -> (Server, String, Uuid) {
    let (server, ada) = prepared().await;
    let mut zebra = prompt("zebra");
    zebra["body"]["text"] = json!("zebra: {{ question }}");
    server
        .post("/api/v1/prompts", &ada, &zebra)
        .await
        .expect(201);
    publish(&server, &ada, "herd", 10, None).await;
    let run = zebra_run(&server, &ada).await;
    (server, ada, run)
}

async fn zebra_run(server: &Server, token: &str) -> Uuid {
    let models = ["simulated:strong"];
    measure(
        server,
        token,
        "herd",
        &["zebra", "plain"],
        &models,
        |prompt, _, item| prompt == 0 || item % 2 == 0,
    )
    .await
}

/// Everything that shows runs or what is computed from them, to a caller who asks for nothing of their own.
async fn everything(server: &Server, token: &str, run: Uuid) -> String {
    let mut all = String::new();
    for path in [
        "/api/v1/runs".to_owned(),
        format!("/api/v1/runs/{run}"),
        format!("/api/v1/runs/{run}/evaluations"),
        "/api/v1/leaderboards?min_coverage=0".to_owned(),
        "/api/v1/leaderboards/herd".to_owned(),
        "/api/v1/leaderboards/herd?board=public".to_owned(),
        "/api/v1/leaderboards/herd/effects".to_owned(),
        "/api/v1/leaderboards/herd/history".to_owned(),
        "/api/v1/leaderboards/community?order=quality".to_owned(),
        "/api/v1/prompts/plain/evidence?simulated=true".to_owned(),
        "/api/v1/prompts?benchmark=herd".to_owned(),
    ] {
        let reply = server.get(&path, token).await;
        // Errors repeat what was asked for.
        if reply.status == 200 {
            all.push_str(&reply.text);
        }
    }
    let columns =
        json!({"columns": [{"run": run, "prompt": "zebra"}, {"run": run, "prompt": "plain"}]});
    let compared = server.post("/api/v1/compare", token, &columns).await;
    if compared.status == 200 {
        all.push_str(&compared.text);
    }
    all
}

#[tokio::test]
async fn a_run_shows_no_more_than_its_narrowest_part_whatever_was_narrowed_afterwards() {
    for narrowing in [
        "update runs set visibility = 'private'",
        "update runs set visibility = 'unlisted'",
        "update prompts set visibility = 'private' where slug = 'zebra'",
        "update prompts set visibility = 'private', deleted_at = now() where slug = 'zebra'",
        "update benchmarks set visibility = 'private' where slug = 'herd'",
        "update benchmarks set deleted_at = now() where slug = 'herd'",
        "update runs set deleted_at = now()",
        "update prompt_versions set withdrawn_at = now()
         where prompt_id = (select id from prompts where slug = 'zebra')",
    ] {
        let (server, ada, run) = zoo().await;
        let eve = server.user("eve").await;
        let id = run.to_string();
        // Answers to strangers are kept for a moment, so they ask for the first time afterwards.
        let all = everything(&server, &eve, run).await;
        assert!(all.contains(&id) && all.contains("zebra@1"), "{all}");
        server.sql(narrowing).await;
        let is_unlisted = narrowing.contains("unlisted");
        for token in ["", &eve] {
            let all = everything(&server, token, run).await;
            let knows_address = is_unlisted && !token.is_empty();
            assert_eq!(all.contains(&id), knows_address, "{narrowing}: {all}");
            // The prompt itself may still be public.
            let board = server
                .get("/api/v1/leaderboards/herd?board=public", token)
                .await;
            assert!(!board.text.contains("zebra"), "{narrowing}: {}", board.text);
        }
        // Her own numbers stay hers.
        let own = server.get(&format!("/api/v1/runs/{run}"), &ada).await;
        let gone = narrowing.contains("runs set deleted_at");
        assert_eq!(own.status, if gone { 404 } else { 200 }, "{narrowing}");
    }
}

#[tokio::test]
async fn an_owner_keeps_the_numbers_of_a_run_whose_prompt_was_taken_away_and_nothing_else() {
    let (server, ada, _) = zoo().await;
    let bob = server.user("bob").await;
    let run = zebra_run(&server, &bob).await;
    let path = format!("/api/v1/runs/{run}");
    let before = server.get(&path, &bob).await.expect(200);
    assert_eq!(before["parts_hidden"], false);
    patch(
        &server,
        "/api/v1/prompts/zebra",
        &ada,
        &json!({"visibility": "private"}),
    )
    .await
    .expect(200);

    let after = server.get(&path, &bob).await.expect(200);
    assert_eq!(after["parts_hidden"], true);
    assert_eq!(after["prompts"], json!(["(hidden)", "plain@1"]));
    assert_eq!(after["passed"], before["passed"]);
    for reply in [
        server.get(&format!("{path}/evaluations"), &bob).await,
        server
            .post(&format!("{path}/retry"), &bob, &json!({}))
            .await,
        server
            .post(&format!("{path}/extend"), &bob, &json!({"repeats": 2}))
            .await,
        server
            .post(
                &format!("{path}/rescore"),
                &bob,
                &json!({"benchmark": "herd"}),
            )
            .await,
        server
            .post("/api/v1/compare", &bob, &json!({"columns": [{"run": run}]}))
            .await,
    ] {
        reply.expect_problem(403, "forbidden", None);
    }
    // His own board names no prompt that he may not see, not even to a filter.
    let board = server
        .get("/api/v1/leaderboards/herd", &bob)
        .await
        .expect(200);
    assert_eq!(board["board"], "own");
    assert_eq!(board["standings"][0]["prompt"], "(hidden)");
    assert_eq!(board["standings"][0]["score"], 1.0);
    let named = "/api/v1/leaderboards/herd?board=own&prompt=zebra";
    let named = server.get(named, &bob).await.expect(200);
    assert_eq!(named["standings"], json!([]));
    let history = server.get("/api/v1/leaderboards/herd/history", &bob).await;
    let all = server
        .get("/api/v1/leaderboards?min_coverage=0", &bob)
        .await;
    for reply in [history, all] {
        assert!(!reply.text.contains("zebra"), "{}", reply.text);
        assert!(reply.text.contains("(hidden)"), "{}", reply.text);
    }
}

#[tokio::test]
async fn a_run_without_a_word_is_as_narrow_as_its_parts_and_a_wider_one_is_refused() {
    let (server, ada, _) = zoo().await;
    // Servers of these tests make things public where nothing is said.
    let request = |visibility: Option<&str>| {
        let mut body =
            json!({"benchmark": "herd", "prompts": ["zebra"], "models": ["simulated:strong"]});
        if let Some(visibility) = visibility {
            body["visibility"] = json!(visibility);
        }
        body
    };
    for (prompt, benchmark, narrowest) in [
        ("public", "public", "public"),
        ("unlisted", "public", "unlisted"),
        ("public", "unlisted", "unlisted"),
        ("unlisted", "private", "private"),
        ("private", "public", "private"),
    ] {
        for (path, word) in [("prompts/zebra", prompt), ("benchmarks/herd", benchmark)] {
            let change = json!({"visibility": word});
            patch(&server, &format!("/api/v1/{path}"), &ada, &change)
                .await
                .expect(200);
        }
        let run = server
            .post("/api/v1/runs", &ada, &request(None))
            .await
            .expect(202);
        assert_eq!(run["visibility"], narrowest);
        let path = format!("/api/v1/runs/{}", run["id"].as_str().unwrap());
        for word in ["private", "unlisted", "public"] {
            let allowed = rank(word) <= rank(narrowest);
            let asked = server
                .post("/api/v1/runs", &ada, &request(Some(word)))
                .await;
            let changed = patch(&server, &path, &ada, &json!({"visibility": word})).await;
            if allowed {
                assert_eq!(asked.expect(202)["visibility"], word);
                assert_eq!(changed.expect(200)["visibility"], word);
            } else {
                for refused in [asked, changed] {
                    refused.expect_problem(422, "invalid", Some("visibility"));
                    assert!(refused.text.contains(narrowest), "{}", refused.text);
                }
            }
        }
    }
}

fn rank(word: &str) -> usize {
    ["private", "unlisted", "public"]
        .iter()
        .position(|known| *known == word)
        .unwrap()
}

#[tokio::test]
async fn extending_a_run_by_a_narrower_prompt_and_scoring_it_wider_are_refused() {
    let (server, ada, run) = zoo().await;
    let mut secret = prompt("secret");
    secret["visibility"] = json!("private");
    secret["body"]["text"] = json!("secret: {{ question }}");
    server
        .post("/api/v1/prompts", &ada, &secret)
        .await
        .expect(201);
    let path = format!("/api/v1/runs/{run}");
    let more = json!({"prompts": ["secret"]});
    server
        .post(&format!("{path}/extend"), &ada, &more)
        .await
        .expect_problem(422, "invalid", Some("prompts"));
    patch(&server, &path, &ada, &json!({"visibility": "private"}))
        .await
        .expect(200);
    server
        .post(&format!("{path}/extend"), &ada, &more)
        .await
        .expect(202);

    let bob = server.user("bob").await;
    let of_others = zebra_run(&server, &bob).await;
    let narrow = json!({"visibility": "unlisted"});
    patch(&server, &format!("/api/v1/runs/{of_others}"), &bob, &narrow)
        .await
        .expect(200);
    let rescore = format!("/api/v1/runs/{of_others}/rescore");
    let wider = json!({"benchmark": "herd", "visibility": "public"});
    server
        .post(&rescore, &ada, &wider)
        .await
        .expect_problem(422, "invalid", Some("visibility"));
    let silent = server
        .post(&rescore, &ada, &json!({"benchmark": "herd"}))
        .await;
    let scored = silent.expect(202);
    assert_eq!(scored["visibility"], "private");
    // Neither now nor later: the answers are Bob's.
    let scored = format!("/api/v1/runs/{}", field(&scored, "id"));
    for wider in ["unlisted", "public"] {
        patch(&server, &scored, &ada, &json!({"visibility": wider}))
            .await
            .expect_problem(422, "invalid", Some("visibility"));
    }
    // Ada's run has not ended, and holds up nothing of Bob's.
    let deleted = delete(&server, &format!("/api/v1/runs/{of_others}"), &bob).await;
    assert_eq!(deleted.status, 204, "{}", deleted.text);
}
