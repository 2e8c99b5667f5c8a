//! Administrators: how the first one is made, and what they do to accounts.

use chrono::Duration;
use opb_api::Registration;
use opb_core::auth;
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::server::{Reply, Server, field, send, with_token};

/// Registers an administrator and returns their token.
async fn admin(server: &Server, name: &str) -> String {
    let token = server.user(name).await;
    let promote = sqlx::query("update users set role = 'admin' where username = $1").bind(name);
    promote.execute(&server.database.pool).await.unwrap();
    token
}

async fn change(server: &Server, token: &str, name: &str, body: Value) -> Reply {
    let request = server.request(Method::PATCH, &format!("/api/v1/users/{name}"));
    send(with_token(request, token).json(&body)).await
}

async fn delete(server: &Server, token: &str, path: &str) -> Reply {
    send(with_token(server.request(Method::DELETE, path), token)).await
}

fn registration(name: &str, invitation: &str) -> Value {
    json!({"username": name, "email": format!("{name}@example.org"), "password": "correct horse", "invitation": invitation})
}

async fn first_admin(server: &Server, lifetime: Duration) -> Option<String> {
    let mut conn = server.database.pool.acquire().await.unwrap();
    let secret = auth::invite_first_admin(&mut conn, lifetime).await.unwrap();
    secret.map(|secret| secret.expose_secret().to_owned())
}

async fn audit(server: &Server) -> Vec<(String, String, String)> {
    let log = server.get("/api/v1/audit", &server.admin().await).await;
    let entries = log.expect(200)["items"].clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let entries = entries.as_array().unwrap().iter();
    entries
        .map(|entry| {
            (
                text(&entry["event"]),
                text(&entry["username"]),
                text(&entry["subject"]),
            )
        })
        .collect()
}

#[tokio::test]
async fn of_many_who_hurry_one_becomes_the_first_administrator() {
    for registration_is in [
        Registration::Open,
        Registration::Invite,
        Registration::Closed,
    ] {
        let chosen = "a-secret-of-the-operator-0123456789abcdef";
        let server = Server::start_with(|settings| {
            settings.registration = registration_is;
            settings.first_admin_invitation = Some(chosen.into());
        })
        .await;
        // The link of `opb up` and the setting of the operator, each used by many at once.
        let link = first_admin(&server, Duration::hours(1)).await.unwrap();
        auth::accept_first_admin(
            &mut server.database.pool.acquire().await.unwrap(),
            &chosen.into(),
        )
        .await
        .unwrap();
        let tries = (0..20).map(|number| {
            let secret = if number % 2 == 0 { &link } else { chosen };
            let body = registration(&format!("user-{number}"), secret);
            let server = &server;
            async move { server.post("/api/v1/auth/register", "", &body).await }
        });
        let replies = futures::future::join_all(tries).await;
        let made: Vec<&Reply> = replies.iter().filter(|reply| reply.status == 201).collect();
        assert_eq!(made.len(), 1, "{replies:?}");
        let made = made[0].json();
        assert_eq!(made["user"]["role"], "admin");
        for reply in replies.iter().filter(|reply| reply.status != 201) {
            reply.expect_problem(422, "invalid", Some("invitation"));
        }
        assert_eq!(first_admin(&server, Duration::hours(1)).await, None);
        // Nor does a restart with the same setting make another one, when the first is gone.
        server.sql("update users set role = 'user'").await;
        let mut conn = server.database.pool.acquire().await.unwrap();
        auth::accept_first_admin(&mut conn, &chosen.into())
            .await
            .unwrap();
        let again = server
            .post("/api/v1/auth/register", "", &registration("late", chosen))
            .await;
        again.expect_problem(422, "invalid", Some("invitation"));
    }
}

#[tokio::test]
async fn the_link_for_the_first_administrator_ends() {
    let server = Server::start_with(|settings| settings.registration = Registration::Closed).await;
    let register = async |name: &str, secret: &str| {
        let body = registration(name, secret);
        server.post("/api/v1/auth/register", "", &body).await
    };
    let expired = first_admin(&server, Duration::seconds(-1)).await.unwrap();
    register("ada", &expired)
        .await
        .expect_problem(422, "invalid", Some("invitation"));
    let old = first_admin(&server, Duration::hours(1)).await.unwrap();
    let new = first_admin(&server, Duration::hours(1)).await.unwrap();
    register("ada", &old)
        .await
        .expect_problem(422, "invalid", Some("invitation"));
    register("ada", "opbi_nonsense")
        .await
        .expect_problem(403, "registration_closed", None);
    // A registration that fails for another reason does not use it up.
    register("a", &new)
        .await
        .expect_problem(422, "invalid", Some("username"));
    assert_eq!(
        register("ada", &new).await.expect(201)["user"]["role"],
        "admin"
    );
    let page = server.get("/first-admin", "").await;
    assert!(page.status == 200 && page.text.contains("/first-admin/script.js"));
    assert!(
        page.header("content-security-policy")
            .contains("script-src 'self'")
    );
    let log = audit(&server).await;
    assert!(
        log.iter()
            .any(|(event, name, _)| event == "role_changed" && name == "ada")
    );
}

