//! Validation of benchmarks: of a complete definition, and of its items part by part.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{Definition, Item};
use crate::{
    Error, FieldError, Result,
    library::check_slug,
    paging::json_bytes,
    scorers::{Effort, Scorer, ScorerKind, ScorerSpec},
    texts::{check_line, is_plain_text},
};

/// Maximum number of items of a version.
const MAX_ITEMS: usize = 100_000;
/// Maximum size of an item, in bytes of JSON.
const MAX_ITEM_BYTES: u64 = 1 << 20;
/// Maximum size of a version, in bytes of JSON, scorers and items together.
const MAX_VERSION_BYTES: u64 = 512 << 20;
/// Maximum number of scorers of a benchmark, or of one item.
const MAX_SCORERS: usize = 100;
/// Maximum number of different metrics of a version, or of one part of it.
const MAX_METRICS: usize = 100;
/// Maximum size of a version's `source`, in bytes of JSON.
const MAX_SOURCE_BYTES: usize = 20_000;
/// Maximum number of steps for checking a benchmark, or a part of one: rendering its scorers' templates for every item,
/// and compiling their regular expressions. The maximum takes about two seconds; a hundred thousand items with a small
/// template each need a twentieth of it.
pub(super) const MAX_STEPS: u64 = 20_000_000;
/// Maximum number of errors in one response.
const MAX_ERRORS: usize = 20;

/// Validates a definition, without its items if `items_follow`, and reports all errors, up to [`MAX_ERRORS`].
///
/// # Errors
/// [`Error::Invalid`] with the path of each invalid field.
pub(super) fn check_definition(definition: &Definition, items_follow: bool) -> Result<()> {
    check_slug(&definition.slug)?;
    let mut wrong = Vec::new();
    check_texts(
        Some(&definition.title),
        Some(&definition.description),
        &mut wrong,
    );
    if definition.items.is_empty() && !items_follow {
        wrong.push(FieldError::new("items", "must hold at least one item"));
    }
    wrong.extend(check_totals(definition.items.len(), 0).err());
    check_source(&definition.source, &mut wrong);
    let scorers = &definition.scorers;
    check_items(scorers, &definition.items, 0, MAX_STEPS, &mut wrong);
    refuse(wrong)
}

/// Returns an error if the list is not empty, with at most [`MAX_ERRORS`] entries.
pub(super) fn refuse(mut wrong: Vec<FieldError>) -> Result<()> {
    wrong.truncate(MAX_ERRORS);
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(wrong))
    }
}

/// Checks the number of items and the size of a version.
pub(super) fn check_totals(items: usize, size_bytes: u64) -> std::result::Result<(), FieldError> {
    if items > MAX_ITEMS {
        return Err(FieldError::new(
            "items",
            format!("must hold at most {MAX_ITEMS} items; this would be {items}"),
        ));
    }
    if size_bytes > MAX_VERSION_BYTES {
        return Err(FieldError::new(
            "items",
            format!("must have at most {MAX_VERSION_BYTES} bytes; this would be {size_bytes}"),
        ));
    }
    Ok(())
}

/// Checks the size of an item.
pub(super) fn check_size(position: usize, size_bytes: u64) -> std::result::Result<(), FieldError> {
    if size_bytes > MAX_ITEM_BYTES {
        let message =
            format!("has {size_bytes} bytes as JSON; an item may have at most {MAX_ITEM_BYTES}");
        return Err(FieldError::new(format!("items[{position}]"), message));
    }
    Ok(())
}

/// Validates items under the scorers of their version, within a number of steps. The first item has the position
/// `first`.
pub(super) fn check_items<'a>(
    scorers: &'a [ScorerSpec],
    items: &'a [Item],
    first: usize,
    max_steps: u64,
    wrong: &mut Vec<FieldError>,
) {
    let patterns = &mut KnownPatterns::new();
    let effort = &Effort::within(max_steps);
    let metrics = &mut HashSet::new();
    check_metrics(scorers, "scorers", metrics, wrong);
    let scorers = check_scorers(scorers, "scorers", (patterns, effort), wrong);
    let mut seen = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        if wrong.len() >= MAX_ERRORS {
            return;
        }
        let position = first + index;
        let at = |field: &str| format!("items[{position}].{field}");
        if let Err(error) = check_size(position, json_bytes(item) as u64) {
            wrong.push(error);
            continue;
        }
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
        let own = item.scorers.as_ref().map(|specs| {
            check_metrics(specs, &at("scorers"), metrics, wrong);
            check_scorers(specs, &at("scorers"), (patterns, effort), wrong)
        });
        let scorers = own.as_deref().unwrap_or(&scorers);
        // A value that cannot be stored has been reported already.
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
                "checking the benchmark up to the item `{}` takes more steps than allowed; simplify its scorers' templates and regular expressions, or import it in parts",
                shown(&item.id)
            );
            wrong.push(FieldError::new(format!("items[{position}]"), message));
            return;
        }
    }
}

