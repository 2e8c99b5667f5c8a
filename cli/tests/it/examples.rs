//! The examples of the API's document, each sent as it stands to a bank with the built-in benchmarks, as "Try it out"
//! sends them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::site::{Site, Up};

/// Each operation with a body in an order in which its thing is there, what stands in its path (`@` for the id that an
/// operation before it answered), and the status that it answers.
const STEPS: &[(&str, &str, u16)] = &[
    ("register_user", "", 201),
    ("login_user", "", 200),
    ("create_api_key", "", 201),
    ("estimate_run", "", 200),
    ("create_run", "", 202),
    ("compare_columns", "", 200),
    ("list_flips", "", 200),
    // Nobody set a budget that could be raised.
    ("update_run", "run=@create_run", 409),
    ("extend_run", "run=@create_run", 202),
    ("rescore_run", "run=@create_run", 202),
    ("hide_standings", "run=@create_run", 200),
    ("create_prompt", "", 201),
    ("create_prompt_version", "prompt=polite-translator", 201),
    ("import_prompts", "", 200),
    ("update_prompt", "prompt=polite-translator", 200),
    ("render_prompt", "prompt=polite-translator", 200),
    ("compare_rendered_versions", "prompt=polite-translator", 200),
    (
        "set_prompt_alias",
        "prompt=polite-translator alias=production",
        200,
    ),
    ("save_category", "category=translation", 204),
    ("save_search", "", 201),
    ("fork_prompt", "prompt=number-only", 201),
    ("create_change_request", "prompt=polite-translator", 201),
    (
        "create_change_request_comment",
        "change_request=@create_change_request",
        201,
    ),
    (
        "decline_change_request",
        "change_request=@create_change_request",
        200,
    ),
    ("create_change_request", "prompt=polite-translator", 201),
    (
        "withdraw_change_request",
        "change_request=@create_change_request",
        200,
    ),
    ("create_change_request", "prompt=polite-translator", 201),
    (
        "accept_change_request",
        "change_request=@create_change_request",
        200,
    ),
    ("offer_prompt", "prompt=polite-translator", 204),
    ("publish_benchmark", "", 201),
    ("update_benchmark", "benchmark=city-landmarks", 200),
    ("create_import", "", 201),
    ("set_import_part", "import=@create_import number=1", 200),
    ("publish_import", "import=@create_import", 201),
    ("create_provider", "", 201),
    ("update_provider", "name=gpu-server", 200),
    ("update_limits", "name=gpu-server", 200),
    ("update_price", "name=gpu-server", 200),
    ("import_prices", "", 200),
    ("create_schedule", "", 201),
    ("update_schedule", "schedule=@create_schedule", 200),
    ("create_alert", "", 201),
    ("update_alert", "alert=@create_alert", 200),
    ("silence_alert", "alert=@create_alert", 200),
    ("create_webhook", "", 201),
    ("update_webhook", "webhook=@create_webhook", 200),
    ("set_vote", "prompt=number-only", 200),
    ("create_preference", "", 201),
    ("set_preference", "preference=@create_preference", 200),
    ("create_comment", "prompt=number-only", 201),
    ("update_comment", "comment=@create_comment", 200),
    // It is her own comment.
    ("report_comment", "comment=@create_comment", 403),
    ("moderate_comment", "comment=@create_comment", 200),
    ("create_collection", "", 201),
    ("update_collection", "collection=@create_collection", 200),
    (
        "set_collection_prompts",
        "collection=@create_collection",
        200,
    ),
    ("set_own_profile", "", 200),
    ("create_invitation", "", 201),
    ("change_user", "username=grace", 200),
    ("update_quota", "username=grace", 200),
    ("register_django_user", "", 201),
    ("login_django_user", "", 200),
    ("refresh_django_token", "", 200),
    ("register_flask_user", "", 201),
    ("login_flask_user", "", 200),
    ("refresh_flask_token", "", 200),
    // What comes by mail or from an identity provider cannot be an example that works.
    ("request_password_reset", "", 403),
    ("confirm_password_reset", "", 422),
    ("verify_email", "", 422),
    ("login_oidc_user", "", 422),
    ("link_identity", "", 422),
    ("refresh_session", "", 200),
    ("create_cookie", "", 200),
    ("change_me", "", 200),
    ("change_password", "", 204),
    ("delete_me", "", 204),
];

