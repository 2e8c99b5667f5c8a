//! Where webhooks of ordinary users may be, and what their owners learn of it.

use std::{sync::Arc, time::Duration};

use opb_api::ApiSettings;
use opb_core::outbound::{OutboundPolicy, OutboundSettings};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    server::Server,
    webhooks::{Receiver, attempts, delivery},
};

/// What `opb up` allows providers, and what its operator allows webhooks.
fn like_a_bank(webhooks: &'static str) -> impl FnOnce(&mut ApiSettings) {
    move |settings| {
        settings.outbound = Arc::new(OutboundSettings::default().local_policy());
        if !webhooks.is_empty() {
            settings.webhooks.allow_webhooks = vec![webhooks.parse().unwrap()];
        }
        settings.webhooks.webhook_timeout_seconds = 1;
    }
}

async fn create(server: &Server, token: &str, url: &str) -> crate::server::Reply {
    let name = uuid::Uuid::now_v7().to_string();
    let body = json!({"name": name, "url": url, "events": ["run.finished"]});
    server.post("/api/v1/webhooks", token, &body).await
}

async fn is_taken(server: &Server, token: &str, url: &str) -> bool {
    let reply = create(server, token, url).await;
    if reply.status == 422 {
        reply.expect_problem(422, "invalid", Some("url"));
        return false;
    }
    let hook = reply.expect(201);
    let path = format!("/api/v1/webhooks/{}", hook["id"].as_str().unwrap());
    let request = server.request(reqwest::Method::DELETE, &path);
    crate::server::send(crate::server::with_token(request, token)).await;
    true
}

