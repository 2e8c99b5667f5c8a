//! Finds the last number in a text, as people write numbers.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::Value;

use crate::MAX_SEARCHED_BYTES;

const DEFAULT_TOLERANCE: f64 = 1e-6;

/// The last number in a text.
///
/// Accepted: a sign (`-`, `+`, `−`), a currency sign, thousands in groups of three (`1,234`), decimals, an exponent
/// (`1.5e-3`); a `%`, a unit or a full stop after the number is ignored.
/// Not numbers: digits that continue a word (`x2`, `GPT-4`, `a_1`) and dotted versions (`1.2.3`).
/// A `-` between digits is a separator (`3-5` ends in 5). Only the last [`MAX_SEARCHED_BYTES`] are read.
#[must_use]
pub fn last_number(text: &str) -> Option<f64> {
    let text = &text[text.ceil_char_boundary(text.len().saturating_sub(MAX_SEARCHED_BYTES))..];
    scan(text).map(|(number, _)| number)
}

/// The value of a JSON number, or of a string that holds one number and nothing else but `$`, `%` and the like.
pub(super) fn of(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => {
            let (number, at) = scan(text)?;
            let (before, after) = (text[..at.start].trim_start(), text[at.end..].trim());
            let signs = before.chars().count() <= 2
                && before
                    .chars()
                    .all(|c| matches!(c, '-' | '+' | '−' | '$' | '€' | '£' | '¥'));
            (signs && matches!(after, "" | "%" | "." | "$" | "€" | "£" | "¥")).then_some(number)
        }
        _ => None,
    }
}

/// Whether the last number of an output equals the expected one.
///
/// With a tolerance: `|found − wanted| ≤ tolerance`, allowing for floating-point rounding.
/// Without: `|found − wanted| ≤ 10⁻⁶ · max(1, |wanted|)`, absolute for small and relative for large numbers.
pub(super) fn equals(
    output: &str,
    wanted: f64,
    tolerance: Option<f64>,
) -> (bool, Cow<'static, str>) {
    let Some(found) = last_number(output) else {
        return (false, Cow::Borrowed("the output has no number"));
    };
    let scale = wanted.abs().max(1.0);
    let allowed = tolerance.map_or(DEFAULT_TOLERANCE * scale, |tolerance| {
        tolerance + 1e-12 * scale
    });
    if (found - wanted).abs() <= allowed {
        (
            true,
            Cow::Borrowed("the last number of the output is the value"),
        )
    } else {
        (
            false,
            Cow::Owned(format!(
                "the last number of the output is {found}, not {wanted}"
            )),
        )
    }
}

/// The last number, and the range of its digits.
fn scan(text: &str) -> Option<(f64, Range<usize>)> {
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let digits_from = |mut at: usize| {
        while is_digit(at) {
            at += 1;
        }
        at
    };
    let mut last = None;
    let mut at = 0;
    while at < bytes.len() {
        if !(is_digit(at) || bytes[at] == b'.' && is_digit(at + 1)) {
            at += 1;
            continue;
        }
        let start = at;
        at = digits_from(at);
        if (1..=3).contains(&(at - start)) {
            while bytes.get(at) == Some(&b',') && digits_from(at + 1) == at + 4 {
                at += 4;
            }
        }
        if bytes.get(at) == Some(&b'.') && is_digit(at + 1) {
            at = digits_from(at + 1);
        }
        let version = bytes.get(at) == Some(&b'.') && is_digit(at + 1);
        while bytes.get(at) == Some(&b'.') && is_digit(at + 1) {
            at = digits_from(at + 1);
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            let signed = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            if is_digit(at + 1 + signed) {
                at = digits_from(at + 1 + signed);
            }
        }
        if version {
            continue;
        }
        if let Some(negative) = sign_before(&text[..start]) {
            last = Some((start..at, negative));
        }
    }
    let (at, negative) = last?;
    let written = &text[at.clone()];
    let number: f64 = if written.contains(',') {
        written.replace(',', "").parse().ok()?
    } else {
        written.parse().ok()?
    };
    number
        .is_finite()
        .then_some((if negative { -number } else { number }, at))
}

/// Whether a number after this text is negative; `None` if it continues a word.
fn sign_before(text: &str) -> Option<bool> {
    let in_word = |text: &str| text.ends_with(|c: char| c.is_alphabetic() || c == '_');
    if in_word(text) {
        return None;
    }
    let text = text.trim_end_matches(['$', '€', '£', '¥']);
    let Some(before) = text.strip_suffix(['-', '−']) else {
        return Some(false);
    };
    if in_word(before) {
        return None;
    }
    Some(!before.ends_with(|c: char| c.is_numeric() || c == ')'))
}
