//! Finds JSON that cannot be stored exactly: numbers with more digits than are stored, and duplicate names in an
//! object. A parser would silently round the former and drop the latter, so JSON from users is checked here first.

use std::collections::HashSet;

/// A part of a JSON text that cannot be stored exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inexact {
    /// Its path, such as `items[3].expected`.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
}

/// The first value of a text that parsing and serializing would change. The text must be valid JSON; in an invalid one
/// nothing is found, because parsing it fails anyway.
#[must_use]
pub fn find_inexact(text: &[u8]) -> Option<Inexact> {
    let mut scan = Scan {
        text,
        at: 0,
        open: Vec::new(),
    };
    scan.run()
}

/// The path of the first object whose fields are not in the order of their names, if `counts` says of its path that the
/// order matters: stored objects are in that order. The text must be valid JSON.
#[must_use]
pub fn find_reordered(text: &[u8], counts: impl Fn(&str) -> bool) -> Option<String> {
    let mut scan = Scan {
        text,
        at: 0,
        open: Vec::new(),
    };
    while let Some(&byte) = text.get(scan.at) {
        if byte != b'"' {
            scan.step(byte);
            continue;
        }
        let before = match scan.open.last() {
            Some(Open::Object { name, .. }) => name.clone(),
            _ => String::new(),
        };
        scan.string();
        let is_reordered = match scan.open.last() {
            Some(Open::Object { name, .. }) => *name < before,
            _ => false,
        };
        if is_reordered {
            let path = path_of(&scan.open[..scan.open.len() - 1]);
            if counts(&path) {
                return Some(path);
            }
        }
    }
    None
}

/// An object or a list that is not closed yet.
enum Open {
    Object {
        names: HashSet<String>,
        name: String,
    },
    List {
        at: usize,
    },
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    open: Vec<Open>,
}

impl Scan<'_> {
    fn run(&mut self) -> Option<Inexact> {
        while let Some(&byte) = self.text.get(self.at) {
            let found = match byte {
                b'"' => self.string(),
                b'-' | b'0'..=b'9' => self.number(),
                _ => {
                    self.step(byte);
                    None
                }
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Reads a byte that begins neither a string nor a number.
    fn step(&mut self, byte: u8) {
        match byte {
            b'{' => self.open.push(Open::Object {
                names: HashSet::new(),
                name: String::new(),
            }),
            b'[' => self.open.push(Open::List { at: 0 }),
            b'}' | b']' => {
                self.open.pop();
            }
            b',' => {
                if let Some(Open::List { at }) = self.open.last_mut() {
                    *at += 1;
                }
            }
            _ => {}
        }
        self.at += 1;
    }

    /// Reads a string. If it is a name in an object, it becomes the last step of the path.
    fn string(&mut self) -> Option<Inexact> {
        let start = self.at;
        self.at += 1;
        while let Some(&byte) = self.text.get(self.at) {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                break;
            }
        }
        let mut after = self.text.get(self.at..)?.iter();
        if after.find(|byte| !byte.is_ascii_whitespace()) != Some(&b':') {
            return None;
        }
        let read: String = serde_json::from_slice(&self.text[start..self.at]).ok()?;
        let Some(Open::Object { names, name }) = self.open.last_mut() else {
            return None;
        };
        name.clone_from(&read);
        if names.insert(read) {
            return None;
        }
        Some(self.found("is given twice; leave one of them out".to_owned()))
    }

    fn number(&mut self) -> Option<Inexact> {
        let start = self.at;
        let is_part = |byte: &&u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
        self.at += self.text[start..].iter().take_while(is_part).count();
        let written = std::str::from_utf8(&self.text[start..self.at]).ok()?;
        if is_exact(written) {
            return None;
        }
        let shown: String = written.chars().take(40).collect();
        Some(self.found(format!(
            "is the number `{shown}`, which has more digits than can be stored; write fewer, or write it as text, in quotes"
        )))
    }

    fn found(&self, message: String) -> Inexact {
        Inexact {
            path: path_of(&self.open),
            message,
        }
    }
}

/// The path of what is being read.
fn path_of(open: &[Open]) -> String {
    let mut path = String::new();
    for open in open {
        match open {
            Open::Object { name, .. } => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
            }
            Open::List { at } => {
                path.push('[');
                path.push_str(&at.to_string());
                path.push(']');
            }
        }
    }
    path
}

/// True if a number does not change when it is parsed and serialized.
#[must_use]
pub fn is_exact(written: &str) -> bool {
    // Fifteen digits are always kept, and so is every integer that fits.
    if written.bytes().filter(u8::is_ascii_digit).count() <= 15 && !written.contains(['e', 'E']) {
        return true;
    }
    if written.parse::<i64>().is_ok() || written.parse::<u64>().is_ok() {
        return true;
    }
    // Parsed as our JSON parser does, which does not always round numbers with many digits correctly; YAML has more
    // spellings.
    let read = serde_json::from_str::<f64>(written).ok();
    let Some(number) = read.or_else(|| written.parse().ok()) else {
        return true;
    };
    // A number that is too large is refused by the parser.
    number.is_infinite() || digits(written) == digits(&format!("{number:e}"))
}

