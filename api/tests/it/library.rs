//! What an owner does with prompts: fields, versions, aliases, archive, handing over, deleting.

use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Reply, Server, prompt, run, send, with_token};

async fn ask(server: &Server, method: Method, path: &str, token: &str, body: &Value) -> Reply {
    send(with_token(server.request(method, path), token).json(body)).await
}

#[tokio::test]
async fn a_prompt_has_fields_that_change_and_versions_that_do_not() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let bob = server.user("bob").await;
    let new = json!({
        "title": "Linux Terminal", "description": "Acts as a **terminal**. <b>No</b> more.",
        "category": "operations", "tags": ["Shell", "role play", "shell"], "language": "en",
        "licence": "CC0-1.0", "attribution": "f in prompts.chat",
        "body": {"kind": "chat", "messages": [
            {"role": "system", "content": "You are {{ shell }}."},
            {"role": "user", "content": "{{ command }}"}]},
        "variables": [
            {"name": "shell", "default": "bash", "description": "Which shell"},
            {"name": "colour", "type": "boolean", "default": false}],
        "parameters": {"temperature": 0.2, "stop": ["$"]},
    });
    let made = server.post("/api/v1/prompts", &ada, &new).await.expect(201);
    insta::assert_json_snapshot!(made, {
        ".id" => "[id]", ".created_at" => "[time]", ".updated_at" => "[time]",
        ".version.id" => "[id]", ".version.created_at" => "[time]",
    });
    let path = "/api/v1/prompts/linux-terminal";
    let change =
        json!({"title": "Terminal", "category": null, "tags": [], "visibility": "unlisted"});
    ask(&server, Method::PATCH, path, &bob, &change)
        .await
        .expect_problem(403, "forbidden", None);
    let changed = ask(&server, Method::PATCH, path, &ada, &change)
        .await
        .expect(200);
    assert_eq!(changed["title"], "Terminal");
    assert_eq!(changed["category"], Value::Null);
    assert_eq!(changed["licence"], "CC0-1.0", "what is absent stays");
    assert_eq!(changed["version"], made["version"]);
    for (change, wrong) in [
        (json!({"category": "nothing"}), "category"),
        (json!({"title": ""}), "title"),
        (json!({"language": "English"}), "language"),
        (json!({"tags": ["<b>"]}), "tags[0]"),
        (json!({"slug": "other"}), "slug"),
    ] {
        let reply = ask(&server, Method::PATCH, path, &ada, &change).await;
        reply.expect_problem(422, "invalid", Some(wrong));
    }
}

#[tokio::test]
async fn aliases_move_and_remember_it() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let bob = server.user("bob").await;
    server
        .post("/api/v1/prompts", &ada, &prompt("plain"))
        .await
        .expect(201);
    let version =
        json!({"body": {"kind": "text", "text": "{{ question }}?\nShort."}, "note": "shorter"});
    server
        .post("/api/v1/prompts/plain/versions", &ada, &version)
        .await
        .expect(201);
    let alias = "/api/v1/prompts/plain/aliases/production";
    let set = |number: i32| json!({"version": number});
    ask(&server, Method::PUT, alias, &bob, &set(1))
        .await
        .expect_problem(403, "forbidden", None);
    ask(&server, Method::PUT, alias, &ada, &set(9))
        .await
        .expect_problem(422, "invalid", Some("version"));
    let latest = "/api/v1/prompts/plain/aliases/latest";
    ask(&server, Method::PUT, latest, &ada, &set(1))
        .await
        .expect_problem(422, "invalid", Some("alias"));
    for number in [1, 2, 2] {
        ask(&server, Method::PUT, alias, &ada, &set(number))
            .await
            .expect(200);
    }
    let found = server
        .get("/api/v1/prompts/plain/versions/production", "")
        .await
        .expect(200);
    assert_eq!(found["number"], 2);
    let aliases = server
        .get("/api/v1/prompts/plain/aliases", "")
        .await
        .expect(200);
    let names: Vec<_> = aliases["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| &a["name"])
        .collect();
    assert_eq!(names, ["latest", "production"]);
    let gone = ask(&server, Method::DELETE, alias, &ada, &json!({})).await;
    assert_eq!(gone.status, 204);
    ask(&server, Method::DELETE, alias, &ada, &json!({}))
        .await
        .expect_problem(404, "not_found", None);
    let history = server
        .get("/api/v1/prompts/plain/alias-changes?limit=2", "")
        .await
        .expect(200);
    let next = history["next_cursor"].as_str().unwrap();
    let older = server
        .get(
            &format!("/api/v1/prompts/plain/alias-changes?cursor={next}"),
            "",
        )
        .await
        .expect(200);
    let versions = |page: &Value| -> Vec<Value> {
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["version"].clone())
            .collect()
    };
    assert_eq!(
        versions(&history),
        [Value::Null, json!(2)],
        "a move to where it is is none"
    );
    assert_eq!(versions(&older), [json!(1)]);
    assert_eq!(older["items"][0]["user"], "ada");
    let diff = server
        .get("/api/v1/prompts/plain/diff?from=1&to=latest", "")
        .await
        .expect(200);
    insta::assert_json_snapshot!(diff);
    let rendered = json!({"from": "1", "to": "2", "variables": {"question": "Why"}});
    let diff = server
        .post("/api/v1/prompts/plain/diff", "", &rendered)
        .await
        .expect(200);
    assert_eq!(
        diff["rendered"][0]["lines"][0],
        json!({"change": "removed", "from_line": 1, "text": "Q: Why"})
    );
    server
        .get("/api/v1/prompts/plain/diff?from=7", "")
        .await
        .expect_problem(422, "invalid", Some("from"));
}

