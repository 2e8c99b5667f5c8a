//! Guessing is slow, whichever way it is tried, and locks nobody out for ever.

use serde_json::{Value, json};

use crate::server::{Reply, Server, send};

const WRONG: &str = "wrong horse";
const RIGHT: &str = "correct horse";

async fn native(server: &Server, name: &str, password: &str) -> Reply {
    let body = json!({"username": name, "password": password});
    server.post("/api/v1/auth/login", "", &body).await
}

/// All ways to try one password of `ada`.
async fn every_way(server: &Server, password: &str) -> [Reply; 4] {
    let body = json!({"username": "ada", "email": "ada@example.org", "password": password});
    [
        native(server, "ada", password).await,
        native(server, "ADA@example.org", password).await,
        server.post("/api/auth/login/", "", &body).await,
        server.post("/login", "", &body).await,
    ]
}

/// The seconds of the newest lock. It lasts an hour from now on, however long this machine takes; answers then say 900, the
/// longest lock that there is.
async fn hold_lock(server: &Server) -> f64 {
    let mut conn = server.database.pool.acquire().await.unwrap();
    let newest = "select extract(epoch from locked_until - last_at)::float8 from throttles
                  where bucket like 'login:user:%' or bucket like 'login:stranger:%' or bucket like 'registration:%'
                  order by last_at desc limit 1";
    let seconds: f64 = sqlx::query_scalar(newest)
        .fetch_one(&mut *conn)
        .await
        .unwrap();
    let hold = "update throttles set locked_until = clock_timestamp() + interval '1 hour'
                where locked_until > last_at + interval '0.5 seconds'";
    sqlx::query(hold).execute(&mut *conn).await.unwrap();
    seconds.round()
}

#[tokio::test]
async fn all_dialects_and_names_share_one_budget() {
    let server = Server::start().await;
    server.user("ada").await;
    server.user("bob").await;
    for reply in every_way(&server, WRONG).await {
        assert_eq!(reply.status, 401, "{}", reply.text);
    }
    assert_eq!(native(&server, "ada", WRONG).await.status, 401, "the fifth");
    assert!((hold_lock(&server).await - 1.0).abs() < 0.1);
    let [name, email, django, flask] = every_way(&server, RIGHT).await;
    for reply in [&name, &email] {
        reply.expect_problem(429, "too_many_attempts", None);
        assert_eq!(reply.header("retry-after"), "900");
    }
    assert_eq!(
        django.expect(429),
        json!({"detail": "Request was throttled. Expected available in 900 seconds."})
    );
    assert_eq!(
        flask.expect(429),
        json!({"message": "Too many attempts. Please try again later."})
    );
    assert_eq!(django.header("retry-after"), "900");
    assert_eq!(flask.header("retry-after"), "900");
    assert_eq!(
        native(&server, "bob", RIGHT).await.status,
        200,
        "another account"
    );
    // The lock passes; then the right password works and everything is forgotten.
    server
        .sql("update throttles set locked_until = now()")
        .await;
    assert_eq!(native(&server, "ada", RIGHT).await.status, 200);
    assert_eq!(native(&server, "ada", WRONG).await.status, 401);
    assert_eq!(native(&server, "ada", RIGHT).await.status, 200);
}

#[tokio::test]
async fn locks_grow_to_a_quarter_of_an_hour_and_are_forgotten() {
    let server = Server::start_with(|settings| settings.login_failures_per_account = 1).await;
    server.user("ada").await;
    for name in ["ada", "nobody"] {
        for expect in [1_u16, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            assert_eq!(
                native(&server, name, WRONG).await.status,
                401,
                "{name} {expect}"
            );
            let seconds = hold_lock(&server).await;
            assert!(
                (seconds - f64::from(expect)).abs() < 0.1,
                "{name}: {seconds} is not {expect}"
            );
            let reply = native(&server, name, RIGHT).await;
            reply.expect_problem(429, "too_many_attempts", None);
            assert_eq!(reply.header("retry-after"), "900");
            server
                .sql("update throttles set locked_until = now()")
                .await;
        }
        server
            .sql("update throttles set last_at = now() - interval '61 minutes'")
            .await;
        assert_eq!(native(&server, name, WRONG).await.status, 401);
        let reply = native(&server, name, WRONG).await;
        assert!(
            reply.status == 401 || reply.status == 429,
            "it begins anew: {}",
            reply.text
        );
    }
}

