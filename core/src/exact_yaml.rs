//! Parses user-written YAML; errors name the line, and numbers that cannot be stored exactly are refused.

use granit_parser::{Event, Parser, ScalarStyle};
use serde::de::DeserializeOwned;

use crate::{exact_json::is_exact, parse_errors::yaml_error};

/// Parses a YAML text. The parser itself refuses duplicate names.
///
/// # Errors
/// What is wrong, and in which line.
pub(crate) fn read_yaml<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let read = serde_saphyr::from_str(text).map_err(|error| yaml_error(&error))?;
    inexact_number(text).map_or(Ok(read), Err)
}

/// The first unquoted number that parsing and serializing would change. The text must be valid YAML.
fn inexact_number(text: &str) -> Option<String> {
    for next in Parser::new_from_str(text) {
        let Ok((event, span)) = next else {
            return None;
        };
        if let Event::Scalar(value, ScalarStyle::Plain, ..) = event
            && !is_exact(value.trim())
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
            "a: '18446744073709551617'\nb: |\n  3.14159265358979323846\nc: 2026-01-01T00:00:00.000000001Z\n",
            Ok(json!({
                "a": "18446744073709551617",
                "b": "3.14159265358979323846\n",
                "c": "2026-01-01T00:00:00.000000001Z"
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
}
