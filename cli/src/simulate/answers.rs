//! Reads the right answers from JSONL files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use anyhow::Context as _;
use opb_worker::simulation::AnswerKey;
use serde::Deserialize;
use serde_json::Value;

/// One line: an item with its text or its variables. Anything else on the line is ignored.
#[derive(Deserialize)]
struct Line {
    text: Option<String>,
    #[serde(default)]
    vars: BTreeMap<String, Value>,
    expected: Option<Value>,
}

/// Reads every file; the error names the file and the line.
pub(super) fn read_answers(paths: &[PathBuf]) -> anyhow::Result<AnswerKey> {
    let mut key = AnswerKey::default();
    for path in paths {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        for (index, line) in BufReader::new(file).lines().enumerate() {
            let place = || format!("read line {} of {}", index + 1, path.display());
            add_line(&mut key, &line.with_context(place)?).with_context(place)?;
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

/// A string as it is, anything else as JSON.
fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_missing_file_is_named() {
        let error = read_answers(&["/nowhere/answers.jsonl".into()]).unwrap_err();
        assert_eq!(error.to_string(), "open /nowhere/answers.jsonl");
    }
}
