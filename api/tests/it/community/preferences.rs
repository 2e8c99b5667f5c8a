//! Blind preferences and the ranking that comes of them.

use std::collections::{HashMap, HashSet};

use reqwest::Method;
use serde_json::{Value, json};

use super::{ask, measure, prompts};
use crate::server::{Reply, Server, field};

const PAIRS: &str = "/api/v1/preferences";
const BOARD: &str = "/api/v1/leaderboards/sums/preferences";

async fn draw(server: &Server, token: &str) -> Reply {
    let body = json!({"benchmark": "sums"});
    server.post(PAIRS, token, &body).await
}

async fn choose(server: &Server, token: &str, id: &str, choice: &str) -> Reply {
    let path = format!("{PAIRS}/{id}");
    ask(
        server,
        Method::PUT,
        &path,
        token,
        &json!({"choice": choice}),
    )
    .await
}

/// Three prompts with an answer each to three items.
async fn answered(server: &Server) -> String {
    let ada = server.user("ada").await;
    server.prepare_run(&ada).await;
    prompts(server, &ada, &["alpha", "beta", "gamma"], "public").await;
    measure(server, &ada, "sums", &["alpha", "beta", "gamma"], |_, _| {
        true
    })
    .await;
    ada
}

#[tokio::test]
async fn a_pair_tells_nothing_before_the_choice() {
    let server = Server::start().await;
    answered(&server).await;
    let bob = server.user("bob").await;
    let mut lefts = HashSet::new();
    let mut pairs = HashSet::new();
    for number in 0..9 {
        let reply = draw(&server, &bob).await;
        let pair = reply.expect(201);
        for name in [
            "alpha", "beta", "gamma", "run_id", "prompt", "strong", "ada",
        ] {
            assert!(!reply.text.contains(name), "{name}: {}", reply.text);
        }
        assert_eq!(pair["vars"], json!({"question": "1+1"}));
        assert_ne!(pair["left"], pair["right"]);
        let again = draw(&server, &bob).await.expect(201);
        assert_eq!(again, pair, "an open pair comes again, in the same order");
        let id = field(&pair, "id");
        let choice = ["left", "right", "tie", "both_bad"][number % 4];
        let made = choose(&server, &bob, &id, choice).await.expect(200);
        // The last word of an answer is the position of its prompt in the run.
        let prompt_of = |side: &str| {
            let answer = field(&pair, side);
            let position: usize = answer.rsplit(' ').next().unwrap().parse().unwrap();
            ["alpha@1", "beta@1", "gamma@1"][position]
        };
        assert_eq!(made["left"], prompt_of("left"));
        assert_eq!(made["right"], prompt_of("right"));
        assert_eq!(made["model"], "simulated:strong");
        let same = choose(&server, &bob, &id, choice).await.expect(200);
        assert_eq!(same, made);
        let other = if choice == "left" { "right" } else { "left" };
        choose(&server, &bob, &id, other)
            .await
            .expect_problem(409, "conflict", None);
        lefts.insert(field(&made, "left"));
        let mut names = [field(&made, "left"), field(&made, "right")];
        names.sort();
        pairs.insert((field(&made, "item"), names));
    }
    // Three pairs of prompts on three items: each came once, and there is no tenth.
    assert_eq!(pairs.len(), 9);
    assert!(lefts.len() > 1, "the order is drawn");
    draw(&server, &bob)
        .await
        .expect_problem(404, "not_found", None);
}

