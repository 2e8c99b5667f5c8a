//! Who sees what: nothing is shown to more people than the narrowest part of it, whatever shows it; and what a bank
//! does with things of which nobody says it.

use std::{collections::BTreeSet, fmt::Write as _};

use opb_core::auth::Visibility;
use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Reply, Server, benchmark, field, prompt, send, with_token};

/// The words, from the narrowest to the widest.
const WORDS: [&str; 3] = ["private", "unlisted", "public"];

/// The things of one owner, each kind with each word, and whose names and texts all hold `zebra` and their word.
struct Things {
    /// Parameter in an address, word, and what it is called.
    names: Vec<(&'static str, &'static str, String)>,
}

impl Things {
    async fn of(server: &Server, owner: &str) -> Self {
        let mut names = Vec::new();
        let mut prompts = Vec::new();
        for word in WORDS {
            let slug = format!("zebra-{word}-prompt");
            let text = format!("{{{{ question }}}} zebra {word}");
            let new = json!({"slug": slug, "title": format!("Zebra {word} prompt"), "visibility": word,
                "description": format!("zebra {word}"), "tags": [format!("zebra-{word}")],
                "body": {"kind": "text", "text": text}});
            server
                .post("/api/v1/prompts", owner, &new)
                .await
                .expect(201);
            let mut sums = benchmark(&format!("zebra-{word}-sums"));
            sums["title"] = json!(format!("Zebra {word} sums"));
            sums["visibility"] = json!(word);
            sums["items"][0]["expected"] = json!(format!("zebra {word}"));
            server
                .post("/api/v1/benchmarks", owner, &sums)
                .await
                .expect(201);
            let path = format!("/api/v1/prompts/{slug}/comments");
            let comment = json!({"body": format!("zebra {word} comment")});
            let comment = server.post(&path, owner, &comment).await.expect(201);
            let path = format!("/api/v1/prompts/{slug}/change-requests");
            let change = json!({"title": format!("zebra {word} change"),
                "version": {"body": {"kind": "text", "text": format!("zebra {word} changed")}}});
            let change = server.post(&path, owner, &change).await.expect(201);
            let path = format!("/api/v1/prompts/{slug}/favourite");
            let favourite = server.request(Method::PUT, &path);
            assert_eq!(send(with_token(favourite, owner)).await.status, 204);
            names.push(("prompt", word, slug.clone()));
            names.push(("benchmark", word, format!("zebra-{word}-sums")));
            names.push(("comment", word, field(&comment, "id")));
            names.push(("change_request", word, field(&change, "id")));
            prompts.push(slug);
        }
        for word in WORDS {
            // Each collection holds prompts of all three.
            let new = json!({"title": format!("zebra {word} collection"), "visibility": word});
            let made = server.post("/api/v1/collections", owner, &new).await;
            let id = field(&made.expect(201), "id");
            let path = format!("/api/v1/collections/{id}/prompts");
            let list = server
                .request(Method::PUT, &path)
                .json(&json!({"prompts": prompts}));
            assert_eq!(send(with_token(list, owner)).await.status, 200);
            names.push(("collection", word, id));
        }
        let profile = json!({"display_name": "Owner", "bio": "", "is_public": true, "shows_activity": true,
            "shows_favourites": true});
        let set = server
            .request(Method::PUT, "/api/v1/me/profile")
            .json(&profile);
        assert_eq!(send(with_token(set, owner)).await.status, 200);
        Self { names }
    }
}

