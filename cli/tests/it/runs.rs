//! Runs and imports over REST, and how `opb run` ends.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::Stdio,
};

use crate::site::{Site, signal, wait_for_end};

#[test]
fn a_pack_is_imported_again_without_harm() {
    let site = Site::new();
    let _up = site.up(&[]);
    let pack = site.path().join("pack");
    fs::create_dir_all(pack.join("prompts")).unwrap();
    fs::write(pack.join("benchmark.toml"), "slug = 'sums'\ntitle = 'Sums'\nscorers = [{ type = 'numeric' }]\n[items]\nfile = 'sums.jsonl'\n").unwrap();
    fs::write(
        pack.join("sums.jsonl"),
        "{\"id\": \"a\", \"vars\": {\"question\": \"2+2\"}, \"expected\": 4}\n",
    )
    .unwrap();
    let prompt = |text: &str| {
        fs::write(
            pack.join("prompts/ask.yaml"),
            format!("slug: ask\ntitle: Ask\nbody: {{kind: text, text: '{text}'}}\n"),
        )
        .unwrap();
    };
    prompt("{{ question }}");
    let import = || site.check(&["import", pack.to_str().unwrap()], 0).out;
    assert_eq!(import(), "benchmark sums@1 with 1 items\nprompt ask@1\n");
    assert_eq!(import(), "benchmark sums@1 with 1 items\nprompt ask@1\n");
    prompt("Add: {{ question }}");
    assert_eq!(import(), "benchmark sums@1 with 1 items\nprompt ask@2\n");

    // Nobody asked to show them; then somebody does, and a later import without a word changes nothing.
    let words = || {
        let export = site.path().join("export.json");
        site.check(&["prompts", "export", export.to_str().unwrap()], 0);
        let export: serde_json::Value = serde_json::from_slice(&fs::read(export).unwrap()).unwrap();
        let prompts = export["prompts"].as_array().unwrap().clone();
        let word = |slug: &str| {
            let prompt = prompts.iter().find(|prompt| prompt["slug"] == slug);
            prompt.unwrap()["visibility"].clone()
        };
        (word("ask"), word("plain-question"))
    };
    assert_eq!(words(), ("private".into(), "public".into()));
    let public = ["import", pack.to_str().unwrap(), "--visibility=public"];
    site.check(&public, 0);
    assert_eq!(words().0, "public");
    import();
    assert_eq!(words().0, "public");

    prompt("{{ question");
    let refused = site.check(&["import", pack.to_str().unwrap()], 2);
    assert!(refused.error().contains("body"), "{}", refused.err);
    let missing = site.check(&["import", "/nowhere"], 1);
    assert!(missing.error().contains("/nowhere"), "{}", missing.err);
}

#[test]
fn what_the_server_refuses_is_named_by_field() {
    let site = Site::new();
    let _up = site.up(&[]);
    let words = [
        "run",
        "--benchmark=first-steps",
        "--prompt=nothing",
        "--model=simulated:mighty",
    ];
    let refused = site.check(&words, 2);
    assert!(
        refused.error().contains("prompts[0]") && refused.err.contains("models[0]"),
        "{}",
        refused.err
    );
    let unknown = site.check(&["leaderboard", "a/../b"], 2);
    assert!(unknown.error().contains("not found"), "{}", unknown.err);
}

#[test]
fn a_failed_run_is_code_3() {
    let site = Site::new();
    let _up = site.up(&["--max-attempts=1"]);
    site.check(
        &[
            "provider",
            "add",
            "gone",
            "--base-url",
            "http://127.0.0.1:1/v1",
        ],
        0,
    );
    let words = [
        "run",
        "--benchmark=capitals",
        "--prompt=capital-question",
        "--model=gone:any",
        "--limit=2",
    ];
    let printed = site.check(&words, 3);
    assert!(printed.out.contains("failed"), "{}", printed.out);
    let again = site.check(
        &[
            "provider",
            "add",
            "gone",
            "--base-url",
            "http://127.0.0.1:1/v1",
        ],
        1,
    );
    assert!(again.error().contains("already exists"), "{}", again.err);
}

#[test]
fn a_run_goes_on_after_an_interrupt_and_can_be_cancelled() {
    let site = Site::new();
    let _up = site.up(&["--grace=0"]);
    // Accepts connections and never answers, so the run cannot end by itself.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let base_url = format!("http://{}/v1", silent.local_addr().unwrap());
    site.check(&["provider", "add", "silent", "--base-url", &base_url], 0);
    let words = [
        "run",
        "--benchmark=capitals",
        "--prompt=capital-question",
        "--model=silent:any",
    ];
    let mut child = site
        .command(&words)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(lines.next().unwrap().contains("0 of 36"));
    signal("INT", child.id());
    assert_eq!(wait_for_end(&mut child).code(), Some(130));
    let rest: String = lines.collect();
    assert!(
        rest.contains("goes on") && rest.contains("opb cancel"),
        "{rest}"
    );

    let runs = site.check(&["runs", "--json"], 0).json();
    let run = runs["items"][0]["id"].as_str().unwrap();
    let cancelled = site.check(&["cancel", run, "--json"], 0).json();
    assert_eq!(cancelled["state"], "cancelled");
    assert!(site.check(&["runs"], 0).out.contains("cancelled"));
    let again = site.check(&["cancel", run], 1);
    assert!(again.error().contains("ended already"), "{}", again.err);
}
