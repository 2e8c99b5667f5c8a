//! Checks the length of user texts. Texts are stored as written; making them safe is up to the code that displays them.

use crate::{Error, Result, texts::is_plain_text};

/// Refuses a text that is too short or too long, a blank text where one is required, and control characters other than
/// line breaks and tabs.
pub(super) fn check_length(
    path: &str,
    text: &str,
    allowed: std::ops::RangeInclusive<usize>,
) -> Result<()> {
    let characters = text.chars().count();
    let is_blank = *allowed.start() > 0 && text.trim().is_empty();
    if allowed.contains(&characters) && !is_blank && is_plain_text(text) {
        return Ok(());
    }
    let (least, most) = (allowed.start(), allowed.end());
    let message = match least {
        0 => format!(
            "must have at most {most} characters, and no control characters but line breaks and tabs"
        ),
        _ => format!(
            "must have {least} to {most} characters, not all blank, and no control characters but line breaks and tabs"
        ),
    };
    Err(Error::invalid(path, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_counted_in_characters() {
        let check = |text: &str, allowed, expect: bool| {
            assert_eq!(
                check_length("text", text, allowed).is_ok(),
                expect,
                "{text:?}"
            );
        };
        check("", 0..=3, true);
        check("", 1..=3, false);
        check("äöü", 1..=3, true);
        check("äöüß", 1..=3, false);
        check(" \n", 1..=3, false);
        check(" \n", 0..=3, true);
        check("a\0", 0..=3, false);
    }
}
