//! Scorers: promptfoo's assertions under the same names, with the same meaning and defaults.
//!
//! A [`ScorerSpec`] is what a benchmark declares, a [`Scorer`] is its compiled form, and [`Scorer::score`] judges one
//! output. [`combine()`] makes one score of several.
//! Nothing here calls a model, reads a clock or uses randomness: the same output always gets the same score. An error
//! never becomes a pass, not even under `not-`.

mod combine;
mod effort;
mod large_numbers;
mod number;
mod patterns;
mod spec;

#[cfg(test)]
mod tests;

use std::{borrow::Cow, sync::Arc};

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use opb_template::{CompiledText, TemplateError};

pub use self::combine::{Combined, combine};
pub use self::effort::Effort;
pub use self::large_numbers::keep_large_numbers;
pub use self::number::last_number;
use self::patterns::{Pattern, Patterns};
pub use self::spec::{ScorerKind, ScorerSpec, ScorerType};

/// Maximum length of a regular expression, in characters.
pub const MAX_PATTERN_CHARS: usize = 1_000;
/// Maximum memory of a compiled regular expression, in bytes.
pub const MAX_PATTERN_BYTES: usize = 1024 * 1024;
/// Maximum weight of a scorer.
pub const MAX_WEIGHT: f64 = 1_000.0;
/// The part of an output that is searched, in bytes: its start by regular expressions, its end for numbers.
pub const MAX_SEARCHED_BYTES: usize = 256 * 1024;

/// Why a scorer cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScorerError {
    /// The value is not a valid template.
    #[error("the value is not a valid template: {0}")]
    Template(TemplateError),
    /// The value is not a regular expression, or it is too large.
    #[error("the value is not a usable regular expression: {0}")]
    Pattern(String),
    /// A field does not fit the scorer.
    #[error("{field} {problem}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// What is wrong and how to fix it.
        problem: String,
    },
}

/// The input of a scorer.
#[derive(Debug, Clone, Copy)]
pub struct ScoreInput<'a> {
    /// The model's output.
    pub output: &'a str,
    /// The item's expected value.
    pub expected: Option<&'a Value>,
    /// The item's variables.
    pub vars: &'a Map<String, Value>,
}

/// The result of a scorer.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreResult {
    /// The outcome.
    pub outcome: Outcome,
}

/// The three possible outcomes of a scorer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The output was judged.
    Scored {
        /// From 0 to 1.
        score: f64,
        /// Whether the output passes.
        pass: bool,
        /// Why, in a sentence.
        reason: Cow<'static, str>,
    },
    /// The scorer does not apply to this item; it does not count.
    NotApplicable {
        /// Why, in a sentence.
        reason: Cow<'static, str>,
    },
    /// The scorer could not judge the output; the evaluation ends in an error.
    Error {
        /// Why, in a sentence.
        reason: Cow<'static, str>,
    },
}

/// A compiled scorer, usable from any thread.
#[derive(Debug)]
pub struct Scorer {
    kind: ScorerKind,
    name: String,
    negated: bool,
    weight: f64,
    metric: Option<String>,
    tolerance: Option<f64>,
    wanted: Wanted,
    patterns: Patterns,
}

/// Where the value to compare with comes from, prepared as far as possible.
#[derive(Debug)]
enum Wanted {
    /// The item's expected value.
    Expected,
    /// The same value for every item.
    Fixed(Prepared),
    /// A template that is rendered for every item.
    Template(CompiledText),
}

/// A value in the form that the scorer compares with.
#[derive(Debug)]
enum Prepared {
    Nothing,
    Text(String),
    Json(Value),
    Pattern(Arc<Pattern>),
    Number(f64),
}

impl Scorer {
    /// Validates a specification and compiles it.
    ///
    /// # Errors
    /// An invalid regular expression or template, or a field that does not fit the scorer.
    pub fn compile(spec: &ScorerSpec) -> Result<Self, ScorerError> {
        Self::compile_counting(spec, &Effort::default())
    }

