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
    // Ways out, too.
    let spy = json!({"name": "spy", "url": "https://example.org/", "events": ["run.finished"]});
    server
        .post("/api/v1/webhooks", &thief, &spy)
        .await
        .expect(201);
    server.prepare_run(&thief).await;
    let run = json!({"benchmark": "sums", "prompts": ["plain"], "models": ["simulated:strong"]});
    let schedule = json!({"name": "spender", "cron": "0 * * * *", "request": run});
    server
        .post("/api/v1/schedules", &thief, &schedule)
        .await
        .expect(201);
    assert!(server.knows(&key).await);
    ask(&server, "ada@example.org").await;
    let link = token(&mailbox.wait_for("Choose a new password").await);
    assert_eq!(confirm(&server, &link, NEW).await.status, 204);
    assert!(!server.knows(&key).await && !server.knows(&thief).await);
    until(&server, "select count(*) = 0 from identities").await;
    until(
        &server,
        "select bool_and(disabled_at is not null) from webhooks",
    )
    .await;
    until(
        &server,
        "select bool_and(paused_at is not null and next_at is null) from schedules",
    )
    .await;
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
    let fresh = tokio::time::timeout(Duration::from_secs(100), mails)
        .await
        .unwrap();
    assert_eq!(confirm(&server, &fresh, NEW).await.status, 204);
    assert!(server.knows(&key).await);
}

/// Opening the link of the first mail proves an address, and gives whoever opened the account no way back.
#[tokio::test]
async fn what_was_added_before_a_proof_goes_with_a_later_reset() {
    let mailbox = Mailbox::open().await;
    let server = Server::start_with(send_to(mailbox.port)).await;
    let thief = field(&server.register("ada").await, "access_token");
    let body = json!({"name": "way back", "scopes": ["runs:read"]});
    let key = server.post("/api/v1/api-keys", &thief, &body).await;
    let key = field(&key.expect(201), "key");
    let link = token(&mailbox.wait_for("Is this your email address?").await);
    assert_eq!(verify(&server, &link).await.status, 204);
    assert!(server.knows(&key).await, "a proof alone takes nothing away");
    ask(&server, "ada@example.org").await;
    let link = token(&mailbox.wait_for("Choose a new password").await);
    assert_eq!(confirm(&server, &link, NEW).await.status, 204);
    assert!(!server.knows(&key).await);
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

#[tokio::test]
async fn whatever_spends_asks_for_a_verified_address() {
    let mailbox = Mailbox::open().await;
    let server = Server::start_with(|settings| {
        send_to(mailbox.port)(settings);
        settings.rules.require_verified_email = true;
    })
    .await;
    let ada = server.user("ada").await;
    server.prepare_run(&ada).await;
    server
        .sql("update users set email_verified_at = now() where username = 'ada'")
        .await;
    let mut request = crate::server::run();
    request["models"] = json!([{"model": "simulated:strong", "parameters": {"max_tokens": 10}}]);
    request["budget_microusd"] = json!(1_000_000);
    let run = server
        .post("/api/v1/runs", &ada, &request)
        .await
        .expect(202);
    let run = format!("/api/v1/runs/{}", run["id"].as_str().unwrap());
    let schedule = json!({"name": "nightly", "cron": "0 2 * * *", "request": crate::server::run()});
    // As after a change of the address.
    server
        .sql("update users set email_verified_at = null where username = 'ada'")
        .await;
    for (path, body) in [
        ("/api/v1/runs", &request),
        (&format!("{run}/extend"), &json!({"repeats": 3})),
        (&format!("{run}/retry"), &json!({})),
        (&format!("{run}/resume"), &json!({})),
        ("/api/v1/schedules", &schedule),
    ] {
        let reply = server.post(path, &ada, body).await;
        assert_eq!(reply.status, 403, "{path}: {}", reply.text);
        reply.expect_problem(403, "email_not_verified", None);
    }
    let patch = async |budget: i64| {
        let request = server.request(reqwest::Method::PATCH, &run);
        let request = with_token(request, &ada).json(&json!({"budget_microusd": budget}));
        crate::server::send(request).await
    };
    patch(2_000_000)
        .await
        .expect_problem(403, "email_not_verified", None);
    patch(900_000).await.expect(200);
    let kept = server.get(&run, &ada).await.expect(200);
    assert_eq!(kept["budget_microusd"], 900_000);
    // What stops spending is always open.
    server
        .post(&format!("{run}/pause"), &ada, &json!({}))
        .await
        .expect(200);
}
