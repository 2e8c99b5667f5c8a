//! README and docs say what works: their shell blocks are run from top to bottom against a real bank, twice, their
//! files are read by what would read them, and their links lead somewhere.
//!
//! A block that cannot run here has a comment above it that says why, `<!-- not run: needs Docker -->`; of such blocks
//! the syntax is checked, and every `opb` in them is parsed by the real program.
//!
//! A block of a file names it after the language, as in ```` ```yaml my-benchmark/benchmark.yaml ````; it is written
//! there for the shell blocks below it. One that is no file names what reads it, as in ```` ```json PromptBody ````.

mod blocks;
mod readers;
mod shell;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use self::{
    blocks::{Block, anchors, blocks, commands, links},
    shell::Shell,
};
use crate::{faults::Simulated, site::Site};

/// Where the documents find the bank and the simulated provider; here they are at free ports.
const BANK: &str = "http://127.0.0.1:8000";
const SIMULATED: &str = "http://127.0.0.1:8900";

/// Languages that nothing here reads, and why.
const NOT_READ: [(&str, &str); 3] = [
    ("text", "what a program prints"),
    ("mermaid", "a drawing"),
    ("ini", "a file of PgBouncer"),
];

#[test]
fn every_block_of_the_documents_works_and_works_again() {
    let site = Site::new();
    let bank = site.up(&[]);
    let simulated = Simulated::start(&site, &[]);
    let mut wrong = Vec::new();
    let mut run = 0;
    for round in ["first", "second"] {
        for name in documents() {
            let shell = Shell::new(&site, &name.replace('/', "-"));
            for block in blocks(&name, &read(&name)) {
                let text = block.text.replace(BANK, &bank.url);
                let text = text.replace(SIMULATED, &simulated.url);
                let block = Block { text, ..block };
                let done = match (block.language.as_str(), &block.not_run) {
                    ("sh", None) => shell.run(&block),
                    ("sh", Some(_)) => shell.check(&block),
                    (language, _) if NOT_READ.iter().any(|(name, _)| *name == language) => Ok(()),
                    _ => readers::read(&block, shell.folder()),
                };
                run += 1;
                if let Err(problem) = done {
                    wrong.push(format!("{} ({round} time): {problem}", block.place()));
                }
            }
        }
    }
    for name in documents() {
        for block in blocks(&name, &read(&name)) {
            if let Some(reason) = &block.not_run {
                println!("not run: {}: {reason}", block.place());
            }
        }
    }
    assert!(run > 60, "only {run} blocks were found");
    if !wrong.is_empty() {
        println!("{}", site.up_log());
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    let mut wrong = Vec::new();
    for name in documents() {
        let text = read(&name);
        let folder = Path::new(&name).parent().unwrap();
        for link in links(&text) {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() {
                PathBuf::from(&name)
            } else {
                folder.join(path)
            };
            let there = root().join(&target);
            let found = there.exists()
                && (anchor.is_empty()
                    || anchors(&fs::read_to_string(&there).unwrap_or_default()).contains(anchor));
            if !found {
                wrong.push(format!("{name}: {link}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn commands_in_the_sentences_exist() {
    let site = Site::new();
    let mut wrong = BTreeSet::new();
    for name in documents() {
        for command in commands(&read(&name)) {
            let (flags, words): (Vec<_>, Vec<_>) = command
                .split(' ')
                .skip(1)
                .partition(|word| word.starts_with("--"));
            // Up to the first word that stands for something else, such as RUN.
            let plain = |word: &&&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            let words = words.iter().take_while(plain).copied();
            let words: Vec<&str> = words.chain(["--help"]).collect();
            let help = site.opb(&words);
            let text = String::from_utf8_lossy(&help.stdout).into_owned();
            if !help.status.success() || flags.iter().any(|flag| !text.contains(*flag)) {
                wrong.insert(format!("{name}: {command}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_block_says_what_it_is() {
    let text = "# A b\n<!-- not run: needs Docker -->\n```sh\ndocker ps\n```\n\n```json  PromptBody \n{}\n```\n";
    let found = blocks("a.md", text);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].not_run.as_deref(), Some("needs Docker"));
    assert_eq!(
        (found[0].place().as_str(), found[0].text.as_str()),
        ("a.md:3", "docker ps\n")
    );
    assert_eq!(
        (found[1].language.as_str(), found[1].word.as_str()),
        ("json", "PromptBody")
    );
    assert_eq!(found[1].not_run, None);
    assert_eq!(anchors("## A `b`: c, d\n## A `b`: c, d\n").len(), 2);
    assert!(anchors("## A `b`: c, d\n").contains("a-b-c-d"));
    assert_eq!(links("[a](b.md#c) `[x](y)` [w](https://e.org)"), ["b.md#c"]);
}

/// The documents, the one that is read first before all others.
fn documents() -> Vec<String> {
    let mut names = BTreeSet::new();
    for folder in ["", "docs/", "docs/decisions/"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name
                .strip_suffix(".md")
                .is_some_and(|stem| stem != "README")
            {
                names.insert(format!("{folder}{name}"));
            }
        }
    }
    let first = [
        "README.md",
        "api/src/openapi.md",
        "docs/decisions/README.md",
    ];
    first.map(str::to_owned).into_iter().chain(names).collect()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