#[tokio::test]
async fn a_pair_is_for_the_user_who_drew_it() {
    let server = Server::start().await;
    let ada = answered(&server).await;
    let bob = server.user("bob").await;
    let id = field(&draw(&server, &bob).await.expect(201), "id");
    choose(&server, &ada, &id, "left")
        .await
        .expect_problem(404, "not_found", None);
    assert_eq!(choose(&server, "", &id, "left").await.status, 401);
    choose(&server, &bob, &id, "middle")
        .await
        .expect_problem(422, "invalid", Some("choice"));
    server
        .post(PAIRS, &bob, &json!({"benchmark": "nothing"}))
        .await
        .expect_problem(404, "not_found", None);
    // When a prompt becomes private, its pair is not shown and not judged any more.
    server
        .sql("update prompts set visibility = 'private' where slug <> 'gamma'")
        .await;
    choose(&server, &bob, &id, "left")
        .await
        .expect_problem(404, "not_found", None);
    draw(&server, &bob)
        .await
        .expect_problem(404, "not_found", None);
    let open: i64 = sqlx::query_scalar("select count(*) from preferences where choice is not null")
        .fetch_one(&server.database.pool)
        .await
        .unwrap();
    assert_eq!(open, 0, "nothing was recorded");
}

#[tokio::test]
async fn parallel_draws_give_one_pair() {
    let server = Server::start().await;
    answered(&server).await;
    let bob = server.user("bob").await;
    let draws = futures::future::join_all((0..10).map(|_| draw(&server, &bob))).await;
    let ids: HashSet<String> = draws
        .iter()
        .map(|reply| field(&reply.expect(201), "id"))
        .collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
}

#[tokio::test]
async fn choices_rank_the_prompts() {
    let server = Server::start().await;
    answered(&server).await;
    let board = server.get(BOARD, "").await.expect(200);
    assert_eq!(board["entries"], json!([]));
    // Everybody likes alpha best; between beta and gamma nobody sees a difference.
    let mut counted: HashMap<String, i64> = HashMap::new();
    for voter in ["bob", "eve", "joe", "kim"] {
        let token = server.user(voter).await;
        for _ in 0..9 {
            let pair = draw(&server, &token).await.expect(201);
            let is_alpha = |side: &str| field(&pair, side).ends_with(" 0");
            let choice = match (is_alpha("left"), is_alpha("right")) {
                (true, _) => "left",
                (_, true) => "right",
                _ if voter == "bob" => "both_bad",
                _ => "tie",
            };
            *counted.entry(choice.to_owned()).or_default() += 1;
            choose(&server, &token, &field(&pair, "id"), choice)
                .await
                .expect(200);
        }
    }
    assert_eq!(counted["left"] + counted["right"], 24);
    let reply = server.get(BOARD, "").await;
    let board = reply.expect(200);
    assert_eq!(
        (&board["choices"], &board["voters"], &board["simulated"]),
        (&json!(36), &json!(4), &json!(true))
    );
    let entries = board["entries"].as_array().unwrap();
    let names: Vec<&Value> = entries.iter().map(|entry| &entry["prompt"]).collect();
    assert_eq!(names, ["alpha@1", "beta@1", "gamma@1"]);
    let ranks: Vec<Value> = entries
        .iter()
        .map(|entry| json!([entry["rank_low"], entry["rank_high"]]))
        .collect();
    assert_eq!(ranks, [json!([1, 1]), json!([2, 3]), json!([2, 3])]);
    let alpha = &entries[0];
    assert_eq!((&alpha["wins"], &alpha["losses"]), (&json!(24), &json!(0)));
    let beta = &entries[1];
    assert_eq!(
        (&beta["losses"], &beta["ties"], &beta["both_bad"]),
        (&json!(12), &json!(9), &json!(3))
    );
    for entry in entries {
        let at = |name: &str| entry[name].as_f64().unwrap();
        assert!(at("strength_low") < at("strength") && at("strength") < at("strength_high"));
        let preferred = 1.0 / (1.0 + (-at("strength")).exp());
        assert!((at("preferred") - preferred).abs() < 1e-12);
    }
    assert!(alpha["preferred"].as_f64().unwrap() > 0.8);
    let known = server
        .request(Method::GET, BOARD)
        .header("if-none-match", reply.header("etag"));
    assert_eq!(crate::server::send(known).await.status, 304);
    let real = format!("{BOARD}?simulated=false");
    let real = server.get(&real, "").await.expect(200);
    assert_eq!(real["entries"], json!([]), "simulated answers stay apart");
}