/// Validates the texts of a benchmark that are present.
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

/// Validates the `source` of a benchmark.
fn check_source(source: &Map<String, Value>, wrong: &mut Vec<FieldError>) {
    if json_bytes(source) > MAX_SOURCE_BYTES {
        let message = format!("must have at most {MAX_SOURCE_BYTES} bytes as JSON");
        wrong.push(FieldError::new("source", message));
        return;
    }
    for (name, value) in source {
        let path = format!("source.{}", shown(name));
        wrong.extend(check_line("source", name, 1..=100).err());
        if !holds_plain_texts(value) {
            let message = "must hold no control characters but line breaks and tabs";
            wrong.push(FieldError::new(path, message));
        }
    }
}

/// Whether every text in a value, including the names of fields, is displayable.
fn holds_plain_texts(value: &Value) -> bool {
    match value {
        Value::String(text) => is_plain_text(text),
        Value::Array(values) => values.iter().all(holds_plain_texts),
        Value::Object(fields) => fields
            .iter()
            .all(|(name, value)| is_plain_text(name) && holds_plain_texts(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

/// Collects the metrics of scorers, checks their names, and refuses too many.
fn check_metrics<'a>(
    scorers: &'a [ScorerSpec],
    path: &str,
    metrics: &mut HashSet<&'a str>,
    wrong: &mut Vec<FieldError>,
) {
    for (position, spec) in scorers.iter().enumerate() {
        let Some(metric) = spec.metric.as_deref() else {
            continue;
        };
        let path = format!("{path}[{position}].metric");
        if let Err(error) = check_line(path.as_str(), metric, 1..=100) {
            wrong.push(error);
        } else if metrics.insert(metric) && metrics.len() == MAX_METRICS + 1 {
            let message = format!(
                "is the metric number {} of the benchmark, which may have {MAX_METRICS}; report several scorers under one",
                metrics.len()
            );
            wrong.push(FieldError::new(path, message));
        }
    }
}

/// The regular expressions of scorers checked so far, and whether each depends on the item.
type KnownPatterns<'a> = HashMap<&'a str, bool>;

/// Compiles the scorers, counting the work, and returns those without errors. Scorers whose regular expression is among
/// `patterns` and the same for every item are skipped: they were compiled before and cannot fail.
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

/// Why one of the scorers cannot judge any output of the item, if that is the case.
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
        // The caller reports this error with the item.
        if effort.is_used_up() {
            return None;
        }
    }
    None
}

/// An id, shortened for messages.
fn shown(id: &str) -> String {
    id.chars().take(80).collect()
}

/// Whether a value holds a NUL character, which Postgres cannot store.
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

    fn definition(scorer: &Value, items: usize, item: impl Fn(usize) -> Value) -> Definition {
        let items: Vec<Value> = (0..items).map(item).collect();
        let definition =
            json!({"slug": "heavy", "title": "Heavy", "scorers": [scorer], "items": items});
        serde_json::from_value(definition).unwrap()
    }

    #[test]
    fn a_check_ends_after_so_many_steps_and_names_the_item() {
        let expecting = |expected: &'static str| move |at: usize| json!({"id": format!("item {at}"), "expected": format!("{expected}{at}")});
        let own = |at: usize| json!({"id": format!("item {at}"), "scorers": [{"type": "regex", "value": format!("a{at}")}]});
        let is_json = json!({"type": "is-json"});
        let large = json!({"type": "regex"});
        let loops = "{% for i in range(5000) %}{{ expected }}{% endfor %}";
        let template = json!({"type": "equals", "value": loops});
        // Few expensive items (a large pattern or a long rendering), or many items with a small pattern of their own.
        for (few, many) in [
            (
                definition(&large, 2, expecting(r"\p{L}{9}")),
                definition(&large, 100, expecting(r"\p{L}{9}")),
            ),
            (
                definition(&template, 10, expecting("")),
                definition(&template, 100, expecting("")),
            ),
            (
                definition(&is_json, 100, own),
                definition(&is_json, 1_000, own),
            ),
        ] {
            let check = |definition: &Definition| {
                let mut wrong = Vec::new();
                let scorers = &definition.scorers;
                check_items(scorers, &definition.items, 0, 1_000_000, &mut wrong);
                wrong
            };
            assert!(check(&few).is_empty());
            let wrong = check(&many);
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
