//! The part of a prompt that shows why it was found. Pure.
//!
//! A snippet is plain text in pieces, never HTML: whoever shows it marks the hits with elements of their own.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::template::PromptBody;

/// The length of a snippet, in characters.
const LENGTH: usize = 200;
/// How much of a text is looked at, in bytes.
const READ_BYTES: usize = 16 * 1024;

/// A piece of a snippet, as plain text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fragment {
    /// The text.
    pub text: String,
    /// True when it is one of the words that were searched for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hit: bool,
}

/// The first part of description or body that has one of the words; without any, the beginning of the body.
pub(super) fn snippet(description: &str, body: &PromptBody, lexemes: &[String]) -> Vec<Fragment> {
    let mut texts = vec![description];
    match body {
        PromptBody::Text { text } => texts.push(text),
        PromptBody::Chat { messages } => {
            texts.extend(messages.iter().flat_map(|message| message.content.texts()));
        }
    }
    for text in &texts {
        let text = head(text, READ_BYTES);
        if let Some((at, _)) = words(text).find(|(_, word)| is_hit(word, lexemes)) {
            return cut(text, at, lexemes);
        }
    }
    let text = texts.iter().skip(1).find(|text| !text.trim().is_empty());
    text.map_or_else(Vec::new, |text| cut(head(text, READ_BYTES), 0, lexemes))
}

/// The text around a place, in pieces.
fn cut(text: &str, at: usize, lexemes: &[String]) -> Vec<Fragment> {
    let before = text[..at].char_indices().rev().take(LENGTH / 4).last();
    let start = before.map_or(at, |(start, _)| start);
    // A snippet begins with a whole word.
    let start = match text[start..at].find(char::is_whitespace) {
        Some(space) if start > 0 => start + space,
        _ => start,
    };
    let text = text[start..].trim_start();
    let end = text
        .char_indices()
        .nth(LENGTH)
        .map_or(text.len(), |(end, _)| end);
    let shown = &text[..end];
    let mut fragments: Vec<Fragment> = Vec::new();
    let mut done = 0;
    for (at, word) in words(shown) {
        if !is_hit(word, lexemes) {
            continue;
        }
        push(&mut fragments, &shown[done..at], false);
        push(&mut fragments, word, true);
        done = at + word.len();
    }
    push(&mut fragments, &shown[done..], false);
    fragments
}

fn push(fragments: &mut Vec<Fragment>, text: &str, hit: bool) {
    if !text.is_empty() {
        fragments.push(Fragment {
            text: text.to_owned(),
            hit,
        });
    }
}

/// Every word with its place.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + text[rest..].find(char::is_alphanumeric)?;
        let length = text[start..]
            .find(|c: char| !c.is_alphanumeric())
            .unwrap_or(text.len() - start);
        rest = start + length;
        Some((start, &text[start..rest]))
    })
}

/// True when a word is one of those that were searched for, whatever its ending.
fn is_hit(word: &str, lexemes: &[String]) -> bool {
    let word = word.to_lowercase();
    lexemes.iter().any(|lexeme| {
        // The stem of `happy` is `happi`.
        let stem = lexeme.strip_suffix('i').unwrap_or(lexeme);
        let longest = lexeme.chars().count() + 6;
        !stem.is_empty() && word.starts_with(stem) && word.chars().count() <= longest
    })
}

fn head(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(description: &str, text: &str, lexemes: &[&str]) -> String {
        let body = PromptBody::Text { text: text.into() };
        let lexemes: Vec<String> = lexemes.iter().map(|&lexeme| lexeme.to_owned()).collect();
        let pieces = snippet(description, &body, &lexemes);
        let mark = |piece: &Fragment| {
            if piece.hit {
                format!("[{}]", piece.text)
            } else {
                piece.text.clone()
            }
        };
        pieces.iter().map(mark).collect()
    }

    #[test]
    fn hits_are_marked() {
        assert_eq!(
            marked("", "Translate the Terminal.", &["termin"]),
            "Translate the [Terminal]."
        );
        assert_eq!(
            marked("about terminals", "x", &["termin"]),
            "about [terminals]"
        );
        assert_eq!(marked("", "no such word", &["termin"]), "no such word");
        assert_eq!(
            marked("", "happiness, happy", &["happi"]),
            "[happiness], [happy]"
        );
        assert_eq!(marked("", "", &["a"]), "");
        assert_eq!(
            marked("", "<b>terminal</b>", &["termin"]),
            "<b>[terminal]</b>"
        );
    }

    #[test]
    fn a_long_text_is_cut_around_the_hit() {
        let text = format!("{} needle {}", "hay ".repeat(500), "ü".repeat(500));
        let found = marked("", &text, &["needl"]);
        assert!(
            found.contains("[needle]") && found.starts_with("hay"),
            "{found}"
        );
        assert_eq!(found.chars().count(), LENGTH + 2, "{found}");
        let far = format!("{}needle", "ü".repeat(READ_BYTES));
        assert!(!marked("", &far, &["needl"]).contains('['));
    }
}
