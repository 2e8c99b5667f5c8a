//! What is sent to each API and what is read from its answers, over a real connection to a stand-in that plays recorded
//! answers. The recordings follow the APIs' public documentation; the snapshots hold path, headers and body.

use std::{fmt::Write as _, sync::Arc};

use clap::Parser;
use opb_core::{
    models::ProviderKind,
    outbound::OutboundPolicy,
    runs::{ProviderSettings, RunModel},
    sealing::MasterKey,
    template::{Message, Role},
};
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use uuid::Uuid;

use super::{AnswerHint, CompletionRequest, HttpClient, provider};
use crate::WorkerSettings;

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    worker: WorkerSettings,
}

/// Plays one answer, and returns what it was asked: the head and the body.
async fn play(listener: TcpListener, reply: String) -> (String, String) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut received = Vec::new();
    loop {
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
        let text = String::from_utf8(received.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        if body.len() >= length {
            stream.write_all(reply.as_bytes()).await.unwrap();
            return (head.to_owned(), body.to_owned());
        }
    }
}

/// What of a request's head matters; what changes with every signature is left out.
fn shown(head: &str) -> String {
    let mut lines = head.lines();
    let mut text = format!("{}\n", lines.next().unwrap());
    let mut headers: Vec<String> = lines
        .filter(|line| {
            !["host:", "content-length:", "accept:", "user-agent:"]
                .iter()
                .any(|name| line.starts_with(name))
        })
        .map(|line| match line.split_once("Signature=") {
            Some((signed, _)) => format!("{signed}Signature=…"),
            None if line.starts_with("x-amz-date:") => "x-amz-date: …".to_owned(),
            None => line.to_owned(),
        })
        .map(|line| match line.split_once("Credential=AKIDEXAMPLE/") {
            Some((before, scope)) => {
                format!("{before}Credential=AKIDEXAMPLE/…{}", &scope[8..])
            }
            None => line,
        })
        .collect();
    headers.sort();
    for header in headers {
        writeln!(text, "{header}").unwrap();
    }
    text
}

fn settings() -> WorkerSettings {
    WorkerSettings {
        outbound: Arc::new(OutboundPolicy::local()),
        ..Program::parse_from(["worker", "--call-timeout=30"]).worker
    }
}

fn model(kind: ProviderKind, base_url: String, name: &str, parameters: &Value) -> RunModel {
    let settings = match kind {
        ProviderKind::Bedrock => json!({"region": "eu-central-1"}),
        ProviderKind::Http => json!({
            "request": {
                "model": "{{ model }}",
                "input": "Question: {{ prompt }}",
                "chat": "{{ messages }}",
                "options": {"heat": "{{ parameters.temperature }}", "seed": "{{ parameters.seed }}"},
            },
            "text": "/generations/0/text",
            "input_tokens": "/meta/in",
            "output_tokens": "/meta/out",
            "finish_reason": "/generations/0/stop",
            "credential_header": "x-api-key",
            "credential_prefix": "Token ",
        }),
        _ => json!({}),
    };
    RunModel {
        name: name.to_owned(),
        parameters: parameters.as_object().cloned().unwrap(),
        provider: ProviderSettings {
            id: Uuid::nil(),
            name: "recorded".to_owned(),
            kind,
            base_url: Some(base_url),
            settings: settings.as_object().cloned().unwrap(),
            sealed_credential: None,
        },
        price: None,
        output_limit: None,
    }
}

fn messages() -> Vec<Message> {
    let say = |role, content: &str| Message {
        role,
        content: content.to_owned(),
    };
    vec![
        say(Role::System, "Be brief."),
        say(Role::User, "What is 2+2?"),
        say(Role::Assistant, "4"),
        say(Role::User, "And \"3\"+3?"),
    ]
}

fn request(messages: &[Message]) -> CompletionRequest<'_> {
    CompletionRequest {
        messages,
        repeat: 2,
        answer: AnswerHint {
            expected: Some("never sent"),
            item: "never sent",
            seed: 1,
        },
    }
}

