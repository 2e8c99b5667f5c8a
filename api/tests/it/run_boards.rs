//! Boards of one's own and the public ones: what counts for which, and what happens when that changes (H4, A16).
//!
//! The public ones are read by a user without results, since answers to strangers are kept for a moment.

use serde_json::{Value, json};

use crate::{
    boards::{measure, prepared, publish},
    run_visibility::patch,
    server::{Server, prompt},
};

const STRONG: [&str; 1] = ["simulated:strong"];

async fn board(server: &Server, token: &str, query: &str) -> Value {
    let path = format!("/api/v1/leaderboards/herd{query}");
    server.get(&path, token).await.expect(200)
}

fn names(board: &Value) -> Vec<String> {
    let lines = board["standings"].as_array().unwrap().iter();
    lines
        .map(|line| line["prompt"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn narrowing_a_run_brings_the_earlier_result_back_and_nothing_of_the_later_one_stays() {
    let (server, ada) = prepared().await;
    let eve = server.user("eve").await;
    publish(&server, &ada, "herd", 20, None).await;
    let half = |_, _, item| item % 2 == 0;
    let first = measure(&server, &ada, "herd", &["plain"], &STRONG, half).await;
    let second = measure(&server, &ada, "herd", &["plain"], &STRONG, |_, _, _| true).await;
    let line = async |token: &str| board(&server, token, "").await["standings"][0].clone();
    let both = line(&eve).await;
    assert_eq!(both["run_id"], json!(second));
    assert_eq!((&both["runs"], &both["trend"]), (&json!(2), &json!(0.5)));

    let path = format!("/api/v1/runs/{second}");
    for (word, run, score, runs, trend) in [
        ("private", first, 0.5, 1, Value::Null),
        ("public", second, 1.0, 2, json!(0.5)),
        ("unlisted", first, 0.5, 1, Value::Null),
    ] {
        patch(&server, &path, &ada, &json!({"visibility": word}))
            .await
            .expect(200);
        let shown = line(&eve).await;
        assert_eq!(shown["run_id"], json!(run), "{word}");
        assert_eq!(shown["score"], score, "{word}");
        assert_eq!(
            (&shown["runs"], &shown["trend"]),
            (&json!(runs), &trend),
            "{word}"
        );
        // Her own board has both, whatever others see.
        let own = line(&ada).await;
        assert_eq!((&own["run_id"], &own["runs"]), (&json!(second), &json!(2)));
    }
}

#[tokio::test]
async fn a_board_of_ones_own_and_the_public_one_are_ranked_apart() {
    let (server, ada) = prepared().await;
    let bob = server.user("bob").await;
    publish(&server, &ada, "herd", 40, None).await;
    measure(&server, &ada, "herd", &["plain"], &STRONG, |_, _, item| {
        item % 4 != 0
    })
    .await;
    let better = measure(&server, &bob, "herd", &["steps"], &STRONG, |_, _, _| true).await;
    patch(
        &server,
        &format!("/api/v1/runs/{better}"),
        &bob,
        &json!({"visibility": "private"}),
    )
    .await
    .expect(200);

    // Bob's private result pushes nobody down, and is first on his own board.
    let eve = server.user("eve").await;
    let public = board(&server, &eve, "").await;
    assert_eq!(public["board"], "public");
    assert_eq!(names(&public), ["plain@1"]);
    assert_eq!(public["standings"][0]["rank_high"], 1);
    let own = board(&server, &bob, "").await;
    assert_eq!(
        (&own["board"], names(&own)),
        (&json!("own"), vec!["steps@1".to_owned()])
    );
    assert_eq!(
        names(&board(&server, &bob, "?board=public").await),
        ["plain@1"]
    );
    // Whoever has no results here sees the public one, and an empty one when they ask for their own.
    assert_eq!(
        names(&board(&server, &eve, "?board=own").await),
        Vec::<String>::new()
    );
    let stranger = server.get("/api/v1/leaderboards/herd?board=own", "").await;
    stranger.expect_problem(422, "invalid", Some("board"));
    for path in ["/effects", "/history"] {
        assert_eq!(board(&server, &bob, path).await["board"], "own");
        assert_eq!(board(&server, "", path).await["board"], "public");
    }
    let overall = server
        .get("/api/v1/leaderboards?min_coverage=0", &bob)
        .await
        .expect(200);
    assert_eq!(overall["board"], "own");
}

#[tokio::test]
async fn standings_can_be_hidden_and_shown_again_and_ranks_are_those_without_them() {
    let (server, ada) = prepared().await;
    let eve = server.user("eve").await;
    publish(&server, &ada, "herd", 40, None).await;
    let prompts = ["plain", "steps"];
    let run = measure(
        &server,
        &ada,
        "herd",
        &prompts,
        &STRONG,
        |prompt, _, item| prompt == 0 || item % 4 == 0,
    )
    .await;
    let path = format!("/api/v1/runs/{run}/standings");
    assert_eq!(
        names(&board(&server, &eve, "").await),
        ["plain@1", "steps@1"]
    );
    assert_eq!(
        board(&server, &eve, "").await["standings"][1]["rank_low"],
        2
    );

    let hide = json!({"hidden": true, "prompt": "plain"});
    let columns = patch(&server, &path, &ada, &hide).await.expect(200);
    assert_eq!(columns[0]["hidden_by_owner"], true);
    for token in [&eve, &ada] {
        let left = board(&server, token, "").await;
        assert_eq!(names(&left), ["steps@1"]);
        assert_eq!(
            (
                &left["standings"][0]["rank_low"],
                &left["standings"][0]["rank_high"]
            ),
            (&json!(1), &json!(1))
        );
        let history = board(&server, token, "/history").await;
        assert_eq!(history["courses"].as_array().unwrap().len(), 1);
    }
    patch(&server, &path, &ada, &json!({"hidden": false}))
        .await
        .expect(200);
    assert_eq!(names(&board(&server, &eve, "").await).len(), 2);

    // A moderator hides from others alone; the owner cannot undo it, and keeps it on her own board.
    let bob = server.user("bob").await;
    patch(&server, &path, &bob, &hide)
        .await
        .expect_problem(403, "forbidden", None);
    server
        .sql("update users set role = 'moderator' where username = 'bob'")
        .await;
    patch(&server, &path, &bob, &hide).await.expect(200);
    patch(&server, &path, &ada, &json!({"hidden": false}))
        .await
        .expect_problem(422, "invalid", Some(""));
    assert_eq!(names(&board(&server, &eve, "").await), ["steps@1"]);
    assert_eq!(
        names(&board(&server, &ada, "").await),
        ["plain@1", "steps@1"]
    );
    patch(&server, &path, &bob, &json!({"hidden": false}))
        .await
        .expect(200);
    assert_eq!(names(&board(&server, &eve, "").await).len(), 2);
}

#[tokio::test]
async fn a_board_is_filtered_by_prompt_newest_version_and_parameters() {
    let (server, ada) = prepared().await;
    publish(&server, &ada, "herd", 10, None).await;
    let mut second = prompt("plain");
    second["body"]["text"] = json!("Second: {{ question }}");
    let version = json!({"body": second["body"]});
    server
        .post("/api/v1/prompts/plain/versions", &ada, &version)
        .await
        .expect(201);
    let prompts = ["plain@1", "plain@2", "steps"];
    measure(&server, &ada, "herd", &prompts, &STRONG, |prompt, _, _| {
        prompt != 1
    })
    .await;
    let check = async |query: &str, expect: &[&str]| {
        let mut found = names(&board(&server, "", query).await);
        found.sort();
        assert_eq!(found, expect, "{query}");
    };
    check("", &["plain@1", "plain@2", "steps@1"]).await;
    check("?newest=true", &["plain@2", "steps@1"]).await;
    check("?prompt=plain", &["plain@1", "plain@2"]).await;
    check("?prompt=plain@1", &["plain@1"]).await;
    check("?prompt=plain&newest=true", &["plain@2"]).await;
    check("?parameters=%7B%7D", &["plain@1", "plain@2", "steps@1"]).await;
    check("?parameters=%7B%22temperature%22%3A0%7D", &[]).await;
    let wrong = server
        .get("/api/v1/leaderboards/herd?parameters=hot", "")
        .await;
    wrong.expect_problem(422, "invalid", Some("parameters"));
}
