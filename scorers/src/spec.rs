//! What a benchmark writes to ask for a scorer.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A scorer as a benchmark or an item asks for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScorerSpec {
    /// The kind of check.
    #[serde(rename = "type")]
    pub kind: ScorerType,
    /// What to compare with; absent: the item's expected value.
    /// A string may be a template over the item's variables and `expected`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// How much the scorer counts among others, 0 to 1000; 0 reports without counting.
    #[serde(default = "one")]
    #[schema(default = 1.0)]
    pub weight: f64,
    /// The metric that the score is reported under: 1 to 100 characters on one line. A benchmark version has at most 100
    /// different ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// For `numeric`: the largest difference that still passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
}

fn one() -> f64 {
    1.0
}

/// The name of a scorer, with `not-` for its opposite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScorerType {
    /// The output is the value: as text, or as JSON if the value is a list or a map.
    Equals,
    /// The output is not the value.
    NotEquals,
    /// The output contains the value.
    Contains,
    /// The output does not contain the value.
    NotContains,
    /// The output contains the value, upper and lower case aside.
    Icontains,
    /// The output does not contain the value, upper and lower case aside.
    NotIcontains,
    /// The output matches the regular expression somewhere.
    Regex,
    /// The output matches the regular expression nowhere.
    NotRegex,
    /// The last number in the output is the value.
    Numeric,
    /// The last number in the output is not the value, or there is none.
    NotNumeric,
    /// The whole output is JSON.
    IsJson,
    /// The whole output is not JSON.
    NotIsJson,
}

/// What a scorer checks, its negation aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScorerKind {
    /// Equality of text or JSON.
    Equals,
    /// A part of the output.
    Contains,
    /// A part of the output, case aside.
    Icontains,
    /// A regular expression.
    Regex,
    /// The last number.
    Numeric,
    /// JSON syntax.
    IsJson,
}

impl ScorerType {
    /// What is checked, the negation aside.
    #[must_use]
    pub fn kind(self) -> ScorerKind {
        match self {
            Self::Equals | Self::NotEquals => ScorerKind::Equals,
            Self::Contains | Self::NotContains => ScorerKind::Contains,
            Self::Icontains | Self::NotIcontains => ScorerKind::Icontains,
            Self::Regex | Self::NotRegex => ScorerKind::Regex,
            Self::Numeric | Self::NotNumeric => ScorerKind::Numeric,
            Self::IsJson | Self::NotIsJson => ScorerKind::IsJson,
        }
    }

    /// The name, as a benchmark writes it.
    #[must_use]
    pub fn name(self) -> String {
        let name = serde_json::to_value(self).ok();
        name.and_then(|name| name.as_str().map(str::to_owned))
            .unwrap_or_default()
    }

    /// Whether the opposite is asked for.
    #[must_use]
    pub fn is_negated(self) -> bool {
        match self {
            Self::Equals
            | Self::Contains
            | Self::Icontains
            | Self::Regex
            | Self::Numeric
            | Self::IsJson => false,
            Self::NotEquals
            | Self::NotContains
            | Self::NotIcontains
            | Self::NotRegex
            | Self::NotNumeric
            | Self::NotIsJson => true,
        }
    }
}