    /// Like [`Self::compile`], and counts the work.
    ///
    /// # Errors
    /// Those of [`Self::compile`].
    pub fn compile_counting(spec: &ScorerSpec, effort: &Effort) -> Result<Self, ScorerError> {
        let field = |field, problem: &str| {
            Err(ScorerError::Field {
                field,
                problem: problem.to_owned(),
            })
        };
        let kind = spec.kind.kind();
        if !(0.0..=MAX_WEIGHT).contains(&spec.weight) {
            return field(
                "weight",
                "must be from 0 to 1000; 0 reports without counting",
            );
        }
        match spec.tolerance {
            Some(_) if kind != ScorerKind::Numeric => {
                return field("tolerance", "is only for the scorer `numeric`; remove it");
            }
            Some(tolerance) if !tolerance.is_finite() || tolerance < 0.0 => {
                return field("tolerance", "must be a number that is not negative");
            }
            _ => {}
        }
        let patterns = Patterns::default();
        let wanted = match (&spec.value, kind) {
            (None, ScorerKind::IsJson) => Wanted::Fixed(Prepared::Nothing),
            (Some(_), ScorerKind::IsJson) => {
                return field(
                    "value",
                    "must be absent: checking against a JSON schema is not supported yet",
                );
            }
            (None, _) => Wanted::Expected,
            (Some(Value::String(text)), _) => {
                let template =
                    CompiledText::compile(text, "value").map_err(ScorerError::Template)?;
                match template.as_constant() {
                    Some(constant) => Wanted::Fixed(prepare(
                        kind,
                        &Value::String(constant.to_owned()),
                        &patterns,
                        effort,
                    )?),
                    None => Wanted::Template(template),
                }
            }
            (Some(value), _) => Wanted::Fixed(prepare(kind, value, &patterns, effort)?),
        };
        Ok(Self {
            kind,
            name: spec.kind.name(),
            negated: spec.kind.is_negated(),
            weight: spec.weight,
            metric: spec.metric.clone(),
            tolerance: spec.tolerance,
            wanted,
            patterns,
        })
    }

    /// The scorer's type, as a benchmark writes it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The weight of the scorer.
    #[must_use]
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// The metric under which the score is reported.
    #[must_use]
    pub fn metric(&self) -> Option<&str> {
        self.metric.as_deref()
    }

    /// Judges one output.
    #[must_use]
    pub fn score(&self, input: &ScoreInput) -> ScoreResult {
        let outcome = match self.judge(input) {
            Ok((found, reason)) => {
                let pass = found != self.negated;
                Outcome::Scored {
                    score: f64::from(u8::from(pass)),
                    pass,
                    reason,
                }
            }
            Err(reason) => Outcome::Error { reason },
        };
        ScoreResult { outcome }
    }

    /// Whether outputs are compared with a different value for each item.
    #[must_use]
    pub fn varies(&self) -> bool {
        !matches!(self.wanted, Wanted::Fixed(_))
    }

    /// Whether the value is rendered for each output, which may be slow.
    #[must_use]
    pub fn is_rendered(&self) -> bool {
        matches!(self.wanted, Wanted::Template(_))
    }

    /// Checks whether outputs of an item can be judged at all, given the item's expected value and variables. Counts
    /// the work.
    ///
    /// # Errors
    /// Why they cannot be judged, as a sentence. Otherwise every evaluation of the item would end in this error, after
    /// its call was paid for.
    pub fn check_item(
        &self,
        expected: Option<&Value>,
        vars: &Map<String, Value>,
        effort: &Effort,
    ) -> Result<(), String> {
        match &self.wanted {
            Wanted::Fixed(_) => Ok(()),
            _ => self
                .prepare_for(expected, vars, effort)
                .map(|_| ())
                .map_err(Cow::into_owned),
        }
    }

    /// Prepares the value that outputs of an item are compared with; only for values that vary by item.
    fn prepare_for(
        &self,
        expected: Option<&Value>,
        vars: &Map<String, Value>,
        effort: &Effort,
    ) -> Result<Prepared, Cow<'static, str>> {
        let expected = expected.filter(|value| !value.is_null());
        if let Wanted::Template(template) = &self.wanted {
            let expected = expected.map(|expected| ("expected", expected));
            let (rendered, steps) = template.render_counting(vars, expected);
            effort.add(steps);
            let text = rendered
                .map_err(|error| format!("the scorer's value cannot be rendered: {error}"))?;
            let prepared = prepare(self.kind, &Value::String(text), &self.patterns, effort);
            return prepared.map_err(|error| error.to_string().into());
        }
        let expected = expected.ok_or(
            "the scorer has no value and the item has no expected value; give one of them",
        )?;
        prepare(self.kind, expected, &self.patterns, effort).map_err(|error| {
            format!("the item's expected value does not fit the scorer: {error}").into()
        })
    }

    /// Whether the output matches, before negation, and why.
    fn judge(&self, input: &ScoreInput) -> Result<(bool, Cow<'static, str>), Cow<'static, str>> {
        let output = spoken(input.output);
        let prepared;
        let wanted = match &self.wanted {
            Wanted::Fixed(fixed) => fixed,
            Wanted::Expected | Wanted::Template(_) => {
                // Avoids a copy of the expected value, which may be long, for every evaluation.
                if let (Wanted::Expected, Some(Value::String(expected))) =
                    (&self.wanted, input.expected)
                    && !expected.is_empty()
                    && matches!(self.kind, ScorerKind::Equals | ScorerKind::Contains)
                {
                    return Ok(self.compare_text(output, expected));
                }
                prepared = self.prepare_for(input.expected, input.vars, &Effort::default())?;
                &prepared
            }
        };
        Ok(match wanted {
            Prepared::Nothing => is_json(output),
            Prepared::Text(text) => self.compare_text(output, text),
            Prepared::Json(json) => equals_json(output, json),
            Prepared::Pattern(pattern) => matches_pattern(output, pattern),
            Prepared::Number(number) => number::equals(output, *number, self.tolerance),
        })
    }

    fn compare_text(&self, output: &str, wanted: &str) -> (bool, Cow<'static, str>) {
        let (found, yes, no) = match self.kind {
            ScorerKind::Contains => (
                output.contains(wanted),
                "the output contains the value",
                "the output does not contain",
            ),
            ScorerKind::Icontains => (
                contains_lowercase(output, wanted),
                "the output contains the value, case aside",
                "the output does not contain, case aside,",
            ),
            _ => (
                output == wanted,
                "the output equals the value",
                "the output does not equal",
            ),
        };
        (
            found,
            if found {
                Cow::Borrowed(yes)
            } else {
                Cow::Owned(format!("{no} \"{}\"", excerpt(wanted)))
            },
        )
    }
}