/// The digits of a number without leading and trailing zeros, and the power of ten of the last one; the same for all
/// spellings of a number.
fn digits(written: &str) -> Option<(String, i64)> {
    let written = written.trim_start_matches(['-', '+']);
    let (mantissa, exponent) = match written.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (written, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let kept = all.trim_end_matches('0');
    let dropped = i64::try_from(all.len() - kept.len()).ok()?;
    let power = exponent - i64::try_from(fraction.len()).ok()? + dropped;
    let kept = kept.trim_start_matches('0');
    Some(match kept {
        "" => (String::new(), 0),
        kept => (kept.to_owned(), power),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn path_of(text: &str) -> Option<String> {
        let found = find_inexact(text.as_bytes());
        found.map(|found| format!("{}: {}", found.path, &found.message[..9]))
    }

    #[test]
    fn what_can_be_kept_is_let_through() {
        for text in [
            "null",
            r#"{"a": 1, "b": [1.5, -2e3, 0.1, 1e300, 100000000000000000000, 0.000, -0]}"#,
            "[18446744073709551615, -9223372036854775808, 0.333333333333333]",
            r#"{"a": {"a": 1}, "b": {"a": 1}, "c": [{"a": 1}, {"a": "18446744073709551617"}]}"#,
            r#"{"a": "\"a\": 1, \"a\": 123456789012345678901", "b": "\\"}"#,
            r#"{"": "", "\u0061": 1, "A": 2}"#,
        ] {
            assert_eq!(path_of(text), None, "{text}");
        }
    }

    #[test]
    fn what_would_change_is_found_with_its_place() {
        let check = |text: &str, expect: &str| {
            assert_eq!(path_of(text).as_deref(), Some(expect), "{text}");
        };
        check("18446744073709551617", ": is the nu");
        check(
            r#"{"items": [{"vars": {}}, {"vars": {"n": [0, 18446744073709551616]}}]}"#,
            "items[1].vars.n[1]: is the nu",
        );
        check("[-9223372036854775809]", "[0]: is the nu");
        check(r#"{"a":3.14159265358979323846}"#, "a: is the nu");
        check(r#"{"a":1.00000000000000000001e5}"#, "a: is the nu");
        check("[1e-400]", "[0]: is the nu");
        check(r#"{"a": {"b": 1, "c": 2, "b": 3}}"#, "a.b: is given ");
        check(r#"[{"a": [1], "\u0061" : 2}]"#, "[0].a: is given ");
    }

    #[test]
    fn f38_an_object_in_another_order_is_found_with_its_path() {
        let check = |text: &str, expect: Option<&str>| {
            let counts = |path: &str| path.starts_with("vars.");
            assert_eq!(
                find_reordered(text.as_bytes(), counts).as_deref(),
                expect,
                "{text}"
            );
        };
        check(r#"{"vars": {"b": 1, "a": 2}, "id": "x"}"#, None);
        check(r#"{"vars": {"o": {"A": "B", "B": "A"}}}"#, None);
        check(r#"{"vars": {"o": {"D": 1, "A": 2}}}"#, Some("vars.o"));
        check(
            r#"{"vars": {"o": [1, {"b": {}, "a": 2}]}}"#,
            Some("vars.o[1]"),
        );
        check(
            r#"{"z": 1, "vars": {"o": {"D": 1, "A": 2}}}"#,
            Some("vars.o"),
        );
        check(r#"{"metadata": {"o": {"b": 1, "a": 2}}}"#, None);
        check(r#"{"vars": {"o": {"b": "a", "\u0061": 2"#, Some("vars.o"));
        check("\"", None);
    }

    #[test]
    fn broken_texts_end() {
        for text in [
            "", "{", "[[[", "\"", "\"\\", "{\"a\"", "{\"a\":", "-", "1e", "}}]", "\u{e4}:",
        ] {
            assert_eq!(find_inexact(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whole_numbers_and_fifteen_digits_are_exact(whole in any::<i64>(), large in any::<u64>(), digits in 0..1_000_000_000_000_000_i64, places in 0..15_u32) {
            for written in [whole.to_string(), large.to_string(), format!("0.{digits:015}"), format!("{digits}e-{places}")] {
                prop_assert!(is_exact(&written), "{written}");
            }
        }

        #[test]
        fn a_number_is_exact_when_its_value_stays(written in "-?[1-9][0-9]{0,24}(\\.[0-9]{1,20})?") {
            let read: Value = serde_json::from_str(&written).unwrap();
            let again = digits(&read.to_string());
            prop_assert_eq!(is_exact(&written), digits(&written) == again, "{} {}", written, read);
        }
    }
}