/// Every address of the API's document that can be read and names nothing but parts, with the word of what it names.
fn addresses(things: &Things) -> Vec<(String, Option<&'static str>)> {
    let document = serde_json::to_value(opb_api::document()).unwrap();
    let mut addresses = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        if methods.get("get").is_none() || !path.starts_with("/api/v1/") || path.contains("/oidc/")
        {
            continue;
        }
        let query = match path.as_str() {
            "/api/v1/prompts" | "/api/v1/prompts/suggest" => "?q=zebra",
            path if path.ends_with("/diff") => "?from=1",
            _ => "",
        };
        let path = path
            .replace("{username}", "owner")
            .replace("{version}", "latest");
        match path.split(['{', '}']).nth(1) {
            None => addresses.push((format!("{path}{query}"), None)),
            Some(parameter) => {
                for (_, word, name) in things.names.iter().filter(|thing| thing.0 == parameter) {
                    let path = path.replace(&format!("{{{parameter}}}"), name);
                    addresses.push((format!("{path}{query}"), Some(*word)));
                }
            }
        }
    }
    addresses.push(("/api/v1/prompts".into(), None));
    addresses.push(("/api/v1/prompts?author=owner".into(), None));
    addresses.push(("/api/v1/collections?owner=owner".into(), None));
    addresses
}

