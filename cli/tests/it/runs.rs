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
    assert_eq!(import(), "benchmark sums@1 with 1 item\nprompt ask@1\n");
    assert_eq!(import(), "benchmark sums@1 with 1 item\nprompt ask@1\n");
    prompt("Add: {{ question }}");
    assert_eq!(import(), "benchmark sums@1 with 1 item\nprompt ask@2\n");

    // A title that changes, and a file that is as it was: both are heard.
    let items = |expected: u8| {
        let line = format!(
            "{{\"id\": \"a\", \"vars\": {{\"question\": \"2+2\"}}, \"expected\": {expected}}}\n"
        );
        fs::write(pack.join("sums.jsonl"), line).unwrap();
    };
    let header = pack.join("benchmark.toml");
    let titled = fs::read_to_string(&header)
        .unwrap()
        .replace("'Sums'", "'Small sums'");
    fs::write(&header, titled).unwrap();
    items(5);
    assert_eq!(import(), "benchmark sums@2 with 1 item\nprompt ask@2\n");
    items(4);
    let reverted = import();
    assert!(
        reverted.starts_with("benchmark sums@1 with 1 item\n"),
        "{reverted}"
    );
    assert!(
        reverted.contains("the newest is 2: measure it with --benchmark sums@1"),
        "{reverted}"
    );
    let shown = site
        .check(&["benchmark", "show", "sums", "--json"], 0)
        .json();
    assert_eq!(shown["title"], "Small sums");

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
    // The benchmark is accepted, and so are the prompts beside it.
    fs::write(pack.join("prompts/beside.txt"), "{{ question }}\n").unwrap();
    let refused = site.check(&["import", pack.to_str().unwrap()], 1).out;
    let expect = "prompts/ask.yaml refused: ";
    assert!(
        refused.contains(expect) && refused.contains("prompt beside@1"),
        "{refused}"
    );
    let missing = site.check(&["import", "/nowhere"], 2);
    assert!(
        missing.error().contains("there is no folder /nowhere"),
        "{}",
        missing.err
    );
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
    // Why, how often, and where: in the terminal.
    for part in [
        "run #1 failed",
        "2 × connect, capital-question@1 on gone:any, such as item",
        "Errors",
        "opb run show 1 --errors",
        "opb run retry 1",
    ] {
        assert!(printed.out.contains(part), "{part}: {}", printed.out);
    }
    let errors = site.check(&["run", "show", "last", "--errors"], 0).out;
    assert_eq!(errors.matches("ERROR  item").count(), 2, "{errors}");
    assert!(errors.contains("error     connect: "), "{errors}");
    let run = site.check(&["run", "show", "1", "--json"], 0).json();
    assert_eq!(run["columns"][0]["errors"], 2);
    assert!(
        run["state_reason"]
            .as_str()
            .unwrap()
            .contains("most often `connect` (2 of 2, such as item"),
        "{run}"
    );
    // It is retried and followed to the same end.
    let retried = site.check(&["run", "retry", "#1"], 3);
    assert!(retried.out.contains("since it was resumed") || retried.out.contains("run #1 failed"));
    let again = site.check(
        &[
            "provider",
            "add",
            "gone",
            "--base-url",
            "http://127.0.0.1:1/v1",
        ],
        2,
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
        rest.contains("run #1 goes on")
            && rest.contains("opb run watch 1")
            && rest.contains("opb run cancel 1"),
        "{rest}"
    );

    let runs = site.check(&["run", "list", "--json"], 0).json();
    let run = runs["items"][0]["id"].as_str().unwrap();
    let cancelled = site.check(&["run", "cancel", run, "--json"], 0).json();
    assert_eq!(cancelled["state"], "cancelled");
    assert!(site.check(&["run", "list"], 0).out.contains("cancelled"));
    // What the server refuses is bad usage, whatever is asked of the run.
    for what in ["cancel", "pause", "resume", "retry"] {
        let refused = site.check(&["run", what, "last"], 2);
        assert!(refused.error().contains("the run "), "{}", refused.err);
    }
    // The earlier names do the same.
    assert_eq!(
        site.check(&["runs"], 0).out,
        site.check(&["run", "list"], 0).out
    );
    let again = site.check(&["cancel", run], 2);
    assert!(again.error().contains("ended already"), "{}", again.err);
    // Watching a run that has ended says how it ended, with its own table.
    let watched = site.check(&["run", "watch", &run[run.len() - 6..]], 3);
    assert!(
        watched.out.contains("run #1 cancelled") && watched.out.contains("silent:any"),
        "{}",
        watched.out
    );
}