/// Asks once, and shows what was sent and what was made of the recorded answer.
async fn exchange(kind: ProviderKind, parameters: &Value, status: &str, recording: &str) -> String {
    let folder = serde_json::to_value(kind).unwrap();
    let folder = folder.as_str().unwrap();
    let path = format!(
        "{}/src/providers/recordings/{folder}/{recording}",
        env!("CARGO_MANIFEST_DIR")
    );
    let recorded = std::fs::read_to_string(&path).unwrap();
    let content_type = if recording.ends_with(".txt") {
        "text/event-stream; charset=utf-8"
    } else {
        "application/json"
    };
    let reply = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n{recorded}",
        recorded.len()
    );
    let (name, credential) = match kind {
        ProviderKind::Bedrock => (
            "eu.anthropic.claude-haiku-4-5-20251001-v1:0",
            "AKIDEXAMPLE:canary-secret-5678:canary-token-9999",
        ),
        ProviderKind::Gemini => ("gemini-2.5-flash", "canary-credential-1234"),
        ProviderKind::AzureOpenai => ("my deployment", "canary-credential-1234"),
        _ => ("some-model", "canary-credential-1234"),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/base", listener.local_addr().unwrap());
    let mut model = model(kind, base_url, name, parameters);
    let key = MasterKey::parse(&"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=".into()).unwrap();
    model.provider.sealed_credential = Some(key.seal(&credential.into(), Uuid::nil().as_bytes()));
    let settings = settings();
    let http = HttpClient::new(&settings).unwrap();
    let asked = match provider(&model, &http, &key, &settings) {
        Ok(asked) => asked,
        Err(error) => return format!("no request: {error:#}\n"),
    };
    let played = tokio::spawn(play(listener, reply));
    let messages = messages();
    let result = asked.complete(&request(&messages), 0).await;
    let (head, body) = played.await.unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    let outcome = match result {
        Ok(completion) => {
            assert_eq!(
                completion.first_token_after.is_some(),
                recording.ends_with(".txt"),
                "only streams know when their first text came"
            );
            format!(
                "text: {}\nfinish reason: {:?}\ntokens: {:?} ({:?} cached), {:?} ({:?} reasoning){}",
                completion.text,
                completion.finish_reason,
                completion.input_tokens,
                completion.cached_input_tokens,
                completion.output_tokens,
                completion.reasoning_tokens,
                if completion.surcharged {
                    ", surcharged"
                } else {
                    ""
                }
            )
        }
        Err(error) => format!(
            "{} (retry: {}, after {:?}): {}",
            error.kind.name(),
            error.kind.may_pass(),
            error.retry_after,
            error.message
        ),
    };
    for canary in [
        "canary-credential-1234",
        "canary-secret-5678",
        "canary-token-9999",
    ] {
        assert!(!outcome.contains(canary), "{outcome}");
    }
    let body = serde_json::to_string_pretty(&body).unwrap();
    format!("{}\n{body}\n\n{outcome}\n", shown(&head))
}

/// What comes back, without what was sent.
async fn outcome(kind: ProviderKind, status: &str, recording: &str) -> String {
    let parameters = if recording.ends_with(".txt")
        || kind == ProviderKind::Bedrock
        || kind == ProviderKind::Http
    {
        json!({})
    } else {
        json!({"stream": false})
    };
    let shown = exchange(kind, &parameters, status, recording).await;
    let outcome = shown.rsplit("}\n\n").next().unwrap().to_owned();
    format!("{recording}: {outcome}")
}

