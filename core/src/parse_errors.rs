//! Rewords errors of file parsers as one line for users: what is wrong, and where.

/// Maximum length of a message.
const LONGEST: usize = 300;

/// The error in a YAML text and its line, without an excerpt of the text.
#[must_use]
pub fn yaml_error(error: &serde_saphyr::Error) -> String {
    let place = error
        .location()
        .map(|at| (at.line(), at.column()))
        .filter(|(line, _)| *line > 0);
    // The other lines are an excerpt of the text.
    let message = error.without_snippet().to_string();
    let message = plain(first_line(&message));
    let Some((line, column)) = place else {
        return message.to_owned();
    };
    // The parser has its own wording of the position.
    let message = message
        .split_once(" at line ")
        .map_or(message, |(message, _)| message);
    format!("line {line}, column {column}: {message}")
}

/// The error in a line of JSON and its column.
#[must_use]
pub fn json_line_error(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match message.strip_suffix(&place) {
        Some(message) if error.column() > 0 => format!("{message} (column {})", error.column()),
        Some(message) => message.to_owned(),
        None => message,
    }
}

/// The parser's words for programmers, in words for authors.
fn plain(message: &str) -> &str {
    if message.starts_with("cannot deserialize null into string") {
        "nothing is written here; write a text, in quotes if it is to be `null` or `~`"
    } else if message.starts_with("invalid boolean") {
        "must be true or false"
    } else {
        message
    }
}

fn first_line(text: &str) -> &str {
    let line = text.trim_start().lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    let end = line
        .char_indices()
        .nth(LONGEST)
        .map_or(line.len(), |(at, _)| at);
    &line[..end]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsed")]
    struct Header {
        slug: String,
        source: Option<BTreeMap<String, String>>,
    }

    #[test]
    fn a_fault_is_said_once_with_its_place() {
        let check = |text: &str, expect: &str| {
            let error = serde_saphyr::from_str::<Header>(text).unwrap_err();
            let message = yaml_error(&error);
            assert!(message.starts_with(expect), "{message}");
            assert!(
                !message.contains('\n') && message.matches("line").count() == 1,
                "{message}"
            );
        };
        check(
            "slug: a\nslugs: b\n",
            "line 2, column 1: unknown field `slugs`, expected one of slug, source",
        );
        check("slug: [\n", "line ");
        check("slug:\n", "line 1, column "); // f36
        let empty = serde_saphyr::from_str::<Header>("source: {}\nslug: ~\n").unwrap_err();
        let empty = yaml_error(&empty);
        assert!(
            empty.starts_with("line 2, column 7: nothing is written here; write a text"),
            "{empty}"
        );
        check("source: {}\n", "line 1, column 1: missing field `slug`");
        let error = serde_json::from_str::<Header>(r#"{"slug": 1}"#).unwrap_err();
        assert_eq!(
            json_line_error(&error),
            "invalid type: integer `1`, expected a string (column 10)"
        );
    }
}
