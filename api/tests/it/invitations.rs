//! Registration by invitation.

use opb_api::Registration;
use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Reply, Server, field, send};

async fn invite(server: &Server, body: Value) -> Reply {
    let admin = server.admin().await;
    server.post("/api/v1/invitations", &admin, &body).await
}

async fn register(server: &Server, name: &str, secret: &str) -> Reply {
    let body = json!({"username": name, "email": format!("{name}@example.org"), "password": "correct horse", "invitation": secret});
    server.post("/api/v1/auth/register", "", &body).await
}

async fn by_invitation() -> Server {
    Server::start_with(|settings| settings.registration = Registration::Invite).await
}

#[tokio::test]
async fn without_an_invitation_nobody_registers_in_any_dialect() {
    let server = by_invitation().await;
    let body = json!({"username": "ada", "email": "ada@example.org", "password": "correct horse"});
    let native = server.post("/api/v1/auth/register", "", &body).await;
    native.expect_problem(403, "invitation_needed", None);
    let mut body = body;
    body["confirm_password"] = json!("correct horse");
    let django = server.post("/api/auth/register/", "", &body).await;
    assert_eq!(
        django.expect(403),
        json!({"detail": "Registration is by invitation."})
    );
    let flask = server.post("/register", "", &body).await;
    assert_eq!(
        flask.expect(403),
        json!({"message": "Registration is by invitation"})
    );
    register(&server, "ada", "opbi_nonsense")
        .await
        .expect_problem(422, "invalid", Some("invitation"));
}

#[tokio::test]
async fn an_invitation_works_as_often_as_it_says() {
    let server = by_invitation().await;
    let invitation = invite(&server, json!({"uses": 3})).await.expect(201);
    let secret = field(&invitation, "secret");
    assert!(secret.starts_with("opbi_"), "{secret}");
    let tries = (0..10).map(|number| {
        let (server, secret) = (&server, &secret);
        async move { register(server, &format!("user-{number}"), secret).await }
    });
    let replies = futures::future::join_all(tries).await;
    let made = replies.iter().filter(|reply| reply.status == 201).count();
    assert_eq!(made, 3, "{replies:?}");
    let roles = replies.iter().filter(|reply| reply.status == 201);
    assert!(
        roles
            .into_iter()
            .all(|reply| reply.json()["user"]["role"] == "user")
    );
    let kept = "select count(*) from invitations i where i::text like '%opbi_%'";
    let kept: i64 = sqlx::query_scalar(kept)
        .fetch_one(&server.database.pool)
        .await
        .unwrap();
    assert_eq!(kept, 0, "only a hash is kept");
}

#[tokio::test]
async fn an_invitation_can_be_for_one_address_only_and_be_revoked_and_end() {
    let server = by_invitation().await;
    let admin = server.admin().await;
    let meant = invite(&server, json!({"email": "Ada@example.org"}))
        .await
        .expect(201);
    let secret = field(&meant, "secret");
    register(&server, "eve", &secret)
        .await
        .expect_problem(422, "invalid", Some("email"));
    register(&server, "ada", &secret).await.expect(201);

    let revoked = invite(&server, json!({})).await.expect(201);
    let list = server.get("/api/v1/invitations", &admin).await.expect(200);
    assert_eq!(
        list["items"].as_array().unwrap().len(),
        1,
        "used ones are not listed"
    );
    assert!(!list.to_string().contains("opbi_"), "{list}");
    let path = format!("/api/v1/invitations/{}", field(&revoked, "id"));
    for expect in [204, 404] {
        let request = server.request(Method::DELETE, &path).bearer_auth(&admin);
        assert_eq!(send(request).await.status, expect);
    }
    register(&server, "bob", &field(&revoked, "secret"))
        .await
        .expect_problem(422, "invalid", Some("invitation"));

    let ended = invite(&server, json!({})).await.expect(201);
    server
        .sql("update invitations set expires_at = now()")
        .await;
    register(&server, "bob", &field(&ended, "secret"))
        .await
        .expect_problem(422, "invalid", Some("invitation"));
    for (field, value) in [
        ("uses", json!(0)),
        ("uses", json!(1001)),
        ("email", json!("nowhere")),
        ("expires_at", json!("2001-01-01T00:00:00Z")),
        ("expires_at", json!("2999-01-01T00:00:00Z")),
        ("role", json!("admin")),
    ] {
        invite(&server, json!({field: value}))
            .await
            .expect_problem(422, "invalid", Some(field));
    }
}