#[tokio::test]
async fn a_short_secret_for_the_first_administrator_is_refused() {
    let server = Server::start().await;
    let mut conn = server.database.pool.acquire().await.unwrap();
    let refused = auth::accept_first_admin(&mut conn, &"secret".into()).await;
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("openssl rand"), "{text}");
}

#[tokio::test]
async fn administrators_change_roles_and_disable() {
    let server = Server::start().await;
    let ada = admin(&server, "ada").await;
    let bob = server.user("bob").await;
    let account = change(&server, &ada, "BOB", json!({"role": "moderator"})).await;
    assert_eq!(account.expect(200)["role"], "moderator");
    let me = server.get("/api/v1/me", &bob).await.expect(200);
    assert_eq!(me["role"], "moderator", "roles act at once");
    let account = change(&server, &ada, "bob", json!({"disabled": true})).await;
    assert!(account.expect(200)["disabled_at"].is_string());
    assert!(!server.knows(&bob).await);
    let login = json!({"username": "bob", "password": "correct horse"});
    let refused = server.post("/api/v1/auth/login", "", &login).await;
    refused.expect_problem(401, "unauthenticated", None);
    change(&server, &ada, "bob", json!({"disabled": false}))
        .await
        .expect(200);
    assert!(!server.knows(&bob).await, "old sessions do not come back");
    server.log_in("bob").await;
    change(&server, &ada, "nobody", json!({"disabled": true}))
        .await
        .expect_problem(404, "not_found", None);
    change(&server, &ada, "bob", json!({"is_admin": true}))
        .await
        .expect_problem(422, "invalid", Some("is_admin"));
    let users = server.get("/api/v1/users?limit=1", &ada).await.expect(200);
    assert_eq!(users["items"][0]["username"], "bob");
    let next = format!("/api/v1/users?cursor={}", field(&users, "next_cursor"));
    let users = server.get(&next, &ada).await.expect(200);
    assert_eq!(users["items"][0]["username"], "ada");
    let log = audit(&server).await;
    for expect in [
        ("role_changed", "bob", "moderator, by ada"),
        ("user_disabled", "bob", "by ada"),
        ("user_enabled", "bob", "by ada"),
    ] {
        let (event, name, subject) = expect;
        let expect = (event.to_owned(), name.to_owned(), subject.to_owned());
        assert!(log.contains(&expect), "{expect:?} is not in {log:?}");
    }
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let server = Server::start().await;
    let ada = admin(&server, "ada").await;
    // The user of the program itself does not count, and cannot be touched.
    server.admin().await;
    for body in [json!({"role": "user"}), json!({"disabled": true})] {
        change(&server, &ada, "ada", body.clone())
            .await
            .expect_problem(409, "conflict", None);
        change(&server, &ada, "openpromptbank", body)
            .await
            .expect_problem(409, "conflict", None);
    }
    for path in ["/api/v1/users/ada", "/api/v1/users/openpromptbank"] {
        delete(&server, &ada, path)
            .await
            .expect_problem(409, "conflict", None);
    }
    let me = server
        .request(Method::DELETE, "/api/v1/me")
        .bearer_auth(&ada);
    let me = me.json(&json!({"current_password": "correct horse"}));
    send(me).await.expect_problem(409, "conflict", None);
    assert!(server.knows(&ada).await, "nothing has happened");
    // Two administrators who demote each other at the same time: one stays.
    let bob = admin(&server, "bob").await;
    let demote = json!({"role": "user"});
    let (one, two) = tokio::join!(
        change(&server, &ada, "bob", demote.clone()),
        change(&server, &bob, "ada", demote.clone())
    );
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert!(
        [[200, 403], [200, 409]].contains(&statuses),
        "{one:?} {two:?}"
    );
}

#[tokio::test]
async fn the_older_list_of_users_has_an_end() {
    let server = Server::start().await;
    let ada = admin(&server, "ada").await;
    server
        .sql("insert into users (username, email) select 'many-' || n, 'many-' || n || '@example.org' from generate_series(1, 1500) n")
        .await;
    let ids = async |path: &str| -> Vec<i64> {
        let users = server.get(path, &ada).await.expect(200);
        let users = users.as_array().unwrap().iter();
        users.map(|user| user["id"].as_i64().unwrap()).collect()
    };
    let first = ids("/users").await;
    assert_eq!(first.len(), 1000);
    let rest = ids(&format!("/users?after={}", first[999])).await;
    assert_eq!(rest.len(), 501);
    assert!(rest[0] > first[999]);
    for limit in ["0", "101", "1000000"] {
        let path = format!("/api/v1/users?limit={limit}");
        let reply = server
            .get(&path, &admin(&server, &format!("admin-{limit}")).await)
            .await;
        reply.expect_problem(422, "invalid", Some("limit"));
    }
}
