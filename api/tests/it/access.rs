//! Access rules in one place: every operation of the API's document is asked by everybody, and compared with the
//! table in `access.txt`. An operation without a row fails.

use std::{collections::BTreeMap, fmt::Write as _};

use reqwest::{
    Method,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    server::{Reply, Server, with_token},
    world::{ACTORS, World, fixture_models, password_hash},
};

/// One row of the table.
struct Row<'a> {
    line: usize,
    operation: &'a str,
    /// Name of the path's parameter and of its fixture.
    parameters: Vec<(&'a str, &'a str)>,
    query: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    expect: [u16; 6],
    body: &'a str,
}

/// An operation of the document.
struct Operation {
    method: Method,
    path: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_may_do_what_the_table_says_and_nothing_else() {
    let rows = rows(include_str!("access.txt"));
    let operations = operations();
    let mut wrong = unknown_and_missing(&rows, &operations);
    assert!(wrong.is_empty(), "{wrong}");

    let server = Server::start_with(|settings| {
        settings.registrations_per_address = 1_000_000;
        settings.login_failures_per_address = 1_000_000;
    })
    .await;
    let pool = &server.database.pool;
    fixture_models(pool).await;
    // Whoever deletes themselves here is not the last administrator.
    let password_hash = password_hash().await;
    let world = World::new(pool, &password_hash).await;
    world.credential("admin").await;

    let mut asked = 0;
    for row in &rows {
        let operation = &operations[row.operation];
        for (actor, expect) in ACTORS.into_iter().zip(row.expect) {
            let world = World::new(pool, &password_hash).await;
            let credential = world.credential(actor).await;
            let (known, names) = ask(&server, row, operation, &world, &credential, false).await;
            asked += 1;
            if known.status != expect {
                let Row {
                    line, operation, ..
                } = row;
                let _ = writeln!(
                    wrong,
                    "access.txt:{line}: {operation} as {actor}: expected {expect}, got {} {}",
                    known.status, known.text
                );
            } else if expect == 404 || (expect == 422 && row.body.contains("$private_")) {
                let (unknown, others) =
                    ask(&server, row, operation, &world, &credential, true).await;
                let (known, unknown) = (essence(&known, &names), essence(&unknown, &others));
                if known != unknown {
                    let Row {
                        line, operation, ..
                    } = row;
                    let _ = writeln!(
                        wrong,
                        "access.txt:{line}: {operation} as {actor}: tells a hidden thing from none: {known:?} {unknown:?}"
                    );
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(asked >= 300, "only {asked} requests");
}

/// Sends the request of a row; with random ids instead of the fixtures, if so asked. Returns the names it used, too.
async fn ask(
    server: &Server,
    row: &Row<'_>,
    operation: &Operation,
    world: &World<'_>,
    credential: &str,
    random: bool,
) -> (Reply, Vec<String>) {
    let mut names = Vec::new();
    let mut path = operation.path.clone();
    for (parameter, fixture) in &row.parameters {
        // A number has no random one of its kind.
        let name = if random && *fixture != "one" {
            Uuid::now_v7().to_string()
        } else {
            world.fixture(fixture).await
        };
        path = path.replace(&format!("{{{parameter}}}"), &name);
        names.push(name);
    }
    path.push_str(&fill(row.query, world, random, &mut names).await);
    let body = fill(row.body, world, random, &mut names).await;
    let mut request = with_token(server.request(operation.method.clone(), &path), credential);
    if !body.is_empty() {
        let body: Value = serde_json::from_str(&body)
            .unwrap_or_else(|error| panic!("access.txt:{}: {error}: {body}", row.line));
        request = request.json(&body);
    }
    // What a row says of its body goes before what is usual.
    let headers: HeaderMap = row
        .headers
        .iter()
        .map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        })
        .collect();
    request = request.headers(headers);
    let response = request.send().await.unwrap();
    let headers = response.headers().clone();
    let kind = headers.get("content-type");
    let lasts = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let reply = Reply {
        status: response.status().as_u16(),
        text: if lasts {
            String::new()
        } else {
            response.text().await.unwrap()
        },
        headers,
    };
    (reply, names)
}

/// Puts what the fixtures are called for `$fixture`.
async fn fill(text: &str, world: &World<'_>, random: bool, names: &mut Vec<String>) -> String {
    let mut made: BTreeMap<&str, String> = BTreeMap::new();
    let mut pieces = text.split('$');
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, rest) = piece.split_at(end.unwrap_or(piece.len()));
        if !made.contains_key(name) {
            let hidden = random && name.starts_with("private_");
            let value = if hidden {
                Uuid::now_v7().to_string()
            } else {
                world.fixture(name).await
            };
            names.push(value.clone());
            made.insert(name, value);
        }
        filled.push_str(&made[name]);
        filled.push_str(rest);
    }
    filled
}

/// What an answer says about a thing, without its name and the request's own id.
fn essence(reply: &Reply, names: &[String]) -> Value {
    let mut text = reply.text.clone();
    for name in names {
        text = text.replace(name, "…");
    }
    let mut body: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    if let Some(problem) = body.as_object_mut() {
        problem.remove("request_id");
    }
    body
}

fn operations() -> BTreeMap<String, Operation> {
    let document = serde_json::to_value(opb_api::document()).unwrap();
    let mut operations = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            let operation = Operation {
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
            };
            operations.insert(name.to_owned(), operation);
        }
    }
    operations
}

