//! Proving that an address is one's own: by a link, once; and what the proof is good for.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    mailbox::{Mailbox, send_to, token},
    recovery::{NEW, ask, audited, confirm, until, verify},
    server::{Server, field, send, with_token},
};

#[tokio::test]
async fn an_address_is_verified_and_a_change_of_it_is_noticed() {
    let mailbox = Mailbox::open().await;
    let server = Server::start_with(send_to(mailbox.port)).await;
    let ada = server.user("ada").await;
    let me = server.get("/api/v1/me", &ada).await.expect(200);
    assert_eq!(me["email_verified_at"], Value::Null);
    let first = token(&mailbox.wait_for("Is this your email address").await);
    let again = server
        .post("/api/v1/me/email-verification", &ada, &json!({}))
        .await;
    assert_eq!(again.status, 202, "{}", again.text);
    assert_eq!(verify(&server, &first).await.status, 204);
    verify(&server, &first)
        .await
        .expect_problem(422, "invalid", Some("token"));
    let me = server.get("/api/v1/me", &ada).await.expect(200);
    assert!(me["email_verified_at"].is_string(), "{me}");
    server
        .post("/api/v1/me/email-verification", &ada, &json!({}))
        .await
        .expect_problem(409, "conflict", None);
    let body = json!({"current_password": "correct horse", "email": "new@example.org"});
    let change = with_token(server.request(Method::PATCH, "/api/v1/me"), &ada).json(&body);
    let me = send(change).await.expect(200);
    assert_eq!(
        me["email_verified_at"],
        Value::Null,
        "the new one is not known yet"
    );
    let news = mailbox.wait_for("Your email address was changed").await;
    assert!(
        news.contains("To: ada@example.org") && !news.contains("new@example.org"),
        "{news}"
    );
    let link = mailbox.wait_for("To: new@example.org").await;
    assert_eq!(verify(&server, &token(&link)).await.status, 204);
    assert!(
        audited(&server)
            .await
            .contains(&"email_verified".to_owned())
    );
}

#[tokio::test]
async fn a_first_proof_of_an_address_ends_what_others_prepared() {
    let mailbox = Mailbox::open().await;
    let server = Server::start_with(send_to(mailbox.port)).await;
    // Somebody registers with Ada's address, and leaves ways back in.
    let thief = server.user("ada").await;
    let body = json!({"name": "way back", "scopes": ["runs:read"]});
    let key = server
        .post("/api/v1/api-keys", &thief, &body)
        .await
        .expect(201);
    let key = field(&key, "key");
    server.sql("insert into identities (id, user_id, provider, issuer, subject) select gen_random_uuid(), id, 'op', 'i', 's' from users where username = 'ada'").await;
    assert!(server.knows(&key).await);
    ask(&server, "ada@example.org").await;
    let link = token(&mailbox.wait_for("Choose a new password").await);
    assert_eq!(confirm(&server, &link, NEW).await.status, 204);
    assert!(!server.knows(&key).await && !server.knows(&thief).await);
    until(&server, "select count(*) = 0 from identities").await;
    // From now on the address is Ada's, and a reset leaves her keys alone.
    let body = json!({"username": "ada", "password": NEW});
    let ada = server
        .post("/api/v1/auth/login", "", &body)
        .await
        .expect(200);
    let body = json!({"name": "mine", "scopes": ["runs:read"]});
    let key = server
        .post("/api/v1/api-keys", &field(&ada, "access_token"), &body)
        .await;
    let key = field(&key.expect(201), "key");
    server.sql("delete from throttles").await;
    server.sql("delete from mails").await;
    ask(&server, "ada@example.org").await;
    let mails = async {
        loop {
            let links: Vec<String> = mailbox
                .mails()
                .iter()
                .filter(|mail| mail.contains("Choose a new"))
                .map(|mail| token(mail))
                .collect();
            if let Some(fresh) = links.into_iter().find(|found| *found != link) {
                return fresh;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let fresh = tokio::time::timeout(Duration::from_secs(20), mails)
        .await
        .unwrap();
    assert_eq!(confirm(&server, &fresh, NEW).await.status, 204);
    assert!(server.knows(&key).await);
}

#[tokio::test]
async fn runs_can_be_kept_for_verified_users() {
    let mailbox = Mailbox::open().await;
    let server = Server::start_with(|settings| {
        send_to(mailbox.port)(settings);
        settings.rules.require_verified_email = true;
    })
    .await;
    let ada = server.user("ada").await;
    server.prepare_run(&ada).await;
    let create = async || {
        server
            .post("/api/v1/runs", &ada, &crate::server::run())
            .await
    };
    create()
        .await
        .expect_problem(403, "email_not_verified", None);
    let link = token(&mailbox.wait_for("Is this your email address").await);
    assert_eq!(verify(&server, &link).await.status, 204);
    create().await.expect(202);
}
