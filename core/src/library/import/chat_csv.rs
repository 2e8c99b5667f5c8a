//! Reader of prompts.chat's CSV: `act`, `prompt`, and optionally `for_devs`, `type` and `contributor`. Pure.

use super::{
    ParsedRow, PortablePrompt, csv_rows::CsvRows, line_ends::without_carriage_returns,
    placeholders::convert, require_room,
};
use crate::{
    Error, FieldError, Result,
    library::{NewPromptVersion, Parameters},
    template::PromptBody,
};

/// Maximum number of columns.
const MAX_COLUMNS: usize = 1_000;
/// The licence of the whole file, as the project states it.
const LICENCE: &str = "CC0-1.0";

/// The positions of the columns.
struct Columns {
    act: usize,
    prompt: usize,
    for_devs: Option<usize>,
    kind: Option<usize>,
    contributor: Option<usize>,
    count: usize,
}

/// Parses the file.
///
/// # Errors
/// [`Error::Invalid`] at `content` if the first line does not name the columns. At `source` if it has too many rows. A
/// row that cannot be read is an error of its own; the message names the line.
pub(super) fn read(text: &str, most: usize) -> Result<Vec<ParsedRow>> {
    let refuse = |message: String| Error::invalid("content", message);
    if text.contains('\0') {
        return Err(refuse("must not hold a NUL character".into()));
    }
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let text = without_carriage_returns(text);
    let mut lines = CsvRows::of(&text);
    let header = lines.next().map_or(Ok(Vec::new()), |header| header.fields);
    let columns = header.and_then(|header| columns_of(&header));
    let columns = columns.map_err(|message| refuse(format!("line 1: {message}")))?;
    let mut rows = Vec::new();
    for line in lines {
        require_room(rows.len() + 1, most)?;
        let read = line.fields.and_then(|fields| row(&columns, &fields));
        let number = line.line;
        rows.push(
            read.map_err(|message| vec![FieldError::new("", format!("line {number}: {message}"))]),
        );
    }
    Ok(rows)
}

fn columns_of(header: &[String]) -> Result<Columns, String> {
    if header.len() > MAX_COLUMNS {
        return Err(format!("has more than {MAX_COLUMNS} columns"));
    }
    let find = |name: &str| {
        let mut found = (0..header.len()).filter(|at| header[*at].trim() == name);
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(format!("has the column `{name}` twice")),
            (found, None) => Ok(found),
        }
    };
    let needed = |name: &str| {
        find(name)?.ok_or_else(|| {
            format!(
                "lacks the column `{name}`; {}",
                hint(header, name).unwrap_or_else(|| {
                    "the first line must name `act` and `prompt`".to_owned()
                })
            )
        })
    };
    Ok(Columns {
        act: needed("act")?,
        prompt: needed("prompt")?,
        for_devs: find("for_devs")?,
        kind: find("type")?,
        contributor: find("contributor")?,
        count: header.len(),
    })
}

/// What may be the reason that a column was not found.
fn hint(header: &[String], name: &str) -> Option<String> {
    let same = |column: &&String| column.trim().eq_ignore_ascii_case(name);
    if let Some(column) = header.iter().find(same) {
        return Some(format!("write `{name}` instead of `{}`", column.trim()));
    }
    let separators = [(';', "semicolons"), ('\t', "tabs"), ('|', "vertical bars")];
    let (_, used) = separators
        .iter()
        .find(|(separator, _)| header.iter().any(|column| column.contains(*separator)))?;
    Some(format!(
        "the columns seem to be separated by {used}; save the file with commas between them"
    ))
}

fn row(columns: &Columns, fields: &[String]) -> Result<PortablePrompt, String> {
    if fields.len() != columns.count {
        let (found, count) = (fields.len(), columns.count);
        return Err(format!(
            "has {found} fields instead of {count}; a text with commas or line breaks needs quotation marks around it"
        ));
    }
    let cell = |column: Option<usize>| column.map_or("", |at| fields[at].trim());
    let text = &fields[columns.prompt];
    if cell(Some(columns.act)).is_empty() || text.trim().is_empty() {
        return Err("needs a text in `act` and in `prompt`".to_owned());
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
        check("act,\"prompt\na,b\n", "line 1: the quotation mark");
        check("act,prompt\na,\0\n", "NUL");
        check(
            &format!("act,prompt{}\n", ",x".repeat(1_000)),
            "1000 columns",
        );
    }

    #[test]
    fn f40_other_separators_and_capitals_get_a_hint() {
        let check = |header: &str, expect: &str| {
            let Err(Error::Invalid(wrong)) = read(&format!("{header}\na,b\n"), 10) else {
                panic!("{header} was accepted");
            };
            assert!(wrong[0].message.contains(expect), "{}", wrong[0].message);
        };
        check(
            "act;prompt",
            "separated by semicolons; save the file with commas",
        );
        check(
            "act\tprompt\ttype",
            "separated by tabs; save the file with commas",
        );
        check("Act,Prompt", "write `act` instead of `Act`");
        check("act,PROMPT", "write `prompt` instead of `PROMPT`");
        check("title,text", "the first line must name `act` and `prompt`");
    }

    #[test]
    fn f24_line_ends_of_windows_are_no_content() {
        let unix = "act,prompt\n\"a\",\"b\nc\"\nd,e\n";
        let windows = format!("\u{feff}{}", unix.replace('\n', "\r\n"));
        let read = |text: &str| -> Vec<PortablePrompt> {
            read(text, 10)
                .unwrap()
                .into_iter()
                .map(Result::unwrap)
                .collect()
        };
        assert_eq!(read(&windows), read(unix));
        assert_eq!(read(&unix.replace('\n', "\r")), read(unix));
        let PromptBody::Text { text } = &read(&windows)[0].versions[0].body else {
            panic!("a text");
        };
        assert_eq!(text, "b\nc");
    }

    #[test]
    fn f23_a_wrong_row_harms_no_other() {
        let check = |text: &str, expect: &[&str]| {
            let rows = read(text, 10).unwrap();
            let found: Vec<&str> = rows
                .iter()
                .map(|row| match row {
                    Ok(prompt) => prompt.title.as_str(),
                    Err(wrong) => wrong[0].message.as_str(),
                })
                .collect();
            assert_eq!(found.len(), expect.len(), "{found:?}");
            for (found, expect) in found.iter().zip(expect) {
                assert!(found.starts_with(expect), "{found}");
            }
        };
        check(
            "act,prompt\nOne,a\nTwo,b,\nThree,c\n",
            &["One", "line 3: has 3 fields instead of 2", "Three"],
        );
        check(
            "act,prompt\nOne,a\nTwo\nThree,c\n",
            &["One", "line 3: has 1 fields instead of 2", "Three"],
        );
        check(
            "act,prompt\nOne,a\nTwo,\"never closed\nThree,fine\n",
            &["One", "line 3: the quotation mark", "Three"],
        );
        let large = format!("act,prompt\na,\"{}\"\nb,c\n", "x".repeat(300_000));
        check(&large, &["line 2: is larger than", "b"]);
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
