//! Benchmark packs: a folder with a header in YAML or TOML, items in JSON Lines, and example prompts.
//!
//! This file only parses text; the command line reads the folders.

use std::{
    collections::BTreeMap,
    io::{BufRead, Read as _},
};

use anyhow::{Context as _, anyhow, bail};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Definition, Item};
use crate::{
    auth::Visibility,
    exact_json::{find_inexact, find_reordered},
    exact_yaml::read_yaml,
    parse_errors::json_line_error,
    scorers::{ScorerSpec, keep_large_numbers},
    written_fields::or_default,
};

/// Maximum length of a line in a file of items, in bytes. An item may be much smaller than its line, because only some
/// fields are used.
const MAX_LINE_BYTES: u64 = 16 << 20;
/// The keys that `source` may have.
const SOURCE_KEYS: [&str; 10] = [
    "name",
    "description",
    "author",
    "licence",
    "license",
    "url",
    "download",
    "citation",
    "version",
    "floor",
];

/// The header of a pack: everything except the items.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PackHeader {
    /// The benchmark's name in URLs and on the command line.
    pub slug: String,
    /// The displayed title: 1 to 200 characters.
    pub title: String,
    /// What it measures; at most 20,000 bytes.
    #[serde(default, deserialize_with = "or_default")]
    pub description: String,
    /// Who may read it; absent: this bank's default.
    pub visibility: Option<Visibility>,
    /// Where the items come from, any map. `name`, `licence` and `url` are shown, `url` is mentioned if the file of the
    /// items is missing, and `floor` is the score of guessing, from 0 to 1.
    #[serde(default, deserialize_with = "or_default")]
    #[schema(value_type = Object)]
    pub source: Map<String, Value>,
    /// The scorers of every item without scorers of its own.
    #[serde(default, deserialize_with = "or_default")]
    pub scorers: Vec<ScorerSpec>,
    /// The file with the items, and how its fields map to items.
    pub items: ItemsSource,
}

/// The location and the format of a pack's items.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemsSource {
    /// A JSON Lines file in the pack's folder, or a file that the user names.
    pub file: String,
    /// How the fields of a line map to an item; absent if the lines are items already.
    pub fields: Option<FieldMap>,
}

/// The mapping from the fields of a line to an item.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldMap {
    /// The field with the item's id; absent: the number of the line.
    pub id: Option<String>,
    /// The variables of the prompt, each with the field of its value.
    pub vars: BTreeMap<String, String>,
    /// The field with the correct answer.
    pub expected: Option<String>,
    /// Use only the text after the last occurrence of this string in the correct answer.
    pub expected_after: Option<String>,
}

impl PackHeader {
    /// Parses a header. `file_name` ends in `.toml` for TOML; anything else is YAML.
    ///
    /// # Errors
    /// The text does not parse; the error names the position.
    pub fn parse(file_name: &str, text: &str) -> anyhow::Result<Self> {
        if std::path::Path::new(file_name)
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let text = text.strip_prefix('\u{feff}').unwrap_or(text);
            return toml::from_str(&text.replace("\r\n", "\n"))
                .map_err(|error| anyhow!("{file_name}: {}", error.to_string().trim_end()))
                .and_then(|header| Self::check(header, file_name));
        }
        read_yaml(text)
            .map_err(|message| anyhow!("{file_name}: {message}"))
            .and_then(|header| Self::check(header, file_name))
    }

    fn check(self, file_name: &str) -> anyhow::Result<Self> {
        let mut keys = self.source.keys();
        if let Some(unknown) = keys.find(|key| !SOURCE_KEYS.contains(&key.as_str())) {
            bail!(
                "{file_name}: unknown field `{unknown}` below `source`, expected one of {}",
                SOURCE_KEYS.join(", ")
            );
        }
        let floor = self.source.get("floor");
        if floor.is_some_and(|floor| {
            !floor
                .as_f64()
                .is_some_and(|floor| (0.0..1.0).contains(&floor))
        }) {
            bail!(
                "{file_name}: `source.floor` must be a number from 0 to below 1: what guessing scores"
            );
        }
        Ok(self)
    }

    /// Combines the header and the items into a definition.
    #[must_use]
    pub fn with_items(self, items: Vec<Item>) -> Definition {
        Definition {
            slug: self.slug,
            title: self.title,
            description: self.description,
            source: self.source,
            visibility: self.visibility,
            scorers: self.scorers,
            items,
        }
    }
}

