//! A benchmark as its author writes it, and the rules that it must keep.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    Error, FieldError, Result,
    auth::Visibility,
    library::check_slug,
    scorers::{Scorer, ScorerKind, ScorerSpec},
};

/// The most items that one benchmark version holds.
const MAX_ITEMS: usize = 100_000;
/// The most scorers of a benchmark, or of one item.
const MAX_SCORERS: usize = 100;
/// How many different regular expressions the items' own scorers may have together. Compiling one takes up to some
/// milliseconds however short it is, so this bounds how long a benchmark takes to check.
const MAX_PATTERNS: usize = 5_000;
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
    /// Who may see it; everybody, when absent.
    #[serde(default)]
    pub visibility: Visibility,
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
    /// The item's own id, unique in the benchmark.
    pub id: String,
    /// The values of the prompt's variables.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub vars: Map<String, Value>,
    /// What a right answer is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Value>,
    /// Anything else worth keeping.
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
        check_slug(&self.slug)?;
        let mut wrong = Vec::new();
        if self.title.trim().is_empty()
            || self.title.chars().count() > 200
            || self.title.contains('\0')
        {
            wrong.push(FieldError::new("title", "must have 1 to 200 characters"));
        }
        if self.description.len() > 20_000 || self.description.contains('\0') {
            wrong.push(FieldError::new(
                "description",
                "must have at most 20,000 bytes and no NUL",
            ));
        }
        if self.items.is_empty() {
            wrong.push(FieldError::new("items", "must hold at least one item"));
        }
        if self.items.len() > MAX_ITEMS {
            wrong.push(FieldError::new(
                "items",
                format!("must hold at most {MAX_ITEMS} items"),
            ));
        }
        let mut patterns = HashSet::new();
        check_scorers(&self.scorers, "scorers", &mut patterns, &mut wrong);
        if self.source.values().any(holds_nul) {
            wrong.push(FieldError::new("source", "must not hold a NUL character"));
        }
        self.check_items(&mut patterns, &mut wrong);
        wrong.truncate(MAX_ERRORS);
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid(wrong))
        }
    }

    fn check_items<'a>(&'a self, patterns: &mut HashSet<&'a str>, wrong: &mut Vec<FieldError>) {
        let mut seen = HashSet::new();
        for (position, item) in self.items.iter().enumerate() {
            if wrong.len() >= MAX_ERRORS {
                return;
            }
            let at = |field: &str| format!("items[{position}].{field}");
            if item.id.is_empty() || item.id.chars().count() > 200 || item.id.contains('\0') {
                wrong.push(FieldError::new(at("id"), "must have 1 to 200 characters"));
            } else if !seen.insert(item.id.as_str()) {
                let message = format!(
                    "the id `{}` is used more than once",
                    item.id.chars().take(80).collect::<String>()
                );
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
            if let Some(scorers) = &item.scorers {
                check_scorers(scorers, &at("scorers"), patterns, wrong);
                if patterns.len() > MAX_PATTERNS {
                    return;
                }
            }
        }
    }
}

/// Compiles every scorer; regular expressions that are among `patterns` were compiled before. Stops at the first that is
/// one too many.
fn check_scorers<'a>(
    scorers: &'a [ScorerSpec],
    path: &str,
    patterns: &mut HashSet<&'a str>,
    wrong: &mut Vec<FieldError>,
) {
    if scorers.len() > MAX_SCORERS {
        let message = format!("must be at most {MAX_SCORERS}");
        wrong.push(FieldError::new(path, message));
        return;
    }
    for (position, spec) in scorers.iter().enumerate() {
        let pattern = spec.value.as_ref().and_then(Value::as_str);
        let pattern = pattern.filter(|_| spec.kind.kind() == ScorerKind::Regex);
        let is_known = pattern.is_some_and(|pattern| !patterns.insert(pattern));
        if patterns.len() > MAX_PATTERNS {
            let message = format!(
                "the items have more than {MAX_PATTERNS} regular expressions of their own; write each into `expected` and use one scorer of the benchmark"
            );
            wrong.push(FieldError::new(path, message));
            return;
        }
        let checked = if is_known {
            let rest = ScorerSpec {
                value: None,
                ..spec.clone()
            };
            Scorer::compile(&rest)
        } else {
            Scorer::compile(spec)
        };
        if let Err(error) = checked {
            wrong.push(FieldError::new(
                format!("{path}[{position}]"),
                error.to_string(),
            ));
        }
    }
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
