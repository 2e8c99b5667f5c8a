//! A run as a report that is written from its exported evaluations, read line by line: runs may be larger than memory.

mod html;
mod junit;

use std::{
    fs::File,
    io::{BufReader, Seek as _},
};

use anyhow::Context as _;
use opb_core::runs::Evaluation;

use crate::files::read_line_bounded;

pub use html::write as write_html;
pub use junit::write as write_junit;

/// The longest line of an evaluation.
const MAX_LINE_BYTES: u64 = 256 << 20;

/// Reads the evaluations, an object a line from the file's start.
fn for_each(
    lines: &mut File,
    mut take: impl FnMut(Evaluation) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    lines.rewind()?;
    let mut lines = BufReader::new(lines);
    loop {
        let line = read_line_bounded(&mut lines, MAX_LINE_BYTES);
        let line = line.context("an evaluation of the server cannot be read")?;
        if line.is_empty() {
            return Ok(());
        }
        let evaluation = serde_json::from_str(&line);
        take(evaluation.context("the server's answer was not understood")?)?;
    }
}

/// Why the answer did not pass, as its scorers say.
fn reasons(evaluation: &Evaluation) -> String {
    let scores = evaluation.scores.iter().flat_map(|scores| scores.iter());
    let failed = scores.filter(|score| score.pass == Some(false));
    let reasons: Vec<&str> = failed.map(|score| score.reason.as_str()).collect();
    if reasons.is_empty() {
        return format!("score {:.3}", evaluation.score.unwrap_or_default());
    }
    reasons.join("; ")
}

/// A text in an attribute or an element of XML or HTML. What XML cannot hold is replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\r' => escaped.push_str("&#13;"),
            '\t' => escaped.push_str("&#9;"),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fit_into_xml() {
        assert_eq!(
            escape("a<b>&\"c\"\u{1b}[1m\n\u{ffff}é"),
            "a&lt;b&gt;&amp;&quot;c&quot;\u{fffd}[1m&#10;\u{fffd}é"
        );
    }
}
