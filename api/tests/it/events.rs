//! Live events.

use std::time::{Duration, Instant};

use reqwest::{Method, Response};
use serde_json::Value;
use tokio::time::timeout;

use crate::server::{Server, run, send, with_token};

/// Far more than any event takes, and still an end.
const PATIENCE: Duration = Duration::from_mins(1);

/// The next event of a stream: its name and its data. `None` when the stream has ended.
async fn next_event(response: &mut Response, text: &mut String) -> Option<(String, Value)> {
    timeout(PATIENCE, read_event(response, text))
        .await
        .expect("an event comes in time")
}

async fn read_event(response: &mut Response, text: &mut String) -> Option<(String, Value)> {
    loop {
        if let Some((event, rest)) = text.clone().split_once("\n\n") {
            rest.clone_into(text);
            let field = |name: &str| {
                let mut lines = event.lines();
                lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            };
            if let (Some(name), Some(data)) = (field("event"), field("data")) {
                return Some((name.to_owned(), serde_json::from_str(data).unwrap()));
            }
            // A comment, which keeps the connection alive.
            continue;
        }
        let chunk = response.chunk().await.unwrap()?;
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
}

async fn follow(server: &Server, token: &str) -> (String, Response) {
    let run = server.post("/api/v1/runs", token, &run()).await.expect(202);
    let path = format!("/api/v1/runs/{}", run["id"].as_str().unwrap());
    let request = server.request(Method::GET, &format!("{path}/events"));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    (path, response)
}

#[tokio::test]
async fn a_stream_shows_the_run_at_once_and_ends_with_it() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    server.prepare_run(&token).await;
    let (path, mut response) = follow(&server, &token).await;
    let mut text = String::new();
    let (name, data) = next_event(&mut response, &mut text).await.unwrap();
    assert_eq!((name.as_str(), &data["state"]), ("run", &"queued".into()));
    let cancel = server.request(Method::POST, &format!("{path}/cancel"));
    let cancelled = send(with_token(cancel, &token)).await.expect(200);
    let (name, data) = next_event(&mut response, &mut text).await.unwrap();
    assert_eq!((name.as_str(), &data), ("run", &cancelled));
    let (name, _) = next_event(&mut response, &mut text).await.unwrap();
    assert_eq!(name, "end");
    assert_eq!(next_event(&mut response, &mut text).await, None);
    let ended = server.request(Method::GET, &format!("{path}/events"));
    let ended = send(ended).await;
    assert_eq!(ended.status, 200);
    assert_eq!(
        ended.text.matches("event: ").count(),
        2,
        "a run that has ended is shown once: {}",
        ended.text
    );
}

#[tokio::test]
async fn many_moves_make_few_events() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    server.prepare_run(&token).await;
    let (path, mut response) = follow(&server, &token).await;
    let id = path.rsplit('/').next().unwrap();
    let began = Instant::now();
    for _ in 0..100 {
        // Moves the run and rings, as a worker does.
        let moved =
            "with moved as (update runs set retries = retries + 1 where id = $1::uuid returning id)
            select pg_notify('opb_runs', id::text)::text from moved";
        sqlx::query(moved)
            .bind(id)
            .execute(&server.database.pool)
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let cancel = server.request(Method::POST, &format!("{path}/cancel"));
    send(with_token(cancel, &token)).await.expect(200);
    let mut text = String::new();
    let mut retries = Vec::new();
    while let Some((name, data)) = next_event(&mut response, &mut text).await {
        if name == "run" {
            retries.push(data["retries"].as_i64().unwrap());
        }
    }
    // One after each tenth of the time so far, 10 to 200 ms.
    let seconds = began.elapsed().as_secs_f64();
    let most = 12.0 + 10.0 * (1.0 + 10.0 * seconds).ln() + 5.0 * seconds;
    let events = u32::try_from(retries.len()).unwrap();
    assert!(
        events >= 2 && f64::from(events) <= most,
        "{events} events, at most {most}"
    );
    assert!(retries.is_sorted(), "{retries:?}");
    assert_eq!(retries.last(), Some(&100), "the last state is shown");
}

