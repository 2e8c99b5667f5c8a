//! A server on a free port with a database of its own, and what most tests put into it.

use std::{sync::Arc, time::Duration};

use opb_api::ApiSettings;
use opb_core::{
    auth,
    doorbell::Doorbell,
    models::{self, Price, ProviderKind},
    sealing::MasterKey,
};
use opb_testing::TestDatabase;
use reqwest::{
    Method, RequestBuilder, StatusCode,
    header::{HeaderMap, HeaderName},
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// A running server.
pub struct Server {
    pub database: TestDatabase,
    pub address: String,
    pub stop: CancellationToken,
    pub served: JoinHandle<anyhow::Result<()>>,
    client: reqwest::Client,
}

/// What a request was answered with.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut ApiSettings)) -> Self {
        Self::start_on(TestDatabase::new().await, change).await
    }

    /// Starts a server on a database that another one may have used before.
    pub async fn start_on(database: TestDatabase, change: impl FnOnce(&mut ApiSettings)) -> Self {
        let mut settings = settings();
        change(&mut settings);
        let key = Arc::new(master_key());
        let stop = CancellationToken::new();
        let (ready, bound) = oneshot::channel();
        let serving = opb_api::serve(
            database.pool.clone(),
            Doorbell::listen(database.pool.clone(), opb_api::BELLS, stop.clone()),
            key,
            settings,
            stop.clone(),
            move |address| ready.send(address).unwrap(),
        );
        let served = tokio::spawn(serving);
        let address = format!("http://{}", bound.await.unwrap());
        Self {
            database,
            address,
            stop,
            served,
            // A machine that is busy with other work may take long over an answer; the test runner's own limit is longer.
            client: reqwest::Client::builder()
                .read_timeout(Duration::from_mins(2))
                .build()
                .unwrap(),
        }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.address))
    }

    pub async fn get(&self, path: &str, token: &str) -> Reply {
        send(with_token(self.request(Method::GET, path), token)).await
    }

    pub async fn post(&self, path: &str, token: &str, body: &Value) -> Reply {
        send(with_token(self.request(Method::POST, path), token).json(body)).await
    }

    /// Imports more prompts than come in within the client's patience.
    pub async fn import_slowly(&self, token: &str, body: &Value) -> Value {
        let address = format!("{}/api/v1/prompts/import", self.address);
        let request = reqwest::Client::new().post(address);
        send(with_token(request, token).json(body))
            .await
            .expect(200)
    }

    /// Registers a user and returns their token.
    pub async fn user(&self, name: &str) -> String {
        field(&self.register(name).await, "access_token")
    }

    /// Registers a user with the password `correct horse` and returns the answer.
    pub async fn register(&self, name: &str) -> Value {
        let body = json!({"username": name, "email": format!("{name}@example.org"), "password": "correct horse"});
        let reply = self.post("/api/v1/auth/register", "", &body).await;
        reply.expect(201)
    }

    /// Logs in with the password `correct horse` and returns the answer.
    pub async fn log_in(&self, name: &str) -> Value {
        let body = json!({"username": name, "password": "correct horse"});
        self.post("/api/v1/auth/login", "", &body).await.expect(200)
    }

    /// Whether an access token still opens the door.
    pub async fn knows(&self, token: &str) -> bool {
        self.get("/api/v1/me", token).await.status == 200
    }

    /// Runs a statement that no API offers.
    pub async fn sql(&self, statement: &'static str) {
        sqlx::query(statement)
            .execute(&self.database.pool)
            .await
            .unwrap();
    }

    /// An administrator's API key.
    pub async fn admin(&self) -> String {
        let mut conn = self.database.pool.acquire().await.unwrap();
        let admin = auth::system_user(&mut conn).await.unwrap();
        let key = auth::create_api_key(&mut conn, admin.id, &uuid::Uuid::now_v7().to_string())
            .await
            .unwrap();
        key.expose_secret().to_owned()
    }

    /// Adds what a run needs: the provider `simulated` with the model `strong`, and of this user the prompt `plain`
    /// and the benchmark `sums` with three items.
    pub async fn prepare_run(&self, token: &str) {
        let mut conn = self.database.pool.acquire().await.unwrap();
        let provider =
            models::ensure_provider(&mut conn, "simulated", ProviderKind::Simulated, None)
                .await
                .unwrap();
        let price = Price::new(150_000, 600_000);
        models::set_price(&mut conn, provider, "strong", price)
            .await
            .unwrap();
        self.post("/api/v1/prompts", token, &prompt("plain"))
            .await
            .expect(201);
        self.post("/api/v1/benchmarks", token, &benchmark("sums"))
            .await
            .expect(201);
    }
}

/// The settings of `opb-api` without any option, but for a free port, throttles that tests do not reach by the way, and
/// things that all can see unless a test says otherwise.
pub fn settings() -> ApiSettings {
    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        api: ApiSettings,
    }
    let words = [
        "test",
        "--listen=127.0.0.1:0",
        "--login-failures-per-address=1000",
        "--default-visibility=public",
        "--request-timeout-seconds=600",
    ];
    let words = words
        .into_iter()
        .chain(["--registrations-per-address=1000"]);
    <Program as clap::Parser>::parse_from(words).api
}

/// The key of every server here.
pub fn master_key() -> MasterKey {
    MasterKey::parse(&"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into()).unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Reply {
    /// The body, if the status is this one.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }

    /// The body.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Fails unless the reply is a complete problem of this status whose first wrong field has this path.
    #[track_caller]
    pub fn expect_problem(&self, status: u16, code: &str, path: Option<&str>) {
        let problem = self.expect(status);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], "about:blank");
        let title = StatusCode::from_u16(status)
            .unwrap()
            .canonical_reason()
            .unwrap();
        assert_eq!(problem["title"], title);
        assert_eq!(problem["code"], code, "{}", self.text);
        assert_eq!(
            problem["request_id"],
            self.header("x-request-id"),
            "{}",
            self.text
        );
        assert_eq!(problem["errors"][0]["path"].as_str(), path, "{}", self.text);
        for leak in [
            "sqlx", "postgres", "opb_core", "select ", "struct ", "serde",
        ] {
            assert!(!self.text.contains(leak), "{leak} leaks: {}", self.text);
        }
    }

    pub fn header(&self, name: &str) -> &str {
        let name: HeaderName = name.parse().unwrap();
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

/// A text of a body.
#[track_caller]
pub fn field(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap().to_owned()
}

pub async fn send(request: RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    Reply {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        text: response.text().await.unwrap(),
    }
}

pub fn with_token(request: RequestBuilder, token: &str) -> RequestBuilder {
    match token {
        "" => request,
        token => request.bearer_auth(token),
    }
}

/// A prompt that asks for the variable `question`.
pub fn prompt(slug: &str) -> Value {
    json!({"slug": slug, "title": "Plain", "body": {"kind": "text", "text": "Q: {{ question }}\nA:"}})
}

/// A benchmark with three items that have the variable `question`.
pub fn benchmark(slug: &str) -> Value {
    let item = |id: &str| json!({"id": id, "vars": {"question": "1+1"}, "expected": "2"});
    json!({
        "slug": slug,
        "title": "Sums",
        "scorers": [{"type": "equals", "value": "2"}],
        "items": [item("a"), item("b"), item("c")],
    })
}

/// A run of `plain` on `sums` with `simulated:strong`.
pub fn run() -> Value {
    json!({"benchmark": "sums", "prompts": ["plain"], "models": ["simulated:strong"], "repeats": 2})
}