/// Parses items in JSON Lines, at most `limit` of them. Empty lines are skipped.
///
/// # Errors
/// A line is not JSON, or lacks a field; the error names the line.
pub fn parse_items(
    text: &[u8],
    fields: Option<&FieldMap>,
    limit: Option<usize>,
) -> anyhow::Result<Vec<Item>> {
    read_items(text, fields)
        .take(limit.unwrap_or(usize::MAX))
        .collect()
}

/// The first map in the variables of items in JSON Lines whose names are not in order, as `line 3: vars.options`. Maps
/// are stored, shown and looped in the order of their names.
///
/// # Errors
/// The lines cannot be read.
pub fn find_reordered_map(
    mut lines: impl BufRead,
    fields: Option<&FieldMap>,
    limit: Option<usize>,
) -> anyhow::Result<Option<String>> {
    let is_variable = |path: &str| match fields {
        None => path.starts_with("vars."),
        Some(fields) => {
            let field = path.split(['.', '[']).next().unwrap_or_default();
            fields.vars.values().any(|known| known == field)
        }
    };
    let mut line = Vec::new();
    let (mut number, mut items) = (0, 0);
    while limit.is_none_or(|limit| items < limit) {
        line.clear();
        number += 1;
        let Some(read) = next_line(&mut lines, &mut line)? else {
            return Ok(None);
        };
        if read.is_empty() {
            continue;
        }
        items += 1;
        if let Some(path) = find_reordered(read.as_bytes(), is_variable) {
            return Ok(Some(format!("line {number}: {path}")));
        }
    }
    Ok(None)
}

/// Parses items in JSON Lines, one line at a time. Empty lines are skipped.
///
/// An item is an error if it cannot be read, its line is not JSON or is longer than 16 MiB, or lacks a field; the error
/// names the line.
pub fn read_items(
    mut lines: impl BufRead,
    fields: Option<&FieldMap>,
) -> impl Iterator<Item = anyhow::Result<Item>> {
    let mut number = 0;
    let mut line = Vec::new();
    std::iter::from_fn(move || {
        loop {
            line.clear();
            number += 1;
            let item = match next_line(&mut lines, &mut line) {
                Ok(None) => return None,
                Ok(Some("")) => continue,
                Ok(Some(line)) => parse_item(number, line, fields),
                Err(error) => Err(error),
            };
            return Some(item.with_context(|| format!("line {number}")));
        }
    })
}

/// The next line that is not skipped; `None` at the end.
fn next_line<'a>(
    lines: &mut impl BufRead,
    line: &'a mut Vec<u8>,
) -> anyhow::Result<Option<&'a str>> {
    let mut bounded = lines.take(MAX_LINE_BYTES + 1);
    if bounded.read_until(b'\n', line).context("cannot be read")? == 0 {
        return Ok(None);
    }
    if line.len() as u64 > MAX_LINE_BYTES {
        bail!("is longer than {} MiB", MAX_LINE_BYTES >> 20);
    }
    let line = std::str::from_utf8(line).context("is not text in UTF-8")?;
    Ok(Some(line.trim_start_matches('\u{feff}').trim()))
}

