//! The rules that a benchmark must keep: all of them for one that comes in one piece, and those of its items part by part.

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

/// The most items of one version.
const MAX_ITEMS: usize = 100_000;
/// The most bytes of one item as JSON.
const MAX_ITEM_BYTES: u64 = 1 << 20;
/// The most bytes of one version as JSON, scorers and items together.
const MAX_VERSION_BYTES: u64 = 512 << 20;
/// The most scorers of a benchmark, or of one item.
const MAX_SCORERS: usize = 100;
/// Maximum number of different metrics of a version, or of one part of it.
const MAX_METRICS: usize = 100;
/// Maximum size of what a version says about where it comes from, in bytes of JSON.
const MAX_SOURCE_BYTES: usize = 20_000;
/// The steps that a benchmark, or a part of one, may take to check: rendering its scorers' templates for every item, and
/// compiling their regular expressions. It takes two seconds or so; a hundred thousand items with a small template each need
/// a twentieth.
pub(super) const MAX_STEPS: u64 = 20_000_000;
/// The most wrong fields that one answer lists.
const MAX_ERRORS: usize = 20;

/// Checks a definition, or one whose items come later when `items_follow`, and reports all that is wrong, up to a bound.
///
/// # Errors
/// [`Error::Invalid`] with the path of each wrong field.
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

/// Refuses when something is wrong, and lists so much of it as is bearable.
pub(super) fn refuse(mut wrong: Vec<FieldError>) -> Result<()> {
    wrong.truncate(MAX_ERRORS);
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(wrong))
    }
}

/// Checks how much a version holds.
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

/// Checks how large an item is.
pub(super) fn check_size(position: usize, size_bytes: u64) -> std::result::Result<(), FieldError> {
    if size_bytes > MAX_ITEM_BYTES {
        let message =
            format!("has {size_bytes} bytes as JSON; an item may have at most {MAX_ITEM_BYTES}");
        return Err(FieldError::new(format!("items[{position}]"), message));
    }
    Ok(())
}

/// Checks items under the scorers of their version, of which the first has the position `first`, in so many steps at most.
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
                "up to the item `{}` the benchmark takes more steps to check than a benchmark may; let its scorers' templates and regular expressions do less, or import it in parts",
                shown(&item.id)
            );
            wrong.push(FieldError::new(format!("items[{position}]"), message));
            return;
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

/// Checks what a benchmark says about where it comes from.
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

/// Whether every text in a value, the names of its fields included, can be shown.
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

/// Takes in the metrics of scorers, checks their names, and refuses too many.
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
        // A large pattern or a long rendering an item, or a small pattern of each item's own.
        for (few, many) in [
            (
                definition(&large, 2, expecting(r"\w{9}")),
                definition(&large, 100, expecting(r"\w{9}")),
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