/// Every parameter that the table of docs/PROVIDERS.md knows, and one that it does not.
fn rich(without: &[&str]) -> Value {
    let mut parameters = json!({
        "max_tokens": 64, "temperature": 0.5, "top_p": 0.9, "stop": "END", "seed": 7,
        "tools": [{"type": "function", "function": {
            "name": "get_weather", "description": "Tells the weather.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        }}, {"native": {}}],
        "tool_choice": "required",
        "response_format": {"type": "json_schema", "json_schema": {"name": "weather", "schema": {"type": "object"}}},
        "reasoning_effort": "low",
        "unknown_parameter": {"as": "it is"},
    });
    let fields: &mut Map<String, Value> = parameters.as_object_mut().unwrap();
    fields.retain(|name, _| !without.contains(&name.as_str()));
    parameters
}

/// Plain and rich requests, with the answers to them, and then every other recorded answer.
async fn contract(
    kind: ProviderKind,
    no_place: &[&str],
    asked: &[(&str, bool)],
    answered: &[(&str, &str)],
) -> String {
    let mut text = String::new();
    for (recording, is_rich) in asked {
        let mut parameters = if *is_rich { rich(no_place) } else { json!({}) };
        if !recording.ends_with(".txt") {
            parameters["stream"] = false.into();
        }
        let shown = exchange(kind, &parameters, "200 OK", recording).await;
        writeln!(text, "=== {recording}\n{shown}").unwrap();
    }
    for name in no_place {
        let parameters = json!({ *name: rich(&[])[*name] });
        let shown = exchange(kind, &parameters, "200 OK", asked[0].0).await;
        assert!(shown.starts_with("no request: "), "{name}: {shown}");
    }
    for (status, recording) in answered {
        text.push_str(&outcome(kind, status, recording).await);
    }
    text
}

#[tokio::test]
async fn openai() {
    let shown = contract(
        ProviderKind::Openai,
        &[],
        &[
            ("whole.json", false),
            ("stream.txt", false),
            ("tools.txt", true),
        ],
        &[
            ("200 OK", "refusal.json"),
            ("200 OK", "no_usage.json"),
            ("401 Unauthorized", "error.json"),
            ("429 Too Many Requests\r\nretry-after: 7", "rate_limit.json"),
            ("200 OK", "error_in_stream.txt"),
        ],
    )
    .await;
    insta::assert_snapshot!(shown);
}

#[tokio::test]
async fn azure_openai() {
    let shown = contract(
        ProviderKind::AzureOpenai,
        &[],
        &[("whole.json", false)],
        &[
            ("400 Bad Request", "filtered.json"),
            ("404 Not Found", "error.json"),
        ],
    )
    .await;
    insta::assert_snapshot!(shown);
}

#[tokio::test]
async fn openai_responses() {
    let shown = contract(
        ProviderKind::OpenaiResponses,
        &["stop", "seed"],
        &[
            ("whole.json", false),
            ("stream.txt", false),
            ("tools.json", true),
        ],
        &[
            ("200 OK", "refusal.txt"),
            ("200 OK", "incomplete.json"),
            ("200 OK", "error.txt"),
            (
                "429 Too Many Requests\r\nretry-after-ms: 7000",
                "rate_limit.json",
            ),
        ],
    )
    .await;
    insta::assert_snapshot!(shown);
}

#[tokio::test]
async fn anthropic() {
    let shown = contract(
        ProviderKind::Anthropic,
        &["seed"],
        &[
            ("whole.json", false),
            ("stream.txt", false),
            ("tools.txt", true),
        ],
        &[
            ("200 OK", "refusal.json"),
            ("200 OK", "cache_write.json"),
            ("200 OK", "searched.json"),
            ("200 OK", "no_usage.json"),
            ("401 Unauthorized", "error.json"),
            ("429 Too Many Requests\r\nretry-after: 7", "rate_limit.json"),
            ("200 OK", "error_in_stream.txt"),
        ],
    )
    .await;
    insta::assert_snapshot!(shown);
}

#[tokio::test]
async fn gemini() {
    let shown = contract(
        ProviderKind::Gemini,
        &[],
        &[
            ("whole.json", false),
            ("stream.txt", false),
            ("tools.json", true),
        ],
        &[
            ("200 OK", "refusal.json"),
            ("200 OK", "no_usage.json"),
            ("400 Bad Request", "error.json"),
            ("429 Too Many Requests", "rate_limit.json"),
        ],
    )
    .await;
    insta::assert_snapshot!(shown);
}

#[tokio::test]
async fn bedrock() {
    let shown = contract(
        ProviderKind::Bedrock,
        &["seed"],
        &[("whole.json", false), ("tools.json", true)],
        &[
            ("200 OK", "refusal.json"),
            ("200 OK", "no_usage.json"),
            ("403 Forbidden", "error.json"),
            ("429 Too Many Requests", "rate_limit.json"),
        ],
    )
    .await;
    insta::assert_snapshot!(shown);
}

#[tokio::test]
async fn http() {
    let shown = contract(
        ProviderKind::Http,
        &[],
        &[("whole.json", false), ("whole.json", true)],
        &[
            ("200 OK", "no_usage.json"),
            ("200 OK", "nothing.json"),
            ("401 Unauthorized", "error.json"),
        ],
    )
    .await;
    insta::assert_snapshot!(shown);
}

#[tokio::test]
async fn wrong_parameters_say_how_to_mend_them() {
    let check = async |kind, parameters: Value, expect: &str| {
        let shown = exchange(kind, &parameters, "200 OK", "whole.json").await;
        assert_eq!(shown, format!("no request: {expect}\n"), "{parameters}");
    };
    let openai = ProviderKind::Openai;
    check(
        openai,
        json!({"model": "x"}),
        "the parameter `model` is set by the worker",
    )
    .await;
    check(
        openai,
        json!({"stream": "yes"}),
        "the parameter `stream` must be true or false",
    )
    .await;
    let twice = json!({"max_tokens": 1, "generationConfig": {"maxOutputTokens": 2}});
    check(
        ProviderKind::Gemini,
        twice,
        "the parameter `generationConfig.maxOutputTokens` is given twice, by two names",
    )
    .await;
    let wrong = json!({"temperature": 1, "inferenceConfig": 2});
    check(
        ProviderKind::Bedrock,
        wrong,
        "the parameter `inferenceConfig` must be an object",
    )
    .await;
    check(
        ProviderKind::Anthropic,
        json!({"response_format": {"type": "json_object"}}),
        "the parameter `response_format` must give a schema: this provider's API has no other way to ask for JSON",
    )
    .await;
    check(
        ProviderKind::Http,
        json!({"stream": true}),
        "the parameter `stream` must be false or absent: providers of this kind are asked for whole answers",
    )
    .await;
}

#[tokio::test]
async fn an_echo_answers_with_the_question() {
    let model = model(ProviderKind::Echo, String::new(), "any", &json!({}));
    let settings = settings();
    let http = HttpClient::new(&settings).unwrap();
    let key = MasterKey::parse(&"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=".into()).unwrap();
    let echo = provider(&model, &http, &key, &settings).unwrap();
    let answer = echo.complete(&request(&messages()), 0).await.unwrap();
    assert_eq!(answer.text, "And \"3\"+3?");
    assert_eq!(
        (answer.input_tokens, answer.output_tokens),
        (Some(8), Some(3))
    );
}

/// The server of llama.cpp with a real model, where `make test-real` has started one.
#[tokio::test]
async fn a_real_server_keeps_the_contract() {
    let variables = ["OPB_REAL_MODEL_URL", "OPB_REAL_MODEL_NAME"].map(std::env::var);
    let [Ok(url), Ok(name)] = variables else {
        eprintln!("skipped: no real model; `make test-real` starts one");
        return;
    };
    let settings = settings();
    let http = HttpClient::new(&settings).unwrap();
    let key = MasterKey::parse(&"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=".into()).unwrap();
    let messages = messages();
    let ask = async |kind, parameters: Value| {
        let model = model(kind, url.clone(), &name, &parameters);
        let provider = provider(&model, &http, &key, &settings).unwrap();
        let answer = provider.complete(&request(&messages), 0).await;
        let answer = answer.unwrap_or_else(|error| panic!("{parameters}: {error}"));
        assert!(!answer.text.is_empty(), "{parameters}");
        assert!(
            answer.input_tokens.is_some_and(|tokens| tokens > 10),
            "{answer:?}"
        );
        assert!(
            answer.output_tokens.is_some_and(|tokens| tokens > 0),
            "{answer:?}"
        );
        answer
    };
    let chat = ProviderKind::Openai;
    let streamed = ask(chat, json!({"max_tokens": 8, "temperature": 0})).await;
    let whole = ask(
        chat,
        json!({"max_tokens": 8, "temperature": 0, "stream": false}),
    )
    .await;
    assert_eq!(streamed.text, whole.text);
    assert!(streamed.first_token_after.is_some() && whole.first_token_after.is_none());
    assert_eq!(streamed.finish_reason, whole.finish_reason);
    let seeded = json!({"max_tokens": 16, "temperature": 0.8, "seed": 5});
    assert_eq!(
        ask(chat, seeded.clone()).await.text,
        ask(chat, seeded).await.text
    );
    let schema = json!({"type": "object", "properties": {"sum": {"type": "integer", "minimum": 0, "maximum": 99}}, "required": ["sum"]});
    let format = json!({"type": "json_schema", "json_schema": {"name": "sum", "schema": schema}});
    let shaped = ask(chat, json!({"max_tokens": 32, "response_format": format})).await;
    let shaped: Value = serde_json::from_str(&shaped.text).unwrap();
    assert!(shaped["sum"].is_u64(), "{shaped}");
    let stopped = ask(
        chat,
        json!({"max_tokens": 64, "temperature": 0, "stop": [" "]}),
    )
    .await;
    assert!(!stopped.text.trim_end().contains(' '), "{stopped:?}");

    let responses = ProviderKind::OpenaiResponses;
    for stream in [true, false] {
        let parameters = json!({"max_tokens": 8, "temperature": 0, "stream": stream});
        let answer = ask(responses, parameters).await;
        assert_eq!(answer.first_token_after.is_some(), stream, "{answer:?}");
    }

    let refused = model(chat, url.clone(), &name, &json!({"max_tokens": "many"}));
    let refused = provider(&refused, &http, &key, &settings).unwrap();
    let error = refused.complete(&request(&messages), 0).await.unwrap_err();
    assert!(
        !error.kind.may_pass() || error.kind.name() == "server",
        "{error:?}"
    );
}
