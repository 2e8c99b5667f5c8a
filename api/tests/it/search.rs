//! Finding prompts: words, typos, filters, orders, pages, suggestions, saved searches.

use serde_json::{Value, json};

use crate::server::{Server, field, prompt, send, with_token};

/// A prompt of this slug, title and text.
fn titled(slug: &str, title: &str, text: &str) -> Value {
    let mut new = prompt(slug);
    new["title"] = json!(title);
    new["body"]["text"] = json!(text);
    new
}

async fn slugs(server: &Server, token: &str, query: &str) -> Vec<String> {
    let page = server
        .get(&format!("/api/v1/prompts?{query}"), token)
        .await
        .expect(200);
    page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| field(item, "slug"))
        .collect()
}

async fn every_page(server: &Server, query: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/v1/prompts?{query}&limit=2{cursor}");
        let page = server.get(&path, "").await.expect(200);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        found.extend(items.iter().map(|item| field(item, "slug")));
        let Some(next) = page["next_cursor"].as_str() else {
            return found;
        };
        assert_eq!(items.len(), 2, "a page that is not the last is full");
        cursor = format!("&cursor={next}");
    }
}

async fn some_prompts(server: &Server, token: &str) {
    for new in [
        titled(
            "in-body",
            "Old helper",
            "You know every terminal of the harbour.",
        ),
        titled("linux", "Linux terminal", "Act as a shell."),
        titled("travel", "Travel guide", "Plan a journey to {{ city }}."),
        titled(
            "airport",
            "Airport guide with a terminal and many other things",
            "Plan a flight.",
        ),
        titled(
            "body-too",
            "Another",
            "No terminals here. <script>alert(1)</script>",
        ),
    ] {
        server
            .post("/api/v1/prompts", token, &new)
            .await
            .expect(201);
    }
}

#[tokio::test]
async fn the_best_match_comes_first_and_every_match_once() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    some_prompts(&server, &ada).await;
    let expect = ["linux", "airport", "body-too", "in-body"];
    assert_eq!(slugs(&server, "", "q=terminal").await, expect);
    assert_eq!(every_page(&server, "q=terminal").await, expect);
    assert_eq!(
        every_page(&server, "q=terminals").await,
        expect,
        "word forms"
    );
    assert_eq!(
        slugs(&server, "", "q=terminal+-shell").await,
        ["airport", "body-too", "in-body"]
    );
    assert_eq!(
        slugs(&server, "", "q=%22linux+terminal%22").await,
        ["linux"]
    );
    assert_eq!(slugs(&server, "", "q=travel+or+flight").await.len(), 2);
    assert_eq!(
        slugs(&server, "", "q=linux+shell").await,
        ["linux"],
        "one word in the title, one in the body"
    );
    assert!(slugs(&server, "", "q=xylophone").await.is_empty());
    for odd in [
        "q=the",
        "q=%22",
        "q=%27%20%7C%20%26%20!()%3A*",
        "q=--",
        "q=%5C",
        "q=%25_",
    ] {
        slugs(&server, "", odd).await;
    }
    let page = server
        .get("/api/v1/prompts?q=terminal&limit=3", "")
        .await
        .expect(200);
    let snippet = &page["items"][2]["snippet"];
    let expect = json!([{"text": "No "}, {"text": "terminals", "hit": true}, {"text": " here. <script>alert(1)</script>"}]);
    assert_eq!(*snippet, expect, "pieces of plain text");
}

#[tokio::test]
async fn more_matches_than_are_ranked_are_all_found() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    server
        .sql(
            "insert into prompts (id, slug, title, visibility, owner_id)
            select ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'p' || n,
                   'Expert ' || repeat('word ', n % 7), 'public', (select id from users where username = 'ada')
            from generate_series(1, 700) as n",
        )
        .await;
    server
        .sql(
            r#"insert into prompt_versions (id, prompt_id, number, body, content_hash, author_id)
            select gen_random_uuid(), id, 1, '{"kind": "text", "text": "x"}', 'x', owner_id from prompts"#,
        )
        .await;
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server
            .get(&format!("/api/v1/prompts?q=expert&limit=100{cursor}"), "")
            .await
            .expect(200);
        found.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| field(item, "slug")),
        );
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        if found.len() == 100 {
            // A prompt that comes in between shifts no page.
            let late = titled("late", "Expert", "x");
            let made = server.post("/api/v1/prompts", &ada, &late).await;
            made.expect(201);
        }
        cursor = format!("&cursor={next}");
    }
    found.retain(|slug| slug != "late");
    assert_eq!(found.len(), 700);
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 700, "each once");
}