#[tokio::test]
async fn rendering_uses_defaults_and_ends_attacks_at_once() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let make = async |slug: &str, text: &str, variables: Value| {
        let new = json!({"slug": slug, "title": slug, "body": {"kind": "text", "text": text}, "variables": variables});
        server.post("/api/v1/prompts", &ada, &new).await
    };
    make(
        "greet",
        "Hello {{ name }}, {{ mood }}!",
        json!([{"name": "mood", "default": "gladly"}]),
    )
    .await
    .expect(201);
    let render = async |slug: &str, variables: Value| {
        let body = json!({"variables": variables});
        let path = format!("/api/v1/prompts/{slug}/render");
        server.post(&path, &ada, &body).await
    };
    let reply = render("greet", json!({"name": "<i>Bob</i>"})).await;
    assert_eq!(
        reply.expect(200)["messages"][0]["content"],
        "Hello <i>Bob</i>, gladly!"
    );
    let reply = render("greet", json!({})).await;
    reply.expect_problem(400, "unrenderable", Some("body.text"));
    let reply = render("greet", json!({"name": "x", "mood": 3})).await;
    reply.expect_problem(400, "unrenderable", Some("variables.mood"));

    // Templates that are harmless with small values, and meet large ones.
    let nested = "{% for a in xs %}{% for b in xs %}{% for c in xs %}{{ a }}{% endfor %}{% endfor %}{% endfor %}";
    make("nested", nested, json!([{"name": "xs", "type": "list"}]))
        .await
        .expect(201);
    let doubling = format!(
        "{}{{{{ x }}}}{}",
        "{% with x = x ~ x %}".repeat(16),
        "{% endwith %}".repeat(16)
    );
    make("doubling", &doubling, json!([])).await.expect(201);
    make("walk", "{{ x.__class__.__mro__ }}", json!([]))
        .await
        .expect(201);
    make(
        "ranges",
        "{% for a in range(n) %}{% for b in range(n) %}{% endfor %}{% endfor %}",
        json!([{"name": "n", "type": "number"}]),
    )
    .await
    .expect(201);
    make("many", "{{ x | replace('a', y) }}", json!([]))
        .await
        .expect(201);
    let long = "a".repeat(100_000);
    for (slug, variables) in [
        ("nested", json!({"xs": vec!["x"; 1_000]})),
        ("doubling", json!({"x": "0123456789".repeat(1_000)})),
        ("walk", json!({"x": "text"})),
        ("ranges", json!({"n": 10_000})),
        ("ranges", json!({"n": 1e18})),
        ("many", json!({"x": long, "y": long})),
    ] {
        let reply = render(slug, variables).await;
        assert_eq!(reply.status, 400, "{slug}: {}", reply.text);
        assert!(reply.text.contains("line 1"), "{slug}: {}", reply.text);
    }

    // Templates that no value makes affordable are not even saved.
    for text in [
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}".to_owned(),
        format!(
            "{}x{}",
            "{% if true %}".repeat(500),
            "{% endif %}".repeat(500)
        ),
        format!("{{{{ {}1{} }}}}", "(".repeat(20_000), ")".repeat(20_000)),
        "{% include '/etc/passwd' %}".to_owned(),
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned(),
        "{{ 'x' | indent(1000000000) }}".to_owned(),
        "{{ cycler.__init__.__globals__ }}{{ debug() }}".to_owned(),
    ] {
        let reply = make("attack", &text, json!([])).await;
        reply.expect_problem(422, "invalid", Some("body.text"));
    }
}

