//! Reader of prompts.chat's CSV: `act`, `prompt`, and optionally `for_devs`, `type` and `contributor`. Pure.

use csv::{ErrorKind, ReaderBuilder, StringRecord};

use super::{ParsedRow, PortablePrompt, placeholders::convert, require_room};
use crate::{
    Error, FieldError, Result,
    library::{NewPromptVersion, Parameters},
    template::PromptBody,
};

/// Maximum number of columns.
const MAX_COLUMNS: usize = 1_000;
/// Maximum size of a record, in bytes.
const MAX_RECORD_BYTES: usize = 1024 * 1024;
/// Maximum size of a field, in bytes.
const MAX_FIELD_BYTES: usize = 256 * 1024;
/// The licence of the whole file, as the project states it.
const LICENCE: &str = "CC0-1.0";

/// The positions of the columns.
struct Columns {
    act: usize,
    prompt: usize,
    for_devs: Option<usize>,
    kind: Option<usize>,
    contributor: Option<usize>,
}

/// Parses the file.
///
/// # Errors
/// [`Error::Invalid`] at `content` if the text is not such a file; the message names the line. At `source` if it has
/// too many rows.
pub(super) fn read(text: &str, most: usize) -> Result<Vec<ParsedRow>> {
    let refuse = |message: String| Error::invalid("content", message);
    if text.contains('\0') {
        return Err(refuse("must not hold a NUL character".into()));
    }
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let mut reader = ReaderBuilder::new().from_reader(text.as_bytes());
    let columns = reader.headers().map_err(|error| refuse(explain(&error)))?;
    let columns = columns_of(columns).map_err(refuse)?;
    let mut rows = Vec::new();
    let mut record = StringRecord::new();
    while reader
        .read_record(&mut record)
        .map_err(|error| refuse(explain(&error)))?
    {
        let line = record.position().map_or(0, csv::Position::line);
        let longest = record.iter().map(str::len).max().unwrap_or(0);
        if record.as_slice().len() > MAX_RECORD_BYTES || longest > MAX_FIELD_BYTES {
            return Err(refuse(format!(
                "line {line}: a record is larger than {MAX_RECORD_BYTES} bytes, or a field larger than {MAX_FIELD_BYTES}; is a quotation mark missing?"
            )));
        }
        require_room(rows.len() + 1, most)?;
        rows.push(
            row(&columns, &record)
                .map_err(|message| vec![FieldError::new("", format!("line {line}: {message}"))]),
        );
    }
    Ok(rows)
}

fn columns_of(header: &StringRecord) -> Result<Columns, String> {
    if header.len() > MAX_COLUMNS {
        return Err(format!("line 1: has more than {MAX_COLUMNS} columns"));
    }
    let find = |name: &str| {
        let mut found = (0..header.len()).filter(|at| header[*at].trim() == name);
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(format!("line 1: has the column `{name}` twice")),
            (found, None) => Ok(found),
        }
    };
    let needed = |name: &str| {
        find(name)?.ok_or_else(|| {
            format!(
                "line 1: lacks the column `{name}`; the first line must name `act` and `prompt`"
            )
        })
    };
    Ok(Columns {
        act: needed("act")?,
        prompt: needed("prompt")?,
        for_devs: find("for_devs")?,
        kind: find("type")?,
        contributor: find("contributor")?,
    })
}

fn row(columns: &Columns, record: &StringRecord) -> Result<PortablePrompt, &'static str> {
    let cell = |column: Option<usize>| column.and_then(|at| record.get(at)).unwrap_or("").trim();
    let text = record.get(columns.prompt).unwrap_or("");
    if cell(Some(columns.act)).is_empty() || text.trim().is_empty() {
        return Err("needs a text in `act` and in `prompt`");
    }
    let (template, variables) = convert(text);
    let for_devs = cell(columns.for_devs).eq_ignore_ascii_case("true");
    let kind = cell(columns.kind).to_lowercase();
    let mut tags = Vec::new();
    if for_devs {
        tags.push("for-devs".to_owned());
    }
    // Plain text is the default and needs no tag.
    if ["structured", "image", "video", "audio"].contains(&kind.as_str()) {
        tags.push(kind.clone());
    }
    let category = match (kind.as_str(), for_devs) {
        ("image", _) => Some("images".to_owned()),
        (_, true) => Some("software".to_owned()),
        _ => None,
    };
    let contributor = cell(columns.contributor);
    let mut attribution = String::from("prompts.chat");
    if !contributor.is_empty() {
        attribution = format!("{} in prompts.chat", contributor.replace(',', ", "));
    }
    Ok(PortablePrompt {
        slug: None,
        title: cell(Some(columns.act)).to_owned(),
        description: String::new(),
        category,
        tags,
        language: None,
        licence: Some(LICENCE.to_owned()),
        attribution,
        visibility: None,
        archived: false,
        aliases: std::collections::BTreeMap::new(),
        versions: vec![NewPromptVersion {
            note: String::new(),
            variables,
            parameters: Parameters::default(),
            body: PromptBody::Text { text: template },
        }],
    })
}

fn explain(error: &csv::Error) -> String {
    let line = error.position().map_or(0, csv::Position::line);
    match error.kind() {
        ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => {
            format!(
                "line {line}: has {len} fields instead of {expected_len}; is a quotation mark missing?"
            )
        }
        _ => format!("line {line}: cannot be read as CSV"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = include_str!("../../../tests/data/prompts-chat.csv");

    #[test]
    fn quirks_of_the_real_file_are_understood() {
        let rows = read(&format!("\u{FEFF}{SMALL}"), 10).unwrap();
        let rows: Vec<_> = rows.into_iter().map(Result::unwrap).collect();
        insta::assert_json_snapshot!(rows);
    }

    #[test]
    fn a_file_that_is_none_is_refused_with_its_line() {
        let check = |text: &str, expect: &str| {
            let Err(Error::Invalid(wrong)) = read(text, 10) else {
                panic!("{text:.80} was accepted");
            };
            assert_eq!(wrong[0].path, "content");
            assert!(wrong[0].message.contains(expect), "{}", wrong[0].message);
            assert!(wrong[0].message.len() < 300, "{}", wrong[0].message);
        };
        check("", "line 1: lacks the column `act`");
        check("act,text\n", "line 1: lacks the column `prompt`");
        check("act,prompt,act\n", "twice");
        check("act,prompt\na,b\nc\n", "line 3: has 1 fields instead of 2");
        check("act,prompt\na,\0\n", "NUL");
        check(
            &format!("act,prompt{}\n", ",x".repeat(1_000)),
            "1000 columns",
        );
        check(
            &format!("act,prompt\na,\"{}", "b,c\n".repeat(100_000)),
            "line 2: a record is larger",
        );
    }

    #[test]
    fn a_wrong_row_harms_no_other() {
        let rows = read("act,prompt\n ,b\na,b\n", 10).unwrap();
        assert!(
            rows[0].as_ref().unwrap_err()[0]
                .message
                .starts_with("line 2")
        );
        assert_eq!(rows[1].as_ref().unwrap().title, "a");
    }
}
