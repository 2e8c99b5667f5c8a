//! A benchmark as its author writes it, and the rules that it must keep.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    Error, FieldError, Result,
    auth::Visibility,
    library::check_slug,
    scorers::{Effort, Scorer, ScorerKind, ScorerSpec},
    texts::{check_line, is_plain_text},
};

/// The most items that one benchmark version holds.
const MAX_ITEMS: usize = 100_000;
/// The most scorers of a benchmark, or of one item.
const MAX_SCORERS: usize = 100;
/// The steps that a benchmark may take to check: rendering its scorers' templates for every item, and compiling their
/// regular expressions. It takes two seconds or so; a hundred thousand items with a small template each need a twentieth.
const MAX_STEPS: u64 = 20_000_000;
/// The most wrong fields that one answer lists.
const MAX_ERRORS: usize = 20;

/// A benchmark with its items, as a request or a file describes it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// The benchmark's name in addresses and on the command line.
    pub slug: String,
    /// 1 to 200 characters.
    pub title: String,
    /// What it measures.
    #[serde(default)]
    pub description: String,
    /// Where the items come from: name, licence, address.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub source: Map<String, Value>,
    /// Who may see it. When absent, a benchmark that is there stays as it is, and a new one is as this bank is set up,
    /// which is only you unless its operator says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// The scorers of every item that has none of its own.
    #[serde(default)]
    pub scorers: Vec<ScorerSpec>,
    /// The test cases, in order.
    pub items: Vec<Item>,
}

/// One test case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// The item's own id: 1 to 200 characters, unique in the benchmark.
    pub id: String,
    /// The values of the prompt's variables.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub vars: Map<String, Value>,
    /// What a right answer is, for scorers without a value of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Value>,
    /// Anything else worth keeping; no scorer and no prompt reads it.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    /// Replaces the benchmark's scorers for this item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scorers: Option<Vec<ScorerSpec>>,
}

impl Definition {
    /// Checks every rule and reports all that is wrong, up to a bound.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the path of each wrong field.
    pub(super) fn check(&self) -> Result<()> {
        self.check_within(MAX_STEPS)
    }

    fn check_within(&self, max_steps: u64) -> Result<()> {
        check_slug(&self.slug)?;
        let mut wrong = Vec::new();
        check_texts(Some(&self.title), Some(&self.description), &mut wrong);
        if self.items.is_empty() {
            wrong.push(FieldError::new("items", "must hold at least one item"));
        }
        if self.items.len() > MAX_ITEMS {
            wrong.push(FieldError::new(
                "items",
                format!("must hold at most {MAX_ITEMS} items"),
            ));
        }
        let mut patterns = HashMap::new();
        let effort = Effort::within(max_steps);
        let scorers = check_scorers(
            &self.scorers,
            "scorers",
            (&mut patterns, &effort),
            &mut wrong,
        );
        if self.source.values().any(holds_nul) {
            wrong.push(FieldError::new("source", "must not hold a NUL character"));
        }
        self.check_items(&scorers, (&mut patterns, &effort), &mut wrong);
        wrong.truncate(MAX_ERRORS);
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid(wrong))
        }
    }

    fn check_items<'a>(
        &'a self,
        scorers: &[Scorer],
        (patterns, effort): (&mut KnownPatterns<'a>, &Effort),
        wrong: &mut Vec<FieldError>,
    ) {
        let mut seen = HashSet::new();
        for (position, item) in self.items.iter().enumerate() {
            if wrong.len() >= MAX_ERRORS {
                return;
            }
            let at = |field: &str| format!("items[{position}].{field}");
            if let Err(error) = check_line(at("id"), &item.id, 1..=200) {
                wrong.push(error);
            } else if !seen.insert(item.id.as_str()) {
                let message = format!("the id `{}` is used more than once", shown(&item.id));
                wrong.push(FieldError::new(at("id"), message));
            }
            if item
                .vars
                .iter()
                .any(|(name, value)| name.contains('\0') || holds_nul(value))
            {
                wrong.push(FieldError::new(at("vars"), "must not hold a NUL character"));
            }
            if item.expected.as_ref().is_some_and(holds_nul) {
                wrong.push(FieldError::new(
                    at("expected"),
                    "must not hold a NUL character",
                ));
            }
            if item.metadata.values().any(holds_nul) {
                wrong.push(FieldError::new(
                    at("metadata"),
                    "must not hold a NUL character",
                ));
            }
            let own = item
                .scorers
                .as_ref()
                .map(|specs| check_scorers(specs, &at("scorers"), (patterns, effort), wrong));
            let scorers = own.as_deref().unwrap_or(scorers);
            // What cannot be stored is named already.
            let storable = !item.expected.as_ref().is_some_and(holds_nul);
            let found = storable.then(|| {
                fault(
                    &item.id,
                    (item.expected.as_ref(), &item.vars),
                    scorers,
                    effort,
                )
            });
            if let Some(message) = found.flatten() {
                wrong.push(FieldError::new(at("expected"), message));
            }
            if effort.is_used_up() {
                let message = format!(
                    "up to the item `{}` the benchmark takes more steps to check than a benchmark may; let its scorers' templates and regular expressions do less, or publish it in parts",
                    shown(&item.id)
                );
                wrong.push(FieldError::new(format!("items[{position}]"), message));
                return;
            }
        }
    }
}