#[tokio::test]
async fn a_lost_ring_is_made_up_for() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    server.prepare_run(&token).await;
    let (path, mut response) = follow(&server, &token).await;
    let mut text = String::new();
    next_event(&mut response, &mut text).await.unwrap();
    sqlx::query("update runs set retries = 7 where id = $1::uuid")
        .bind(path.rsplit('/').next().unwrap())
        .execute(&server.database.pool)
        .await
        .unwrap();
    let (name, data) = next_event(&mut response, &mut text).await.unwrap();
    assert_eq!((name.as_str(), &data["retries"]), ("run", &7.into()));
}

#[tokio::test]
async fn a_user_has_only_so_many_streams() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    server.prepare_run(&token).await;
    let run = server
        .post("/api/v1/runs", &token, &run())
        .await
        .expect(202);
    let path = format!("/api/v1/runs/{}/events", run["id"].as_str().unwrap());
    let open = async || {
        let request = with_token(server.request(Method::GET, &path), &token);
        request.send().await.unwrap()
    };
    let mut streams = Vec::new();
    for _ in 0..16 {
        let stream = open().await;
        assert_eq!(stream.status(), 200);
        streams.push(stream);
    }
    let refused = server.get(&path, &token).await;
    refused.expect_problem(429, "too_many_streams", None);
    assert_eq!(refused.header("retry-after"), "1");
    // An export of everything that is one's own takes a seat, too.
    let refused = server.get("/api/v1/me/export", &token).await;
    refused.expect_problem(429, "too_many_streams", None);
    drop(streams);
}

#[tokio::test]
async fn one_stranger_leaves_seats_to_others() {
    let server = Server::start_with(|settings| {
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let token = server.user("ada").await;
    server.prepare_run(&token).await;
    let run = server
        .post("/api/v1/runs", &token, &run())
        .await
        .expect(202);
    let path = format!("/api/v1/runs/{}/events", run["id"].as_str().unwrap());
    let open = async |address: &str| {
        let request = server.request(Method::GET, &path);
        let request = request.header("x-forwarded-for", address);
        request.send().await.unwrap()
    };
    let mut streams = Vec::new();
    for _ in 0..16 {
        let stream = open("192.0.2.7").await;
        assert_eq!(stream.status(), 200);
        streams.push(stream);
    }
    assert_eq!(open("192.0.2.7").await.status(), 429);
    assert_eq!(open("192.0.2.8").await.status(), 200);
    drop(streams);
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let mut server = Server::start().await;
    let token = server.user("ada").await;
    server.prepare_run(&token).await;
    let (_, mut response) = follow(&server, &token).await;
    let mut text = String::new();
    next_event(&mut response, &mut text).await.unwrap();
    server.stop.cancel();
    assert_eq!(next_event(&mut response, &mut text).await, None);
    let ended = timeout(PATIENCE, &mut server.served).await;
    ended
        .expect("the server need not cut anything off")
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_stream_ends_soon_after_its_credential() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    server.prepare_run(&ada).await;
    let mut private = run();
    private["visibility"] = "private".into();
    let run = server
        .post("/api/v1/runs", &ada, &private)
        .await
        .expect(202);
    let path = format!("/api/v1/runs/{}/events", run["id"].as_str().unwrap());
    let key = serde_json::json!({"name": "reads", "scopes": ["runs:read"]});
    let key = server
        .post("/api/v1/api-keys", &ada, &key)
        .await
        .expect(201);
    let follow = async |token: &str| {
        let request = with_token(server.request(Method::GET, &path), token);
        let mut response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let mut text = String::new();
        next_event(&mut response, &mut text).await.unwrap();
        (response, text)
    };
    let second = server.log_in("ada").await;
    let second = second["access_token"].as_str().unwrap();
    let logged_out = follow(second).await;
    let disabled = [
        follow(&ada).await,
        follow(key["key"].as_str().unwrap()).await,
    ];
    let ended = async |(mut response, mut text): (Response, String)| {
        assert_eq!(next_event(&mut response, &mut text).await, None);
    };
    let empty = serde_json::json!({});
    let reply = server.post("/api/v1/auth/logout", second, &empty).await;
    assert_eq!(reply.status, 204);
    ended(logged_out).await;
    server
        .sql("update users set disabled_at = now() where username = 'ada'")
        .await;
    for stream in disabled {
        ended(stream).await;
    }
}
