//! Tests of what is sent to each API and what is read from its responses, over a real connection to a mock server with
//! recorded responses. The recordings follow the APIs' public documentation; the snapshots contain path, headers and
//! body.

mod recorded;

use opb_core::{models::ProviderKind, sealing::MasterKey};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::oneshot,
};
use uuid::Uuid;

use std::fmt::Write as _;

use self::recorded::{
    PIXEL, contract, exchange, exchange_of, images, messages, model, request, settings,
};
use super::{HttpClient, provider};

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
            ("200 OK", "logprobs.json"),
            ("200 OK", "logprobs.txt"),
            ("200 OK", "absurd_logprobs.json"),
            ("200 OK", "wrong_logprobs.json"),
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
            ("200 OK", "logprobs.json"),
            ("200 OK", "logprobs.txt"),
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
            ("200 OK", "logprobs.json"),
        ],
    )
    .await;
    insta::assert_snapshot!(shown);
}

#[tokio::test]
async fn logprobs_are_asked_for_in_the_words_of_each_api() {
    let parameters = json!({"logprobs": true, "top_logprobs": 2, "stream": false});
    for (kind, pointer, expect) in [
        (ProviderKind::Openai, "/logprobs", json!(true)),
        (ProviderKind::Openai, "/top_logprobs", json!(2)),
        (
            ProviderKind::OpenaiResponses,
            "/include",
            json!(["message.output_text.logprobs"]),
        ),
        (ProviderKind::OpenaiResponses, "/top_logprobs", json!(2)),
        (ProviderKind::OpenaiResponses, "/logprobs", Value::Null),
        (
            ProviderKind::Gemini,
            "/generationConfig",
            json!({"responseLogprobs": true, "logprobs": 2}),
        ),
    ] {
        let shown = exchange(kind, &parameters, "200 OK", "logprobs.json").await;
        let body = &shown[shown.find('{').unwrap()..shown.find("\n}\n").unwrap() + 2];
        let body: Value = serde_json::from_str(body).unwrap();
        let found = body.pointer(pointer).cloned().unwrap_or_default();
        assert_eq!(found, expect, "{kind:?} {pointer}");
    }
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
async fn images_travel_in_the_shape_of_each_api() {
    let mut text = String::new();
    let both = images(&[PIXEL, "https://example.org/a.png"]);
    for kind in [
        ProviderKind::Openai,
        ProviderKind::AzureOpenai,
        ProviderKind::OpenaiResponses,
        ProviderKind::Anthropic,
        ProviderKind::Gemini,
        ProviderKind::Bedrock,
        ProviderKind::Http,
    ] {
        // Bedrock does not fetch images.
        let messages = match kind {
            ProviderKind::Bedrock => images(&[PIXEL]),
            _ => both.clone(),
        };
        let parameters = json!({"stream": false});
        let shown = exchange_of(&messages, kind, &parameters, "200 OK", "whole.json").await;
        writeln!(text, "=== {kind:?}\n{shown}").unwrap();
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn bedrock_refuses_the_address_of_an_image_and_calls_nobody() {
    let nowhere = "http://127.0.0.1:1".to_owned();
    let mut model = model(ProviderKind::Bedrock, nowhere, "any", &json!({}));
    let settings = settings();
    let http = HttpClient::new(&settings).unwrap();
    let key = MasterKey::parse(&"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=".into()).unwrap();
    let credential = "AKIDEXAMPLE:secret".into();
    model.provider.sealed_credential = Some(key.seal(&credential, Uuid::nil().as_bytes()));
    let bedrock = provider(&model, &http, &key, &settings).unwrap();
    let messages = images(&["https://example.org/a.png"]);
    let error = bedrock.complete(&request(&messages), 0).await.unwrap_err();
    assert_eq!(error.kind.name(), "request");
    assert!(error.message.contains("give a data URL"), "{error}");
}

/// Streams are long, and little of them is stored: none may delay another, nor fail because of what is not stored.
#[tokio::test]
async fn a_long_stream_keeps_nobody_waiting() {
    const EVENTS_OF_THE_SECOND: usize = 10_000;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (written, first_is_long) = oneshot::channel();
    tokio::spawn(async move {
        let padding = "x".repeat(1_000);
        let event = format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"a\"}}}}],\"padding\":\"{padding}\"}}\n\n"
        );
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        // More than the socket buffers hold: most of it was read once everything is written.
        let (mut first, _) = listener.accept().await.unwrap();
        first.read_u8().await.unwrap();
        let long = head.to_owned() + &event.repeat(20_000);
        first.write_all(long.as_bytes()).await.unwrap();
        written.send(()).unwrap();
        let (mut second, _) = listener.accept().await.unwrap();
        second.read_u8().await.unwrap();
        let whole = head.to_owned() + &event.repeat(EVENTS_OF_THE_SECOND) + "data: [DONE]\n\n";
        second.write_all(whole.as_bytes()).await.unwrap();
        std::future::pending::<()>().await;
        drop(first);
    });
    let model = model(ProviderKind::Openai, base_url, "any", &json!({}));
    let settings = settings();
    let http = HttpClient::new(&settings).unwrap();
    let key = MasterKey::parse(&"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=".into()).unwrap();
    let asked = provider(&model, &http, &key, &settings).unwrap();
    let messages = messages();
    let request = request(&messages);
    let second = async {
        first_is_long.await.unwrap();
        asked.complete(&request, 0).await
    };
    tokio::select! {
        first = asked.complete(&request, 0) => panic!("the first stream has no end: {:?}", first.err()),
        second = second => assert_eq!(second.unwrap().text.len(), EVENTS_OF_THE_SECOND),
    }
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
    let seen = echo.complete(&request(&images(&[PIXEL])), 0).await.unwrap();
    assert_eq!(
        seen.text,
        "What is on it?\n[image: gif, 39 bytes, c28ef580]"
    );
    assert_eq!(
        (answer.input_tokens, answer.output_tokens),
        (Some(8), Some(3))
    );
}

/// The llama.cpp server with a real model, started by `make test-real`; excluded elsewhere in .config/nextest.toml.
#[tokio::test]
async fn a_real_server_keeps_the_contract() {
    let [url, name] = ["OPB_REAL_MODEL_URL", "OPB_REAL_MODEL_NAME"]
        .map(|variable| std::env::var(variable).expect("`make test-real` names a real model"));
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

    for stream in [true, false] {
        let parameters = json!({"max_tokens": 8, "temperature": 0, "stream": stream, "logprobs": true, "top_logprobs": 3});
        let answer = ask(chat, parameters).await;
        let logprobs = answer.logprobs.expect("they were asked for");
        let said: String = logprobs.tokens.iter().map(|token| &*token.token).collect();
        assert!(said.contains(answer.text.trim()), "{said:?}");
        assert!(
            logprobs
                .mean
                .is_some_and(|mean| (-20.0..=0.0).contains(&mean))
        );
        assert!(logprobs.tokens.iter().all(|token| token.top.len() == 3));
    }
    assert_eq!(whole.logprobs, None, "they were not asked for");

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