#[test]
fn a_run_shows_its_own_table_its_answers_and_its_reasons() {
    let site = Site::new();
    let _up = site.up(&[]);
    let words = [
        "run",
        "--benchmark=first-steps",
        "--prompt=number-only",
        "--model=simulated:strong,simulated:weak",
        "--param=temperature=0",
    ];
    let ended = site.check(&words, 0).out;
    for part in [
        "SIMULATED run #1 completed: 120 of 120 evaluations in ",
        "all with temperature=0",
        " % [",
        "Leaderboard: rank 1",
        "opb leaderboard first-steps@1 --simulated",
        "opb run show 1 --failed",
    ] {
        assert!(ended.contains(part), "{part}: {ended}");
    }
    // The same table again, by the run's other names.
    let run = site.check(&["run", "show", "last", "--json"], 0).json();
    let id = run["id"].as_str().unwrap();
    let shown = site.check(&["run", "show", "#1"], 0).out;
    for name in [id, &id[id.len() - 4..], "1"] {
        assert_eq!(site.check(&["run", "show", name], 0).out, shown, "{name}");
    }
    let wrong = run["columns"][1]["failed"].as_i64().unwrap();
    assert!(wrong > 0, "{run}");

    let failed = site
        .check(
            &[
                "run",
                "show",
                "1",
                "--failed",
                "--model=simulated:weak",
                "--limit=100",
            ],
            0,
        )
        .out;
    assert_eq!(
        i64::try_from(failed.matches("FAILED  item").count()).unwrap(),
        wrong,
        "{failed}"
    );
    for part in [
        "  asked     ",
        "  expected  ",
        "  answer    ",
        "  scorer    numeric failed: the last number",
    ] {
        assert!(failed.contains(part), "{part}: {failed}");
    }
    let few = site
        .check(&["run", "show", "1", "--passed", "--limit=2"], 0)
        .out;
    assert_eq!(few.matches("passed  item").count(), 2, "{few}");
    assert!(few.contains("opb run export 1"), "{few}");
    let nothing = site.check(&["run", "show", "1", "--errors"], 0).out;
    assert!(nothing.contains("no such evaluations"), "{nothing}");
    let refused = site.check(&["run", "show", "1", "--item=nothing"], 2);
    assert!(refused.error().contains("item: "), "{}", refused.err);
    let missing = site.check(&["run", "show", "77"], 2);
    assert!(
        missing.error().contains("`77` was not found"),
        "{}",
        missing.err
    );

    let lines = site.check(&["run", "export", "last"], 0).out;
    assert_eq!(lines.lines().count(), 120);
    let file = site.path().join("run.csv");
    site.check(
        &[
            "run",
            "export",
            "1",
            "--format=csv",
            "--failed",
            "-o",
            file.to_str().unwrap(),
        ],
        0,
    );
    let table = fs::read_to_string(&file).unwrap();
    assert!(table.starts_with("run,item,"), "{table}");
    let elsewhere = site.path().join("nowhere/run.csv");
    site.check(
        &["run", "export", "1", "-o", elsewhere.to_str().unwrap()],
        1,
    );

    check_columns_of_one_model(&site);
}

/// Parameters tell the columns of one model apart.
fn check_columns_of_one_model(site: &Site) {
    let extend = [
        "run",
        "extend",
        "1",
        "--model=simulated:strong",
        "--param=temperature=1",
    ];
    let extended = site.check(&extend, 0).out;
    assert!(
        extended.contains("temperature=1") && extended.contains("180 of 180"),
        "{extended}"
    );
    let again = site.check(&["run", "extend", "1", "--model=simulated:weak"], 2);
    assert!(again.error().contains("temperature=0"), "{}", again.err);
    let pair = [
        "1//simulated:strong temperature=0",
        "1//simulated:strong temperature=1",
    ];
    let compared = site.check(&["compare", pair[0], pair[1], "--flips"], 0).out;
    assert!(
        compared.contains("temperature=0") && compared.contains("temperature=1"),
        "{compared}"
    );
}

#[test]
fn bare_run_says_what_it_lacks_and_its_subcommands_need_no_benchmark() {
    let site = Site::new();
    let bare = site.check(&["run"], 2);
    assert!(bare.err.contains("--benchmark"), "{}", bare.err);
    let help = site.check(&["run", "--help"], 0).out;
    for part in [
        "watch",
        "show",
        "export",
        "rescore",
        "opb run --benchmark <SLUG>",
    ] {
        assert!(help.contains(part), "{part}: {help}");
    }
    // No server answers, which comes after the words were understood.
    let unreachable = site.check(&["run", "show", "last", "--url=http://127.0.0.1:1"], 1);
    assert!(
        unreachable.error().contains("nothing answers"),
        "{}",
        unreachable.err
    );
    let top = site.check(&["--help"], 0).out;
    assert!(!top.contains("rescore"), "earlier names are hidden: {top}");
}

