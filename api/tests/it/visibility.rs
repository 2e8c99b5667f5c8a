//! Who sees what: nothing is shown to more people than the narrowest part of it, whatever shows it; and what a bank
//! does with things of which nobody says it.

use std::{collections::BTreeSet, fmt::Write as _};

use opb_core::auth::Visibility;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    community::measure_run,
    server::{Reply, Server, benchmark, field, prompt, send, with_token},
};

/// The words, from the narrowest to the widest.
const WORDS: [&str; 3] = ["private", "unlisted", "public"];

/// What runs are of that were deleted: shown to nobody.
const GONE: &str = "gone";

/// With what the names of runs begin.
const NAMED: &str = "named by its owner:";

/// The things of one owner, each kind with each word, and whose names and texts all hold `zebra` and their word.
struct Things {
    /// Parameter in an address, word, and what it is called.
    names: Vec<(&'static str, &'static str, String)>,
    /// Runs of another user, a part of which the owner has made private since.
    foreign: Vec<String>,
}

impl Things {
    async fn of(server: &Server, owner: &str, other: &str) -> Self {
        let mut names = Vec::new();
        let mut prompts = Vec::new();
        for word in WORDS {
            let slug = format!("zebra-{word}-prompt");
            publish_prompt(server, owner, &slug, word, word).await;
            publish_benchmark(server, owner, &format!("zebra-{word}-sums"), word, word).await;
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
        let mut things = Self {
            names,
            foreign: Vec::new(),
        };
        things.add_runs(server, owner).await;
        things.narrow_runs(server, owner, other).await;
        things
    }

    /// Runs of every benchmark with every prompt, each as wide as its parts and narrower.
    async fn add_runs(&mut self, server: &Server, owner: &str) {
        for (benchmark, benchmark_word) in WORDS.into_iter().enumerate() {
            for (prompt, prompt_word) in WORDS.into_iter().enumerate() {
                for word in &WORDS[..=benchmark.min(prompt)] {
                    let run = Run {
                        benchmark: &format!("zebra-{benchmark_word}-sums"),
                        prompt: &format!("zebra-{prompt_word}-prompt"),
                        word,
                    };
                    let id = run.measure(server, owner, word).await;
                    self.names.push(("run", *word, id));
                }
            }
        }
    }

    /// Public runs that are not any more, or parts of which are not.
    async fn narrow_runs(&mut self, server: &Server, owner: &str, other: &str) {
        let change = async |method: Method, path: &str| {
            let request = server.request(method.clone(), path);
            let request = match method {
                Method::PATCH => request.json(&json!({"visibility": "private"})),
                _ => request,
            };
            let reply = send(with_token(request, owner)).await;
            assert!(reply.status < 300, "{path}: {}", reply.text);
        };
        let public = Run {
            benchmark: "zebra-public-sums",
            prompt: "zebra-public-prompt",
            word: "public",
        };
        for (thing, method) in [
            ("run", Method::PATCH),
            ("run", Method::DELETE),
            ("prompt", Method::PATCH),
            ("prompt", Method::DELETE),
            ("benchmark", Method::PATCH),
            ("benchmark", Method::DELETE),
        ] {
            let slug = format!("zebra-private-{thing}-{}", method.as_str().to_lowercase());
            let run = match thing {
                "prompt" => {
                    publish_prompt(server, owner, &slug, "private", "public").await;
                    Run {
                        prompt: &slug,
                        ..public
                    }
                }
                "benchmark" => {
                    publish_benchmark(server, owner, &slug, "private", "public").await;
                    Run {
                        benchmark: &slug,
                        ..public
                    }
                }
                _ => public,
            };
            let is_gone = (thing, &method) == ("run", &Method::DELETE);
            let word = if is_gone { GONE } else { "private" };
            let id = run.measure(server, owner, word).await;
            if thing == "run" {
                change(method, &format!("/api/v1/runs/{id}")).await;
                self.names.push(("run", word, id));
                continue;
            }
            self.names.push(("run", word, id));
            // What rests on a deleted benchmark stays readable for whoever measured it: see run_deletion.rs.
            if (thing, &method) != ("benchmark", &Method::DELETE) {
                let foreign = run.measure(server, other, "private").await;
                self.foreign.push(foreign.clone());
                self.names.push(("run", word, foreign));
            }
            if method == Method::PATCH {
                let parameter = if thing == "prompt" {
                    "prompt"
                } else {
                    "benchmark"
                };
                self.names.push((parameter, word, slug.clone()));
            }
            change(method, &format!("/api/v1/{thing}s/{slug}")).await;
        }
    }
}

/// A prompt whose texts all hold `zebra` and a word.
async fn publish_prompt(server: &Server, owner: &str, slug: &str, word: &str, visibility: &str) {
    let new = json!({"slug": slug, "title": format!("Zebra {word} prompt"), "visibility": visibility,
        "description": format!("zebra {word}"), "tags": [format!("zebra-{word}")],
        "body": {"kind": "text", "text": format!("{{{{ question }}}} zebra {word} {slug}")}});
    server
        .post("/api/v1/prompts", owner, &new)
        .await
        .expect(201);
}

/// A benchmark whose texts all hold `zebra` and a word.
async fn publish_benchmark(server: &Server, owner: &str, slug: &str, word: &str, visibility: &str) {
    let mut sums = benchmark(slug);
    sums["title"] = json!(format!("Zebra {word} sums"));
    sums["visibility"] = json!(visibility);
    sums["items"][0]["expected"] = json!(format!("zebra {word} {slug}"));
    sums["items"][0]["metadata"] = json!({"level": format!("zebra {word} level")});
    server
        .post("/api/v1/benchmarks", owner, &sums)
        .await
        .expect(201);
}

/// A run to be.
#[derive(Clone, Copy)]
struct Run<'a> {
    benchmark: &'a str,
    prompt: &'a str,
    word: &'a str,
}

