//! Reads the correct answers from JSONL files.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

use anyhow::Context as _;
use opb_worker::simulation::AnswerKey;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    files::{MAX_ITEMS_BYTES, open_named},
    packs::built_in_packs,
};

/// One line: an item with its text or its variables. Other fields are ignored.
#[derive(Deserialize)]
struct Line {
    text: Option<String>,
    #[serde(default)]
    vars: BTreeMap<String, Value>,
    expected: Option<Value>,
}

/// Reads all files; errors name the file and the line. Without files, the answers are those of the built-in benchmarks.
pub(super) fn read_answers(paths: &[PathBuf]) -> anyhow::Result<AnswerKey> {
    if paths.is_empty() {
        return built_in_answers();
    }
    let mut key = AnswerKey::default();
    for path in paths {
        let file = open_named(path, MAX_ITEMS_BYTES)?;
        // The file may grow while it is read.
        let file = BufReader::new(file.take(MAX_ITEMS_BYTES));
        for (index, line) in file.lines().enumerate() {
            let place = || format!("line {} of {}", index + 1, path.display());
            add_line(&mut key, &line.with_context(place)?).with_context(place)?;
        }
    }
    Ok(key)
}

fn built_in_answers() -> anyhow::Result<AnswerKey> {
    let mut key = AnswerKey::default();
    for pack in built_in_packs()? {
        let items = pack.definition(None)?.map(|benchmark| benchmark.items);
        for item in items.unwrap_or_default() {
            if let Some(expected) = item.expected {
                key.insert(item.vars.into_values().map(plain), plain(expected));
            }
        }
    }
    Ok(key)
}

fn add_line(key: &mut AnswerKey, line: &str) -> serde_json::Result<()> {
    if line.trim().is_empty() {
        return Ok(());
    }
    let line: Line = serde_json::from_str(line)?;
    let Some(expected) = line.expected else {
        return Ok(());
    };
    let parts = line
        .text
        .into_iter()
        .chain(line.vars.into_values().map(plain));
    key.insert(parts, plain(expected));
    Ok(())
}

/// A string unchanged, other values as JSON.
fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packs::FIRST_BENCHMARK;

    #[test]
    fn lines_become_answers() {
        let mut key = AnswerKey::default();
        for line in [
            r#"{"text": "What is 2+2?", "expected": 4}"#,
            r#"{"id": "x", "vars": {"context": "Long context here.", "question": "Who?"}, "expected": "Ada"}"#,
            r#"{"text": "Opposite of up", "expected": {"word": "down"}}"#,
            r#"{"text": "no answer"}"#,
            "  ",
        ] {
            add_line(&mut key, line).unwrap();
        }
        assert_eq!(key.len(), 3);
        assert_eq!(key.lookup("Q: What is 2+2?"), Some("4"));
        assert_eq!(
            key.lookup("Long context here.\nQuestion: Who?"),
            Some("Ada")
        );
        assert_eq!(key.lookup("Opposite of up"), Some(r#"{"word":"down"}"#));
        assert!(add_line(&mut key, "{").is_err());
    }

    #[test]
    fn the_built_in_benchmarks_are_known() {
        let key = read_answers(&[]).unwrap();
        let packs = built_in_packs().unwrap();
        let first = packs
            .iter()
            .find(|pack| pack.header.slug == FIRST_BENCHMARK);
        let benchmark = first.unwrap().definition(None).unwrap().unwrap();
        for item in benchmark.items {
            let question = plain(item.vars["question"].clone());
            let expected = plain(item.expected.unwrap());
            let answer = key.lookup(&format!("Answer with the number.\n{question}"));
            assert_eq!(answer, Some(&*expected), "{question}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read_answers(&["/nowhere/answers.jsonl".into()]).unwrap_err();
        let expect = "/nowhere/answers.jsonl cannot be read";
        assert_eq!(error.to_string(), expect);
    }
}
