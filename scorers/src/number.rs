//! Finds the last number in a text, as people and models write numbers.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::{Number, Value};

use crate::MAX_SEARCHED_BYTES;

const DEFAULT_TOLERANCE: f64 = 1e-6;
/// What may stand between groups of three digits, besides the spellings of a comma. A comma after such a group is a
/// decimal comma.
const GROUP_SPACES: [&str; 7] = ["\\!", "\\,", "\u{a0}", "\u{2009}", "\u{202f}", "'", "’"];
/// The commas between groups of three digits, as text and in LaTeX; longer ones before those that begin them.
const GROUP_COMMAS: [&str; 3] = ["{,}", ",\\!", ","];
const CURRENCIES: [char; 4] = ['$', '€', '£', '¥'];

/// The last number in a text.
///
/// Accepted: a sign (`-`, `+`, `−`, and the dashes `–` and `‑`), a currency sign, thousands in groups of three
/// (`1,234`, `1{,}234`, `1\,234`, `1'234`, or with a space that breaks no line), decimals, an exponent (`1.5e-3`); a
/// `%`, a unit or a full stop after the number is ignored.
/// A comma is a decimal comma only where it cannot be anything else: after groups with another separator
/// (`1'234,5`, `1.234,5`), and as `{,}` before digits that are no group (`3{,}14`).
/// Not numbers: digits that continue a word (`x2`, `GPT-4`, `a_1`) and dotted versions (`1.2.3`).
/// A `-` between digits is a separator (`3-5` ends in 5); one before a space is a sign only at the start of the text and
/// after `=`, `:` or an opening bracket. Only the last [`MAX_SEARCHED_BYTES`] are read.
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
            let signs = before.chars().filter(|c| !matches!(c, ' ' | '\\')).count() <= 2
                && before.chars().all(|c| {
                    matches!(c, '+' | '\\' | ' ') || is_minus(c) || CURRENCIES.contains(&c)
                });
            (signs && matches!(after, "" | "%" | "\\%" | "." | "$" | "€" | "£" | "¥"))
                .then_some(number)
        }
        _ => None,
    }
}

/// A number as JavaScript writes it, and promptfoo compares it: `1.0` is `1`, and `1e3` is `1000`. Whole numbers keep all
/// digits.
pub(super) fn as_text(number: &Number) -> String {
    if number.is_i64() || number.is_u64() {
        return number.to_string();
    }
    let float = number.as_f64().unwrap_or_default();
    if float == 0.0 {
        return "0".to_owned();
    }
    if (1e-6..1e21).contains(&float.abs()) {
        return float.to_string();
    }
    let scientific = format!("{float:e}");
    match scientific.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
        _ => scientific,
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

/// The positions of a number's parts in a text.
struct Written {
    whole: Range<usize>,
    decimals: Range<usize>,
    exponent: Range<usize>,
    is_negative: bool,
}

impl Written {
    fn value(&self, text: &str) -> Option<f64> {
        let digits = |part: &Range<usize>| {
            let part = text[part.clone()].chars();
            part.filter(char::is_ascii_digit).collect::<String>()
        };
        let (whole, decimals) = (digits(&self.whole), digits(&self.decimals));
        let number: f64 = format!("{whole}.{decimals}0{}", &text[self.exponent.clone()])
            .parse()
            .ok()?;
        let number = if self.is_negative { -number } else { number };
        number.is_finite().then_some(number)
    }
}

/// The last number, and the range of its digits.
fn scan(text: &str) -> Option<(f64, Range<usize>)> {
    let bytes = text.as_bytes();
    let mut last = None;
    let mut at = 0;
    while at < bytes.len() {
        if !(is_digit(text, at) || bytes[at] == b'.' && is_digit(text, at + 1)) {
            at += 1;
            continue;
        }
        let (whole, separator) = whole_part(text, at);
        let decimals = decimals(text, whole.end, separator);
        at = decimals.end;
        let is_version = bytes.get(at) == Some(&b'.') && is_digit(text, at + 1);
        while bytes.get(at) == Some(&b'.') && is_digit(text, at + 1) {
            at = digits_end(text, at + 1);
        }
        let mut exponent = at..at;
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            let signed = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            if is_digit(text, at + 1 + signed) {
                at = digits_end(text, at + 1 + signed);
                exponent.end = at;
            }
        }
        if is_version {
            continue;
        }
        if let Some(is_negative) = sign_before(&text[..whole.start]) {
            last = Some(Written {
                whole,
                decimals,
                exponent,
                is_negative,
            });
        }
    }
    let last = last?;
    Some((last.value(text)?, last.whole.start..last.exponent.end))
}

