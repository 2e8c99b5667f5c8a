//! `opb webhooks`: an address is told, the messages are looked at, sent again, and stopped.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use serde_json::{Value, json};

use crate::site::{Printed, Site, wait_until};

/// Takes every message, and hands its `webhook-id` on.
fn receiver() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, ids) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|read| read > 2) {
                if let Some(id) = line.to_lowercase().strip_prefix("webhook-id: ") {
                    sender.send(id.trim().to_owned()).unwrap();
                }
                line.clear();
            }
            let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
            stream.get_mut().write_all(answer).unwrap();
        }
    });
    (address, ids)
}

#[test]
fn a_webhook_is_told_asked_about_and_stopped() {
    let site = Site::new();
    let _up = site.up(&[]);
    let (address, ids) = receiver();
    let next_id = || ids.recv_timeout(Duration::from_mins(1)).unwrap();
    assert_eq!(site.check(&["webhook", "list"], 0).out, "no webhooks yet\n");

    let words = [
        "webhook",
        "add",
        "ops",
        "--event=alert.firing,alert.resolved",
    ];
    let no_address = site.check(&words, 2);
    assert!(
        no_address.error().contains("--address-env"),
        "{}",
        no_address.err
    );
    let unknown = site.check(&["webhook", "add", "ops", "--event=weather"], 2);
    assert!(unknown.err.contains("run.finished"), "{}", unknown.err);
    let add = |url: &str| {
        let words = [&words[..], &["--address-env=HOOK", "--json"]].concat();
        let output = site.command(&words).env("HOOK", url).output().unwrap();
        Printed {
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    };
    let refused = add("http://169.254.169.254/hook");
    assert!(
        refused.problem()["errors"][0]["path"] == "url",
        "{}",
        refused.err
    );
    let made = add(&format!("{address}/a-secret-path")).json();
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"), "{made}");
    let id = made["id"].as_str().unwrap();
    let webhooks = |action: &str, words: &[&str]| {
        site.check(&[&["webhook", action, "ops", "--json"], words].concat(), 0)
            .json()
    };
    let listed = site.check(&["webhook", "list"], 0).out;
    assert!(
        listed.contains("alert.firing") && listed.contains("works"),
        "{listed}"
    );
    assert!(
        !listed.contains("a-secret-path") && !listed.contains(secret),
        "{listed}"
    );

    let message = webhooks("test", &[]);
    let message = message["id"].as_str().unwrap();
    assert_eq!(next_id(), message);
    let delivered = |times: i32| {
        wait_until("the note of an attempt", || {
            let delivery = &webhooks("show", &[])["deliveries"][0];
            delivery["state"] == "delivered" && delivery["attempts"] == times
        });
    };
    delivered(1);
    assert!(
        site.check(&["webhook", "show", id], 0)
            .out
            .contains("delivered")
    );

    let paused = webhooks("pause", &[]);
    assert!(paused["disabled_at"].is_string(), "{paused}");
    let stopped = site.check(&["webhook", "replay", id, message], 2);
    assert!(stopped.error().contains("disabled"), "{}", stopped.err);
    assert_eq!(webhooks("resume", &[])["disabled_at"], Value::Null);
    let replayed = site.check(&["webhooks", "replay", id, message], 0).out;
    assert!(replayed.contains("opb webhook attempts"), "{replayed}");
    assert_eq!(next_id(), message, "the same id each time");
    wait_until("the second attempt", || {
        webhooks("attempts", &[message])["items"]
            .as_array()
            .is_some_and(|items| items.len() == 2)
    });
    for meant in [message, &message[message.len() - 6..], "last"] {
        let attempts = site.check(&["webhook", "attempts", id, meant], 0).out;
        assert!(attempts.contains("204"), "{meant}: {attempts}");
    }
    let none = site.check(&["webhook", "attempts", id, "nothing"], 2);
    assert!(none.error().contains("opb webhook show"), "{}", none.err);

    let rotated = webhooks("rotate-secret", &[]);
    assert_ne!(rotated["secret"].as_str().unwrap(), secret);
    let changed = webhooks("change", &["--event=run.finished", "--format=slack"]);
    assert_eq!(
        (&changed["events"], &changed["format"], &changed["name"]),
        (&json!(["run.finished"]), &json!("slack"), &json!("ops"))
    );
    let removed = site.check(&["webhook", "remove", id], 0);
    assert_eq!(removed.out, format!("removed webhook {id}\n"));
    site.check(&["webhook", "show", id], 2);
}
