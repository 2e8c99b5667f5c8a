//! Excerpts of prompts that show why they match. Pure.
//!
//! A snippet is plain text in pieces, never HTML: the client highlights the matches itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The length of a snippet, in characters.
const LENGTH: usize = 200;
/// Number of characters of a prompt's text that are searched.
pub(super) const READ_CHARS: i32 = 16 * 1024;

/// A piece of a snippet, as plain text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fragment {
    /// The text.
    pub text: String,
    /// True if it is one of the query's words.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hit: bool,
}

/// The first excerpt of description or text that has one of the words; otherwise the beginning of the text.
pub(super) fn snippet(description: &str, text: &str, lexemes: &[String]) -> Vec<Fragment> {
    for text in [description, text] {
        if let Some((at, _)) = words(text).find(|(_, word)| is_hit(word, lexemes)) {
            return cut(text, at, lexemes);
        }
    }
    cut(text, 0, lexemes)
}

/// The text around a position, in pieces.
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

/// Every word with its position.
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

/// Whether a word is one of the query's words, ignoring its ending.
fn is_hit(word: &str, lexemes: &[String]) -> bool {
    lexemes.iter().any(|lexeme| {
        // The stem of `happy` is `happi`.
        let stem = lexeme.strip_suffix('i').unwrap_or(lexeme);
        let mut letters = word.chars().flat_map(char::to_lowercase);
        !stem.is_empty()
            && stem.chars().all(|letter| letters.next() == Some(letter))
            && letters.count() <= 6 + lexeme.chars().count() - stem.chars().count()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(description: &str, text: &str, lexemes: &[&str]) -> String {
        let lexemes: Vec<String> = lexemes.iter().map(|&lexeme| lexeme.to_owned()).collect();
        let pieces = snippet(description, text, &lexemes);
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
    }
}