/// The output without the reasoning that some servers put at its start, between `<think>` and `</think>`. If the
/// reasoning was cut off, there is no answer after it.
fn spoken(output: &str) -> &str {
    let Some(thoughts) = output.trim_start().strip_prefix("<think>") else {
        return output;
    };
    let answer = thoughts.split_once("</think>");
    answer.map_or("", |(_, answer)| answer.trim_start())
}

/// Converts a value into the form that a scorer compares with.
fn prepare(
    kind: ScorerKind,
    value: &Value,
    patterns: &Patterns,
    effort: &Effort,
) -> Result<Prepared, ScorerError> {
    effort.add(1);
    match (kind, value) {
        (ScorerKind::Equals, Value::Array(_) | Value::Object(_)) => {
            Ok(Prepared::Json(value.clone()))
        }
        (ScorerKind::Numeric, _) => {
            number::of(value)
                .map(Prepared::Number)
                .ok_or_else(|| ScorerError::Field {
                    field: "value",
                    problem: "must be a number, or a string that is one, such as \"1,234.5\""
                        .to_owned(),
                })
        }
        (_, Value::Array(_) | Value::Object(_) | Value::Null) => Err(ScorerError::Field {
            field: "value",
            problem: "must be a string or a number".to_owned(),
        }),
        _ => {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => number::as_text(number),
                other => other.to_string(),
            };
            // Every text contains the empty text, and matches the empty pattern.
            if text.is_empty() && kind != ScorerKind::Equals {
                return Err(ScorerError::Field {
                    field: "value",
                    problem: "must not be empty: every output would pass, or none".to_owned(),
                });
            }
            match kind {
                ScorerKind::Regex => patterns.compile(text, effort).map(Prepared::Pattern),
                ScorerKind::Icontains => Ok(Prepared::Text(text.to_lowercase())),
                _ => Ok(Prepared::Text(text)),
            }
        }
    }
}

fn is_json(output: &str) -> (bool, Cow<'static, str>) {
    match serde_json::from_str::<serde::de::IgnoredAny>(output) {
        Ok(_) => (true, Cow::Borrowed("the output is JSON")),
        Err(error) => (
            false,
            Cow::Owned(format!("the output is not JSON: {error}")),
        ),
    }
}

fn equals_json(output: &str, wanted: &Value) -> (bool, Cow<'static, str>) {
    // Items are read alike, so that equal digits are equal values.
    match serde_json::from_str::<Value>(&keep_large_numbers(output)) {
        Ok(found) if same_json(&found, wanted) => {
            (true, Cow::Borrowed("the output equals the value as JSON"))
        }
        Ok(_) => (
            false,
            Cow::Borrowed("the output is JSON but does not equal the value"),
        ),
        Err(error) => (
            false,
            Cow::Owned(format!("the output is not JSON: {error}")),
        ),
    }
}

/// Deep equality where `1` and `1.0` are the same number, as in JavaScript.
fn same_json(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_json(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| same_json(a, b)))
        }
        _ => a == b,
    }
}

fn matches_pattern(output: &str, pattern: &Pattern) -> (bool, Cow<'static, str>) {
    let searched = &output[..output.floor_char_boundary(MAX_SEARCHED_BYTES)];
    if pattern.regex.is_match(searched) {
        (true, Cow::Borrowed("the output matches the pattern"))
    } else {
        (
            false,
            Cow::Owned(format!(
                "the output does not match \"{}\"",
                excerpt(&pattern.written)
            )),
        )
    }
}

/// Compares in lower case; `wanted` is already lower case.
fn contains_lowercase(output: &str, wanted: &str) -> bool {
    if output.is_ascii() {
        output.to_ascii_lowercase().contains(wanted)
    } else {
        output.to_lowercase().contains(wanted)
    }
}

/// The start of a long text, for reasons.
fn excerpt(text: &str) -> Cow<'_, str> {
    const SHOWN_BYTES: usize = 200;
    if text.len() <= SHOWN_BYTES {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!(
        "{}…",
        &text[..text.floor_char_boundary(SHOWN_BYTES)]
    ))
}