fn rows(table: &'static str) -> Vec<Row<'static>> {
    let lines = table.lines().enumerate();
    lines
        .filter(|(_, text)| !text.trim().is_empty() && !text.starts_with('#'))
        .map(|(index, text)| row(index + 1, text))
        .collect()
}

fn row(line: usize, text: &'static str) -> Row<'static> {
    let mut row = Row {
        line,
        operation: "",
        parameters: Vec::new(),
        query: "",
        headers: Vec::new(),
        expect: [0; 6],
        body: "",
    };
    let mut rest = text;
    let mut next = || {
        rest = rest.trim_start();
        let (word, after) = rest.split_at(rest.find(' ').unwrap_or(rest.len()));
        rest = after;
        word
    };
    row.operation = next();
    let first = loop {
        let word = next();
        if let Ok(status) = word.parse() {
            break status;
        } else if word.starts_with('?') {
            row.query = word;
        } else if let Some(parameter) = word.split_once('=') {
            row.parameters.push(parameter);
        } else if let Some(header) = word.split_once(':') {
            row.headers.push(header);
        } else {
            assert_eq!(word, "-", "access.txt:{line}: what is `{word}`?");
        }
    };
    row.expect[0] = first;
    for expect in &mut row.expect[1..] {
        let word = next();
        *expect = word
            .parse()
            .unwrap_or_else(|_| panic!("access.txt:{line}: `{word}` is no status; six are needed"));
    }
    row.body = rest.trim();
    row
}

/// Says which operations have no row, and which rows no operation or not its parameters.
fn unknown_and_missing(rows: &[Row<'_>], operations: &BTreeMap<String, Operation>) -> String {
    let mut wrong = String::new();
    for (name, Operation { method, path }) in operations {
        if !rows.iter().any(|row| row.operation == name) {
            let mut parameters = String::new();
            for name in names_in(path) {
                let _ = write!(parameters, " {name}=<fixture>");
            }
            let _ = writeln!(
                wrong,
                "{method} {path} has no row in api/tests/it/access.txt; add one, such as:\n{name}{parameters} 401 404 200 404 200 403"
            );
        }
    }
    wrong.push_str(&missing_words(rows));
    for Row {
        line,
        operation,
        parameters,
        ..
    } in rows
    {
        let Some(known) = operations.get(*operation) else {
            let _ = writeln!(
                wrong,
                "access.txt:{line}: there is no operation `{operation}`"
            );
            continue;
        };
        let mut given: Vec<&str> = parameters.iter().map(|(name, _)| *name).collect();
        let mut needed = names_in(&known.path);
        given.sort_unstable();
        needed.sort_unstable();
        if given != needed {
            let path = &known.path;
            let _ = writeln!(
                wrong,
                "access.txt:{line}: {path} needs {needed:?}, not {given:?}"
            );
        }
    }
    wrong
}

/// Says for which words of visibility an operation has no row whose address names a thing that has one.
fn missing_words(rows: &[Row<'_>]) -> String {
    let has_visibility = |parameter: &str| {
        [
            "prompt",
            "benchmark",
            "collection",
            "comment",
            "change_request",
            "run",
        ]
        .contains(&parameter)
    };
    let mut asked: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for row in rows {
        for (parameter, fixture) in &row.parameters {
            if has_visibility(parameter) {
                let word = fixture.split('_').next().unwrap_or_default();
                asked
                    .entry((row.operation, parameter))
                    .or_default()
                    .push(word);
            }
        }
    }
    let mut wrong = String::new();
    for ((operation, parameter), words) in asked {
        for word in ["public", "unlisted", "private"] {
            if !words.contains(&word) {
                let _ = writeln!(
                    wrong,
                    "{operation} has no row in api/tests/it/access.txt with {parameter}={word}_…"
                );
            }
        }
    }
    wrong
}

/// What a stranger may ask for where reading needs a login: logging in, and what says nothing about anybody.
const OPEN: [&str; 15] = [
    "register_user",
    "login_user",
    "refresh_session",
    "create_cookie",
    "delete_cookie",
    "request_password_reset",
    "confirm_password_reset",
    "verify_email",
    "list_oidc_providers",
    "start_oidc_login",
    "finish_oidc_login",
    "login_oidc_user",
    "get_health",
    "get_readiness",
    "get_metrics",
];

#[tokio::test(flavor = "multi_thread")]
async fn where_reading_needs_a_login_strangers_read_nothing() {
    let rows = rows(include_str!("access.txt"));
    let operations = operations();
    let server = Server::start_with(|settings| settings.reading_needs_login = true).await;
    let pool = &server.database.pool;
    fixture_models(pool).await;
    let password_hash = password_hash().await;
    let world = World::new(pool, &password_hash).await;
    let mut wrong = String::new();
    for row in &rows {
        let operation = &operations[row.operation];
        let is_inherited = !operation.path.starts_with("/api/v1/");
        if OPEN.contains(&row.operation) || is_inherited {
            continue;
        }
        let world = World::new(pool, &password_hash).await;
        let (reply, _) = ask(&server, row, operation, &world, "", false).await;
        if reply.status != 401 {
            let _ = writeln!(wrong, "{}: {} {}", row.operation, reply.status, reply.text);
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    // With a login everything is as it was.
    let reader = world.credential("other").await;
    let prompts = server.get("/api/v1/prompts", &reader).await;
    assert_eq!(prompts.status, 200);
    for (path, status) in [("/healthz", 200), ("/api/v1/auth/oidc", 200)] {
        assert_eq!(server.get(path, "").await.status, status, "{path}");
    }
}

fn names_in(path: &str) -> Vec<&str> {
    let pieces = path.split('{').skip(1);
    pieces.filter_map(|piece| piece.split('}').next()).collect()
}