#[tokio::test]
async fn typos_are_forgiven() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    some_prompts(&server, &ada).await;
    let page = server
        .get("/api/v1/prompts?q=linxu+terminl", "")
        .await
        .expect(200);
    assert_eq!(page["corrected_query"], "linux terminal");
    assert_eq!(page["items"][0]["slug"], "linux");
    // A26: what is near by letters goes before what only shares groups of them, and a word that finds something stays.
    server
        .post(
            "/api/v1/prompts",
            &ada,
            &titled("line", "Line of thought", "x"),
        )
        .await
        .expect(201);
    for q in ["linxu+terminal", "linuxx+terminal"] {
        let page = server
            .get(&format!("/api/v1/prompts?q={q}"), "")
            .await
            .expect(200);
        assert_eq!(page["corrected_query"], "linux terminal", "{q}");
        assert_eq!(page["items"][0]["slug"], "linux", "{q}");
    }
    // A26: words that are right count for none of those that are corrected, two letters of a short one may have changed
    // places, and a word is corrected where it stands.
    let git = titled("git", "Git guide", "Gtia writes a history.");
    server.post("/api/v1/prompts", &ada, &git).await.expect(201);
    for (q, corrected) in [
        (
            "airport+guide+terminal+thigns",
            "airport guide terminal things",
        ),
        ("gti+guide", "git guide"),
        ("gtia+gti", "gtia git"),
    ] {
        let page = server
            .get(&format!("/api/v1/prompts?q={q}"), "")
            .await
            .expect(200);
        assert_eq!(page["corrected_query"], corrected, "{page}");
    }
    let mut secret = titled("secret", "Zyzzyva", "x");
    secret["visibility"] = json!("private");
    server
        .post("/api/v1/prompts", &ada, &secret)
        .await
        .expect(201);
    // A word that stopped being public leads others nowhere.
    server
        .post("/api/v1/prompts", &ada, &titled("once", "Quixotic", "x"))
        .await
        .expect(201);
    let change = json!({"visibility": "private"});
    let path = "/api/v1/prompts/once";
    send(with_token(server.request(reqwest::Method::PATCH, path), &ada).json(&change))
        .await
        .expect(200);
    for q in ["zyzzyvva", "quixotik"] {
        let page = server
            .get(&format!("/api/v1/prompts?q={q}"), "")
            .await
            .expect(200);
        assert_eq!(
            (&page["items"], &page["corrected_query"]),
            (&json!([]), &Value::Null),
            "{q}"
        );
    }
    let page = server
        .get("/api/v1/prompts?q=quixotik", &ada)
        .await
        .expect(200);
    assert_eq!(page["corrected_query"], "quixotic");
}

#[tokio::test]
async fn filters_and_orders_are_one_grammar() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    some_prompts(&server, &ada).await;
    let mut chat = titled("chat", "Émile's guide", "");
    chat["body"] = json!({"kind": "chat", "messages": [{"role": "user", "content": "guide me"}]});
    chat["language"] = json!("fr");
    chat["licence"] = json!("MIT");
    chat["tags"] = json!(["role-play", "fun"]);
    server
        .post("/api/v1/prompts", &bob, &chat)
        .await
        .expect(201);
    for query in [
        "kind=chat",
        "language=fr",
        "licence=MIT",
        "tag=fun",
        "tag=fun,role-play",
        "author=BOB",
    ] {
        assert_eq!(slugs(&server, "", query).await, ["chat"], "{query}");
        assert_eq!(
            slugs(&server, "", &format!("{query}&q=guide")).await,
            ["chat"],
            "{query}"
        );
    }
    for query in [
        "tag=fun,missing",
        "author=nobody",
        "category=nothing",
        "language=de",
        "offered=true",
    ] {
        assert!(slugs(&server, "", query).await.is_empty(), "{query}");
    }
    let by_title = ["airport", "body-too", "linux", "in-body", "travel", "chat"];
    assert_eq!(every_page(&server, "sort=title").await, by_title);
    let change = json!({"title": "Oldest helper"});
    let path = "/api/v1/prompts/in-body";
    send(with_token(server.request(reqwest::Method::PATCH, path), &ada).json(&change))
        .await
        .expect(200);
    let by_update = ["in-body", "chat", "body-too", "airport", "travel", "linux"];
    assert_eq!(every_page(&server, "sort=updated").await, by_update);
    let newest = ["chat", "body-too", "airport", "travel", "linux", "in-body"];
    assert_eq!(every_page(&server, "sort=newest").await, newest);
    assert_eq!(
        every_page(&server, "q=guide&sort=title").await,
        ["airport", "travel", "chat"]
    );
    let vote = server.request(reqwest::Method::PUT, "/api/v1/prompts/airport/vote");
    send(with_token(vote, &bob).json(&json!({"vote": "up"})))
        .await
        .expect(200);
    let by_votes = ["airport", "chat", "body-too", "travel", "linux", "in-body"];
    for sort in ["top", "trending", "combined"] {
        assert_eq!(
            every_page(&server, &format!("sort={sort}")).await,
            by_votes,
            "{sort}"
        );
    }
    assert_eq!(
        every_page(&server, "sort=quality").await,
        newest,
        "nothing was measured"
    );
    let check = async |query: &str, path: &str| {
        let reply = server.get(&format!("/api/v1/prompts?{query}"), "").await;
        reply.expect_problem(422, "invalid", Some(path));
    };
    check("sort=relevance", "sort").await;
    check("limit=0", "limit").await;
    check("limit=101", "limit").await;
    check("cursor=nonsense", "cursor").await;
    check("tag=%3Cb%3E", "tag").await;
    check("order=title", "order").await;
    check("q=%00", "q").await;
    check(&format!("q={}", "x".repeat(201)), "q").await;
    let page = server
        .get("/api/v1/prompts?sort=title&limit=1", "")
        .await
        .expect(200);
    check(
        &format!("sort=updated&cursor={}", field(&page, "next_cursor")),
        "cursor",
    )
    .await;
    check(
        &format!("q=guide&cursor={}", field(&page, "next_cursor")),
        "cursor",
    )
    .await;
}

