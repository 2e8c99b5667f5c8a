//! Sessions: refreshing, logging out, changing the password, and users that are gone.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::server::{Reply, Server, field};

async fn refresh(server: &Server, token: &str) -> Reply {
    let body = json!({"refresh_token": token});
    server.post("/api/v1/auth/refresh", "", &body).await
}

fn tokens(body: &Value) -> (String, String) {
    (field(body, "access_token"), field(body, "refresh_token"))
}

#[tokio::test]
async fn refreshing_rotates_and_a_replay_ends_the_session() {
    let server = Server::start().await;
    let (first_access, first) = tokens(&server.register("ada").await);
    let (_, second) = tokens(&refresh(&server, &first).await.expect(200));
    assert_ne!(first, second);
    // Nobody has used the second one yet: the answer may have been lost.
    server
        .sql("update sessions set last_rotated_at = now() - interval '1 hour'")
        .await;
    refresh(&server, &first).await.expect(200);
    let (_, third) = tokens(&refresh(&server, &second).await.expect(200));
    // A parallel tab is a little late.
    let (_, again) = tokens(&refresh(&server, &second).await.expect(200));
    assert_eq!(third, again);
    assert!(server.knows(&first_access).await);
    server
        .sql("update sessions set last_rotated_at = now() - interval '31 seconds'")
        .await;
    refresh(&server, &second)
        .await
        .expect_problem(401, "unauthenticated", None);
    refresh(&server, &third)
        .await
        .expect_problem(401, "unauthenticated", None);
    assert!(
        !server.knows(&first_access).await,
        "access tokens die with the session"
    );
    let log = server
        .get("/api/v1/audit", &server.admin().await)
        .await
        .expect(200);
    assert_eq!(log["items"][0]["event"], "refresh_replayed");
}

#[tokio::test]
async fn a_client_that_knows_no_rotation_is_never_logged_out() {
    let server = Server::start().await;
    let (_, first) = tokens(&server.register("ada").await);
    for path in [
        "/refresh",
        "/api/auth/token/refresh/",
        "/api/v1/auth/refresh",
        "/refresh",
    ] {
        for _ in 0..3 {
            let body = json!({"refresh": first, "refresh_token": first});
            let body = match path {
                "/api/v1/auth/refresh" => json!({"refresh_token": first}),
                _ => body,
            };
            server.post(path, "", &body).await.expect(200);
            server
                .sql("update sessions set last_rotated_at = now() - interval '1 hour'")
                .await;
        }
    }
}

#[tokio::test]
async fn parallel_refreshes_of_one_token_get_one_answer() {
    let server = Server::start().await;
    let (_, first) = tokens(&server.register("ada").await);
    let replies = (0..32).map(|_| refresh(&server, &first));
    let replies = futures::future::join_all(replies).await;
    let next: BTreeSet<String> = replies
        .iter()
        .map(|reply| tokens(&reply.expect(200)).1)
        .collect();
    assert_eq!(next.len(), 1);
}

#[tokio::test]
async fn a_refresh_token_of_the_future_harms_nobody() {
    let server = Server::start().await;
    let (access, first) = tokens(&server.register("ada").await);
    let (_, second) = tokens(&refresh(&server, &first).await.expect(200));
    // As if the database had been restored from an older backup.
    server.sql("update sessions set counter = 0").await;
    refresh(&server, &second)
        .await
        .expect_problem(401, "unauthenticated", None);
    assert!(
        server.knows(&access).await,
        "a token that was never handed out revokes nothing"
    );
}

#[tokio::test]
async fn sessions_end_by_idleness_and_by_age() {
    let server = Server::start().await;
    let (access, first) = tokens(&server.register("ada").await);
    server
        .sql("update sessions set idle_expires_at = now() - interval '1 second'")
        .await;
    refresh(&server, &first)
        .await
        .expect_problem(401, "unauthenticated", None);
    assert!(
        server.knows(&access).await,
        "the access token has its own, shorter end"
    );
    server
        .sql("update sessions set expires_at = now(), idle_expires_at = now()")
        .await;
    assert!(!server.knows(&access).await);
    let mut conn = server.database.pool.acquire().await.unwrap();
    server
        .sql("update sessions set idle_expires_at = now() - interval '2 days'")
        .await;
    server
        .sql("update audit_log set at = now() - interval '91 days'")
        .await;
    server
        .sql("insert into throttles values ('a', 1, now() - interval '2 hours', now())")
        .await;
    let deleted = opb_core::auth::delete_expired(&mut conn).await.unwrap();
    assert!(deleted >= 3, "{deleted}");
}

