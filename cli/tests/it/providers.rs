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
    let limits = |words: &[&str]| site.check(&[&["provider", "limits", "second"], words].concat(), 0);
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
    assert_eq!(rotated["resealed"], 1);
    assert_ne!(fs::read_to_string(&key_file).unwrap(), old);
    assert_eq!(
        key_file.metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(!site.data().join("master-key.next").exists());
    // The API key of this machine is still good, and the credential opens: the provider is asked with it.
    let _up = site.up(&[]);
    let run = [
        "run",
        "--benchmark=capitals",
        "--prompt=capital-question",
        "--model=third:any",
        "--json",
    ];
    let run = site.check(&run, 3).json();
    assert!(
        run["state_reason"].as_str().unwrap().contains("connect"),
        "{run}"
    );
}
