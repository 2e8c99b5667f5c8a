//! Deleting users: what goes, and what stays.

use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Reply, Server, benchmark, field, prompt, run, send};

async fn delete_me(server: &Server, token: &str, password: &str) -> Reply {
    let request = server.request(Method::DELETE, "/api/v1/me");
    let body = json!({"current_password": password});
    send(request.bearer_auth(token).json(&body)).await
}

fn private(mut body: Value) -> Value {
    body["visibility"] = json!("private");
    body
}

async fn count(server: &Server, query: &'static str) -> i64 {
    let count = sqlx::query_scalar(query).fetch_one(&server.database.pool);
    count.await.unwrap()
}

#[tokio::test]
async fn every_credential_of_a_deleted_user_stops_at_once() {
    let server = Server::start().await;
    let session = server.register("ada").await;
    let (access, refresh) = (
        field(&session, "access_token"),
        field(&session, "refresh_token"),
    );
    let key = json!({"name": "mine", "scopes": ["prompts:read"]});
    let key = server
        .post("/api/v1/api-keys", &access, &key)
        .await
        .expect(201);
    let key = field(&key, "key");
    delete_me(&server, &access, "wrong horse")
        .await
        .expect_problem(422, "invalid", Some("current_password"));
    assert!(server.knows(&access).await);
    assert_eq!(
        delete_me(&server, &access, "correct horse").await.status,
        204
    );
    for credential in [&access, &key] {
        for path in ["/api/v1/me", "/api/v1/prompts"] {
            let reply = server.get(path, credential).await;
            reply.expect_problem(401, "unauthenticated", None);
        }
    }
    // The older document has its own word for a genuine token of a deleted user.
    for path in ["/protected", "/users"] {
        let reply = server.get(path, &access).await;
        assert_eq!(reply.expect(404), json!({"message": "User not found"}));
    }
    let body = json!({"refresh_token": refresh, "refresh": refresh});
    let reply = server.post("/refresh", "", &body).await;
    assert_eq!(reply.expect(404), json!({"message": "User not found"}));
    let reply = server.post("/api/auth/token/refresh/", "", &body).await;
    assert_eq!(reply.status, 401);
    let login = json!({"username": "ada", "password": "correct horse"});
    let reply = server.post("/api/v1/auth/login", "", &login).await;
    reply.expect_problem(401, "unauthenticated", None);
    // Nothing of the person is left but the audit log, and the name and the address are free again.
    let left = "select count(*) from users where username = 'ada' or email like 'ada%' or
                (deleted_at is not null and password_hash is not null)";
    assert_eq!(count(&server, left).await, 0);
    assert_eq!(count(&server, "select count(*) from sessions").await, 0);
    server.register("ada").await;
}

#[tokio::test]
async fn what_others_use_stays_and_what_is_private_goes() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let bob = server.user("bob").await;
    server.prepare_run(&ada).await;
    for (path, body) in [
        ("/api/v1/prompts", private(prompt("unused"))),
        ("/api/v1/benchmarks", private(benchmark("unused-sums"))),
        ("/api/v1/prompts", prompt("used")),
    ] {
        server.post(path, &ada, &body).await.expect(201);
    }
    // A run of Ada's that others see, and one that they do not; and one of Bob's that rests on what she takes back.
    let open = server.post("/api/v1/runs", &ada, &run()).await.expect(202);
    let mut unseen = private(run());
    unseen["prompts"] = json!(["plain", "unused"]);
    let hidden = server.post("/api/v1/runs", &ada, &unseen).await.expect(202);
    let mut both = run();
    both["prompts"] = json!(["plain", "used"]);
    let bobs = server.post("/api/v1/runs", &bob, &both).await.expect(202);
    let take_back = server
        .request(Method::PATCH, "/api/v1/prompts/used")
        .bearer_auth(&ada)
        .json(&json!({"visibility": "private"}));
    assert_eq!(send(take_back).await.status, 200);
    assert_eq!(delete_me(&server, &ada, "correct horse").await.status, 204);

    let open = server
        .get(&format!("/api/v1/runs/{}", field(&open, "id")), &bob)
        .await
        .expect(200);
    assert_eq!(
        (&open["state"], &open["state_reason"]),
        (&json!("cancelled"), &json!("its owner was deleted"))
    );
    let owner = field(&open, "owner");
    assert!(owner.starts_with("deleted-"), "{owner}");
    assert_eq!(open["prompts"], json!(["plain@1"]), "it can be explained");
    let hidden = format!("/api/v1/runs/{}", field(&hidden, "id"));
    server
        .get(&hidden, &server.admin().await)
        .await
        .expect_problem(404, "not_found", None);
    let path = format!("/api/v1/runs/{}", field(&bobs, "id"));
    let bobs = server.get(&path, &bob).await.expect(200);
    assert_eq!(
        (&bobs["state"], &bobs["prompts"]),
        (&json!("queued"), &json!(["plain@1", "(hidden)"]))
    );
    let plain = server.get("/api/v1/prompts/plain", &bob).await.expect(200);
    assert_eq!(plain["owner"], owner);
    let admin = server.admin().await;
    server.get("/api/v1/prompts/used", &admin).await.expect(200);
    let explained = server.get(&path, &admin).await.expect(200);
    assert_eq!(explained["prompts"], json!(["plain@1", "used@1"]));
    server
        .get("/api/v1/prompts/used", &bob)
        .await
        .expect_problem(404, "not_found", None);
    for path in ["/api/v1/prompts/unused", "/api/v1/benchmarks/unused-sums"] {
        server
            .get(path, &admin)
            .await
            .expect_problem(404, "not_found", None);
    }
    let users = server.get("/users", &bob).await.expect(200);
    assert!(!users.to_string().contains("deleted-"), "{users}");
}

#[tokio::test]
async fn administrators_delete_users_and_the_log_says_so() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let bob = server.user("bob").await;
    server
        .sql("update users set role = 'admin' where username = 'ada'")
        .await;
    let request = server
        .request(Method::DELETE, "/api/v1/users/bob")
        .bearer_auth(&ada);
    assert_eq!(send(request).await.status, 204);
    assert!(!server.knows(&bob).await);
    let log = server.get("/api/v1/audit", &ada).await.expect(200);
    let entry = &log["items"][0];
    assert_eq!(
        (&entry["event"], &entry["username"], &entry["subject"]),
        (
            &json!("user_deleted"),
            &json!(format!("deleted-{}", entry["user_id"])),
            &json!("by ada")
        )
    );
    // His name and his address are gone, also from the log of failed logins.
    let text = log.to_string();
    assert!(!text.contains("bob"), "{text}");
    let request = server
        .request(Method::DELETE, "/api/v1/users/bob")
        .bearer_auth(&ada);
    send(request).await.expect_problem(404, "not_found", None);
    let name =
        json!({"username": "deleted-1", "email": "x@example.org", "password": "correct horse"});
    let refused = server.post("/api/v1/auth/register", "", &name).await;
    refused.expect_problem(422, "invalid", Some("username"));
}