/// Checks what a benchmark says about itself, as far as it is given.
pub(super) fn check_texts(
    title: Option<&str>,
    description: Option<&str>,
    wrong: &mut Vec<FieldError>,
) {
    wrong.extend(title.and_then(|title| check_line("title", title, 1..=200).err()));
    if description.is_some_and(|text| text.len() > 20_000 || !is_plain_text(text)) {
        wrong.push(FieldError::new(
            "description",
            "must have at most 20,000 bytes and no control characters but line breaks and tabs",
        ));
    }
}

/// The regular expressions of scorers that were looked at, and whether an item has a say in each of them.
type KnownPatterns<'a> = HashMap<&'a str, bool>;

/// The scorers that compile, but for those with a regular expression that is among `patterns` and the same for every item:
/// they are neither compiled again nor ever at fault. Counts what it takes.
fn check_scorers<'a>(
    scorers: &'a [ScorerSpec],
    path: &str,
    (patterns, effort): (&mut KnownPatterns<'a>, &Effort),
    wrong: &mut Vec<FieldError>,
) -> Vec<Scorer> {
    let mut compiled = Vec::with_capacity(scorers.len());
    if scorers.len() > MAX_SCORERS {
        let message = format!("must be at most {MAX_SCORERS}");
        wrong.push(FieldError::new(path, message));
        return compiled;
    }
    for (position, spec) in scorers.iter().enumerate() {
        let pattern = spec.value.as_ref().and_then(Value::as_str);
        let pattern = pattern.filter(|_| spec.kind.kind() == ScorerKind::Regex);
        let known = pattern.and_then(|pattern| patterns.get(pattern).copied());
        let checked = if known == Some(false) {
            let rest = ScorerSpec {
                value: None,
                ..spec.clone()
            };
            Scorer::compile_counting(&rest, effort).map(|_| None)
        } else {
            Scorer::compile_counting(spec, effort).map(Some)
        };
        if let Some(pattern) = pattern.filter(|_| known.is_none()) {
            let varies = matches!(&checked, Ok(Some(scorer)) if scorer.varies());
            patterns.insert(pattern, varies);
        }
        match checked {
            Ok(scorer) => compiled.extend(scorer),
            Err(error) => wrong.push(FieldError::new(
                format!("{path}[{position}]"),
                error.to_string(),
            )),
        }
        if effort.is_used_up() {
            return compiled;
        }
    }
    compiled
}

/// Why no output of an item can be judged by one of its scorers, if that is so.
pub(super) fn fault(
    id: &str,
    (expected, vars): (Option<&Value>, &Map<String, Value>),
    scorers: &[Scorer],
    effort: &Effort,
) -> Option<String> {
    for scorer in scorers {
        if let Err(fault) = scorer.check_item(expected, vars, effort) {
            let name = scorer.name();
            return Some(format!(
                "of the item `{}`, under the scorer `{name}`: {fault}",
                shown(id)
            ));
        }
        // The caller says so, with the item.
        if effort.is_used_up() {
            return None;
        }
    }
    None
}

/// An id as far as a message shows it.
fn shown(id: &str) -> String {
    id.chars().take(80).collect()
}

/// Postgres stores no NUL characters.
fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(holds_nul),
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| name.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(scorer: Value, items: usize, item: impl Fn(usize) -> Value) -> Definition {
        let items: Vec<Value> = (0..items).map(item).collect();
        let definition =
            json!({"slug": "heavy", "title": "Heavy", "scorers": [scorer], "items": items});
        serde_json::from_value(definition).unwrap()
    }

    #[test]
    fn a_check_ends_after_so_many_steps_and_names_the_item() {
        let expecting = |expected: &'static str| move |at: usize| json!({"id": format!("item {at}"), "expected": format!("{expected}{at}")});
        let own = |at: usize| json!({"id": format!("item {at}"), "scorers": [{"type": "regex", "value": format!("a{at}")}]});
        let is_json = || json!({"type": "is-json"});
        let large = json!({"type": "regex"});
        let loops = "{% for i in range(5000) %}{{ expected }}{% endfor %}";
        let template = json!({"type": "equals", "value": loops});
        // A large pattern or a long rendering an item, or a small pattern of each item's own.
        for (few, many) in [
            (
                definition(large.clone(), 2, expecting(r"\w{9}")),
                definition(large, 100, expecting(r"\w{9}")),
            ),
            (
                definition(template.clone(), 10, expecting("")),
                definition(template, 100, expecting("")),
            ),
            (
                definition(is_json(), 100, own),
                definition(is_json(), 1_000, own),
            ),
        ] {
            few.check_within(1_000_000).unwrap();
            let Err(Error::Invalid(wrong)) = many.check_within(1_000_000) else {
                panic!("it takes more steps than that");
            };
            let number = wrong[0]
                .path
                .trim_start_matches("items[")
                .trim_end_matches(']');
            let number: usize = number.parse().unwrap();
            assert!(
                number < many.items.len() - 1 && wrong.len() == 1,
                "{wrong:?}"
            );
            assert!(
                wrong[0].message.contains(&format!("`item {number}`")),
                "{wrong:?}"
            );
        }
    }
}
