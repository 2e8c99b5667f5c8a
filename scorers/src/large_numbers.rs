//! Keeps the digits of whole numbers that a JSON parser would round.

use std::borrow::Cow;

/// The same JSON, in which whole numbers beyond 64 bits are texts with the same digits. In a text that is not JSON,
/// the result is not JSON either.
#[must_use]
pub fn keep_large_numbers(json: &str) -> Cow<'_, str> {
    let bytes = json.as_bytes();
    let mut out = String::new();
    let (mut at, mut done) = (0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = end_of_string(bytes, at),
            b'-' | b'0'..=b'9' => {
                let start = at;
                let is_part = |c: &&u8| matches!(c, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                at += bytes[start..].iter().take_while(is_part).count();
                if is_large(&json[start..at]) {
                    out.push_str(&json[done..start]);
                    out.push('"');
                    out.push_str(&json[start..at]);
                    out.push('"');
                    done = at;
                }
            }
            _ => at += 1,
        }
    }
    if done == 0 {
        return Cow::Borrowed(json);
    }
    out.push_str(&json[done..]);
    Cow::Owned(out)
}

fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Whether a number is whole, is written as JSON requires, and does not fit.
fn is_large(written: &str) -> bool {
    let digits = written.strip_prefix('-').unwrap_or(written);
    digits.len() > 18
        && !digits.starts_with('0')
        && digits.bytes().all(|c| c.is_ascii_digit())
        && written.parse::<i64>().is_err()
        && written.parse::<u64>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_that_would_change_become_texts() {
        let check = |json: &str, expect: &str| assert_eq!(keep_large_numbers(json), expect);
        for same in [
            "",
            "18446744073709551615",
            "[-9223372036854775808, 1.8446744073709551617, 1e30, 018446744073709551617]",
            r#"{"a": "18446744073709551617 \" 18446744073709551617"}"#,
            r#"" 18446744073709551617"#,
            r#""\"#,
        ] {
            check(same, same);
        }
        check("18446744073709551616", "\"18446744073709551616\"");
        check(
            r#"{"a\"": [-9223372036854775809,1], "é": 123456789012345678901234567890}"#,
            r#"{"a\"": ["-9223372036854775809",1], "é": "123456789012345678901234567890"}"#,
        );
    }
}
