//! Webhooks against receivers that fail, hang and answer garbage: retried, logged, replayable, nobody else waits.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use opb_api::ApiSettings;
use opb_core::outbound::{OutboundPolicy, OutboundSettings};
use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::server::{Server, field, run, send, with_token};

/// What a receiver got: the path, the headers and the body.
#[derive(Debug, Clone)]
struct Received {
    path: String,
    headers: HashMap<String, String>,
    body: String,
}

/// A receiver whose manner is in the path: `/ok`, `/fails-twice`, `/fails`, `/gone`, `/redirects`, `/hangs`, `/garbage`.
#[derive(Clone)]
pub struct Receiver {
    pub address: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            address: format!("http://{}", listener.local_addr().unwrap()),
            received: Arc::default(),
        };
        let serving = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let receiver = serving.clone();
                tokio::spawn(async move { receiver.answer(stream).await });
            }
        });
        receiver
    }

    async fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let (mut bytes, mut buffer) = (Vec::new(), vec![0; 65_536]);
        let (head, body) = loop {
            let count = stream.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            bytes.extend_from_slice(&buffer[..count]);
            let text = String::from_utf8_lossy(&bytes);
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length = head.to_lowercase();
            let length = length.split("content-length: ").nth(1).unwrap_or("0");
            let length: usize = length.lines().next().unwrap_or("0").parse().unwrap();
            if body.len() >= length {
                break (head.to_owned(), body[..length].to_owned());
            }
        };
        let mut lines = head.lines();
        let path = lines.next().unwrap_or_default();
        let path = path.split(' ').nth(1).unwrap_or_default().to_owned();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let before = self.count(&path);
        self.received.lock().unwrap().push(Received {
            path: path.clone(),
            headers: headers.collect(),
            body,
        });
        let status = match path.split('?').next().unwrap_or_default() {
            "/hangs" => {
                // The connection stays open and silent for as long as the other side likes.
                let _ = stream.read(&mut buffer).await;
                return Ok(());
            }
            "/garbage" => {
                return stream.write_all(b"\x00\xff not even HTTP\r\n\r\n").await;
            }
            "/fails-twice" if before < 2 => "500 Oh no",
            "/fails" => "503 Not now",
            "/gone" => "410 Gone",
            "/redirects" => "302 Found\r\nlocation: /ok",
            _ => "204 Fine",
        };
        let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await
    }

    pub fn count(&self, path: &str) -> usize {
        let received = self.received.lock().unwrap();
        received.iter().filter(|one| one.path == path).count()
    }

    fn of(&self, path: &str) -> Vec<Received> {
        let received = self.received.lock().unwrap();
        let of = received.iter().filter(|one| one.path == path);
        of.cloned().collect()
    }
}

fn allows_this_machine(settings: &mut ApiSettings) {
    let allowed = OutboundSettings {
        allow_outbound: vec!["127.0.0.1".parse().unwrap()],
    };
    settings.outbound = Arc::new(allowed.policy());
    settings.webhooks.webhook_timeout_seconds = 1;
}

/// An administrator, who sees whatever a receiver answers.
async fn administrator(server: &Server) -> String {
    let token = server.user("ada").await;
    server.sql("update users set role = 'admin'").await;
    token
}

async fn webhook(server: &Server, token: &str, url: &str, format: &str) -> Value {
    let body = json!({"name": format!("{format} {url}"), "url": url, "format": format, "events": ["run.finished"]});
    server
        .post("/api/v1/webhooks", token, &body)
        .await
        .expect(201)
}