/// What an example has in the place of something that a bank answers.
const RUN: &str = "01a229b4-0a15-7c41-9d4e-5f1b6a0c8e21";
const SCHEDULE: &str = "01a229b4-7e30-7b52-8c11-2d4f6a8b0c35";
const REFRESH_TOKEN: &str = "the-refresh-token-of-the-login";

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_the_document_works() {
    let site = Site::new();
    let bank = site.up(&[]);
    let mut reader = Reader::new(&bank).await;
    reader.check_all_are_listed();
    let mut wrong = Vec::new();
    for (operation, path, expect) in STEPS {
        let (status, answer) = reader.send(operation, path).await;
        if status != *expect {
            wrong.push(format!(
                "{operation}: {status} instead of {expect}: {answer}"
            ));
        }
        match *operation {
            "register_user" => {
                site.check(&["admin", "create", "ada"], 0);
                reader.register("grace").await;
            }
            "create_run" => {
                reader.wait_for_run(&reader.id_of("create_run")).await;
                reader.run_in_public().await;
            }
            "extend_run" => reader.wait_for_run(&reader.id_of("create_run")).await,
            // The last administrator cannot leave.
            "change_password" => drop(site.check(&["admin", "create", "grace"], 0)),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Somebody who tries everything out.
struct Reader {
    client: reqwest::Client,
    url: String,
    /// Method, path and example of each operation with a body.
    operations: BTreeMap<String, (Method, String, Value)>,
    /// The paths that take no token.
    open: BTreeSet<String>,
    /// What was answered last by each operation.
    answers: BTreeMap<String, Value>,
    token: String,
    refresh_token: String,
}

impl Reader {
    async fn new(bank: &Up) -> Self {
        let client = reqwest::Client::new();
        let address = format!("{}/api/openapi.json", bank.url);
        let document: Value = client
            .get(address)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let mut operations = BTreeMap::new();
        let mut open = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let content = operation["requestBody"]["content"].as_object();
                for content in content.into_iter().flat_map(serde_json::Map::values) {
                    let name = operation["operationId"].as_str().unwrap();
                    let method: Method = method.to_uppercase().parse().unwrap();
                    let known = (method, path.clone(), content["example"].clone());
                    operations.insert(name.to_owned(), known);
                    if operation["security"].is_null() {
                        open.insert(path.clone());
                    }
                }
            }
        }
        Self {
            client,
            url: bank.url.clone(),
            operations,
            open,
            answers: BTreeMap::new(),
            token: String::new(),
            refresh_token: String::new(),
        }
    }

    fn check_all_are_listed(&self) {
        for (name, (_, _, example)) in &self.operations {
            assert!(
                !example.is_null(),
                "`{name}` has a body without an example: add one to api/src/examples.json"
            );
        }
        let listed: BTreeSet<&str> = STEPS.iter().map(|(name, ..)| *name).collect();
        let known: BTreeSet<&str> = self.operations.keys().map(String::as_str).collect();
        assert_eq!(
            listed, known,
            "the steps here and the operations with a body"
        );
    }

    /// Sends an operation's example, and keeps the answer.
    async fn send(&mut self, name: &str, fixtures: &str) -> (u16, Value) {
        let (method, mut path, example) = self.operations[name].clone();
        for fixture in fixtures.split_whitespace() {
            let (parameter, value) = fixture.split_once('=').unwrap();
            let value = match value.strip_prefix('@') {
                Some(operation) => self.id_of(operation),
                None => value.to_owned(),
            };
            path = path.replace(&format!("{{{parameter}}}"), &value);
        }
        // A text is sent as it is, JSON as JSON.
        let mut body = example
            .as_str()
            .map_or_else(|| example.to_string(), str::to_owned);
        for (placeholder, value) in [
            (RUN, self.id_of("create_run")),
            (SCHEDULE, self.id_of("create_schedule")),
            (REFRESH_TOKEN, self.refresh_token.clone()),
        ] {
            body = body.replace(placeholder, &value);
        }
        let (status, answer) = self.request(method, &path, body).await;
        for (place, token) in [
            ("access_token", &mut self.token),
            ("refresh_token", &mut self.refresh_token),
        ] {
            if let ("login_user" | "register_user", Some(value)) = (name, answer[place].as_str()) {
                value.clone_into(token);
            }
        }
        // The older services answer with tokens of their own.
        let renews = name.starts_with("login_") || name == "refresh_session";
        for place in ["refresh", "refresh_token"] {
            if let (true, Some(value)) = (renews, answer[place].as_str()) {
                value.clone_into(&mut self.refresh_token);
            }
        }
        self.answers.insert(name.to_owned(), answer.clone());
        (status, answer)
    }

    /// Sends a request as the page does.
    async fn request(&self, method: Method, path: &str, body: String) -> (u16, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if !(self.token.is_empty() || self.open.contains(path)) {
            request = request.bearer_auth(&self.token);
        }
        // Lines of JSON are no JSON.
        let kind = if body.is_empty() || serde_json::from_str::<Value>(&body).is_ok() {
            "application/json"
        } else {
            "application/x-ndjson"
        };
        let request = request
            .header("origin", &self.url)
            .header("content-type", kind)
            .body(body);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }

    fn id_of(&self, operation: &str) -> String {
        let answer = self.answers.get(operation);
        let id = answer.and_then(|answer| {
            let begun = &answer["import"];
            answer["id"].as_str().or(begun["id"].as_str())
        });
        id.unwrap_or_default().to_owned()
    }

    async fn register(&self, name: &str) {
        let body = json!({"username": name, "email": format!("{name}@example.org"), "password": "compilers since 1952"});
        let path = "/api/v1/auth/register";
        let (status, answer) = self.request(Method::POST, path, body.to_string()).await;
        assert_eq!(status, 201, "{answer}");
    }

    /// Runs the example once more where all can see it: preferences are drawn from public runs only.
    async fn run_in_public(&self) {
        let (method, path, mut body) = self.operations["create_run"].clone();
        body["visibility"] = json!("public");
        let (status, run) = self.request(method, &path, body.to_string()).await;
        assert_eq!(status, 202, "{run}");
        self.wait_for_run(run["id"].as_str().unwrap()).await;
    }

    async fn wait_for_run(&self, id: &str) {
        let path = format!("/api/v1/runs/{id}");
        for _ in 0..900 {
            let (_, run) = self.request(Method::GET, &path, String::new()).await;
            if run["state"] == "completed" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the run does not end");
    }
}
