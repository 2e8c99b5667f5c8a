//! Rules for user-written texts: one for single-line and one for multi-line texts. Pure.
//!
//! A name appears in other users' tables, terminals, logs and mails. A line break, an escape sequence, an invisible
//! character or a direction override makes it look like another name, or like something else altogether.

use std::ops::RangeInclusive;

use serde_json::Value;

use crate::FieldError;

/// The error of a single-line text, such as a name or a title. Its length must be in `allowed`, and it must have a
/// visible character unless it may be empty.
pub(crate) fn check_line(
    path: impl Into<String>,
    text: &str,
    allowed: RangeInclusive<usize>,
) -> Result<(), FieldError> {
    let path = path.into();
    let (least, most) = (*allowed.start(), *allowed.end());
    let is_blank = least > 0 && text.trim().is_empty();
    if is_blank || !allowed.contains(&text.chars().count()) {
        let message = match least {
            0 => format!("must have at most {most} characters"),
            _ => format!("must have {least} to {most} characters, not all blank"),
        };
        return Err(FieldError::new(path, message));
    }
    match odd_character(text) {
        None => Ok(()),
        Some(odd) => Err(FieldError::new(
            path,
            format!(
                "must be one line without control or invisible characters; remove U+{:04X}",
                u32::from(odd)
            ),
        )),
    }
}

/// True for a multi-line text that holds only visible characters, line breaks and tabs.
pub(crate) fn is_plain_text(text: &str) -> bool {
    text.replace("\r\n", "\n")
        .chars()
        .all(|c| !c.is_control() || c == '\n' || c == '\t')
}

/// The first character that a single-line text must not hold.
fn odd_character(text: &str) -> Option<char> {
    let characters: Vec<char> = text.chars().collect();
    let neighbours = |at: usize| {
        let before = at.checked_sub(1).and_then(|at| characters.get(at));
        before.into_iter().chain(characters.get(at + 1))
    };
    let is_odd = |(at, c): &(usize, char)| match *c {
        // Joiners are part of the spelling in Arabic, Persian and the scripts of India, and join emoji; between
        // European letters they are only invisible.
        '\u{200c}' | '\u{200d}' => {
            neighbours(*at).count() < 2 || neighbours(*at).any(|c| *c < '\u{600}')
        }
        c => c.is_control() || is_unseen(c),
    };
    let mut all = characters.iter().copied().enumerate();
    all.find(is_odd).map(|(_, c)| c)
}

/// Zero-width characters, direction marks, line and paragraph separators, and tags.
fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// The path of a NUL character in a value, which Postgres cannot store, in a text or in the name of a field.
#[must_use]
pub fn path_of_nul(value: &Value) -> Option<String> {
    let mut steps = steps_to_nul(value)?;
    let mut path = String::new();
    while let Some(step) = steps.pop() {
        match step {
            Step::Index(index) => path.extend(["[", &index.to_string(), "]"]),
            Step::Field(name) if path.is_empty() => path.push_str(name),
            Step::Field(name) => path.extend([".", name]),
        }
    }
    Some(path)
}

/// A step from a value to one inside it.
enum Step<'v> {
    Index(usize),
    Field(&'v str),
}

/// The path to the first NUL character, last step first. Nothing is allocated before one is found, so that the search
/// takes no longer than reading the value once.
fn steps_to_nul(value: &Value) -> Option<Vec<Step<'_>>> {
    let within = |step, value| {
        let mut steps = steps_to_nul(value)?;
        steps.push(step);
        Some(steps)
    };
    match value {
        Value::String(text) => text.contains('\0').then(Vec::new),
        Value::Array(values) => values
            .iter()
            .enumerate()
            .find_map(|(index, value)| within(Step::Index(index), value)),
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            if name.contains('\0') {
                return Some(Vec::new());
            }
            within(Step::Field(name), value)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_is_found_where_it_is() {
        let value = serde_json::json!({"a": ["x", {"b": "y\0"}], "c": 1});
        assert_eq!(path_of_nul(&value).as_deref(), Some("a[1].b"));
        let named = serde_json::json!({"a": {"x\0": 1}});
        assert_eq!(path_of_nul(&named).as_deref(), Some("a"));
        assert_eq!(path_of_nul(&serde_json::json!("\0")).as_deref(), Some(""));
        assert_eq!(path_of_nul(&serde_json::json!({"a": "b"})), None);
        // Building the path for each element took hours for this one.
        let long = serde_json::json!({"k".repeat(1_000_000): vec![0; 1_000_000], "last": "\0"});
        assert_eq!(path_of_nul(&long).as_deref(), Some("last"));
    }

    #[test]
    fn a_name_is_one_line_that_is_seen() {
        for good in [
            "a",
            "Zürich: 50 % für Ärzte",
            "论文降重指南",
            "می\u{200c}خواهم",
            "👨\u{200d}👩\u{200d}👧 family",
            "שלום",
            "a  b",
        ] {
            assert_eq!(check_line("name", good, 1..=100), Ok(()), "{good:?}");
        }
        for odd in [
            "a\nb",
            "a\rb",
            "a\tb",
            "\u{1b}[31mred",
            "bell\u{7}",
            "nul\0",
            "a\u{7f}",
            "a\u{85}b",
            "a\u{9b}31m",
            "a\u{200b}b",
            "a\u{200d}b",
            "\u{200c}a",
            "о\u{200d}о",
            "a\u{200e}",
            "a\u{202e}b",
            "a\u{2066}b",
            "a\u{2028}b",
            "a\u{2060}b",
            "\u{feff}a",
            "a\u{ad}b",
            "a\u{e0041}",
            "a\u{61c}b",
            "\u{3164}",
        ] {
            let error = check_line("name", odd, 1..=100).unwrap_err();
            assert!(error.message.contains("U+"), "{odd:?}: {}", error.message);
        }
        for wrong in ["", " ", "\n", &"x".repeat(101)] {
            let error = check_line("name", wrong, 1..=100).unwrap_err();
            assert!(error.message.contains("1 to 100"), "{wrong:?}");
        }
        assert_eq!(check_line("name", "", 0..=3), Ok(()));
    }

    #[test]
    fn a_longer_text_has_lines_and_tabs_and_no_other_control() {
        for (text, expect) in [
            ("", true),
            ("one\ntwo\r\n\tthree", true),
            ("\u{202b}שלום\u{202c}", true),
            ("a\rb", false),
            ("\u{1b}]0;title\u{7}", false),
            ("nul\0", false),
        ] {
            assert_eq!(is_plain_text(text), expect, "{text:?}");
        }
    }
}
