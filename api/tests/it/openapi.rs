//! The OpenAPI document: what it says, and that the server keeps it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Server, send};

#[test]
fn the_document_is_reviewed() {
    let document = serde_json::to_value(opb_api::document()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    insta::assert_json_snapshot!(document, {".info.version" => "[version]"});
}

#[tokio::test]
async fn every_operation_answers_as_documented_to_a_stranger() {
    let server = Server::start().await;
    let document = server.get("/api/openapi.json", "").await.expect(200);
    assert_eq!(
        document,
        serde_json::to_value(opb_api::document()).unwrap(),
        "the served document is the snapshot"
    );
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let concrete = path
                .replace("{run}", "00000000-0000-7000-8000-000000000000")
                .replace(['{', '}'], "");
            let method: Method = method.to_uppercase().parse().unwrap();
            for body in [None, Some(json!({})), Some(json!([1]))] {
                let mut request = server.request(method.clone(), &concrete);
                if let Some(body) = &body {
                    request = request.json(body);
                }
                let reply = send(request).await;
                let documented = &operation["responses"][reply.status.to_string()];
                assert!(
                    documented.is_object(),
                    "{method} {path} answered {} undocumented: {}",
                    reply.status,
                    reply.text
                );
                let kind = reply.header("content-type").split(';').next().unwrap();
                let kinds = documented["content"].as_object();
                assert!(
                    kinds.is_some_and(|kinds| kinds.contains_key(kind)),
                    "{method} {path} answered {kind}, documented are {kinds:?}"
                );
                assert!(reply.status < 500, "{method} {path}: {}", reply.text);
                asked += 1;
            }
        }
    }
    assert!(asked >= 20 * 3, "only {asked} requests");
}

#[tokio::test]
async fn the_document_is_sound() {
    let document = serde_json::to_value(opb_api::document()).unwrap();
    let mut names = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            let (verb, _) = name.split_once('_').unwrap();
            let verbs = [
                "list", "get", "create", "publish", "register", "login", "cancel", "follow",
                "update", "delete", "refresh", "logout", "change", "revoke", "request", "confirm",
                "verify", "start", "finish", "link", "suggest", "compare", "render", "set", "fork",
                "offer", "accept", "decline", "withdraw", "save", "import", "export", "report",
                "moderate", "pause", "resume", "retry", "extend", "rescore", "estimate", "silence",
                "resolve", "test", "rotate", "replay", "check", "hide",
            ];
            assert!(verbs.contains(&verb), "{name}");
            names.push(name);
            let parameters = operation["parameters"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            for parameter in &parameters {
                assert!(
                    parameter["description"].is_string(),
                    "{method} {path}: {parameter} is not described"
                );
            }
            let in_path = parameters
                .iter()
                .filter(|parameter| parameter["in"] == "path")
                .count();
            assert_eq!(in_path, path.matches('{').count(), "{method} {path}");
        }
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "an operation id is used twice");
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        let schema = &document["components"]["schemas"][name];
        assert_ne!(schema, &Value::Null, "{name} is referred to and not there");
    }
}

#[tokio::test]
async fn the_pages_come_from_the_binary() {
    let server = Server::start().await;
    let page = server.get("/", "").await;
    assert_eq!(page.status, 200, "the way leads to the documentation");
    assert!(page.text.contains("swagger-ui"), "{}", page.text);
    for address in ["src=\"http", "href=\"http", "src=\"//"] {
        assert!(!page.text.contains(address), "{}", page.text);
    }
    let script = server.get("/api/docs/swagger-initializer.js", "").await;
    assert_eq!(script.status, 200);
    assert!(script.text.contains("/api/openapi.json"), "{}", script.text);
    let settings = script.text.replace(' ', "");
    for setting in [
        r#""docExpansion":"none""#,
        r#""filter":true"#,
        r#""persistAuthorization":false"#,
    ] {
        assert!(settings.contains(setting), "{setting}: {}", script.text);
    }
    let bundle = server.get("/api/docs/swagger-ui-bundle.js", "").await;
    assert!(bundle.status == 200 && bundle.text.len() > 100_000);
}
