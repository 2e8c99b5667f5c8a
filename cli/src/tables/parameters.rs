//! The parameters of models: those that all rows of a table share are shown once, in its title.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::layout::cut_end;
use crate::text;

/// Maximum number of shown characters of a value, since a schema would fill the screen. `--json` shows all of it.
const MAX_VALUE: usize = 40;

/// The parameters of the rows of a table, split into shared and own ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// The parameters of every row, as in `temperature=0, max_tokens=100`; may be empty.
    pub shared: String,
    /// The other parameters of each row.
    pub own: Vec<String>,
}

impl Parameters {
    /// Splits the parameters of rows; a row without any counts as one with none set.
    pub fn of<'a>(rows: impl IntoIterator<Item = Option<&'a Value>>) -> Self {
        let none = Map::new();
        let rows: Vec<&Map<String, Value>> = rows
            .into_iter()
            .map(|value| value.and_then(Value::as_object).unwrap_or(&none))
            .collect();
        let is_shared = |name: &str| {
            let mut values = rows.iter().map(|row| row.get(name));
            let first = values.next().flatten();
            first.is_some() && values.all(|value| value == first)
        };
        let names: BTreeSet<&str> = rows
            .iter()
            .flat_map(|row| row.keys().map(String::as_str))
            .collect();
        let (shared, own): (Vec<&str>, Vec<&str>) =
            names.into_iter().partition(|name| is_shared(name));
        let list = |row: &Map<String, Value>, names: &[&str]| {
            let pairs = names
                .iter()
                .filter_map(|name| row.get(*name).map(|value| pair(name, value)));
            pairs.collect::<Vec<_>>().join(", ")
        };
        Self {
            shared: rows
                .first()
                .map_or_else(String::new, |row| list(row, &shared)),
            own: rows.iter().map(|row| list(row, &own)).collect(),
        }
    }

    /// The shared parameters for a title, as in `, temperature=0`; may be empty.
    pub fn title(&self) -> String {
        if self.shared.is_empty() {
            String::new()
        } else {
            format!(", all with {}", self.shared)
        }
    }
}

/// A model's name with its parameters, for a sentence: `openai:gpt-5-mini (temperature=0)`.
pub fn model(name: &str, parameters: Option<&Value>) -> String {
    let name = text::plain(name);
    let shared = Parameters::of([parameters]).shared;
    if shared.is_empty() {
        name
    } else {
        format!("{name} ({shared})")
    }
}

/// `name=value`, as `--param` takes it.
fn pair(name: &str, value: &Value) -> String {
    let value = match value {
        Value::String(value) => value.clone(),
        other => other.to_string(),
    };
    text::plain(&format!("{name}={}", cut_end(&value, MAX_VALUE)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_long_value_is_cut() {
        let parameters = json!({"schema": "x".repeat(1_000)});
        let shared = Parameters::of([Some(&parameters)]).shared;
        assert_eq!(shared, format!("schema={}…", "x".repeat(MAX_VALUE - 1)));
    }

    #[test]
    fn what_all_share_is_said_once() {
        let check = |rows: &[Value], shared: &str, own: &[&str]| {
            let found = Parameters::of(rows.iter().map(Some));
            assert_eq!(
                (found.shared.as_str(), found.own),
                (shared, own.iter().map(|text| (*text).to_owned()).collect())
            );
        };
        check(&[], "", &[]);
        check(&[json!({})], "", &[""]);
        check(
            &[json!({"temperature": 0}), json!({"temperature": 0})],
            "temperature=0",
            &["", ""],
        );
        check(
            &[
                json!({"temperature": 0, "stop": ["a"]}),
                json!({"temperature": 1, "stop": ["a"]}),
                json!({"stop": ["a"], "effort": "low"}),
            ],
            "stop=[\"a\"]",
            &["temperature=0", "temperature=1", "effort=low"],
        );
        // A parameter that one row lacks is not shared.
        check(
            &[json!({"temperature": 0}), json!({})],
            "",
            &["temperature=0", ""],
        );
        assert_eq!(
            model("a:b", Some(&json!({"t": "x\u{1b}[2Jy"}))),
            "a:b (t=xy)"
        );
    }
}
