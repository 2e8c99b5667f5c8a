//! How programs are served, and how the command line explains itself: JSON to the end, one exit code for one kind of
//! refusal, names as good as ids.

use std::fs;

use crate::{faults::Simulated, site::Site};

#[test]
fn a15_an_error_is_json_where_json_is_asked_for() {
    let site = Site::new();
    let unknown = site.check(&["runs", "--json", "--limits=3"], 2).problem();
    assert_eq!(
        (&unknown["title"], &unknown["exit_code"]),
        (&"Bad usage".into(), &2.into())
    );
    assert!(
        unknown["detail"].as_str().unwrap().contains("--limits"),
        "{unknown}"
    );
    let nowhere = ["runs", "--json", "--url=http://127.0.0.1:1"];
    let nowhere = site.check(&nowhere, 1).problem();
    assert_eq!(
        (&nowhere["exit_code"], &nowhere["status"]),
        (&1.into(), &serde_json::Value::Null)
    );

    let up = site.up(&[]);
    let run = [
        "run",
        "--benchmark=first-steps",
        "--prompt=nothing",
        "--model=simulated:strong",
        "--json",
    ];
    let refused = site.check(&run, 2).problem();
    assert_eq!(
        (&refused["status"], &refused["exit_code"]),
        (&422.into(), &2.into())
    );
    assert_eq!(refused["errors"][0]["path"], "prompts[0]");
    let missing = site
        .check(&["benchmark", "show", "nothing", "--json"], 2)
        .problem();
    assert_eq!(missing["status"], 404);

    let health = [
        "health",
        "--json",
        "--health-url",
        &format!("{}/readyz", up.url),
    ];
    assert_eq!(site.check(&health, 0).json()["ready"], true);
    let health = [
        "health",
        "--json",
        "--health-url",
        &format!("{}/nothing", up.url),
    ];
    assert_eq!(site.check(&health, 1).json()["ready"], false);
}

#[test]
fn a15_and_a25_folders_of_prompts_are_read_alike_and_what_is_refused_shows() {
    let site = Site::new();
    let _up = site.up(&[]);
    let folder = site.path().join("mine");
    fs::create_dir(&folder).unwrap();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write("terse.txt", "Answer in one word: {{ question }}\n");
    write("plain.md", "Answer: {{ question }}\n");
    write(
        "rest.yaml",
        "title: Rest\nbody: {kind: text, text: '{{ question }}'}\n",
    );
    write("photo.png", "");
    let path = folder.to_str().unwrap();
    let first = site.check(&["prompt", "import", path], 0).out;
    assert!(
        first.contains("ignored: photo.png") && first.contains("3 created"),
        "{first}"
    );
    let again = site.check(&["prompts", "import", path], 0).out;
    assert!(again.contains("3 unchanged"), "{again}");
    let listed = site.check(&["prompt", "list", "--limit=100"], 0).out;
    assert!(listed.contains("terse@1"), "{listed}");
    let shown = site.check(&["prompt", "show", "terse"], 0).out;
    assert!(
        shown.contains("Answer in one word: {{ question }}"),
        "{shown}"
    );
    // A prompt of one's own gets another version; what is no template is refused, and the others go on.
    write("number-only.txt", "Mine: {{ question }}\n");
    write("broken.txt", "{{ question\n");
    let refused = site.check(&["prompt", "import", path], 1).out;
    assert!(
        refused.contains("broken.txt (broken) refused:"),
        "{refused}"
    );
    let counts = "0 created, 1 updated, 3 unchanged, 1 refused";
    assert!(refused.contains(counts), "{refused}");
    let misspelt = site.check(&["prompt", "show", "ters"], 2);
    assert!(
        misspelt.error().contains("did you mean `terse`?"),
        "{}",
        misspelt.err
    );
}

#[test]
fn bare_commands_explain_themselves() {
    let site = Site::new();
    for (words, expect) in [
        (&[][..], "Exit codes:"),
        (&["prompt"], "import"),
        (&["schedule"], "pause"),
        (&["provider"], "set-price"),
    ] {
        let printed = site.check(words, 2);
        assert!(
            printed.err.contains("Usage:") && printed.err.contains(expect),
            "{}",
            printed.err
        );
    }
    let demo = site.check(&["demo", "--help"], 0).out;
    assert!(
        demo.lines().count() < 60 && demo.contains("opb up --help"),
        "{demo}"
    );
    assert!(
        demo.contains("--data") && !demo.contains("--smtp-url"),
        "{demo}"
    );
    let list = site.check(&["model", "list", "--help"], 0).out;
    let global = list.split("Global options:").nth(1).unwrap();
    assert!(
        global.contains("--json") && global.contains("--config") && global.contains("--wide"),
        "{list}"
    );
}

#[test]
fn a3_a_price_of_zero_is_free_and_no_price_is_unknown() {
    let site = Site::new();
    let _up = site.up(&[]);
    let server = Simulated::start(&site, &[]);
    let base_url = format!("{}/v1", server.url);
    let own = ["provider", "add", "own", "--base-url", &base_url, "--paid"];
    site.check(&own, 0);
    let run = |model: &str| {
        let model = format!("--model=own:{model}");
        let words = [
            "run",
            "--benchmark=first-steps",
            "--prompt=number-only",
            "--limit=3",
            "--no-cache",
        ];
        site.check(&[&words[..], &[&model]].concat(), 0).out
    };
    let unknown = run("strong");
    assert!(unknown.contains("cost unknown"), "{unknown}");
    site.check(
        &[
            "provider",
            "set-price",
            "own",
            "strong",
            "--input=0",
            "--output=0",
        ],
        0,
    );
    let free = run("strong");
    assert!(
        free.contains("$0.00") && !free.contains("unknown"),
        "{free}"
    );
    let runs = site.check(&["runs"], 0).out;
    assert!(
        runs.contains("$0.00") && runs.contains("cost unknown"),
        "{runs}"
    );
}