fn is_digit(text: &str, at: usize) -> bool {
    text.as_bytes().get(at).is_some_and(u8::is_ascii_digit)
}

/// The end of the digits that begin at a position.
fn digits_end(text: &str, mut at: usize) -> usize {
    while is_digit(text, at) {
        at += 1;
    }
    at
}

/// The whole part of a number and its separator: its first digits, and groups of three after one to three of them.
fn whole_part(text: &str, start: usize) -> (Range<usize>, Option<&'static str>) {
    let mut at = digits_end(text, start);
    // Nothing is grouped after a zero: `0{,}125` has a decimal comma.
    if !(1..=3).contains(&(at - start)) || &text[start..at] == "0" {
        return (start..at, None);
    }
    let known = GROUP_COMMAS.into_iter().chain(GROUP_SPACES);
    let Some(separator) = known.into_iter().find(|it| has_group(text, at, it)) else {
        let dotted = dotted_end(text, at);
        return (start..dotted.unwrap_or(at), dotted.map(|_| "."));
    };
    while has_group(text, at, separator) {
        at += separator.len() + 3;
    }
    (start..at, Some(separator))
}

/// Whether a separator and exactly three digits follow.
fn has_group(text: &str, at: usize, separator: &str) -> bool {
    let group = at + separator.len();
    text[at..].starts_with(separator) && digits_end(text, group) == group + 3
}

/// The end of groups with dots, which are groups only if a decimal comma follows: `1.234,5`.
fn dotted_end(text: &str, start: usize) -> Option<usize> {
    let mut at = start;
    while has_group(text, at, ".") {
        at += 4;
    }
    if at == start || !text[at..].starts_with(',') {
        return None;
    }
    let end = digits_end(text, at + 1);
    let goes_on = text[end..].starts_with(['.', ',']) && is_digit(text, end + 1);
    (end > at + 1 && !goes_on).then_some(at)
}

/// The decimals at a position with their separator, which depends on the one of the whole part.
fn decimals(text: &str, at: usize, of_whole: Option<&str>) -> Range<usize> {
    let separators: &[&str] = match of_whole {
        None => &[".", "{,}"],
        Some(comma) if GROUP_COMMAS.contains(&comma) => &["."],
        Some(_) => &[".", ",", "{,}"],
    };
    let mut followed = separators
        .iter()
        .filter(|it| text[at..].starts_with(**it) && is_digit(text, at + it.len()));
    at..followed
        .next()
        .map_or(at, |it| digits_end(text, at + it.len()))
}

fn is_minus(c: char) -> bool {
    matches!(c, '-' | '−' | '–' | '\u{2011}')
}

/// Whether a number after this text is negative; `None` if it continues a word.
fn sign_before(text: &str) -> Option<bool> {
    let in_word = |text: &str| text.ends_with(|c: char| c.is_alphabetic() || c == '_');
    if in_word(text) {
        return None;
    }
    let text = text.trim_end_matches(CURRENCIES).trim_end_matches('\\');
    let Some(before) = text.strip_suffix(is_minus) else {
        return Some(is_spaced_minus(text));
    };
    if in_word(before) {
        // A dash between words and numbers is punctuation; a hyphen makes one word of them.
        return text.ends_with('–').then_some(false);
    }
    Some(!before.ends_with(|c: char| c.is_numeric() || matches!(c, ')' | ']' | '}' | '%')))
}

/// Whether a text ends in a minus and a space, where the minus can only be a sign: in a line of a list it is a bullet.
fn is_spaced_minus(text: &str) -> bool {
    let spaces = [' ', '\u{a0}', '\u{2009}', '\u{202f}'];
    let Some(before) = text.trim_end_matches(spaces).strip_suffix(is_minus) else {
        return false;
    };
    let before = before.trim_end_matches(spaces).trim_end_matches('*');
    before.is_empty() || before.ends_with(['=', ':', '(', '[', '{'])
}
