//! A mock server with a recorded response, and the formatting of the exchange with it.

use std::{fmt::Write as _, sync::Arc};

use clap::Parser;
use opb_core::{
    models::ProviderKind,
    outbound::OutboundPolicy,
    runs::{ProviderSettings, RunModel},
    sealing::MasterKey,
    template::{Content, Message, Part, Role},
};
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use uuid::Uuid;

use crate::providers::{AnswerHint, CompletionRequest, HttpClient, provider};
use crate::settings::WorkerSettings;

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    worker: WorkerSettings,
}

/// Sends one response, and returns the head and body of the request.
pub(super) async fn play(listener: TcpListener, reply: String) -> (String, String) {
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

/// The relevant part of a request's head; parts that change with every signature are omitted.
pub(super) fn shown(head: &str) -> String {
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

/// Streams are recorded as text, complete responses as JSON.
pub(super) fn is_stream(recording: &str) -> bool {
    recording.rsplit('.').next() == Some("txt")
}

pub(super) fn settings() -> WorkerSettings {
    WorkerSettings {
        outbound: Arc::new(OutboundPolicy::local()),
        ..Program::parse_from(["worker", "--call-timeout=30"]).worker
    }
}

pub(super) fn model(
    kind: ProviderKind,
    base_url: String,
    name: &str,
    parameters: &Value,
) -> RunModel {
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
            has_answered: false,
        },
        price: None,
        output_limit: None,
        image_tokens: 0,
        learned: None,
    }
}

pub(super) fn messages() -> Vec<Message> {
    let say = |role, content: &str| Message {
        role,
        content: content.into(),
    };
    vec![
        say(Role::System, "Be brief."),
        say(Role::User, "What is 2+2?"),
        say(Role::Assistant, "4"),
        say(Role::User, "And \"3\"+3?"),
    ]
}

pub(super) fn request(messages: &[Message]) -> CompletionRequest<'_> {
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

/// A single black pixel.
pub(super) const PIXEL: &str =
    "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==";

/// A question with images at these URLs.
pub(super) fn images(urls: &[&str]) -> Vec<Message> {
    let mut parts = vec![Part::Text {
        text: "What is on it?".into(),
    }];
    parts.extend(urls.iter().map(|url| Part::Image { url: (*url).into() }));
    let mut messages = messages();
    messages.push(Message {
        role: Role::User,
        content: Content::Parts(parts),
    });
    messages
}

/// Makes a call, and shows what was sent and how the recorded response was read.
pub(super) async fn exchange(
    kind: ProviderKind,
    parameters: &Value,
    status: &str,
    recording: &str,
) -> String {
    exchange_of(&messages(), kind, parameters, status, recording).await
}

/// Like `exchange`, with other messages.
pub(super) async fn exchange_of(
    messages: &[Message],
    kind: ProviderKind,
    parameters: &Value,
    status: &str,
    recording: &str,
) -> String {
    let folder = serde_json::to_value(kind).unwrap();
    let folder = folder.as_str().unwrap();
    let path = format!(
        "{}/src/providers/recordings/{folder}/{recording}",
        env!("CARGO_MANIFEST_DIR")
    );
    let recorded = std::fs::read_to_string(&path).unwrap();
    let content_type = if is_stream(recording) {
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
    let result = asked.complete(&request(messages), 0).await;
    let (head, body) = played.await.unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    let outcome = match result {
        Ok(completion) => {
            assert_eq!(
                completion.first_token_after.is_some(),
                is_stream(recording),
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
            ) + &completion.logprobs.map_or_else(String::new, |logprobs| {
                format!("\nlogprobs: {}", json!(logprobs))
            })
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

/// The result only, without the request.
pub(super) async fn outcome(kind: ProviderKind, status: &str, recording: &str) -> String {
    let parameters =
        if is_stream(recording) || kind == ProviderKind::Bedrock || kind == ProviderKind::Http {
            json!({})
        } else {
            json!({"stream": false})
        };
    let shown = exchange(kind, &parameters, status, recording).await;
    let outcome = shown.rsplit("}\n\n").next().unwrap().to_owned();
    format!("{recording}: {outcome}")
}

/// Every parameter in the table of docs/PROVIDERS.md, and one that is not.
pub(super) fn rich(without: &[&str]) -> Value {
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

/// Minimal and full requests with their responses, and then every other recorded response.
pub(super) async fn contract(
    kind: ProviderKind,
    no_place: &[&str],
    asked: &[(&str, bool)],
    answered: &[(&str, &str)],
) -> String {
    let mut text = String::new();
    for (recording, is_rich) in asked {
        let mut parameters = if *is_rich { rich(no_place) } else { json!({}) };
        if !is_stream(recording) {
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