/// The words of the things that an answer shows something of.
fn shown(reply: &Reply) -> BTreeSet<&'static str> {
    let text = reply.text.to_lowercase().replace('-', " ");
    let is_shown = |word: &&&str| text.contains(&format!("zebra {word}"));
    WORDS.iter().filter(is_shown).copied().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_more_visible_than_its_narrowest_part() {
    let server = Server::start().await;
    let owner = server.user("owner").await;
    let actors = [
        ("stranger", String::new()),
        ("other", server.user("other").await),
        ("owner", owner.clone()),
        ("moderator", server.user("molly").await),
        ("admin", server.user("adam").await),
    ];
    server
        .sql("update users set role = 'moderator' where username = 'molly'")
        .await;
    server
        .sql("update users set role = 'admin' where username = 'adam'")
        .await;
    let things = Things::of(&server, &owner).await;
    let addresses = addresses(&things);
    let mut wrong = String::new();
    let mut seen = BTreeSet::new();
    for (actor, token) in &actors {
        for (path, word) in &addresses {
            let reply = server.get(path, token).await;
            let may_see = |word: &str| match (word, *actor) {
                ("public", _) | (_, "owner") => true,
                ("unlisted", actor) => actor != "stranger",
                (_, actor) => actor == "admin",
            };
            for shown in shown(&reply) {
                // What an address names may be shown to who may see it; anything else must be in lists for them.
                let named = *word == Some(shown) && may_see(shown);
                if !named && shown != "public" && *actor != "owner" {
                    let _ = writeln!(wrong, "{actor} sees something {shown}: {path}");
                }
                seen.insert((*actor, shown));
            }
            if let Some(word) = word {
                let expect = if may_see(word) { 200 } else { 404 };
                if reply.status != expect {
                    let status = reply.status;
                    let _ = writeln!(wrong, "{actor} {path}: expected {expect}, got {status}");
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    // The test would see it.
    for (actor, words) in [
        ("stranger", &WORDS[2..]),
        ("other", &WORDS[1..]),
        ("owner", &WORDS[..]),
        ("admin", &WORDS[..]),
    ] {
        for word in words {
            assert!(seen.contains(&(actor, word)), "{actor} {word}");
        }
    }
    assert!(addresses.len() > 80, "{}", addresses.len());
}

#[tokio::test]
async fn what_says_nothing_is_as_the_bank_is_set_up() {
    for (default, expect) in [
        (Visibility::Private, "private"),
        (Visibility::Unlisted, "unlisted"),
        (Visibility::Public, "public"),
    ] {
        let server =
            Server::start_with(|settings| settings.rules.default_visibility = default).await;
        let ada = server.user("ada").await;
        let get = async |path: &str| server.get(path, &ada).await.expect(200)["visibility"].clone();
        let post = async |path: &str, body: Value| server.post(path, &ada, &body).await.expect(201);
        let made = post("/api/v1/prompts", prompt("plain")).await;
        assert_eq!(made["visibility"], expect);
        post("/api/v1/benchmarks", benchmark("sums")).await;
        assert_eq!(get("/api/v1/benchmarks/sums").await, expect);
        let made = post("/api/v1/collections", json!({"title": "Mine"})).await;
        assert_eq!(made["visibility"], expect);
        let fork = post("/api/v1/prompts/plain/forks", json!({"slug": "fork"})).await;
        assert_eq!(fork["visibility"], expect);

        // A fork is never wider than what it was forked from, unless its owner says so of their own.
        let mut hidden = prompt("hidden");
        hidden["visibility"] = json!("private");
        post("/api/v1/prompts", hidden).await;
        let fork = post(
            "/api/v1/prompts/hidden/forks",
            json!({"slug": "hidden-fork"}),
        )
        .await;
        assert_eq!(fork["visibility"], "private");
        let new = json!({"slug": "opened", "visibility": "public"});
        let opened = post("/api/v1/prompts/hidden/forks", new).await;
        assert_eq!(
            (&opened["visibility"], &opened["attribution"]),
            (&json!("public"), &Value::Null)
        );

        let import = async |source: Value, visibility: Value| {
            let body = json!({"source": source, "visibility": visibility});
            let reply = server.post("/api/v1/prompts/import", &ada, &body).await;
            reply.expect(200)
        };
        let csv = |act: &str| json!({"format": "prompts-chat-csv", "content": format!("act,prompt\n{act},Hello\n")});
        import(csv("From CSV"), Value::Null).await;
        assert_eq!(get("/api/v1/prompts/from-csv").await, expect);
        import(csv("From CSV"), json!("unlisted")).await;
        assert_eq!(get("/api/v1/prompts/from-csv").await, "unlisted");
        // Nothing said, nothing changed.
        let report = import(csv("From CSV"), Value::Null).await;
        assert_eq!(
            (&report["unchanged"], &report["updated"]),
            (&json!(1), &json!(0))
        );
        let file = json!({"format": "files", "files": [
            {"path": "noted.md", "text": "---\ntitle: Noted\nvisibility: unlisted\n---\nHello"},
            {"path": "silent.md", "text": "---\ntitle: Silent\n---\nHello"}]});
        import(file, Value::Null).await;
        assert_eq!(get("/api/v1/prompts/noted").await, "unlisted");
        assert_eq!(get("/api/v1/prompts/silent").await, expect);

        // Publishing again with a word changes who sees it, without one it does not.
        let mut sums = benchmark("sums");
        sums["visibility"] = json!("unlisted");
        post("/api/v1/benchmarks", sums).await;
        post("/api/v1/benchmarks", benchmark("sums")).await;
        assert_eq!(get("/api/v1/benchmarks/sums").await, "unlisted");
    }
}

#[tokio::test]
async fn a_fork_of_somebody_elses_prompt_is_never_wider() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let mut quiet = prompt("quiet");
    quiet["visibility"] = json!("unlisted");
    server
        .post("/api/v1/prompts", &ada, &quiet)
        .await
        .expect(201);
    let fork = async |body: Value| {
        server
            .post("/api/v1/prompts/quiet/forks", &bob, &body)
            .await
    };
    fork(json!({"visibility": "public"}))
        .await
        .expect_problem(422, "invalid", Some("visibility"));
    assert_eq!(fork(json!({})).await.expect(201)["visibility"], "unlisted");

    // A fork that all can see tells nobody the address of what is unlisted.
    let loud = json!({"slug": "loud", "visibility": "public"});
    let loud = server
        .post("/api/v1/prompts/quiet/forks", &ada, &loud)
        .await;
    assert_eq!(loud.expect(201)["forked_from"], "quiet@1");
    for token in ["", &bob] {
        for path in [
            "/api/v1/prompts/loud",
            "/api/v1/prompts/loud/versions",
            "/api/v1/prompts?author=ada",
        ] {
            let reply = server.get(path, token).await;
            assert_eq!(reply.status, 200, "{path}");
            assert!(!reply.text.contains("quiet"), "{path}: {}", reply.text);
        }
    }
}

#[tokio::test]
async fn slugs_do_not_tell_of_private_things() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let with_word = |mut body: Value, word: &str| {
        body["visibility"] = json!(word);
        body
    };
    let post = async |path: &str, token: &str, body: &Value| server.post(path, token, body).await;
    let owner_of =
        async |path: &str, token: &str| server.get(path, token).await.expect(200)["owner"].clone();
    let secret = with_word(prompt("secret"), "private");
    post("/api/v1/prompts", &ada, &secret).await.expect(201);
    let sums = with_word(benchmark("secret"), "private");
    post("/api/v1/benchmarks", &ada, &sums).await.expect(201);
    post("/api/v1/prompts", &bob, &prompt("open"))
        .await
        .expect(201);

    // Everything that takes a slug is for bob as if nobody had it: a dry run, a fork, a prompt and a benchmark.
    let source = json!({"format": "json", "prompts": [{"slug": "secret", "title": "Guess",
        "versions": [{"body": {"kind": "text", "text": "x"}}]}]});
    let guess = json!({"dry_run": true, "source": source});
    let report = post("/api/v1/prompts/import", &bob, &guess)
        .await
        .expect(200);
    assert_eq!(report["created"], 1, "{report}");
    let fork = json!({"slug": "secret", "visibility": "private"});
    let fork = post("/api/v1/prompts/open/forks", &bob, &fork)
        .await
        .expect(201);
    let path = format!("/api/v1/prompts/{}", field(&fork, "id"));
    assert_eq!(
        send(with_token(server.request(Method::DELETE, &path), &bob))
            .await
            .status,
        204
    );
    post("/api/v1/prompts", &bob, &prompt("secret"))
        .await
        .expect(201);
    let published = post("/api/v1/benchmarks", &bob, &benchmark("secret")).await;
    assert_eq!(published.expect(201)["number"], 1);

    // Each finds their own, everybody else what is shared.
    for path in ["/api/v1/prompts/secret", "/api/v1/benchmarks/secret"] {
        assert_eq!(owner_of(path, &ada).await, "ada", "{path}");
        assert_eq!(owner_of(path, &bob).await, "bob", "{path}");
        assert_eq!(owner_of(path, "").await, "bob", "{path}");
    }
    // A version goes to one's own.
    let version = json!({"body": {"kind": "text", "text": "More: {{ question }}"}});
    post("/api/v1/prompts/secret/versions", &ada, &version)
        .await
        .expect(201);
    assert_eq!(
        server.get("/api/v1/prompts/secret", "").await.expect(200)["latest_version"],
        1
    );

    // Two of a kind cannot be shared, nor owned.
    for (path, body) in [
        ("/api/v1/prompts/secret", json!({"visibility": "public"})),
        ("/api/v1/prompts/secret", json!({"visibility": "unlisted"})),
        ("/api/v1/benchmarks/secret", json!({"visibility": "public"})),
    ] {
        let request = server.request(Method::PATCH, path).json(&body);
        let reply = send(with_token(request, &ada)).await;
        assert_eq!(reply.status, 409, "{path} {body}: {}", reply.text);
        assert!(reply.text.contains("take another slug"), "{}", reply.text);
    }
    let again = post(
        "/api/v1/prompts",
        &ada,
        &with_word(prompt("open"), "public"),
    )
    .await;
    again.expect_problem(409, "conflict", None);
    post(
        "/api/v1/prompts",
        &ada,
        &with_word(prompt("open"), "private"),
    )
    .await
    .expect(201);
    post(
        "/api/v1/prompts",
        &ada,
        &with_word(prompt("open"), "private"),
    )
    .await
    .expect_problem(409, "conflict", None);

    // An offer names what is offered, and taking it over leaves nobody with two.
    let offer = server
        .request(Method::PUT, "/api/v1/prompts/secret/transfer")
        .json(&json!({"to": "ada"}));
    assert_eq!(send(with_token(offer, &bob)).await.status, 204);
    let accepted = post("/api/v1/prompts/secret/transfer/accept", &ada, &json!({})).await;
    accepted.expect_problem(409, "conflict", None);
}

#[tokio::test]
async fn a_run_keeps_to_what_its_slugs_named() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    server.prepare_run(&ada).await;
    let run = server
        .post("/api/v1/runs", &bob, &crate::server::run())
        .await
        .expect(202);
    // From now on the slugs name something else for bob.
    let own = json!({"slug": "plain", "title": "Mine", "visibility": "private", "body": {"kind": "text", "text": "Mine"}});
    server.post("/api/v1/prompts", &bob, &own).await.expect(201);
    server
        .sql("update runs set state = 'failed', finished_at = now()")
        .await;
    let extend = format!("/api/v1/runs/{}/extend", field(&run, "id"));
    server
        .post(&extend, &bob, &json!({"repeats": 3}))
        .await
        .expect(202);
    let titles: Vec<String> = sqlx::query_scalar(
        "select title from run_prompts
         join prompt_versions on prompt_versions.id = prompt_version_id
         join prompts on prompts.id = prompt_id",
    )
    .fetch_all(&server.database.pool)
    .await
    .unwrap();
    assert_eq!(titles, ["Plain"]);
}

#[tokio::test]
async fn the_list_of_models_shows_nothing_of_private_runs() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    server.prepare_run(&ada).await;
    let admin = server.admin().await;
    let provider =
        json!({"name": "oai", "kind": "openai", "base_url": "https://models.example.org/v1"});
    server
        .post("/api/v1/providers", &admin, &provider)
        .await
        .expect(201);
    let submit = async |token: &str, word: &str, model: Value| {
        let mut run = crate::server::run();
        run["visibility"] = json!(word);
        run["models"] = json!([model]);
        server.post("/api/v1/runs", token, &run).await.expect(202);
    };
    let stop = |word: &str| json!({"model": "simulated:strong", "parameters": {"stop": [word]}});
    submit(&ada, "private", stop("CANARYPARAM")).await;
    submit(&ada, "unlisted", stop("CANARYUNLISTED")).await;
    submit(&ada, "public", stop("SHOWN")).await;
    // The name of a deployment may be a secret, too.
    submit(&admin, "private", json!("oai:canarydeployment")).await;
    let models = async |token: &str| server.get("/api/v1/models?limit=100", token).await.text;
    for token in ["", &bob] {
        let list = models(token).await;
        assert!(
            list.contains("SHOWN") && !list.to_lowercase().contains("canary"),
            "{list}"
        );
    }
    let own = models(&ada).await;
    assert!(
        own.contains("CANARYPARAM") && own.contains("CANARYUNLISTED"),
        "{own}"
    );
    assert!(!own.contains("canarydeployment"), "{own}");
    assert!(models(&admin).await.contains("canarydeployment"));
}