impl Run<'_> {
    /// Measures, with a name and answers that hold `zebra` and a word. Returns the run's id.
    async fn measure(self, server: &Server, token: &str, says: &str) -> String {
        let new = json!({"benchmark": self.benchmark, "prompts": [self.prompt], "models": ["simulated:strong"],
            "repeats": 1, "visibility": self.word, "name": format!("{NAMED} zebra {says} run")});
        let run = server.post("/api/v1/runs", token, &new).await.expect(202);
        let id = field(&run, "id");
        measure_run(server, id.parse().unwrap(), 1, |_, _| true).await;
        sqlx::query("update evaluations set output = $2 where run_id = $1::uuid")
            .bind(&id)
            .bind(format!("zebra {says} answer"))
            .execute(&server.database.pool)
            .await
            .unwrap();
        id
    }
}

/// Every address of the API's document that can be read and names nothing but parts, with what it names and the word of it.
fn addresses(things: &Things) -> Vec<(String, Option<(&'static str, &str)>)> {
    let document = serde_json::to_value(opb_api::document()).unwrap();
    let mut addresses = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        if methods.get("get").is_none() || !path.starts_with("/api/v1/") || path.contains("/oidc/")
        {
            continue;
        }
        let query = match path.as_str() {
            "/api/v1/prompts" | "/api/v1/prompts/suggest" => "?q=zebra",
            "/api/v1/runs" => "?limit=100",
            "/api/v1/leaderboards" => "?min_coverage=0",
            path if path.ends_with("/diff") => "?from=1",
            path if path.ends_with("/evidence") => "?simulated=true",
            path if path.ends_with("/groups") => "?by=level",
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
                    addresses.push((format!("{path}{query}"), Some((*word, name.as_str()))));
                }
            }
        }
    }
    for (_, word, name) in things.names.iter().filter(|thing| thing.0 == "benchmark") {
        for board in ["public", "public&newest=true"] {
            let path = format!("/api/v1/leaderboards/{name}?board={board}");
            addresses.push((path, Some((*word, name.as_str()))));
        }
        addresses.push((format!("/api/v1/prompts?benchmark={name}"), None));
    }
    for path in [
        "/api/v1/prompts",
        "/api/v1/prompts?author=owner",
        "/api/v1/prompts?sort=quality",
        "/api/v1/collections?owner=owner",
        "/api/v1/leaderboards?min_coverage=0&board=public",
        "/api/v1/leaderboards/community?sort=quality",
        "/api/v1/runs?owner=owner&limit=100",
        "/api/v1/runs?owner=other&limit=100",
    ] {
        addresses.push((path.into(), None));
    }
    addresses
}

/// The words of the things that an answer shows something of. A refusal may repeat what the address named.
/// What a run's owner called it is no news to them.
fn shown(reply: &Reply, named: Option<&str>, actor: &str) -> BTreeSet<&'static str> {
    let mut text = match named {
        Some(name) if reply.status >= 400 => reply.text.replace(name, "…"),
        _ => reply.text.clone(),
    };
    if actor == "other" {
        text = text.replace(&format!("{NAMED} zebra private"), "…");
    }
    let text = text.to_lowercase().replace('-', " ");
    let is_shown = |word: &&&str| text.contains(&format!("zebra {word}"));
    let words = WORDS.iter().chain([&GONE]);
    words.filter(is_shown).copied().collect()
}

/// What a reader found.
#[derive(Default)]
struct Found<'a> {
    /// What must not be.
    wrong: String,
    /// Words of what was shown, and what kind of thing showed it.
    seen: BTreeSet<(&'static str, &'a str)>,
    /// How many addresses of the reader's own runs were refused.
    refused: usize,
}

