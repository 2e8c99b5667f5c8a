//! Parses user-written YAML by the core schema of YAML 1.2: only `true` and `false` are booleans; `no`, `on`, dates and
//! numbers with leading zeros or underscores are texts. Errors name the line, and numbers that cannot be stored exactly
//! are refused.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle};
use serde::de::DeserializeOwned;
use serde_saphyr::Options;

use crate::{exact_json::is_exact, parse_errors::yaml_error};

/// Parses a YAML text, which may begin with a byte order mark. The parser itself refuses duplicate names.
///
/// # Errors
/// What is wrong, and in which line.
pub fn read_yaml<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let read = serde_saphyr::from_str_with_options(text, core_schema())
        .map_err(|error| yaml_error(&error))?;
    inexact_number(text).map_or(Ok(read), Err)
}

fn core_schema() -> Options {
    serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
    }
}

/// The unquoted defaults of variables (`variables[N].default`) as written, by N: a text keeps the spelling that a number would
/// lose. What an alias refers to is left out. The text must be valid YAML.
#[must_use]
pub(crate) fn unquoted_defaults(text: &str) -> HashMap<usize, String> {
    let mut found = HashMap::new();
    let mut open: Vec<Open> = Vec::new();
    for next in Parser::new_from_str(text) {
        let Ok((event, _)) = next else {
            break;
        };
        let scalar = match event {
            Event::MappingStart(..) => {
                open.push(Open::Mapping { name: None });
                continue;
            }
            Event::SequenceStart(..) => {
                open.push(Open::Sequence { at: 0 });
                continue;
            }
            Event::MappingEnd | Event::SequenceEnd => {
                open.pop();
                None
            }
            Event::Scalar(value, style, ..) => {
                if let Some(Open::Mapping { name: name @ None }) = open.last_mut() {
                    *name = Some(value.into_owned());
                    continue;
                }
                (style == ScalarStyle::Plain).then_some(value)
            }
            Event::Alias(..) => None,
            _ => continue,
        };
        if let Some(scalar) = scalar
            && let [
                Open::Mapping { name: Some(list) },
                Open::Sequence { at },
                Open::Mapping { name: Some(field) },
            ] = &open[..]
            && list == "variables"
            && field == "default"
        {
            found.insert(*at, scalar.into_owned());
        }
        match open.last_mut() {
            Some(Open::Mapping { name }) => *name = None,
            Some(Open::Sequence { at }) => *at += 1,
            None => {}
        }
    }
    found
}

/// A mapping or a sequence that is not closed yet.
enum Open {
    /// With the name of the value that follows.
    Mapping {
        name: Option<String>,
    },
    Sequence {
        at: usize,
    },
}

/// The first unquoted number that parsing and serializing would change. The text must be valid YAML.
fn inexact_number(text: &str) -> Option<String> {
    for next in Parser::new_from_str(text) {
        let Ok((event, span)) = next else {
            return None;
        };
        if let Event::Scalar(value, ScalarStyle::Plain, ..) = event
            && !is_exact(value.trim())
            && !is_text(value.trim())
        {
            let shown: String = value.trim().chars().take(40).collect();
            return Some(format!(
                "line {}, column {}: the number `{shown}` has more digits than can be stored; write fewer, or write it as text, in quotes",
                span.start.line(),
                span.start.col() + 1
            ));
        }
    }
    None
}

/// Whether digits are a text because of a leading zero.
fn is_text(written: &str) -> bool {
    let digits = written.trim_start_matches(['-', '+']);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn numbers_that_cannot_be_kept_are_refused_with_their_place() {
        let check = |text: &str, expect: Result<Value, &str>| {
            let read = read_yaml::<Value>(text);
            match expect {
                Ok(value) => assert_eq!(read, Ok(value), "{text}"),
                Err(message) => {
                    let refused = read.unwrap_err();
                    assert!(refused.starts_with(message), "{refused}");
                }
            }
        };
        check("a: 18446744073709551615\n", Ok(json!({"a": u64::MAX})));
        check("a: 0.1\nb: 1.5e3\n", Ok(json!({"a": 0.1, "b": 1500.0})));
        check(
            "a: '18446744073709551617'\nb: |\n  3.14159265358979323846\nc: 2026-01-01T00:00:00.000000001Z\nd: 0018446744073709551617\n",
            Ok(json!({
                "a": "18446744073709551617",
                "b": "3.14159265358979323846\n",
                "c": "2026-01-01T00:00:00.000000001Z",
                "d": "0018446744073709551617"
            })),
        );
        check(
            "a: 1\nb: [2, 18446744073709551617]\n",
            Err("line 2, column 8: the number `18446744073709551617`"),
        );
        check("a: 3.14159265358979323846\n", Err("line 1, column 4: "));
        check("a: {b: 1, b: 2}\n", Err("line 1, column "));
        check("a: [\n", Err("line "));
    }

    #[test]
    fn f09_words_and_numbers_are_those_of_yaml_1_2() {
        let check = |written: &str, expect: Value| {
            let read = read_yaml::<Value>(&format!("a: {written}\n"));
            assert_eq!(read, Ok(json!({"a": expect})), "{written}");
        };
        for text in [
            "no",
            "No",
            "NO",
            "yes",
            "Yes",
            "on",
            "On",
            "off",
            "OFF",
            "y",
            "Y",
            "n",
            "N",
            "2026-01-01",
            "2026-01-01T10:00:00Z",
            "12:30",
            "190:20:30",
            "010",
            "-007",
            "00",
            "1_000",
            "0b1_0",
            "1,234",
            "0x",
            ".",
            "tRUE",
            "nULL",
            "inf",
            "nan",
        ] {
            check(text, json!(text));
        }
        for (written, expect) in [
            ("true", json!(true)),
            ("False", json!(false)),
            ("TRUE", json!(true)),
            ("~", json!(null)),
            ("null", json!(null)),
            ("", json!(null)),
            ("0", json!(0)),
            ("-1", json!(-1)),
            ("1.0", json!(1.0)),
            ("1e3", json!(1000.0)),
            ("0.5", json!(0.5)),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("'true'", json!("true")),
            ("\"1.0\"", json!("1.0")),
        ] {
            check(written, expect);
        }
    }

    #[test]
    fn f24_a_byte_order_mark_and_windows_line_ends_are_no_content() {
        let read = read_yaml::<Value>("\u{feff}a: |\r\n  x\r\n  y\r\nb: 'c\r\n\r\n  d'\r\n");
        assert_eq!(read, Ok(json!({"a": "x\ny\n", "b": "c\nd"})));
    }

    #[test]
    fn unquoted_defaults_are_found_by_their_variables() {
        let text = "a: 1.0\nvariables:\n  - {name: x, default: 1.0}\n  - {name: y, default: 'q'}\n  - {name: z, more: {default: 2}, default: 1e3}\n  - [default]\n  - default: 010\nother: [{default: 3}]\n";
        let mut found: Vec<_> = unquoted_defaults(text).into_iter().collect();
        found.sort();
        let expect = [(0, "1.0"), (2, "1e3"), (4, "010")].map(|(at, text)| (at, text.to_owned()));
        assert_eq!(found, expect);
    }
}
