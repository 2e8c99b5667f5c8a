//! Benchmarks that are too large for one request.

use std::{fmt::Write as _, fs};

use opb_core::benchmarks::{Measure, PackHeader, parse_items};
use serde_json::{Value, json};

use crate::site::Site;

/// A pack of 3,000 items, 12 MB of them.
fn pack(site: &Site) -> String {
    let pack = site.path().join("large");
    fs::create_dir(&pack).unwrap();
    let header =
        "slug: large\ntitle: Large\nscorers: [{type: numeric}]\nitems: {file: items.jsonl}\n";
    fs::write(pack.join("benchmark.yaml"), header).unwrap();
    let filler = "long ".repeat(800);
    let mut items = String::new();
    for number in 0..3_000 {
        let _ = writeln!(
            items,
            r#"{{"id": "item-{number}", "vars": {{"question": "{number} + 0.1? {filler}", "weight": 0.{number}}}, "expected": {number}.1}}"#
        );
    }
    fs::write(pack.join("items.jsonl"), items).unwrap();
    pack.to_str().unwrap().to_owned()
}

#[test]
fn r7_a_large_benchmark_is_imported_in_parts_and_not_twice() {
    let site = Site::new();
    let up = site.up(&[]);
    let pack = pack(&site);
    let first = site.check(&["import", &pack], 0);
    assert_eq!(first.out, "benchmark large@1 with 3,000 items\n");
    // Nothing but the header is sent again: the items are not even taken.
    drop(up);
    let _up = site.up(&["--body-limit-bytes=20000"]);
    let again = site.check(&["import", &pack], 0);
    assert_eq!(again.out, "benchmark large@1 with 3,000 items\n");
    // Without the last item it is another benchmark, of which no part fits.
    let refused = site.check(&["import", &pack, "--limit=2999"], 2);
    assert!(
        refused.error().contains("run the same command again"),
        "{}",
        refused.err
    );
    let listed = site.check(&["benchmark", "imports"], 0);
    assert!(listed.out.contains("large"), "{}", listed.out);
    let listed = site.check(&["benchmark", "imports", "--json"], 0).json();
    let id = listed[0]["id"].as_str().unwrap();
    site.check(&["benchmark", "abandon", id], 0);
    let listed = site.check(&["benchmark", "imports"], 0);
    assert_eq!(listed.out, "no import was interrupted\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_import_goes_on() {
    let site = Site::new();
    let up = site.up(&[]);
    let pack = pack(&site);
    // Another sender has sent the first hundred items.
    let text = fs::read(format!("{pack}/items.jsonl")).unwrap();
    let items = parse_items(&text, None, None).unwrap();
    let header = fs::read_to_string(format!("{pack}/benchmark.yaml")).unwrap();
    let header = PackHeader::parse("benchmark.yaml", &header).unwrap();
    let mut measure = Measure::new(&header.scorers).unwrap();
    for item in &items {
        measure.add(item).unwrap();
    }
    let key = fs::read_to_string(site.data().join("api-key")).unwrap();
    let client = reqwest::Client::new();
    let address = format!("{}/api/v1/imports", up.url);
    let wanted = json!({
        "slug": "large", "title": "Large", "scorers": [{"type": "numeric"}],
        "content_hash": measure.finish().hex(),
    });
    let request = client.post(&address).bearer_auth(key.trim()).json(&wanted);
    let begun: Value = request.send().await.unwrap().json().await.unwrap();
    let id = begun["import"]["id"].as_str().unwrap();
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let part = client
        .put(format!("{address}/{id}/parts/1"))
        .bearer_auth(key.trim())
        .header("content-type", "application/x-ndjson")
        .body(lines[..100].concat());
    assert_eq!(part.send().await.unwrap().status(), 200);
    let import = site.check(&["import", &pack, "--json"], 0).json();
    assert_eq!(import["benchmark"]["id"], id, "no other import was begun");
    assert_eq!(import["benchmark"]["item_count"], 3_000);
}

#[test]
fn f24_f38_a_folder_of_windows_is_imported_and_a_map_without_its_order_is_named() {
    let site = Site::new();
    let _up = site.up(&[]);
    let pack = site.path().join("windows");
    fs::create_dir_all(pack.join("prompts")).unwrap();
    let files = [
        (
            "benchmark.yaml",
            "slug: windows\ntitle: Windows\ndescription:\nscorers: [{type: equals, value: no}]\nitems: {file: items.jsonl}\n",
        ),
        (
            "items.jsonl",
            "{\"id\": 7, \"vars\": {\"options\": {\"D\": 1, \"A\": 2}}}\n\n{\"id\": \"b\", \"vars\": {\"options\": {}}}\n",
        ),
        (
            "prompts/plain.md",
            "---\ntitle: Plain\n---\n{% for option in options %}{{ option }}\n{% endfor %}\nWhich one?\n",
        ),
        ("prompts/terse.txt", "Which of\n{{ options }}?\n"),
    ];
    let path = pack.to_str().unwrap().to_owned();
    for (beginning, line_end) in [("\u{feff}", "\r\n"), ("", "\n")] {
        for (name, text) in files {
            let text = format!("{beginning}{}", text.replace('\n', line_end));
            fs::write(pack.join(name), text).unwrap();
        }
        let imported = site.check(&["import", &path], 0);
        assert_eq!(
            imported.out,
            "benchmark windows@1 with 2 items\nitems, line 1: vars.options: maps are shown and looped in the order of their names; write a list to keep another order\nprompt plain@1\nprompt terse@1\n"
        );
    }
}