fn parse_item(number: usize, line: &str, fields: Option<&FieldMap>) -> anyhow::Result<Item> {
    // serde accepts a list for an item, field by field.
    if !line.starts_with('{') {
        bail!("is not a JSON object");
    }
    let line = keep_large_numbers(line);
    let read = parse_line(number, &line, fields)?;
    if let Some(inexact) = find_inexact(line.as_bytes()) {
        bail!("`{}` {}", inexact.path, inexact.message);
    }
    Ok(read)
}

fn parse_line(number: usize, line: &str, fields: Option<&FieldMap>) -> anyhow::Result<Item> {
    let Some(fields) = fields else {
        return serde_json::from_str(line)
            .map_err(|error| anyhow!("is not an item: {}", json_line_error(&error)));
    };
    let line: Map<String, Value> = serde_json::from_str(line)
        .map_err(|error| anyhow!("is not a JSON object: {}", json_line_error(&error)))?;
    let id = match &fields.id {
        None => number.to_string(),
        Some(field) => match line.get(field) {
            Some(Value::String(id)) => id.clone(),
            Some(Value::Number(id)) => id.to_string(),
            _ => bail!("has no text or number in `{field}`, which is to be the item's id"),
        },
    };
    let expected = match &fields.expected {
        None => None,
        Some(field) => Some(expected(&line, field, fields.expected_after.as_deref())?),
    };
    let mut vars = Map::new();
    for (variable, field) in &fields.vars {
        let Some(value) = line.get(field) else {
            bail!("has no field `{field}`, which is to be the variable `{variable}`");
        };
        vars.insert(variable.clone(), value.clone());
    }
    Ok(Item {
        id,
        vars,
        expected,
        metadata: Map::new(),
        scorers: None,
    })
}

