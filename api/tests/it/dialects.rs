//! The two inherited authentication APIs, example by example.

use opb_api::Registration;
use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Reply, Server, field, send, with_token};

/// Fails unless a body is this one; `"…"` stands for any text, `"#"` for any whole number.
#[track_caller]
fn expect(reply: &Reply, status: u16, body: &Value) {
    assert_eq!(reply.status, status, "{}", reply.text);
    let kind = reply.header("content-type");
    assert_eq!(kind, "application/json", "{}", reply.text);
    assert_eq!(reply.header("cache-control"), "no-store");
    assert!(same(&reply.json(), body), "{} is not {body}", reply.text);
    if status == 401 {
        assert_eq!(reply.header("www-authenticate"), "Bearer");
    }
}

fn same(found: &Value, expect: &Value) -> bool {
    match (found, expect) {
        (Value::String(text), Value::String(pattern)) if pattern == "…" => !text.is_empty(),
        (found, Value::String(pattern)) if pattern == "#" => found.is_i64(),
        (Value::Object(found), Value::Object(expect)) => {
            found.len() == expect.len()
                && expect
                    .iter()
                    .all(|(name, value)| found.get(name).is_some_and(|found| same(found, value)))
        }
        (Value::Array(found), Value::Array(expect)) => {
            found.len() == expect.len() && found.iter().zip(expect).all(|(a, b)| same(a, b))
        }
        (found, expect) => found == expect,
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table of examples")]
async fn the_django_dialect_speaks_its_document() {
    let server = Server::start().await;
    let check = async |path: &str, body: Value, status: u16, answer: Value| {
        for path in [path, path.trim_end_matches('/')] {
            expect(&server.post(path, "", &body).await, status, &answer);
        }
    };
    let ada = json!({"username": "ada", "email": "ada@example.org", "password": "correct horse"});
    let done = json!({"message": "User registered successfully"});
    let registered = server.post("/api/auth/register/", "", &ada).await;
    expect(&registered, 201, &done);
    let bob = json!({"username": "bob", "email": "bob@example.org", "password": "correct horse"});
    let registered = server.post("/api/auth/register", "", &bob).await;
    expect(&registered, 201, &done);

    let path = "/api/auth/register/";
    check(
        path,
        json!({"email": "ada", "password": "correct horse"}),
        400,
        json!({"username": ["This field is required."], "email": ["Enter a valid email address."]}),
    )
    .await;
    check(
        path,
        json!({"username": "", "email": 7, "password": null}),
        400,
        json!({"username": ["This field may not be blank."], "email": ["Not a valid string."], "password": ["This field is required."]}),
    )
    .await;
    check(
        path,
        ada.clone(),
        400,
        json!({"username": ["A user with that username already exists."], "email": ["This field is already registered."]}),
    )
    .await;
    check(
        path,
        json!({"username": "eve", "email": "eve@example.org", "password": "password"}),
        400,
        json!({"password": ["This field is too easy to guess; use several unrelated words."]}),
    )
    .await;

    let path = "/api/auth/login/";
    check(
        path,
        json!({"username": "ada", "password": "correct horse"}),
        200,
        json!({"refresh": "…", "access": "…"}),
    )
    .await;
    check(
        path,
        json!({"username": "ada@example.org", "password": "correct horse"}),
        200,
        json!({"refresh": "…", "access": "…"}),
    )
    .await;
    check(
        path,
        json!({"username": "ada", "password": "wrong horse"}),
        401,
        json!({"error": "Invalid credentials"}),
    )
    .await;
    check(
        path,
        json!({"username": "nobody", "password": "wrong horse"}),
        401,
        json!({"error": "Invalid credentials"}),
    )
    .await;
    check(
        path,
        json!({"username": "ada"}),
        400,
        json!({"password": ["This field is required."]}),
    )
    .await;

    let login = json!({"username": "ada", "password": "correct horse"});
    let tokens = server.post(path, "", &login).await.expect(200);
    let (access, refresh) = (field(&tokens, "access"), field(&tokens, "refresh"));
    let path = "/api/auth/token/refresh/";
    check(
        path,
        json!({"refresh": refresh}),
        200,
        json!({"access": "…"}),
    )
    .await;
    let invalid = json!({"detail": "Token is invalid or expired"});
    check(path, json!({"refresh": access}), 401, invalid.clone()).await;
    check(path, json!({"refresh": "nonsense"}), 401, invalid).await;
    check(
        path,
        json!({}),
        400,
        json!({"refresh": ["This field is required."]}),
    )
    .await;

    let missing = json!({"detail": "Authentication credentials were not provided."});
    for path in ["/api/auth/protected/", "/api/auth/protected"] {
        let here = json!({"message": "You are authenticated!"});
        expect(&server.get(path, &access).await, 200, &here);
        expect(&server.get(path, "").await, 401, &missing);
        expect(&server.get(path, &refresh).await, 401, &missing);
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table of examples")]
async fn the_flask_dialect_speaks_its_document() {
    let server = Server::start().await;
    let check = async |path: &str, body: Value, status: u16, answer: Value| {
        expect(&server.post(path, "", &body).await, status, &answer);
    };
    let message = |text: &str| json!({"message": text});
    let ada = json!({"username": "ada", "email": "ada@example.org", "password": "correct horse", "confirm_password": "correct horse"});
    let change = |name: &str, value: Value| {
        let mut body = ada.clone();
        body[name] = value;
        body
    };
    check(
        "/register",
        ada.clone(),
        201,
        json!({"message": "User created successfully", "access_token": "…", "refresh_token": "…"}),
    )
    .await;
    for name in ["username", "email", "password", "confirm_password"] {
        check(
            "/register",
            change(name, Value::Null),
            400,
            message("Missing required fields"),
        )
        .await;
        check(
            "/register",
            change(name, json!("")),
            400,
            message("Missing required fields"),
        )
        .await;
    }
    check(
        "/register",
        ada.clone(),
        400,
        message("Email already registered. Please try with different email."),
    )
    .await;
    check(
        "/register",
        change("username", json!("bob")),
        400,
        message("Email already registered. Please try with different email."),
    )
    .await;
    check(
        "/register",
        change("email", json!("bob@example.org")),
        400,
        message("Username already registered. Please try with different username."),
    )
    .await;
    check(
        "/register",
        change("confirm_password", json!("other horse")),
        400,
        message("Passwords do not match"),
    )
    .await;

    let login = json!({"email": "ada@example.org", "password": "correct horse"});
    let user =
        json!({"id": "#", "username": "ada", "email": "ada@example.org", "date_created": "…"});
    check("/login", login.clone(), 200, json!({"message": "Login successful", "access_token": "…", "refresh_token": "…", "user": user})).await;
    check(
        "/login",
        json!({"email": "ada@example.org"}),
        400,
        message("Missing email or password"),
    )
    .await;
    check(
        "/login",
        json!({"password": "correct horse"}),
        400,
        message("Missing email or password"),
    )
    .await;
    check(
        "/login",
        json!({"email": "ada@example.org", "password": "wrong horse"}),
        401,
        message("Invalid email or password"),
    )
    .await;
    check(
        "/login",
        json!({"email": "nobody@example.org", "password": "wrong horse"}),
        401,
        message("Invalid email or password"),
    )
    .await;

    let tokens = server.post("/login", "", &login).await.expect(200);
    let (access, refresh) = (
        field(&tokens, "access_token"),
        field(&tokens, "refresh_token"),
    );
    check(
        "/refresh",
        json!({"refresh_token": refresh}),
        200,
        json!({"access_token": "…"}),
    )
    .await;
    check("/refresh", json!({}), 400, message("Missing refresh token")).await;
    check(
        "/refresh",
        json!({"refresh_token": access}),
        401,
        message("Invalid or expired refresh token"),
    )
    .await;

    for path in ["/protected", "/users"] {
        expect(
            &server.get(path, "").await,
            401,
            &message("Token is missing!"),
        );
        for token in ["nonsense", &refresh] {
            let reply = server.get(path, token).await;
            expect(&reply, 401, &message("Token is invalid or expired!"));
        }
    }
    let hello = message("Hello, ada. This is a protected route.");
    expect(&server.get("/protected", &access).await, 200, &hello);

    server.sql("delete from users where username = 'ada'").await;
    for path in ["/protected", "/users"] {
        expect(
            &server.get(path, &access).await,
            404,
            &message("User not found"),
        );
    }
    check(
        "/refresh",
        json!({"refresh_token": refresh}),
        404,
        message("User not found"),
    )
    .await;
    assert_eq!(server.get("/api/v1/me", &access).await.status, 401);
    assert_eq!(
        server.get("/api/auth/protected/", &access).await.status,
        401
    );
}

#[tokio::test]
async fn the_list_of_users_shows_no_secret_and_nobody_else() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    server.user("bob").await;
    let list = server.get("/users", &ada).await;
    let user = |name: &str, email: Value| json!({"id": "#", "username": name, "email": email, "date_created": "…"});
    let mine = json!([user("ada", json!("ada@example.org"))]);
    expect(&list, 200, &mine);
    let admin = server.admin().await;
    let list = server.get("/users", &admin).await;
    let all = json!([
        user("ada", json!("ada@example.org")),
        user("bob", json!("bob@example.org")),
        user("openpromptbank", json!("openpromptbank@localhost")),
    ]);
    expect(&list, 200, &all);
    assert!(!list.text.contains("password") && !list.text.contains("argon2"));
    let first = list.json()[0]["id"].as_i64().unwrap();
    let rest = server.get(&format!("/users?after={first}"), &admin).await;
    assert_eq!(rest.json().as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn keys_are_held_to_their_scopes_in_the_dialects_too() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    server
        .sql("update users set role = 'admin' where username = 'ada'")
        .await;
    let key = async |scope: &str| {
        let new = json!({"name": scope, "scopes": [scope]});
        let made = server
            .post("/api/v1/api-keys", &ada, &new)
            .await
            .expect(201);
        field(&made, "key")
    };
    for scope in ["prompts:read", "prompts:write", "runs:read", "runs:write"] {
        let plain = key(scope).await;
        for (path, name) in [
            ("/users", "message"),
            ("/protected", "message"),
            ("/api/auth/protected/", "detail"),
            ("/api/auth/protected", "detail"),
        ] {
            let reply = server.get(path, &plain).await;
            let told = reply.json()[name]
                .as_str()
                .map(str::to_owned)
                .unwrap_or_default();
            assert_eq!(reply.status, 403, "{path}: {}", reply.text);
            assert!(told.contains("with the scope `admin`"), "{path}: {told}");
            assert!(!reply.text.contains('@'), "{path}: {}", reply.text);
        }
    }
    let full = key("admin").await;
    for path in ["/users", "/protected", "/api/auth/protected/"] {
        assert_eq!(server.get(path, &full).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_token_of_one_dialect_works_in_all() {
    let server = Server::start().await;
    let native = server.register("ada").await;
    let login = json!({"username": "ada", "email": "ada@example.org", "password": "correct horse"});
    let django = server
        .post("/api/auth/login/", "", &login)
        .await
        .expect(200);
    let flask = server.post("/login", "", &login).await.expect(200);
    let tokens = [
        (
            field(&native, "access_token"),
            field(&native, "refresh_token"),
        ),
        (field(&django, "access"), field(&django, "refresh")),
        (
            field(&flask, "access_token"),
            field(&flask, "refresh_token"),
        ),
    ];
    for (access, refresh) in tokens {
        for path in ["/api/v1/me", "/api/auth/protected/", "/protected", "/users"] {
            assert_eq!(server.get(path, &access).await.status, 200, "{path}");
        }
        for (path, name) in [
            ("/refresh", "refresh_token"),
            ("/api/auth/token/refresh/", "refresh"),
            ("/api/v1/auth/refresh", "refresh_token"),
        ] {
            let reply = server.post(path, "", &json!({name: refresh})).await;
            assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        }
    }
    let key = server.admin().await;
    assert_eq!(server.get("/protected", &key).await.status, 200);
}

#[tokio::test]
async fn errors_keep_the_dialect() {
    let server = Server::start_with(|settings| settings.body_limit_bytes = 1024).await;
    for (path, name) in [("/api/auth/login/", "detail"), ("/login", "message")] {
        let shape = json!({name: "…"});
        let plain = server.request(Method::POST, path).body("username=ada");
        expect(&send(plain).await, 415, &shape);
        let broken = server
            .request(Method::POST, path)
            .header("content-type", "application/json")
            .body("{\"username\"");
        expect(&send(broken).await, 400, &shape);
        let large = json!({"username": "x".repeat(2000)});
        expect(&server.post(path, "", &large).await, 413, &shape);
        let wrong = server.get(path, "").await;
        expect(&wrong, 405, &shape);
        assert_eq!(wrong.header("allow"), "POST");
    }
    expect(
        &server.get("/api/auth/nothing/", "").await,
        404,
        &json!({"detail": "Not found."}),
    );
    let list = server.post("/api/auth/register/", "", &json!([1])).await;
    expect(
        &list,
        400,
        &json!({"non_field_errors": ["The request must be an object."]}),
    );
    expect(
        &server.post("/login", "", &json!([1])).await,
        400,
        &json!({"message": "…"}),
    );
    for (path, body) in [
        (
            "/api/auth/login/",
            json!({"username": ["This field is given twice."]}),
        ),
        (
            "/login",
            json!({"message": "The field email is given twice"}),
        ),
    ] {
        let twice = server
            .request(Method::POST, path)
            .header("content-type", "application/json")
            .body(r#"{"username": "a", "email": "a", "username": "b", "email": "b", "password": "c"}"#);
        expect(&send(twice).await, 400, &body);
    }
    for (path, name) in [
        ("/api/auth/protected/", "detail"),
        ("/protected", "message"),
    ] {
        let twice =
            with_token(server.request(Method::GET, path), "a").header("authorization", "Bearer b");
        expect(&send(twice).await, 400, &json!({name: "…"}));
    }
}

#[tokio::test]
async fn closed_registration_is_closed_in_every_dialect() {
    let server = Server::start_with(|settings| settings.registration = Registration::Closed).await;
    let body = json!({"username": "ada", "email": "ada@example.org", "password": "correct horse", "confirm_password": "correct horse"});
    let reply = server.post("/api/auth/register/", "", &body).await;
    expect(&reply, 403, &json!({"detail": "Registration is disabled."}));
    let reply = server.post("/register", "", &body).await;
    expect(&reply, 403, &json!({"message": "Registration is disabled"}));
}

#[tokio::test]
async fn without_a_database_each_dialect_keeps_its_word() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    server.database.pool.close().await;
    let body = json!({"username": "ada", "email": "ada@example.org", "password": "correct horse", "confirm_password": "correct horse"});
    let check = async |path: &str, status: u16, answer: Value| {
        let reply = server.post(path, "", &body).await;
        expect(&reply, status, &answer);
    };
    check(
        "/register",
        500,
        json!({"message": "Database error occurred. Please try again."}),
    )
    .await;
    check("/login", 500, json!({"message": "An error occurred"})).await;
    let away = json!({"detail": "Service temporarily unavailable, try again later."});
    check("/api/auth/register/", 503, away.clone()).await;
    check("/api/auth/login/", 503, away).await;
    assert_eq!(server.get("/protected", &ada).await.status, 500);
    assert_eq!(server.get("/api/v1/me", &ada).await.status, 503);
}