/// Asks until the newest message of a webhook is as wanted.
pub async fn delivery(
    server: &Server,
    token: &str,
    webhook: &Value,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    let path = format!(
        "/api/v1/webhooks/{}/deliveries",
        webhook["id"].as_str().unwrap()
    );
    let patience = Instant::now() + Duration::from_mins(5);
    loop {
        let page = server.get(&path, token).await.expect(200);
        let newest = page["items"][0].clone();
        if !newest.is_null() && wanted(&newest) {
            return newest;
        }
        assert!(Instant::now() < patience, "{page}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// As if the pauses after failed attempts had passed.
async fn pass_the_pauses(server: &Server) {
    for update in [
        "update webhook_deliveries set next_attempt_at = now() where state = 'waiting' and attempts > 0
         and exists (select 1 from webhook_attempts where delivery_id = webhook_deliveries.id and number = attempts)",
        "update webhooks set busy_until = now() where failures > 0",
    ] {
        sqlx::query(update).execute(&server.database.pool).await.unwrap();
    }
}

pub async fn attempts(
    server: &Server,
    token: &str,
    webhook: &Value,
    delivery: &Value,
) -> Vec<Value> {
    let path = format!(
        "/api/v1/webhooks/{}/deliveries/{}/attempts",
        webhook["id"].as_str().unwrap(),
        delivery["id"].as_str().unwrap()
    );
    let page = server.get(&path, token).await.expect(200);
    page["items"].as_array().unwrap().clone()
}

async fn end_a_run(server: &Server, token: &str) -> Value {
    let submitted = server.post("/api/v1/runs", token, &run()).await.expect(202);
    let path = format!("/api/v1/runs/{}/cancel", submitted["id"].as_str().unwrap());
    server.post(&path, token, &json!(null)).await.expect(200)
}

#[tokio::test]
async fn a_message_is_signed_and_says_what_rest_says() {
    let receiver = Receiver::start().await;
    let server = Server::start_with(allows_this_machine).await;
    let token = administrator(&server).await;
    server.prepare_run(&token).await;
    let ok = webhook(
        &server,
        &token,
        &format!("{}/ok?sig=1", receiver.address),
        "standard",
    )
    .await;
    let slack = webhook(
        &server,
        &token,
        &format!("{}/slack", receiver.address),
        "slack",
    )
    .await;
    assert!(ok["secret"].as_str().unwrap().starts_with("whsec_"));
    assert_eq!(
        ok["host"], receiver.address,
        "the rest of an address is a secret"
    );
    let path = format!("/api/v1/webhooks/{}", ok["id"].as_str().unwrap());
    let shown = server.get(&path, &token).await.expect(200);
    assert_eq!(shown.get("secret"), None);

    let run = end_a_run(&server, &token).await;
    let sent = delivery(&server, &token, &ok, |it| it["state"] == "delivered").await;
    let messages = receiver.of("/ok?sig=1");
    let [message] = messages.as_slice() else {
        panic!("{messages:?}");
    };
    let verifier = standardwebhooks::Webhook::new(ok["secret"].as_str().unwrap()).unwrap();
    let mut headers = HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(name, message.headers[name].parse().unwrap());
    }
    verifier.verify(message.body.as_bytes(), &headers).unwrap();
    let forged = message.body.replace("cancelled", "completed");
    assert!(verifier.verify(forged.as_bytes(), &headers).is_err());
    assert_eq!(message.headers["webhook-id"], sent["id"].as_str().unwrap());
    let body: Value = serde_json::from_str(&message.body).unwrap();
    assert_eq!(body["type"], "run.finished");
    assert_eq!(body["data"], run);

    delivery(&server, &token, &slack, |it| it["state"] == "delivered").await;
    let body: Value = serde_json::from_str(&receiver.of("/slack")[0].body).unwrap();
    assert_eq!(body.as_object().unwrap().len(), 1);
    assert!(
        body["text"]
            .as_str()
            .unwrap()
            .contains("sums@1 has cancelled"),
        "{body}"
    );
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story of five receivers")]
async fn receivers_that_fail_are_tried_again_and_keep_nobody_waiting() {
    let receiver = Receiver::start().await;
    let server = Server::start_with(|settings| {
        allows_this_machine(settings);
        settings.webhooks.webhook_timeout_seconds = 20;
    })
    .await;
    let token = administrator(&server).await;
    server.prepare_run(&token).await;
    let mut hooks = HashMap::new();
    for manner in [
        "hangs",
        "garbage",
        "fails",
        "fails-twice",
        "redirects",
        "gone",
        "ok",
    ] {
        let url = format!("{}/{manner}", receiver.address);
        hooks.insert(manner, webhook(&server, &token, &url, "standard").await);
    }
    end_a_run(&server, &token).await;
    delivery(&server, &token, &hooks["ok"], |it| {
        it["state"] == "delivered"
    })
    .await;
    let newest = delivery(&server, &token, &hooks["hangs"], |it| it["attempts"] == 1).await;
    let log = attempts(&server, &token, &hooks["hangs"], &newest).await;
    assert!(
        log.is_empty(),
        "who answers does not wait for who hangs: {log:?}"
    );

    // The first attempts of a message; more may have come meanwhile.
    let log = async |manner: &str, expect: &[(Option<u64>, Option<&str>)]| {
        let count = expect.len();
        let patience = Instant::now() + Duration::from_mins(5);
        let log = loop {
            let newest = delivery(&server, &token, &hooks[manner], |_| true).await;
            let log = attempts(&server, &token, &hooks[manner], &newest).await;
            if log.len() >= count {
                break log;
            }
            assert!(Instant::now() < patience, "{manner}: {log:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        for (attempt, (status, error)) in log.iter().zip(expect) {
            assert_eq!(attempt["status"].as_u64(), *status, "{manner}");
            let found = attempt["error"].as_str();
            assert_eq!(found.is_some(), error.is_some(), "{manner}: {attempt}");
            assert!(
                found
                    .unwrap_or_default()
                    .contains(error.unwrap_or_default()),
                "{attempt}"
            );
        }
    };
    let unreached = (
        None,
        Some("could not be reached, or gave no valid answer in time"),
    );
    log("hangs", &[unreached]).await;
    log("garbage", &[unreached]).await;
    log("fails", &[(Some(503), Some("an error"))]).await;
    log("redirects", &[(Some(302), Some("redirect"))]).await;
    assert_eq!(receiver.count("/ok"), 1, "the redirect was not followed");

    // Whoever is gone is left alone at once.
    log("gone", &[(Some(410), Some("gone"))]).await;
    let gone = delivery(&server, &token, &hooks["gone"], |it| {
        it["state"] == "failed"
    })
    .await;
    let path = format!("/api/v1/webhooks/{}", hooks["gone"]["id"].as_str().unwrap());
    let shown = server.get(&path, &token).await.expect(200);
    assert_eq!(
        shown["disabled_reason"],
        "the receiver answered that it is gone"
    );
    let replay = format!("{path}/deliveries/{}/replay", gone["id"].as_str().unwrap());
    server.post(&replay, &token, &json!(null)).await.expect(409);

    // The second attempt fails, too, and the third arrives, with the same id.
    let failed = (Some(500), Some("an error"));
    log("fails-twice", &[failed]).await;
    pass_the_pauses(&server).await;
    log("fails-twice", &[failed, failed]).await;
    pass_the_pauses(&server).await;
    log("fails-twice", &[failed, failed, (Some(204), None)]).await;
    let messages = receiver.of("/fails-twice");
    assert!(
        messages
            .iter()
            .all(|one| one.headers["webhook-id"] == messages[0].headers["webhook-id"])
    );

    // What was given up can be replayed when the receiver is well again.
    let last = "update webhook_deliveries set attempts_left = 0, state = 'failed', ended_at = now()
                where webhook_id = $1";
    let id: uuid::Uuid = hooks["fails"]["id"].as_str().unwrap().parse().unwrap();
    sqlx::query(last)
        .bind(id)
        .execute(&server.database.pool)
        .await
        .unwrap();
    let path = format!("/api/v1/webhooks/{id}");
    let change = json!({"url": format!("{}/well", receiver.address)});
    let request = server.request(Method::PATCH, &path);
    send(with_token(request, &token).json(&change))
        .await
        .expect(200);
    let given_up = delivery(&server, &token, &hooks["fails"], |it| {
        it["state"] == "failed"
    })
    .await;
    let replay = format!(
        "{path}/deliveries/{}/replay",
        given_up["id"].as_str().unwrap()
    );
    server.post(&replay, &token, &json!(null)).await.expect(202);
    delivery(&server, &token, &hooks["fails"], |it| {
        it["state"] == "delivered"
    })
    .await;
    assert_eq!(
        receiver.of("/well")[0].headers["webhook-id"],
        given_up["id"].as_str().unwrap()
    );
}

#[tokio::test]
async fn a_webhook_that_fails_for_days_is_disabled() {
    let receiver = Receiver::start().await;
    let server = Server::start_with(allows_this_machine).await;
    let token = administrator(&server).await;
    let hook = webhook(
        &server,
        &token,
        &format!("{}/fails", receiver.address),
        "standard",
    )
    .await;
    let path = format!("/api/v1/webhooks/{}", hook["id"].as_str().unwrap());
    let test = format!("{path}/test");
    sqlx::query("update webhooks set failures = 9, failing_since = now() - interval '6 days'")
        .execute(&server.database.pool)
        .await
        .unwrap();
    server.post(&test, &token, &json!(null)).await.expect(202);
    delivery(&server, &token, &hook, |it| it["state"] == "failed").await;
    let shown = server.get(&path, &token).await.expect(200);
    assert_eq!(shown["disabled_reason"], "every attempt failed for days");
    server.post(&test, &token, &json!(null)).await.expect(409);
    let request = server.request(Method::PATCH, &path);
    let enabled = send(with_token(request, &token).json(&json!({"enabled": true})));
    assert_eq!(enabled.await.expect(200)["disabled_at"], Value::Null);
}

#[tokio::test]
async fn addresses_inside_are_refused_when_saved_and_when_called() {
    let receiver = Receiver::start().await;
    let server = Server::start_with(|settings| settings.webhooks.webhook_timeout_seconds = 1).await;
    let token = server.user("ada").await;
    for url in [
        receiver.address.as_str(),
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:127.0.0.1]/",
        "http://2130706433/",
        "http://localhost:9/",
        "ftp://example.org/",
        "https://user@example.org/",
        "not a URL",
    ] {
        let body = json!({"name": "mine", "url": url, "events": ["run.finished"]});
        let reply = server.post("/api/v1/webhooks", &token, &body).await;
        let problem = reply.expect(422);
        assert_eq!(problem["errors"][0]["path"], "url", "{url}: {problem}");
    }
    // One that was saved under another policy is refused on the connection itself; a name that leads inside, too.
    let owner = sqlx::query_scalar("select id from users where username = 'ada'")
        .fetch_one(&server.database.pool)
        .await
        .unwrap();
    let user = opb_core::auth::CurrentUser {
        id: owner,
        username: "ada".into(),
        role: opb_core::auth::UserRole::User,
    };
    let port = receiver.address.rsplit(':').next().unwrap();
    for (url, reason) in [
        (receiver.address.clone(), "may not call"),
        (format!("http://localhost:{port}/ok"), "may not call"),
    ] {
        let new = opb_core::webhooks::NewWebhook {
            name: format!("inside {url}"),
            url: url.into(),
            format: opb_core::webhooks::WebhookFormat::Standard,
            events: vec![opb_core::webhooks::WebhookEvent::RunFinished],
        };
        let conn = &mut server.database.pool.acquire().await.unwrap();
        let key = crate::server::master_key();
        let policy = OutboundPolicy::local();
        let made = opb_core::webhooks::create_webhook(conn, &user, &key, &policy, &new);
        let (hook, _) = made.await.unwrap();
        opb_core::webhooks::test_webhook(conn, &user, hook.id)
            .await
            .unwrap();
        let hook = json!({"id": hook.id});
        let newest = delivery(&server, &token, &hook, |it| it["attempts"] == 1).await;
        let patience = Instant::now() + Duration::from_mins(5);
        let log = loop {
            let log = attempts(&server, &token, &hook, &newest).await;
            if !log.is_empty() {
                break log;
            }
            assert!(Instant::now() < patience);
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(
            log[0]["error"].as_str().unwrap().contains(reason),
            "{log:?}"
        );
    }
    assert_eq!(receiver.received.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn receivers_that_hang_keep_nobody_waiting_but_their_owner() {
    let receiver = Receiver::start().await;
    let server = Server::start_with(|settings| {
        allows_this_machine(settings);
        settings.webhooks.webhook_timeout_seconds = 60;
    })
    .await;
    let bob = server.user("bob").await;
    let ada = administrator(&server).await;
    server.prepare_run(&ada).await;
    for number in 0..8 {
        let url = format!("{}/hangs?{number}", receiver.address);
        webhook(&server, &ada, &url, "standard").await;
    }
    let hook = webhook(
        &server,
        &bob,
        &format!("{}/ok", receiver.address),
        "standard",
    )
    .await;
    end_a_run(&server, &ada).await;
    let hanging = || (0..8).filter(|number| receiver.count(&format!("/hangs?{number}")) > 0);
    let patience = Instant::now() + Duration::from_mins(5);
    while hanging().count() < 4 {
        assert!(Instant::now() < patience, "the first four are told");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let path = format!("/api/v1/webhooks/{}/test", field(&hook, "id"));
    server.post(&path, &bob, &json!(null)).await.expect(202);
    delivery(&server, &bob, &hook, |it| it["state"] == "delivered").await;
    assert_eq!(hanging().count(), 4, "an owner has four places");
}