fn expected(line: &Map<String, Value>, field: &str, after: Option<&str>) -> anyhow::Result<Value> {
    let Some(value) = line.get(field) else {
        bail!("has no field `{field}`, which is to be the expected value");
    };
    let Some(after) = after else {
        return Ok(value.clone());
    };
    let part = value.as_str().and_then(|text| text.rsplit_once(after));
    let Some((_, part)) = part else {
        bail!("has no `{after}` in `{field}`, after which the expected value is to begin");
    };
    Ok(Value::String(part.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_yaml_and_toml_alike() {
        let yaml =
            "slug: sums\ntitle: Sums\nscorers:\n  - type: numeric\nitems:\n  file: items.jsonl\n";
        let toml = "slug = 'sums'\ntitle = 'Sums'\n[[scorers]]\ntype = 'numeric'\n[items]\nfile = 'items.jsonl'\n";
        let yaml = PackHeader::parse("benchmark.yaml", yaml).unwrap();
        let toml = PackHeader::parse("benchmark.toml", toml).unwrap();
        assert_eq!(format!("{yaml:?}"), format!("{toml:?}"));
        assert_eq!(
            PackHeader::parse(
                "benchmark.yaml",
                "slug: a\ntitle: b\nvisibility: unlisted\nitems: {file: x}\n"
            )
            .unwrap()
            .visibility,
            Some(Visibility::Unlisted)
        );
        let unknown = PackHeader::parse(
            "benchmark.yaml",
            "slug: a\ntitle: b\nscores: []\nitems: {file: x}\n",
        );
        let refused = format!("{:#}", unknown.unwrap_err());
        assert!(
            refused.starts_with("benchmark.yaml: line 3, column 1: unknown field `scores`"),
            "{refused}"
        );
        assert_eq!(refused.matches("scores").count(), 1, "{refused}");
        let below = |source: &str| {
            let text = format!("slug: a\ntitle: b\nsource: {source}\nitems: {{file: x}}\n");
            PackHeader::parse("benchmark.yaml", &text).map_err(|error| error.to_string())
        };
        assert!(below("{floor: 0.25, url: 'https://example.org'}").is_ok());
        assert!(
            below("{floors: 0.25}")
                .unwrap_err()
                .contains("`floors` below `source`")
        );
        assert!(below("{floor: half}").unwrap_err().contains("source.floor"));
    }

    #[test]
    fn f09_values_of_scorers_are_those_of_yaml_1_2() {
        let check = |written: &str, expect: Value| {
            let text = format!(
                "slug: a\ntitle: b\nscorers: [{{type: equals, value: {written}}}]\nitems: {{file: x}}\n"
            );
            let header = PackHeader::parse("benchmark.yaml", &text).unwrap();
            assert_eq!(header.scorers[0].value, Some(expect), "{written}");
        };
        for text in [
            "no",
            "yes",
            "on",
            "off",
            "y",
            "n",
            "010",
            "1_000",
            "2026-11-30",
        ] {
            check(text, json!(text));
        }
        check("true", json!(true));
        check("1e3", json!(1000.0));
        let header =
            "slug: no\ntitle: 1.0\ndescription: on\nitems: {file: 010, fields: {vars: {n: y}}}\n";
        let header = PackHeader::parse("benchmark.yaml", header).unwrap();
        assert_eq!(
            (
                header.slug.as_str(),
                header.title.as_str(),
                header.description.as_str()
            ),
            ("no", "1.0", "on")
        );
        assert_eq!(header.items.file, "010");
        assert_eq!(header.items.fields.unwrap().vars["n"], "y");
    }

    #[test]
    fn f24_f36_a_header_of_windows_with_empty_fields_is_read() {
        let yaml = "slug: a\ntitle: b\ndescription:\nvisibility:\nsource:\nscorers:\nitems:\n  file: x\n  fields:\n";
        let windows = format!("\u{feff}{}", yaml.replace('\n', "\r\n"));
        let header = PackHeader::parse("benchmark.yaml", &windows).unwrap();
        assert_eq!(
            (header.title.as_str(), header.description.as_str()),
            ("b", "")
        );
        assert!(header.scorers.is_empty() && header.source.is_empty());
        let toml =
            "slug = 'a'\ntitle = 'b'\ndescription = \"\"\"\nx\ny\"\"\"\n[items]\nfile = 'x'\n";
        let windows = format!("\u{feff}{}", toml.replace('\n', "\r\n"));
        let header = PackHeader::parse("benchmark.toml", &windows).unwrap();
        assert_eq!(header.description, "x\ny");
        let nothing = "slug: a\ntitle:\nitems: {file: x}\n";
        let refused = PackHeader::parse("benchmark.yaml", nothing).unwrap_err();
        assert!(
            refused.to_string().contains("line 2") && refused.to_string().contains("write a text"),
            "{refused}"
        );
        let items = "\u{feff}{\"id\": \"a\", \"vars\": null, \"metadata\": null}\r\n\r\n{\"id\": \"b\"}\r\n";
        assert_eq!(parse_items(items.as_bytes(), None, None).unwrap().len(), 2);
    }

    #[test]
    fn maps_the_fields_of_gsm8k() {
        let fields = FieldMap {
            id: None,
            vars: BTreeMap::from([("question".into(), "question".into())]),
            expected: Some("answer".into()),
            expected_after: Some("####".into()),
        };
        let line = r#"{"question":"What is 2+2?","answer":"2+2=<<2+2=4>>4\n#### 4"}"#;
        let items = parse_items(
            format!("\u{feff}{line}\n\n{line}\n{line}\n").as_bytes(),
            Some(&fields),
            Some(2),
        )
        .unwrap();
        assert_eq!(items.len(), 2);
        assert_eq!((items[0].id.as_str(), items[1].id.as_str()), ("1", "3"));
        assert_eq!(items[0].expected, Some(json!("4")));
        assert_eq!(items[0].vars["question"], json!("What is 2+2?"));
    }

    #[test]
    fn f35_one_field_may_become_several_variables() {
        let fields = FieldMap {
            id: Some("n".into()),
            vars: BTreeMap::from([
                ("question".into(), "q".into()),
                ("text".into(), "q".into()),
                ("number".into(), "n".into()),
            ]),
            expected: Some("q".into()),
            expected_after: None,
        };
        let item = &parse_items(br#"{"n": 7, "q": "x"}"#, Some(&fields), None).unwrap()[0];
        assert_eq!(item.id, "7");
        assert_eq!(
            Value::Object(item.vars.clone()),
            json!({"question": "x", "text": "x", "number": 7})
        );
        assert_eq!(item.expected, Some(json!("x")));
        let missing = parse_items(b"{\"n\": 7}", Some(&fields), None).unwrap_err();
        assert!(
            format!("{missing:#}").contains("no field `q`"),
            "{missing:#}"
        );
    }

    #[test]
    fn f34_whole_numbers_of_any_length_keep_their_digits() {
        let long = "123456789012345678901";
        let lines = format!(
            "{{\"id\": {long}, \"vars\": {{\"n\": {long}, \"list\": [{long}, 1]}}, \"expected\": -{long}}}\n{{\"id\": 7}}\n"
        );
        let items = parse_items(lines.as_bytes(), None, None).unwrap();
        assert_eq!((items[0].id.as_str(), items[1].id.as_str()), (long, "7"));
        assert_eq!(items[0].vars["n"], json!(long));
        assert_eq!(items[0].vars["list"], json!([long, 1]));
        assert_eq!(items[0].expected, Some(json!(format!("-{long}"))));
        let fields = FieldMap {
            id: Some("n".into()),
            vars: BTreeMap::from([("n".into(), "n".into())]),
            expected: Some("n".into()),
            expected_after: None,
        };
        let line = format!("{{\"n\": {long}}}");
        let item = &parse_items(line.as_bytes(), Some(&fields), None).unwrap()[0];
        assert_eq!(
            (item.id.as_str(), &item.vars["n"], item.expected.as_ref()),
            (long, &json!(long), Some(&json!(long)))
        );
    }

    #[test]
    fn f38_a_map_that_loses_its_order_is_found() {
        let lines = "{\"id\": \"a\", \"vars\": {\"z\": 1, \"b\": 2}}\n\n{\"id\": \"b\", \"vars\": {\"options\": {\"D\": 1, \"A\": 2}}}\n";
        let find = |fields: Option<&FieldMap>, limit| {
            find_reordered_map(lines.as_bytes(), fields, limit).unwrap()
        };
        assert_eq!(find(None, None).as_deref(), Some("line 3: vars.options"));
        assert_eq!(find(None, Some(1)), None);
        let fields = |field: &str| FieldMap {
            id: None,
            vars: BTreeMap::from([("all".into(), field.into())]),
            expected: None,
            expected_after: None,
        };
        let found = find(Some(&fields("vars")), None);
        assert_eq!(found.as_deref(), Some("line 1: vars"));
        assert_eq!(find(Some(&fields("id")), None), None);
    }

    #[test]
    fn names_the_line_that_is_wrong() {
        let check = |text: &str, expect: &str| {
            let error = format!(
                "{:#}",
                parse_items(text.as_bytes(), None, None).unwrap_err()
            );
            assert!(error.contains(expect), "{error}");
        };
        check("{\"id\":\"a\"}\nnot json", "line 2");
        check("{\"id\":\"a\",\"expect\":1}", "expect");
        check("[\"a\", {}]", "line 1: is not a JSON object");
        check(
            "\n{\"id\":\"a\",\"expected\":1.8446744073709551617}",
            "line 2: `expected` is the number `1.8446744073709551617`",
        );
        check(
            "{\"id\":\"a\",\"vars\":{\"x\":{\"y\":1,\"y\":2}}}",
            "line 1: `vars.x.y` is given twice",
        );
        let long = format!("\n{{\"id\": \"{}\"}}", "a".repeat(17 << 20));
        check(&long, "line 2: is longer than 16 MiB");
    }
}