#[tokio::test]
async fn logging_out_works_at_once() {
    let server = Server::start().await;
    let (one, one_refresh) = tokens(&server.register("ada").await);
    let (two, _) = tokens(&server.log_in("ada").await);
    let (three, _) = tokens(&server.log_in("ada").await);
    let (bob, _) = tokens(&server.register("bob").await);
    assert_eq!(
        server
            .post("/api/v1/auth/logout", &one, &json!({}))
            .await
            .status,
        204
    );
    assert!(!server.knows(&one).await && server.knows(&two).await);
    refresh(&server, &one_refresh)
        .await
        .expect_problem(401, "unauthenticated", None);
    assert_eq!(
        server
            .post("/api/v1/auth/logout-all", &two, &json!({}))
            .await
            .status,
        204
    );
    assert!(!server.knows(&two).await && !server.knows(&three).await);
    assert!(server.knows(&bob).await);
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions() {
    let server = Server::start().await;
    let (one, _) = tokens(&server.register("ada").await);
    let (two, two_refresh) = tokens(&server.log_in("ada").await);
    let change = async |current: &str, new: &str| {
        let body = json!({"current_password": current, "new_password": new});
        server.post("/api/v1/me/password", &one, &body).await
    };
    change("wrong horse", "battery staple")
        .await
        .expect_problem(422, "invalid", Some("current_password"));
    change("correct horse", "password")
        .await
        .expect_problem(422, "invalid", Some("new_password"));
    assert_eq!(change("correct horse", "battery staple").await.status, 204);
    assert!(server.knows(&one).await && !server.knows(&two).await);
    refresh(&server, &two_refresh)
        .await
        .expect_problem(401, "unauthenticated", None);
    let login = |password: &str| json!({"username": "ada", "password": password});
    let old = server
        .post("/api/v1/auth/login", "", &login("correct horse"))
        .await;
    assert_eq!(old.status, 401);
    server
        .post("/api/v1/auth/login", "", &login("battery staple"))
        .await
        .expect(200);
}

#[tokio::test]
async fn users_change_their_own_names() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    server.user("bob").await;
    let patch = async |body: Value| {
        let request = server
            .request(reqwest::Method::PATCH, "/api/v1/me")
            .bearer_auth(&ada);
        crate::server::send(request.json(&body)).await
    };
    let proof = "correct horse";
    let me = patch(json!({"current_password": proof, "username": "ada.lovelace"}))
        .await
        .expect(200);
    assert_eq!(
        (&me["username"], &me["email"]),
        (&json!("ada.lovelace"), &json!("ada@example.org"))
    );
    patch(json!({"current_password": proof, "email": "new@example.org"}))
        .await
        .expect(200);
    patch(json!({"current_password": proof, "username": "BOB"}))
        .await
        .expect_problem(422, "invalid", Some("username"));
    patch(json!({"current_password": proof, "email": "bob@example.org"}))
        .await
        .expect_problem(422, "invalid", Some("email"));
    patch(json!({"current_password": "wrong horse", "username": "eve"}))
        .await
        .expect_problem(422, "invalid", Some("current_password"));
    patch(json!({"username": "eve"})).await.expect_problem(
        422,
        "invalid",
        Some("current_password"),
    );
    for name in ["id", "role", "is_admin", "password_hash", "created_at"] {
        patch(json!({"current_password": proof, name: "admin"}))
            .await
            .expect_problem(422, "invalid", Some(name));
    }
    let me = server.get("/api/v1/me", &ada).await.expect(200);
    assert_eq!(
        (&me["username"], &me["role"]),
        (&json!("ada.lovelace"), &json!("user"))
    );
}