#[tokio::test]
async fn the_archive_keeps_and_does_not_show() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    server
        .post("/api/v1/prompts", &ada, &prompt("plain"))
        .await
        .expect(201);
    let path = "/api/v1/prompts/plain";
    let archive = |yes: bool| json!({"archived": yes});
    ask(&server, Method::PATCH, path, &ada, &archive(true))
        .await
        .expect(200);
    assert_eq!(server.get(path, "").await.expect(200)["archived"], true);
    let count = async |query: &str| {
        let page = server
            .get(&format!("/api/v1/prompts{query}"), "")
            .await
            .expect(200);
        page["items"].as_array().unwrap().len()
    };
    assert_eq!(
        (
            count("").await,
            count("?q=plain").await,
            count("?archived=true").await
        ),
        (0, 0, 1)
    );
    let version = json!({"body": {"kind": "text", "text": "new"}});
    server
        .post(&format!("{path}/versions"), &ada, &version)
        .await
        .expect_problem(409, "conflict", None);
    ask(&server, Method::PATCH, path, &ada, &archive(false))
        .await
        .expect(200);
    server
        .post(&format!("{path}/versions"), &ada, &version)
        .await
        .expect(201);
    assert_eq!(count("").await, 1);
}

#[tokio::test]
async fn a_prompt_changes_hands_only_when_both_want_it() {
    let server = Server::start().await;
    let (ada, bob, eve) = (
        server.user("ada").await,
        server.user("bob").await,
        server.user("eve").await,
    );
    let mut secret = prompt("plain");
    secret["visibility"] = json!("private");
    server
        .post("/api/v1/prompts", &ada, &secret)
        .await
        .expect(201);
    let path = "/api/v1/prompts/plain/transfer";
    let to = |name: &str| json!({"to": name});
    ask(&server, Method::PUT, path, &bob, &to("bob"))
        .await
        .expect_problem(404, "not_found", None);
    ask(&server, Method::PUT, path, &ada, &to("nobody"))
        .await
        .expect_problem(422, "invalid", Some("to"));
    ask(&server, Method::PUT, path, &ada, &to("ada"))
        .await
        .expect_problem(422, "invalid", Some("to"));
    assert_eq!(
        ask(&server, Method::PUT, path, &ada, &to("bob"))
            .await
            .status,
        204
    );
    let offered = server
        .get("/api/v1/prompts?offered=true", &bob)
        .await
        .expect(200);
    assert_eq!(offered["items"][0]["slug"], "plain");
    let accept = format!("{path}/accept");
    server
        .post(&accept, &eve, &json!({}))
        .await
        .expect_problem(404, "not_found", None);
    assert_eq!(
        ask(&server, Method::DELETE, path, &bob, &json!({}))
            .await
            .status,
        204,
        "turned down"
    );
    server
        .post(&accept, &bob, &json!({}))
        .await
        .expect_problem(404, "not_found", None);
    assert_eq!(
        ask(&server, Method::PUT, path, &ada, &to("bob"))
            .await
            .status,
        204
    );
    let taken = server.post(&accept, &bob, &json!({})).await.expect(200);
    assert_eq!(taken["owner"], "bob");
    server
        .get("/api/v1/prompts/plain", &ada)
        .await
        .expect_problem(404, "not_found", None);
    let versions = server
        .get("/api/v1/prompts/plain/versions", &bob)
        .await
        .expect(200);
    assert_eq!(
        versions["items"][0]["author"], "ada",
        "its author stays its author"
    );
}

