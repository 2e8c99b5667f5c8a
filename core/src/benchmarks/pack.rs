//! Benchmark packs: a folder with a header in YAML or TOML, items in JSON Lines, and prompts to try.
//!
//! This file parses text. Reading folders is the command line's business.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Definition, Item};
use crate::{auth::Visibility, scorers::ScorerSpec};

/// The header of a pack: everything but the items.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackHeader {
    /// The benchmark's name in addresses and on the command line.
    pub slug: String,
    /// The benchmark's title.
    pub title: String,
    /// What it measures.
    #[serde(default)]
    pub description: String,
    /// Who may see it; as the bank is set up, when absent.
    pub visibility: Option<Visibility>,
    /// Where the items come from.
    #[serde(default)]
    pub source: Map<String, Value>,
    /// The scorers of every item.
    #[serde(default)]
    pub scorers: Vec<ScorerSpec>,
    /// Which file holds the items, and how its fields become items.
    pub items: ItemsSource,
}

/// Where a pack's items are and how to read them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemsSource {
    /// A JSON Lines file in the pack's folder, or one that the user names.
    pub file: String,
    /// How the fields of a line become an item; absent when the lines are items already.
    pub fields: Option<FieldMap>,
}

/// How the fields of a line become an item.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldMap {
    /// The field with the item's id; without it, the number of the line.
    pub id: Option<String>,
    /// Variable of the prompt, and the field that it comes from.
    pub vars: BTreeMap<String, String>,
    /// The field with the right answer.
    pub expected: Option<String>,
    /// Take only what follows the last occurrence of this text in the right answer.
    pub expected_after: Option<String>,
}

impl PackHeader {
    /// Parses a header. `file_name` ends in `.toml` for TOML; anything else is YAML.
    ///
    /// # Errors
    /// The text does not parse; the error says where.
    pub fn parse(file_name: &str, text: &str) -> anyhow::Result<Self> {
        if std::path::Path::new(file_name)
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            return toml::from_str(text)
                .with_context(|| format!("{file_name} is not a benchmark header"));
        }
        serde_saphyr::from_str(text)
            .with_context(|| format!("{file_name} is not a benchmark header"))
    }

    /// Joins the header and its items into a definition.
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
    text: &str,
    fields: Option<&FieldMap>,
    limit: Option<usize>,
) -> anyhow::Result<Vec<Item>> {
    let lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    lines
        .take(limit.unwrap_or(usize::MAX))
        .map(|(index, line)| {
            parse_item(index + 1, line, fields).with_context(|| format!("line {}", index + 1))
        })
        .collect()
}

fn parse_item(number: usize, line: &str, fields: Option<&FieldMap>) -> anyhow::Result<Item> {
    let Some(fields) = fields else {
        return serde_json::from_str(line).context("is not an item");
    };
    let mut line: Map<String, Value> =
        serde_json::from_str(line).context("is not a JSON object")?;
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
        let Some(value) = line.remove(field) else {
            bail!("has no field `{field}`, which is to be the variable `{variable}`");
        };
        vars.insert(variable.clone(), value);
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
        assert!(format!("{:#}", unknown.unwrap_err()).contains("scores"));
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
            &format!("\u{feff}{line}\n\n{line}\n{line}\n"),
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
    fn names_the_line_that_is_wrong() {
        let check = |text: &str, expect: &str| {
            let error = format!("{:#}", parse_items(text, None, None).unwrap_err());
            assert!(error.contains(expect), "{error}");
        };
        check("{\"id\":\"a\"}\nnot json", "line 2");
        check("{\"id\":\"a\",\"expect\":1}", "expect");
    }
}