#[tokio::test]
async fn suggestions_come_while_typing() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    some_prompts(&server, &ada).await;
    let mut secret = titled("secret", "Terminal of mine", "x");
    secret["visibility"] = json!("private");
    server
        .post("/api/v1/prompts", &ada, &secret)
        .await
        .expect(201);
    let suggest = async |token: &str, q: &str| -> Vec<String> {
        let found = server
            .get(&format!("/api/v1/prompts/suggest?q={q}"), token)
            .await
            .expect(200);
        found["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| field(item, "slug"))
            .collect()
    };
    for q in ["l", "lin", "linux", "linux+te", "TERMINAL+linu"] {
        assert_eq!(suggest("", q).await, ["linux"], "{q}");
    }
    assert_eq!(suggest("", "termina").await, ["airport", "linux"]);
    assert_eq!(
        suggest(&ada, "termina").await,
        ["secret", "airport", "linux"]
    );
    for q in ["", "+", "%27%3A*%20%26", "zzz"] {
        assert!(suggest("", q).await.is_empty(), "{q}");
    }
}

#[tokio::test]
async fn searches_are_saved_for_their_user() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let path = "/api/v1/saved-searches";
    let search = |q: &str| json!({"name": "mine", "query": {"q": q, "kind": "chat", "limit": 3}});
    let first = server.post(path, &ada, &search("one")).await.expect(201);
    let second = server.post(path, &ada, &search("two")).await.expect(201);
    assert_eq!(
        first["id"], second["id"],
        "a search of the same name is replaced"
    );
    let saved = server.get(path, &ada).await.expect(200);
    assert_eq!(
        saved["items"][0]["query"],
        json!({"q": "two", "kind": "chat"})
    );
    assert_eq!(server.get(path, &bob).await.expect(200)["items"], json!([]));
    server
        .get(path, "")
        .await
        .expect_problem(401, "unauthenticated", None);
    server
        .post(path, &ada, &json!({"name": "", "query": {}}))
        .await
        .expect_problem(422, "invalid", Some("name"));
    server
        .post(path, &ada, &json!({"name": "x", "query": {"sort": "best"}}))
        .await
        .expect_problem(422, "invalid", Some("query.sort"));
    server
        .post(path, &ada, &json!({"name": "x", "query": [null, null]}))
        .await
        .expect_problem(422, "invalid", Some("query"));
    let long = json!({"name": "x", "query": {"category": "c".repeat(5_000)}});
    server
        .post(path, &ada, &long)
        .await
        .expect_problem(422, "invalid", Some("query"));
    let one = format!("{path}/{}", field(&first, "id"));
    let delete = async |token: &str| {
        send(with_token(
            server.request(reqwest::Method::DELETE, &one),
            token,
        ))
        .await
    };
    delete(&bob).await.expect_problem(404, "not_found", None);
    assert_eq!(delete(&ada).await.status, 204);
    assert_eq!(server.get(path, &ada).await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn dashes_find_what_one_dash_finds() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    some_prompts(&server, &token).await;
    for dashes in ["-".repeat(50), "- ".repeat(50), "-!".repeat(50)] {
        for (q, same) in [
            (dashes.clone(), "-"),
            (format!("{dashes}terminal"), "-terminal"),
        ] {
            let path = |q: &str| {
                let url = reqwest::Url::parse_with_params("http://a/api/v1/prompts", [("q", q)]);
                let url = url.unwrap();
                format!("{}?{}", url.path(), url.query().unwrap())
            };
            let found = server.get(&path(&q), &token).await.expect(200);
            let expect = server.get(&path(same), &token).await.expect(200);
            assert_eq!(found["items"], expect["items"], "{q}");
        }
    }
}

/// The database's parser takes the square of the time for words joined by underscores: half a minute for this text, which
/// is longer than a request may take.
#[tokio::test]
async fn words_joined_by_underscores_are_found_and_cost_nothing() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let text = format!("start_of_text{}_quokka_end", "_a".repeat(30_000));
    server
        .post("/api/v1/prompts", &ada, &titled("joined", "Joined", &text))
        .await
        .expect(201);
    assert_eq!(slugs(&server, "", "q=quokka").await, ["joined"]);
}