#[tokio::test]
async fn deleting_leaves_results_explained() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let bob = server.user("bob").await;
    server.prepare_run(&ada).await;
    let submitted = server.post("/api/v1/runs", &ada, &run()).await.expect(202);
    let run = format!("/api/v1/runs/{}", submitted["id"].as_str().unwrap());
    server
        .post("/api/v1/prompts", &ada, &prompt("unused"))
        .await
        .expect(201);
    for slug in ["plain", "unused"] {
        let path = format!("/api/v1/prompts/{slug}");
        ask(&server, Method::DELETE, &path, &bob, &json!({}))
            .await
            .expect_problem(403, "forbidden", None);
        assert_eq!(
            ask(&server, Method::DELETE, &path, &ada, &json!({}))
                .await
                .status,
            204
        );
        for token in [&ada, &bob, ""] {
            server
                .get(&path, token)
                .await
                .expect_problem(404, "not_found", None);
        }
    }
    assert_eq!(
        server.get(&run, &ada).await.expect(200)["prompts"],
        submitted["prompts"]
    );
    let again = async |slug: &str| server.post("/api/v1/prompts", &ada, &prompt(slug)).await;
    again("unused").await.expect(201);
    again("plain").await.expect_problem(409, "conflict", None);
    let page = server.get("/api/v1/prompts", &ada).await.expect(200);
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn categories_are_a_tree_with_counts() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let file = async |slug: &str, category: &str, tags: Value, visibility: &str| {
        let mut new = prompt(slug);
        new["category"] = json!(category);
        new["tags"] = tags;
        new["visibility"] = json!(visibility);
        server.post("/api/v1/prompts", &ada, &new).await.expect(201);
    };
    file("one", "coding", json!(["rust", "sql"]), "public").await;
    file("two", "software", json!(["rust"]), "public").await;
    file("secret", "coding", json!(["secret"]), "private").await;
    let tree = server.get("/api/v1/categories", &ada).await.expect(200);
    let find = |items: &Value, slug: &str| {
        items
            .as_array()
            .unwrap()
            .iter()
            .find(|c| c["slug"] == slug)
            .cloned()
            .unwrap()
    };
    let software = find(&tree["items"], "software");
    assert_eq!(software["prompts"], 2);
    assert_eq!(
        find(&software["children"], "coding")["prompts"],
        1,
        "private ones are not counted"
    );
    let tags = server.get("/api/v1/tags", &ada).await.expect(200);
    assert_eq!(
        tags["items"],
        json!([{"tag": "rust", "prompts": 2}, {"tag": "sql", "prompts": 1}])
    );
    assert_eq!(
        server.get("/api/v1/tags?q=S", "").await.expect(200)["items"][0]["tag"],
        "sql"
    );
    let found = server
        .get("/api/v1/prompts?category=software&tag=rust", "")
        .await
        .expect(200);
    assert_eq!(
        found["items"].as_array().unwrap().len(),
        2,
        "sub-categories count"
    );
    let put = async |token: &str, slug: &str, parent: Value| {
        let body = json!({"title": "Category", "parent": parent});
        ask(
            &server,
            Method::PUT,
            &format!("/api/v1/categories/{slug}"),
            token,
            &body,
        )
        .await
    };
    put(&ada, "mine", Value::Null)
        .await
        .expect_problem(403, "forbidden", None);
    server
        .sql("update users set role = 'moderator' where username = 'ada'")
        .await;
    assert_eq!(put(&ada, "deep", json!("coding")).await.status, 204);
    put(&ada, "software", json!("deep"))
        .await
        .expect_problem(422, "invalid", Some("parent"));
    put(&ada, "x", json!("nothing"))
        .await
        .expect_problem(422, "invalid", Some("parent"));
    let delete = async |slug: &str| {
        ask(
            &server,
            Method::DELETE,
            &format!("/api/v1/categories/{slug}"),
            &ada,
            &json!({}),
        )
        .await
    };
    delete("coding").await.expect_problem(409, "conflict", None);
    assert_eq!(delete("deep").await.status, 204);
    delete("deep").await.expect_problem(404, "not_found", None);
}
