//! Accounts and credentials.

use opb_api::Registration;
use reqwest::Method;
use serde_json::json;

use crate::server::{Server, send, with_token};

#[tokio::test]
async fn a_user_registers_logs_in_and_is_known() {
    let server = Server::start().await;
    let body = json!({"username": "ada", "email": "ada@example.org", "password": "correct horse"});
    let session = server
        .post("/api/v1/auth/register", "", &body)
        .await
        .expect(201);
    assert_eq!(session["user"]["username"], "ada");
    assert_eq!(session["user"]["role"], "user");
    assert_eq!(session["token_type"], "Bearer");
    assert_eq!(session["expires_in_seconds"], 900);
    for login in ["ada", "ADA", "ada@example.org"] {
        let body = json!({"username": login, "password": "correct horse"});
        let session = server
            .post("/api/v1/auth/login", "", &body)
            .await
            .expect(200);
        let token = session["access_token"].as_str().unwrap();
        let me = server.get("/api/v1/me", token).await.expect(200);
        assert_eq!(me, session["user"], "{login}");
    }
    let admin = server.admin().await;
    let me = server.get("/api/v1/me", &admin).await.expect(200);
    assert_eq!(me["role"], "admin");
}

#[tokio::test]
async fn wrong_logins_get_one_answer() {
    let server = Server::start().await;
    server.user("ada").await;
    let mut answers = Vec::new();
    for (username, password) in [
        ("ada", "wrong horse"),
        ("bob", "correct horse"),
        ("ada", ""),
        ("", "correct horse"),
        ("ada' or 1=1 --", "correct horse"),
    ] {
        let body = json!({"username": username, "password": password});
        let reply = server.post("/api/v1/auth/login", "", &body).await;
        reply.expect_problem(401, "unauthenticated", None);
        assert_eq!(reply.header("www-authenticate"), "Bearer");
        answers.push(reply.json()["detail"].clone());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test]
async fn wrong_registrations_name_their_field() {
    let server = Server::start().await;
    server.user("ada").await;
    let check = async |username: &str, email: &str, password: &str, path: &str| {
        let body = json!({"username": username, "email": email, "password": password});
        let reply = server.post("/api/v1/auth/register", "", &body).await;
        reply.expect_problem(422, "invalid", Some(path));
    };
    check("ada", "new@example.org", "correct horse", "username").await;
    check("ADA", "new@example.org", "correct horse", "username").await;
    check("bob", "ADA@example.org", "correct horse", "email").await;
    check("b", "bob@example.org", "correct horse", "username").await;
    check("bob", "bob", "correct horse", "email").await;
    check("bob", "bob@example.org", "short", "password").await;
    check("bob\0", "bob@example.org", "correct horse", "username").await;
    check("bob", "bob@example.org", "correct\0horse", "password").await;
}

#[tokio::test]
async fn a_wrong_credential_is_never_anonymous() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    let forged = format!("{}x", &token[..token.len() - 2]);
    let check = async |header: &str, status: u16| {
        for path in ["/api/v1/me", "/api/v1/prompts", "/api/v1/runs"] {
            let request = server
                .request(Method::GET, path)
                .header("authorization", header);
            let reply = send(request).await;
            assert_eq!(reply.status, status, "{header} {path}: {}", reply.text);
            if status == 401 {
                reply.expect_problem(401, "unauthenticated", None);
                assert_eq!(reply.header("www-authenticate"), "Bearer");
            }
        }
    };
    check(&format!("Bearer {token}"), 200).await;
    check(&format!("bearer {token}"), 200).await;
    check(&format!("Bearer {forged}"), 401).await;
    check("Bearer", 401).await;
    check("Bearer ", 401).await;
    check("Bearer opb_unknown", 401).await;
    check(&format!("Basic {token}"), 401).await;
    check(&format!("Bearer {token} {token}"), 401).await;
    let anonymous = server.get("/api/v1/me", "").await;
    anonymous.expect_problem(401, "unauthenticated", None);
    server.get("/api/v1/prompts", "").await.expect(200);
    let in_address = format!("/api/v1/me?access_token={token}");
    assert_eq!(server.get(&in_address, "").await.status, 401);
    let twice = with_token(server.request(Method::GET, "/api/v1/prompts"), &token)
        .header("authorization", format!("Bearer {token}"));
    send(twice)
        .await
        .expect_problem(400, "two_credentials", None);
}

#[tokio::test]
async fn closed_registration_is_closed() {
    let server = Server::start_with(|settings| settings.registration = Registration::Closed).await;
    let body = json!({"username": "ada", "email": "ada@example.org", "password": "correct horse"});
    let reply = server.post("/api/v1/auth/register", "", &body).await;
    reply.expect_problem(403, "registration_closed", None);
}