#[tokio::test]
async fn an_address_has_a_budget_over_all_accounts() {
    let server = Server::start_with(|settings| {
        settings.login_failures_per_address = 3;
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    server.user("ada").await;
    let from = async |address: &str, name: &str, password: &str| {
        let body = json!({"username": name, "password": password});
        let request = server.request(reqwest::Method::POST, "/api/v1/auth/login");
        send(request.header("x-forwarded-for", address).json(&body))
            .await
            .status
    };
    for name in ["a-1", "a-2", "a-3"] {
        assert_eq!(from("192.0.2.1", name, WRONG).await, 401);
    }
    assert_eq!(from("192.0.2.1", "ada", RIGHT).await, 429);
    assert_eq!(
        from("6.6.6.6, 192.0.2.1", "ada", RIGHT).await,
        429,
        "a claim before the proxy's"
    );
    assert_eq!(
        from("192.0.2.2", "ada", RIGHT).await,
        200,
        "another address"
    );
}

#[tokio::test]
async fn without_a_trusted_proxy_a_forwarded_address_counts_for_nothing() {
    let server = Server::start_with(|settings| settings.login_failures_per_address = 3).await;
    let mut last = 0;
    for number in 0..4 {
        let body = json!({"username": format!("a-{number}"), "password": WRONG});
        let request = server.request(reqwest::Method::POST, "/api/v1/auth/login");
        let forged = format!("192.0.2.{number}");
        last = send(request.header("x-forwarded-for", forged).json(&body))
            .await
            .status;
    }
    assert_eq!(last, 429);
}

#[tokio::test]
async fn registrations_from_one_address_are_limited_in_every_dialect() {
    let server = Server::start_with(|settings| settings.registrations_per_address = 3).await;
    let body = |name: &str| json!({"username": name, "email": format!("{name}@example.org"), "password": RIGHT, "confirm_password": RIGHT});
    let native = |name: &str| {
        let mut body = body(name);
        body.as_object_mut().unwrap().remove("confirm_password");
        body
    };
    assert_eq!(
        server
            .post("/api/v1/auth/register", "", &native("a-1"))
            .await
            .status,
        201
    );
    assert_eq!(
        server
            .post("/api/auth/register/", "", &body("a-2"))
            .await
            .status,
        201
    );
    assert_eq!(server.post("/register", "", &body("a-3")).await.status, 201);
    let check = async |path: &str, body: Value| {
        let reply = server.post(path, "", &body).await;
        assert_eq!(
            (reply.status, reply.header("retry-after")),
            (429, "900"),
            "{path}: {}",
            reply.text
        );
    };
    server
        .sql("update throttles set locked_until = clock_timestamp() + interval '1 hour'")
        .await;
    check("/api/v1/auth/register", native("a-4")).await;
    server
        .sql("update throttles set locked_until = clock_timestamp() + interval '1 hour'")
        .await;
    check("/api/auth/register/", body("a-4")).await;
    server
        .sql("update throttles set locked_until = clock_timestamp() + interval '1 hour'")
        .await;
    check("/register", body("a-4")).await;
}

#[tokio::test]
async fn guesses_at_once_do_not_multiply_the_budget() {
    let server = Server::start().await;
    server.user("ada").await;
    let guesses = futures::future::join_all((0..60).map(|_| native(&server, "ada", WRONG))).await;
    let statuses: Vec<u16> = guesses.iter().map(|reply| reply.status).collect();
    let tried = statuses.iter().filter(|status| **status == 401).count();
    assert!(
        statuses.iter().all(|status| [401, 429].contains(status)),
        "{statuses:?}"
    );
    // Five are free, one a processor may be under way when the lock falls, and a slow machine sees some locks pass.
    let processors = std::thread::available_parallelism().unwrap().get();
    assert!(
        tried <= 5 + processors + 4,
        "{tried} of 60 guesses were tried"
    );
}

/// M6: whoever guesses from outside does not keep the owner from changing the password; who guesses inside is bounded.
#[tokio::test]
async fn guesses_from_outside_lock_no_session() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    for _ in 0..12 {
        native(&server, "ada", WRONG).await;
    }
    native(&server, "ada", RIGHT)
        .await
        .expect_problem(429, "too_many_attempts", None);
    let change = async |current: &str, new: &str| {
        let body = json!({"current_password": current, "new_password": new});
        server.post("/api/v1/me/password", &token, &body).await
    };
    let reply = change(RIGHT, "another horse").await;
    assert!((200..300).contains(&reply.status), "{}", reply.text);
    for _ in 0..5 {
        change(WRONG, RIGHT)
            .await
            .expect_problem(422, "invalid", Some("current_password"));
    }
    change("another horse", RIGHT)
        .await
        .expect_problem(429, "too_many_attempts", None);
    // The lock passes.
    server
        .sql("update throttles set locked_until = now()")
        .await;
    let reply = change("another horse", RIGHT).await;
    assert!((200..300).contains(&reply.status), "{}", reply.text);
}