#[tokio::test]
async fn tokens_of_gone_or_disabled_users_stop_at_once() {
    let server = Server::start().await;
    let (ada, ada_refresh) = tokens(&server.register("ada").await);
    let (bob, bob_refresh) = tokens(&server.register("bob").await);
    server
        .sql("update users set disabled_at = now() where username = 'ada'")
        .await;
    server.sql("delete from users where username = 'bob'").await;
    for (access, refresh_token) in [(ada, ada_refresh), (bob, bob_refresh)] {
        server
            .get("/api/v1/me", &access)
            .await
            .expect_problem(401, "unauthenticated", None);
        server
            .get("/api/v1/prompts", &access)
            .await
            .expect_problem(401, "unauthenticated", None);
        refresh(&server, &refresh_token)
            .await
            .expect_problem(401, "unauthenticated", None);
    }
    let body = json!({"username": "ada", "password": "correct horse"});
    assert_eq!(
        server.post("/api/v1/auth/login", "", &body).await.status,
        401
    );
    let log = server
        .get("/api/v1/audit", &server.admin().await)
        .await
        .expect(200);
    let deleted = log["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["event"] == "user_deleted");
    assert_eq!(deleted.unwrap()["username"], "bob");
}

#[tokio::test]
async fn sessions_are_listed_and_ended_one_by_one() {
    let server = Server::start().await;
    let login = async |agent: &str| {
        let body = json!({"username": "ada", "password": "correct horse"});
        let request = server.request(reqwest::Method::POST, "/api/v1/auth/login");
        let reply = crate::server::send(request.header("user-agent", agent).json(&body)).await;
        tokens(&reply.expect(200))
    };
    let (_, _) = tokens(&server.register("ada").await);
    server
        .sql("update sessions set last_used_at = now() - interval '1 day'")
        .await;
    let (laptop, _) = login("laptop").await;
    let (phone, phone_refresh) = login("phone").await;
    let (bob, _) = tokens(&server.register("bob").await);
    let list = server.get("/api/v1/me/sessions", &laptop).await.expect(200);
    let list = list["items"].as_array().unwrap();
    assert_eq!(list.len(), 3, "{list:?}");
    let find = |agent: &str| {
        list.iter()
            .find(|session| session["user_agent"] == agent)
            .unwrap()
    };
    assert_eq!(
        (&find("laptop")["current"], &find("phone")["current"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(find("phone")["address"], "127.0.0.1");
    assert_ne!(list[0]["last_used_at"], list[2]["last_used_at"]);
    assert!(
        list[2]["user_agent"].is_null(),
        "the one of the registration was used least"
    );
    let path = format!("/api/v1/me/sessions/{}", field(find("phone"), "id"));
    let end = async |token: &str| {
        let request = server
            .request(reqwest::Method::DELETE, &path)
            .bearer_auth(token);
        crate::server::send(request).await.status
    };
    assert_eq!(end(&bob).await, 404);
    assert!(server.knows(&phone).await);
    assert_eq!(end(&laptop).await, 204);
    assert!(!server.knows(&phone).await);
    refresh(&server, &phone_refresh)
        .await
        .expect_problem(401, "unauthenticated", None);
    assert_eq!(end(&laptop).await, 404, "it has ended already");
    // Using a session is noted, to the minute.
    server
        .sql("update sessions set last_used_at = now() - interval '1 day'")
        .await;
    assert!(server.knows(&laptop).await);
    let list = server.get("/api/v1/me/sessions", &laptop).await.expect(200);
    assert_eq!(list["items"][0]["current"], true);
    assert_ne!(
        list["items"][0]["last_used_at"],
        list["items"][1]["last_used_at"]
    );
}

#[tokio::test]
async fn where_rotation_is_required_the_first_token_ends_too() {
    let server = Server::start_with(|settings| settings.require_rotation = true).await;
    let (access, first) = tokens(&server.register("ada").await);
    refresh(&server, &first).await.expect(200);
    refresh(&server, &first).await.expect(200);
    server
        .sql("update sessions set last_rotated_at = now() - interval '31 seconds'")
        .await;
    refresh(&server, &first)
        .await
        .expect_problem(401, "unauthenticated", None);
    assert!(!server.knows(&access).await);
}