#[tokio::test]
async fn no_slug_hides_a_route() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let document = serde_json::to_value(opb_api::document()).unwrap();
    let paths: Vec<Vec<&str>> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .map(|path| path.trim_start_matches('/').split('/').collect())
        .collect();
    let mut reserved = BTreeSet::new();
    for named in &paths {
        for (at, segment) in named.iter().enumerate() {
            let Some(parameter) = segment.strip_prefix('{') else {
                continue;
            };
            let parameter = parameter.trim_end_matches('}');
            for other in &paths {
                let word = other.get(at).filter(|word| !word.starts_with('{'));
                if let Some(word) = word
                    && other[..at] == named[..at]
                {
                    reserved.insert((parameter, *word));
                }
            }
        }
    }
    for (parameter, word) in reserved {
        let reply = match parameter {
            "prompt" => server.post("/api/v1/prompts", &ada, &prompt(word)).await,
            "benchmark" => {
                server
                    .post("/api/v1/benchmarks", &ada, &benchmark(word))
                    .await
            }
            // Ids that the bank itself gives, and what its operator names.
            "run" | "comment" | "provider" => continue,
            other => panic!(
                "`{word}` is a route where {other} may stand: reserve it, or say here why not"
            ),
        };
        assert_eq!(reply.status, 422, "{parameter} {word}: {}", reply.text);
    }
    let board = server
        .post("/api/v1/benchmarks", &ada, &benchmark("community"))
        .await;
    board.expect_problem(422, "invalid", Some("slug"));
}