#[test]
fn a_run_is_gated_reported_narrowed_hidden_and_deleted() {
    let site = Site::new();
    let _up = site.up(&[]);
    let run = |gate: &str, code| {
        let words = [
            "run",
            "--benchmark=first-steps",
            "--prompt=number-only",
            "--model=simulated:weak",
            gate,
        ];
        site.check(&words, code)
    };
    run("--fail-under=0", 0);
    let under = run("--fail-under=1", 5);
    assert!(
        under
            .err
            .contains("under 1: number-only@1 on simulated:weak: 0."),
        "{}",
        under.err
    );
    run("--fail-under=2", 2);

    let report = site
        .check(&["run", "export", "last", "--format=junit"], 0)
        .out;
    let table = site.check(&["run", "show", "last", "--json"], 0).json();
    let column = &table["columns"][0];
    let counts = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\"",
        column["evaluations"], column["failed"], column["errors"]
    );
    assert!(report.contains(&counts), "{counts}: {report}");
    assert_eq!(
        report.matches("<testcase ").count() as u64,
        column["evaluations"].as_u64().unwrap()
    );
    assert_eq!(
        report.matches("<failure ").count() as u64,
        column["failed"].as_u64().unwrap()
    );
    let page = site.path().join("report.html");
    let words = [
        "run",
        "export",
        "last",
        "--format=html",
        "-o",
        page.to_str().unwrap(),
    ];
    site.check(&words, 0);
    let page = std::fs::read_to_string(page).unwrap();
    for (class, count) in [("passed", &column["passed"]), ("failed", &column["failed"])] {
        let shown = page.matches(&format!("<b class=\"{class}\">")).count();
        assert_eq!(shown as u64, count.as_u64().unwrap(), "{class}");
    }
    assert!(
        page.contains("SIMULATED") && page.contains("default-src 'none'"),
        "{page}"
    );

    exported_into_a_pipe_and_through_a_link(&site, column["evaluations"].as_u64().unwrap());

    let said = site
        .check(&["run", "set-visibility", "last", "private"], 0)
        .out;
    assert!(said.contains("is private"), "{said}");
    let said = site.check(&["leaderboard", "hide", "last"], 0).out;
    assert!(
        said.contains("number-only@1 on simulated:weak: hidden"),
        "{said}"
    );
    let said = site.check(&["leaderboard", "show", "last"], 0).out;
    assert!(
        said.contains("number-only@1 on simulated:weak: shown"),
        "{said}"
    );

    let pack = site.path().join("mine");
    fs::create_dir_all(pack.join("prompts")).unwrap();
    fs::write(pack.join("benchmark.toml"), "slug = 'mine'\ntitle = 'Mine'\nscorers = [{ type = 'numeric' }]\n[items]\nfile = 'mine.jsonl'\n").unwrap();
    fs::write(
        pack.join("mine.jsonl"),
        "{\"id\": \"a\", \"vars\": {\"question\": \"2+2\"}, \"expected\": 4}\n",
    )
    .unwrap();
    fs::write(
        pack.join("prompts/ask.yaml"),
        "slug: ask\ntitle: Ask\nbody: {kind: text, text: '{{ question }}'}\n",
    )
    .unwrap();
    site.check(&["import", pack.to_str().unwrap()], 0);
    for thing in ["benchmark", "prompt"] {
        let name = if thing == "benchmark" { "mine" } else { "ask" };
        let said = site
            .check(&[thing, "set-visibility", name, "unlisted"], 0)
            .out;
        assert!(said.contains(&format!("{name} is unlisted")), "{said}");
        let said = site.check(&[thing, "delete", name], 0).out;
        assert_eq!(said, format!("deleted {name}\n"));
        site.check(&[thing, "show", name], 2);
    }
    site.check(&["run", "delete", "last"], 0);
}

/// A pipe stays a pipe, and a link a link.
fn exported_into_a_pipe_and_through_a_link(site: &Site, evaluations: u64) {
    let (pipe, link) = (site.path().join("pipe"), site.path().join("link"));
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let reading = pipe.clone();
    let reader = std::thread::spawn(move || fs::read_to_string(reading).unwrap());
    site.check(&["run", "export", "last", "-o", pipe.to_str().unwrap()], 0);
    assert_eq!(reader.join().unwrap().lines().count() as u64, evaluations);
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(
        &fs::metadata(&pipe).unwrap().file_type()
    ));
    fs::write(site.path().join("answers"), "").unwrap();
    std::os::unix::fs::symlink("answers", &link).unwrap();
    site.check(&["run", "export", "last", "-o", link.to_str().unwrap()], 0);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(
        !fs::read_to_string(site.path().join("answers"))
            .unwrap()
            .is_empty()
    );
}
