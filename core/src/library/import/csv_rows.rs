//! Reads CSV row by row: a row that is wrong is an error of its own, and reading goes on in the next line. Pure.

/// Maximum size of a row, in bytes.
const MAX_ROW_BYTES: usize = 1024 * 1024;
/// Maximum size of a field, in bytes.
const MAX_FIELD_BYTES: usize = 256 * 1024;

/// Maximum number of fields of a row.
const MAX_FIELDS: usize = 2_000;

/// A row of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CsvRow {
    /// The line in which it begins, from 1.
    pub(super) line: usize,
    /// The fields, or what is wrong with the row.
    pub(super) fields: Result<Vec<String>, String>,
}

/// The rows of a text whose lines end in `\n`; empty lines are no rows.
pub(super) struct CsvRows<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> CsvRows<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self {
            rest: text,
            line: 1,
        }
    }

    fn skip(&mut self, bytes: usize) {
        let (skipped, rest) = self.rest.split_at(bytes);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }
}

impl Iterator for CsvRows<'_> {
    type Item = CsvRow;

    fn next(&mut self) -> Option<CsvRow> {
        while self.rest.starts_with('\n') {
            self.skip(1);
        }
        if self.rest.is_empty() {
            return None;
        }
        let line = self.line;
        let fields = match read_row(self.rest) {
            Ok((fields, bytes)) => {
                self.skip(bytes);
                Ok(fields)
            }
            Err(message) => {
                // A quotation mark that is wrong must not swallow the rows that follow.
                let line_bytes = self.rest.find('\n').map_or(self.rest.len(), |at| at + 1);
                self.skip(line_bytes);
                Err(message)
            }
        };
        Some(CsvRow { line, fields })
    }
}

/// The fields of the first row, and its length with its line end.
fn read_row(text: &str) -> Result<(Vec<String>, usize), String> {
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let (field, end) = if text[at..].starts_with('"') {
            read_quoted(text, at + 1)?
        } else {
            let end = text[at..]
                .find([',', '\n'])
                .map_or(text.len(), |to| at + to);
            (text[at..end].to_owned(), end)
        };
        if field.len() > MAX_FIELD_BYTES || end > MAX_ROW_BYTES {
            return Err(too_large());
        }
        if fields.len() == MAX_FIELDS {
            return Err(format!(
                "has more than {MAX_FIELDS} fields; is a quotation mark missing?"
            ));
        }
        fields.push(field);
        match text.as_bytes().get(end) {
            Some(b',') => at = end + 1,
            Some(_) => return Ok((fields, end + 1)),
            None => return Ok((fields, end)),
        }
    }
}

/// The field behind a quotation mark, and where the separator after it stands.
fn read_quoted(text: &str, start: usize) -> Result<(String, usize), String> {
    let mut field = String::new();
    let mut at = start;
    loop {
        let Some(to) = text[at..].find('"') else {
            return Err(
                "the quotation mark at the start of a field is never closed; write another one where the text ends"
                    .to_owned(),
            );
        };
        field.push_str(&text[at..at + to]);
        at += to + 1;
        if field.len() > MAX_FIELD_BYTES {
            return Err(too_large());
        }
        if !text[at..].starts_with('"') {
            break;
        }
        field.push('"');
        at += 1;
    }
    let after = text[at..].trim_start_matches([' ', '\t']);
    if after.is_empty() || after.starts_with([',', '\n']) {
        return Ok((field, text.len() - after.len()));
    }
    Err(
        "a quotation mark closes a field before its end; write one that belongs to the text twice, or close the field where the text ends"
            .to_owned(),
    )
}

fn too_large() -> String {
    format!(
        "is larger than {MAX_ROW_BYTES} bytes, or one of its fields larger than {MAX_FIELD_BYTES}; is a quotation mark missing?"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(text: &str) -> Vec<(usize, Result<Vec<String>, String>)> {
        let rows = CsvRows::of(text);
        rows.map(|row| (row.line, row.fields)).collect()
    }

    #[test]
    fn rows_are_read_with_their_lines() {
        let check = |text: &str, expect: &[(usize, &[&str])]| {
            let expect: Vec<_> = expect
                .iter()
                .map(|(line, fields)| (*line, Ok(fields.iter().map(ToString::to_string).collect())))
                .collect();
            assert_eq!(rows(text), expect, "{text:?}");
        };
        check("", &[]);
        check("a,b\n\nc,d", &[(1, &["a", "b"]), (3, &["c", "d"])]);
        check("a,\n,\n", &[(1, &["a", ""]), (2, &["", ""])]);
        check(
            "\"a\n\"\"b\"\"\",c\nd\n",
            &[(1, &["a\n\"b\"", "c"]), (3, &["d"])],
        );
        check("\"a\" ,\"\"\n", &[(1, &["a", ""])]);
        check("a \"b\" c,d\"\n", &[(1, &["a \"b\" c", "d\""])]);
    }

    #[test]
    fn f23_a_wrong_row_swallows_no_other() {
        let check = |text: &str, wrong: &str, rest: &[&str]| {
            let found = rows(text);
            let message = found[1].1.as_ref().unwrap_err();
            assert!(message.contains(wrong), "{text:.60}: {message}");
            assert_eq!(found[1].0, 2);
            let after: Vec<&str> = found[2..]
                .iter()
                .map(|(_, fields)| fields.as_ref().unwrap()[0].as_str())
                .collect();
            assert_eq!(after, rest, "{text:.60}");
        };
        check(
            "One,a\nTwo,\"never closed\nThree,fine\n",
            "never closed",
            &["Three"],
        );
        check(
            "One,a\nTwo,\"b\nThree,\"c\"\nFour,d\n",
            "before its end",
            &["Three", "Four"],
        );
        check(
            "One,a\nTwo,\"b\" c\nThree,d\n",
            "before its end",
            &["Three"],
        );
        let large = format!("One,a\nTwo,{}\nThree,d\n", "x".repeat(MAX_FIELD_BYTES + 1));
        check(&large, "is larger than", &["Three"]);
        let swallowed = format!("One,a\nTwo,\"{}\"\n", "b\n".repeat(MAX_FIELD_BYTES));
        assert!(
            rows(&swallowed)[1]
                .1
                .as_ref()
                .unwrap_err()
                .contains("is larger than")
        );
    }

    proptest! {
        #[test]
        fn written_rows_are_read_back(table in proptest::collection::vec(proptest::collection::vec("[a\",\n é]{0,6}", 2..4), 1..5)) {
            let quoted = |field: &String| format!("\"{}\"", field.replace('"', "\"\""));
            let lines = table.iter().map(|row| row.iter().map(quoted).collect::<Vec<_>>().join(","));
            let text = lines.collect::<Vec<_>>().join("\n");
            let read: Vec<_> = rows(&text).into_iter().map(|(_, fields)| fields.unwrap()).collect();
            prop_assert_eq!(read, table);
        }

        #[test]
        fn every_text_ends(text in "[a\",\n]{0,40}") {
            let lines = text.matches('\n').count() + 1;
            prop_assert!(rows(&text).len() <= lines);
        }
    }
}