/// The test message of a new webhook, and how its attempt ended.
async fn tested(server: &Server, token: &str, url: &str) -> (Value, Value) {
    let hook = create(server, token, url).await.expect(201);
    let path = format!("/api/v1/webhooks/{}/test", hook["id"].as_str().unwrap());
    server.post(&path, token, &json!(null)).await.expect(202);
    loop {
        let newest = delivery(server, token, &hook, |it| it["attempts"] != 0).await;
        let log = attempts(server, token, &hook, &newest).await;
        if let Some(first) = log.first() {
            let newest = delivery(server, token, &hook, |_| true).await;
            return (newest, first.clone());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// H1: what providers may be at is the operator's decision about administrators, and says nothing about users.
#[tokio::test]
async fn the_list_for_providers_opens_nothing_to_users() {
    let server = Server::start_with(like_a_bank("")).await;
    let user = server.user("eve").await;
    let port = server.address.rsplit(':').next().unwrap();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "0",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "[fd12::1]",
        "169.254.169.254",
        "100.64.0.1",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
    ] {
        for port in [port, "9", "80"] {
            let url = format!("http://{host}:{port}/hook");
            assert!(!is_taken(&server, &user, &url).await, "{url}");
        }
    }
    assert!(is_taken(&server, &user, "https://hooks.example.org/x").await);
    let problem = create(&server, &user, "http://127.0.0.1:9/")
        .await
        .expect(422);
    let message = problem["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains("--allow-webhooks"), "{message}");
}

#[tokio::test]
async fn administrators_reach_what_providers_may_be_at_but_never_the_bank_itself() {
    let receiver = Receiver::start().await;
    let monitor = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let monitor = monitor.local_addr().unwrap();
    let server = Server::start_with(|settings| {
        like_a_bank("127.0.0.0/8,localhost,::1")(settings);
        settings.outbound.own().listens(monitor);
        settings.public_url = Some("https://bank.example.org".parse().unwrap());
    })
    .await;
    let user = server.user("eve").await;
    let admin = server.user("ada").await;
    server
        .sql("update users set role = 'admin' where username = 'ada'")
        .await;
    let own = server.address.rsplit(':').next().unwrap().to_owned();
    for token in [&user, &admin] {
        for port in [own.clone(), monitor.port().to_string()] {
            for host in [
                "127.0.0.1",
                "127.1",
                "127.0.0.2",
                "2130706433",
                "0x7f000001",
                "localhost",
                "Localhost.",
                "a.localhost",
                "[::1]",
                "[::ffff:127.0.0.1]",
            ] {
                let url = format!("http://{host}:{port}/any");
                assert!(!is_taken(&server, token, &url).await, "{url}");
            }
        }
        for url in [
            "https://bank.example.org/x",
            "https://BANK.example.org.:443",
        ] {
            assert!(!is_taken(&server, token, url).await, "{url}");
        }
        let (newest, attempt) = tested(&server, token, &format!("{}/ok", receiver.address)).await;
        assert_eq!(newest["state"], "delivered", "{attempt}");
        // Who is an administrator learns more.
        assert_eq!(attempt["status"].is_null(), token == &user, "{attempt}");
    }
    assert_eq!(receiver.count("/ok"), 2);
}

/// A name that leads to the bank gives nothing away when it is saved. `localhost` stands for it: the policy is told that
/// the operator allows that name, and the port is the bank's own.
#[tokio::test]
async fn what_was_saved_before_is_refused_on_the_connection() {
    let server = Server::start_with(like_a_bank("localhost,127.0.0.0/8,::1")).await;
    let user = server.user("eve").await;
    let conn = &mut server.database.pool.acquire().await.unwrap();
    let caller = opb_core::auth::CurrentUser {
        id: sqlx::query_scalar("select id from users")
            .fetch_one(&mut **conn)
            .await
            .unwrap(),
        username: "eve".into(),
        role: opb_core::auth::UserRole::User,
    };
    let new = opb_core::webhooks::NewWebhook {
        name: "own".into(),
        url: format!("{}/api/v1/auth/register", server.address).into(),
        format: opb_core::webhooks::WebhookFormat::Standard,
        events: vec![opb_core::webhooks::WebhookEvent::RunFinished],
    };
    let key = crate::server::master_key();
    let policy = OutboundPolicy::local();
    let made = opb_core::webhooks::create_webhook(conn, &caller, &key, &policy, &new);
    let (hook, _) = made.await.unwrap();
    opb_core::webhooks::test_webhook(conn, &caller, hook.id)
        .await
        .unwrap();
    let hook = json!({"id": hook.id});
    let newest = delivery(&server, &user, &hook, |it| it["attempts"] == 1).await;
    let log = loop {
        let log = attempts(&server, &user, &hook, &newest).await;
        if !log.is_empty() {
            break log;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(
        log[0]["error"].as_str().unwrap().contains("may not call"),
        "{log:?}"
    );
}

/// A closed port, one that keeps silent, one that refuses and one that talks another language look the same, and take
/// the same time.
#[tokio::test]
async fn users_learn_nothing_of_what_listens_inside() {
    let receiver = Receiver::start().await;
    let server = Server::start_with(like_a_bank("127.0.0.0/8")).await;
    let user = server.user("eve").await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = format!("http://{}", closed.local_addr().unwrap());
    let mut seen = Vec::new();
    for url in [
        closed,
        format!("{}/hangs", receiver.address),
        format!("{}/fails", receiver.address),
        format!("{}/gone", receiver.address),
        format!("{}/redirects", receiver.address),
        format!("{}/garbage", receiver.address),
    ] {
        let began = std::time::Instant::now();
        let (newest, mut attempt) = tested(&server, &user, &url).await;
        // Not before the time is up.
        assert!(began.elapsed() >= Duration::from_secs(1), "{url}");
        assert_eq!(newest["state"], "waiting");
        attempt.as_object_mut().unwrap().remove("ended_at");
        seen.push(attempt);
    }
    let alike = json!({
        "number": 1, "status": null, "error": "the message could not be delivered", "duration_ms": null
    });
    assert!(seen.iter().all(|attempt| *attempt == alike), "{seen:?}");
    let hooks = server.get("/api/v1/webhooks", &user).await.expect(200);
    for hook in hooks["items"].as_array().unwrap() {
        // Nobody is gone for them, whatever was answered.
        assert_eq!(hook["disabled_at"], Value::Null, "{hook}");
    }
}

/// L2: ten tests and replays a minute and user, and one test of a webhook at a time.
#[tokio::test]
async fn tests_and_replays_flood_nobody() {
    let receiver = Receiver::start().await;
    let server = Server::start_with(like_a_bank("127.0.0.0/8")).await;
    let user = server.user("eve").await;
    let hook = create(&server, &user, &format!("{}/hangs", receiver.address))
        .await
        .expect(201);
    let path = format!("/api/v1/webhooks/{}", hook["id"].as_str().unwrap());
    let test = format!("{path}/test");
    let first = server.post(&test, &user, &json!(null)).await.expect(202);
    let again = server.post(&test, &user, &json!(null)).await.expect(202);
    assert_eq!(first["id"], again["id"], "the one that waits is sent");
    let replay = format!("{path}/deliveries/{}/replay", first["id"].as_str().unwrap());
    for _ in 0..8 {
        server.post(&replay, &user, &json!(null)).await.expect(202);
    }
    for path in [&test, &replay] {
        let refused = server.post(path, &user, &json!(null)).await;
        refused.expect_problem(429, "too_many_attempts", None);
        let seconds: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
    }
    let other = server.user("ada").await;
    let hook = create(&server, &other, &format!("{}/ok", receiver.address))
        .await
        .expect(201);
    let test = format!("/api/v1/webhooks/{}/test", hook["id"].as_str().unwrap());
    server.post(&test, &other, &json!(null)).await.expect(202);
    server
        .sql("update webhook_tries set began_at = began_at - interval '1 minute'")
        .await;
    server.post(&replay, &user, &json!(null)).await.expect(202);
}
