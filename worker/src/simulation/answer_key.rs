//! The answer key: maps the item in a prompt to its expected answer.
//!
//! The prompt's template is unknown here, so items are looked up by hashes of lines. Matches are compared with the
//! prompt itself: a hash alone is not sufficient.

use std::collections::HashMap;

use super::hash::stable_hash;

/// An item's text and its expected answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    parts: Vec<String>,
    expected: String,
}

impl Answer {
    /// The item's longest text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.parts.first().map_or("", String::as_str)
    }

    /// The expected answer.
    #[must_use]
    pub fn expected(&self) -> &str {
        &self.expected
    }
}

/// Expected answers, by the item that a prompt contains.
#[derive(Debug, Clone, Default)]
pub struct AnswerKey {
    answers: Vec<Answer>,
    /// Indices into `answers` by the hash of the longest line of the longest part.
    by_line: HashMap<u64, Vec<usize>>,
}

impl<Text: Into<String>, Expected: Into<String>> FromIterator<(Text, Expected)> for AnswerKey {
    fn from_iter<Pairs: IntoIterator<Item = (Text, Expected)>>(pairs: Pairs) -> Self {
        let mut key = Self::default();
        for (text, expected) in pairs {
            key.insert([text.into()], expected);
        }
        key
    }
}

impl AnswerKey {
    /// Adds an item, given by the texts of its variables; a prompt about it contains all of them. An item without text
    /// is skipped, since it could not be found.
    pub fn insert(&mut self, parts: impl IntoIterator<Item = String>, expected: impl Into<String>) {
        let mut parts: Vec<String> = parts
            .into_iter()
            .map(|part| part.trim().to_owned())
            .filter(|part| !part.is_empty())
            .collect();
        // The sort is stable, so equally long parts keep their order.
        parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
        let Some(line) = parts
            .first()
            .and_then(|part| part.lines().map(bare).max_by_key(|line| line.len()))
        else {
            return;
        };
        self.by_line
            .entry(stable_hash(line.as_bytes()))
            .or_default()
            .push(self.answers.len());
        let expected = expected.into();
        self.answers.push(Answer { parts, expected });
    }

    /// Number of items in the key.
    #[must_use]
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether there are no items.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Returns the expected answer of the item in this prompt.
    #[must_use]
    pub fn lookup(&self, prompt: &str) -> Option<&str> {
        self.find(prompt).map(Answer::expected)
    }

    /// Returns the item in this prompt; the last one, because examples come before the question.
    ///
    /// Takes time proportional to the prompt, independent of the number of items.
    #[must_use]
    pub fn find(&self, prompt: &str) -> Option<&Answer> {
        if self.is_empty() {
            return None;
        }
        prompt
            .lines()
            .rev()
            .flat_map(candidates)
            .find_map(|line| self.find_by_line(line, prompt))
    }

    fn find_by_line(&self, line: &str, prompt: &str) -> Option<&Answer> {
        let places = self.by_line.get(&stable_hash(line.as_bytes()))?;
        places
            .iter()
            .filter_map(|place| self.answers.get(*place))
            .find(|answer| {
                answer
                    .parts
                    .iter()
                    .all(|part| prompt.contains(part.as_str()))
            })
    }
}

/// Parts of a line that may be an item's line: all of it, the text after a label, and quoted text.
fn candidates(line: &str) -> impl Iterator<Item = &str> {
    // Only the first labels, so that a malicious line of many labels stays cheap.
    let after_labels = line
        .match_indices(": ")
        .take(8)
        .map(|(place, label)| &line[place + label.len()..]);
    let quoted = line.split(['"', '`', '“', '”']).skip(1).step_by(2);
    std::iter::once(line)
        .chain(after_labels)
        .chain(quoted)
        .map(bare)
        .filter(|candidate| !candidate.is_empty())
}

/// Removes surrounding white space, quotation marks and tags such as `<text>…</text>` from a line.
fn bare(line: &str) -> &str {
    let line = line.trim();
    let line = match (line.split_once('>'), line.rfind("</")) {
        (Some((tag, rest)), Some(_)) if tag.starts_with('<') => {
            rest.rfind("</").map_or(rest, |end| &rest[..end])
        }
        _ => line,
    };
    line.trim_matches(['"', '\'', '`', '“', '”']).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> AnswerKey {
        let mut key: AnswerKey = [
            ("What is 2+2?", "4"),
            ("the cat sat", "positive"),
            ("Passage:\nIt rained all day.\nWas it dry?", "no"),
            ("Passage:\nIt rained all day.\nWas it wet?", "yes"),
            ("a: b: c", "letters"),
            ("\"quoted\"", "marks"),
            ("", "never"),
        ]
        .into_iter()
        .collect();
        key.insert(["Some context.".to_owned(), "Q1".to_owned()], "one");
        key.insert(["Some context.".to_owned(), "Q2".to_owned()], "two");
        key
    }

    #[test]
    fn an_item_is_found_in_any_template() {
        for (prompt, expect) in [
            ("What is 2+2?", Some("4")),
            ("  What is 2+2?  \n", Some("4")),
            ("You help.\r\nQuestion: What is 2+2?\r\nAnswer:", Some("4")),
            ("Task: Question: What is 2+2?", Some("4")),
            (
                "Classify \"the cat sat\" as positive or negative.",
                Some("positive"),
            ),
            ("Classify: <text>the cat sat</text>", Some("positive")),
            ("Classify: 'the cat sat'", Some("positive")),
            (
                "Read.\nPassage:\nIt rained all day.\nWas it wet?\nAnswer:",
                Some("yes"),
            ),
            (
                "Read.\nPassage:\nIt rained all day.\nWas it dry?\nAnswer:",
                Some("no"),
            ),
            ("x: a: b: c", Some("letters")),
            ("say \"quoted\" now", Some("marks")),
            ("Some context.\nQ2", Some("two")),
            ("Some context.\nQ1", Some("one")),
            ("Some context.\nQ3", None),
            ("What is 2+2? And 3+3?", None),
            ("what is 2+2?", None),
            ("", None),
        ] {
            assert_eq!(key().lookup(prompt), expect, "{prompt:?}");
        }
    }

    #[test]
    fn the_last_item_counts_after_examples() {
        let prompt = "Q: the cat sat\nA: positive\nQ: What is 2+2?\nA:";
        let key = key();
        let answer = key.find(prompt).unwrap();
        assert_eq!((answer.text(), answer.expected()), ("What is 2+2?", "4"));
    }

    #[test]
    fn items_without_text_are_left_out() {
        assert_eq!(key().len(), 8);
        assert!(!key().is_empty() && AnswerKey::default().is_empty());
    }
}
