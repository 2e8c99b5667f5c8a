//! Providers and the key that seals their credentials.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::site::{Site, signal};

#[test]
fn providers_change_go_and_survive_a_new_master_key() {
    let site = Site::new();
    let mut up = site.up(&[]);
    let add = |name: &str, url: &str| {
        let words = [
            "provider",
            "add",
            name,
            "--base-url",
            url,
            "--credential-env",
            "CREDENTIAL",
        ];
        let mut command = site.command(&words);
        let output = command
            .env("CREDENTIAL", "sk-0123456789abcdef")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    add("first", "http://127.0.0.1:1/v1");
    add("second", "https://example.org/v1");
    let removed = site.check(&["provider", "remove", "first"], 0);
    assert!(removed.out.contains("removed first"), "{}", removed.out);
    site.check(&["provider", "remove", "first"], 2);
    site.check(&["provider", "set-key", "second"], 2);
    let changed = site.check(&["provider", "set-key", "second", "--none", "--json"], 0);
    assert!(changed.json()["credential_hint"].is_null());
    let limits =
        |words: &[&str]| site.check(&[&["provider", "limits", "second"], words].concat(), 0);
    assert!(limits(&[]).out.contains("second has no limits"));
    let declared = limits(&["--requests-per-minute", "600", "--daily-dollars", "1.50"]);
    assert!(declared.out.contains("600"), "{}", declared.out);
    assert!(limits(&[]).out.contains("$1.50"));
    assert_eq!(limits(&["--none", "--json"]).json(), serde_json::json!([]));
    add("third", "http://localhost:1/v1");
    let refused = [
        "provider",
        "add",
        "metadata",
        "--base-url",
        "http://169.254.169.254/v1",
    ];
    let refused = site.check(&refused, 2);
    assert!(refused.error().contains("may not call"), "{}", refused.err);

    let busy = site.check(&["admin", "rotate-master-key"], 1);
    assert!(busy.error().contains("already serves"), "{}", busy.err);
    signal("TERM", up.id());
    up.wait();
    let key_file = site.data().join("master-key");
    let old = fs::read_to_string(&key_file).unwrap();
    let rotated = site
        .check(&["admin", "rotate-master-key", "--json"], 0)
        .json();
    assert_eq!(
        rotated["resealed"],
        serde_json::json!({"credentials": 1, "mails": 0, "webhooks": 0})
    );
    assert_ne!(fs::read_to_string(&key_file).unwrap(), old);
    assert_eq!(
        key_file.metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(!site.data().join("master-key.next").exists());
    // The API key of this machine is still good, and the credential opens: the provider is asked with it.
    let _up = site.up(&["--patience=0"]);
    let run = [
        "run",
        "--benchmark=capitals",
        "--prompt=capital-question",
        "--model=third:any",
        "--json",
    ];
    let run = site.check(&run, 3).json();
    // Nobody listens there, and nothing ever has: each call is refused once.
    let reason = run["state_reason"].as_str().unwrap();
    assert!(reason.contains("connect"), "{run}");
    assert_eq!(run["retries"], 0, "{run}");
}

#[test]
fn a_preset_needs_its_name_and_a_key_and_brings_its_prices() {
    let site = Site::new();
    let _up = site.up(&[]);
    let presets = site.check(&["provider", "presets"], 0);
    assert!(presets.out.contains("GROQ_API_KEY"), "{}", presets.out);
    let words = ["provider", "add", "groq", "--key-from-env", "KEY", "--json"];
    let added = site
        .command(&words)
        .env("KEY", "gsk-0123456789")
        .output()
        .unwrap();
    assert!(added.status.success(), "{added:?}");
    let prices = site.check(&["price", "list", "--provider", "groq"], 0);
    assert!(
        prices.out.contains("groq:openai/gpt-oss-20b"),
        "{}",
        prices.out
    );
    assert!(prices.out.contains("0.075"), "{}", prices.out);

    let file = site.data().join("prices.json");
    let row = r#"{"litellm_provider":"groq","mode":"chat","input_cost_per_token":1e-6,"output_cost_per_token":1e-6}"#;
    fs::write(&file, format!(r#"{{"groq/openai/gpt-oss-20b":{row}}}"#)).unwrap();
    let file = file.to_str().unwrap();
    let imported = site.check(&["price", "import", file], 0);
    assert!(
        imported.out.contains("0 new, 1 changed"),
        "{}",
        imported.out
    );
    fs::write(file, "[]").unwrap();
    let refused = site.check(&["price", "import", file], 2);
    assert!(
        refused.error().contains("not a JSON object"),
        "{}",
        refused.err
    );

    let settings = r#"{"request": {"q": "{{ prompt }}"}, "text": "/a"}"#;
    let url = "http://127.0.0.1:1/ask";
    let words = [
        "provider",
        "add",
        "mine",
        "--kind",
        "http",
        "--base-url",
        url,
        "--settings",
        settings,
        "--json",
    ];
    let added = site.check(&words, 0).json();
    assert_eq!(added["settings"]["text"], "/a");
    site.check(&["provider", "add", "nobody-knows"], 2);
    site.check(&["provider", "add", "echo", "--kind", "echo"], 0);
    let run = [
        "run",
        "--benchmark=capitals",
        "--prompt=capital-question",
        "--model=echo:any",
        "--json",
    ];
    let run = site.check(&run, 0).json();
    assert_eq!(
        (&run["cost_microusd"], &run["simulated"]),
        (&0.into(), &true.into())
    );
}