/// Reads every address.
async fn sweep<'a>(
    server: &Server,
    actor: &str,
    token: &str,
    things: &Things,
    addresses: &'a [(String, Option<(&'static str, &str)>)],
) -> Found<'a> {
    let mut found = Found::default();
    for (path, named) in addresses {
        let reply = server.get(path, token).await;
        let may_see = |word: &str| match (word, actor) {
            (GONE, _) => false,
            ("public", _) | (_, "owner") => true,
            ("unlisted", actor) => actor != "stranger",
            (_, actor) => actor == "admin",
        };
        for shown in shown(&reply, named.map(|(_, name)| name), actor) {
            // What an address names may be shown to who may see it; anything else must be in lists for them.
            let place = |word: &str| WORDS.iter().position(|known| *known == word);
            let is_named = named.is_some_and(|(word, _)| {
                may_see(word) && may_see(shown) && place(word) <= place(shown)
            });
            let is_listed = shown == "public" || (actor == "owner" && shown != GONE);
            if !is_named && !is_listed {
                let _ = writeln!(found.wrong, "{actor} sees something {shown}: {path}");
            }
            found
                .seen
                .insert((shown, path.split(['/', '?']).nth(3).unwrap()));
        }
        if let Some((word, name)) = named {
            // Whoever measured with what was taken away keeps the numbers.
            let is_own = actor == "other" && things.foreign.iter().any(|run| run == name);
            let keeps = is_own && (path.ends_with(name) || path.ends_with("/events"));
            let expect = if may_see(word) || keeps {
                200
            } else if is_own {
                403
            } else {
                404
            };
            found.refused += usize::from(expect == 403);
            if reply.status != expect {
                let status = reply.status;
                let _ = writeln!(
                    found.wrong,
                    "{actor} {path}: expected {expect}, got {status}"
                );
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_more_visible_than_its_narrowest_part() {
    let server = Server::start().await;
    let owner = server.user("owner").await;
    let other = server.user("other").await;
    let actors = [
        ("stranger", String::new()),
        ("other", other.clone()),
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
    server.prepare_run(&owner).await;
    let things = Things::of(&server, &owner, &other).await;
    let mut addresses = addresses(&things);
    let mut wrong = String::new();
    let mut seen = BTreeSet::new();
    let mut refused = 0;
    for (actor, token) in &actors {
        let found = sweep(&server, actor, token, &things, &addresses).await;
        wrong.push_str(&found.wrong);
        refused += found.refused;
        let kinds = found.seen.into_iter();
        seen.extend(kinds.map(|(word, kind)| (*actor, word, kind)));
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
            for kind in ["prompts", "benchmarks", "collections", "runs"] {
                assert!(seen.contains(&(actor, word, kind)), "{actor} {word} {kind}");
            }
        }
        assert!(seen.contains(&(actor, "public", "leaderboards")), "{actor}");
    }
    assert!(refused >= 9, "{refused}");
    assert!(addresses.len() > 250, "{}", addresses.len());
    // Nor does it find nothing wrong with a bank that does not ask for the parts of a run.
    server
        .sql(
            "create or replace function can_see_parts(wanted uuid, viewer_id bigint, is_admin boolean)
             returns boolean language plpgsql stable parallel safe as 'begin return true; end'",
        )
        .await;
    addresses.retain(|(path, _)| path.contains("/runs") || path.contains("/evidence"));
    let (actor, token) = &actors[3];
    let wrong = sweep(&server, actor, token, &things, &addresses)
        .await
        .wrong;
    let is_found = |kind: &str, word: &str| {
        let mut lines = wrong.lines();
        lines.any(|line| line.contains(kind) && line.contains(word))
    };
    for kind in ["/evidence", "/runs?", "/evaluations", "/events", "/export"] {
        assert!(is_found(kind, "something private"), "{kind}: {wrong}");
    }
    assert!(is_found("/columns", "expected 404, got 200"), "{wrong}");
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
    let stop = |word: &str| json!({"model": "simulated:strong", "parameters": {"faults": [word]}});
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
            "run" | "comment" | "api_key" | "provider" => continue,
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
    // A slug that is an id would stand at the address of another thing.
    let id = "01a22b3c-4d5e-7f60-8123-456789abcdef";
    for slug in [id, &id.replace('-', "")] {
        let text = server.post("/api/v1/prompts", &ada, &prompt(slug)).await;
        text.expect_problem(422, "invalid", Some("slug"));
        let board = server
            .post("/api/v1/benchmarks", &ada, &benchmark(slug))
            .await;
        board.expect_problem(422, "invalid", Some("slug"));
    }
}
