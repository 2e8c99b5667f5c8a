//! The declaration of a scorer in a benchmark.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A scorer as a benchmark or an item declares it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScorerSpec {
    /// The kind of check.
    #[serde(rename = "type")]
    pub kind: ScorerType,
    /// The value to compare with; absent: the item's expected value.
    /// A string may be a template over the item's variables and `expected`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// The weight of the scorer among others, 0 to 1000; 0 reports without counting.
    #[serde(default = "one")]
    #[schema(default = 1.0)]
    pub weight: f64,
    /// The metric under which the score is reported: 1 to 100 characters on one line. A benchmark version has at most
    /// 100 different ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// For `numeric`: the largest difference that still passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
}

fn one() -> f64 {
    1.0
}

/// The name of a scorer, with `not-` for its negation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScorerType {
    /// The output equals the value: as text, or as JSON if the value is a list or a map.
    Equals,
    /// The output does not equal the value.
    NotEquals,
    /// The output contains the value.
    Contains,
    /// The output does not contain the value.
    NotContains,
    /// The output contains the value, ignoring case.
    Icontains,
    /// The output does not contain the value, ignoring case.
    NotIcontains,
    /// The output matches the regular expression somewhere.
    Regex,
    /// The output matches the regular expression nowhere.
    NotRegex,
    /// The last number in the output equals the value.
    Numeric,
    /// The last number in the output does not equal the value, or there is none.
    NotNumeric,
    /// The whole output is JSON.
    IsJson,
    /// The whole output is not JSON.
    NotIsJson,
}

/// What a scorer checks, without its negation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScorerKind {
    /// Equality of text or JSON.
    Equals,
    /// A substring of the output.
    Contains,
    /// A substring of the output, ignoring case.
    Icontains,
    /// A match of a regular expression.
    Regex,
    /// The last number.
    Numeric,
    /// JSON syntax.
    IsJson,
}

impl ScorerType {
    /// What is checked, without the negation.
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

    /// The name in benchmark files.
    #[must_use]
    pub fn name(self) -> String {
        let name = serde_json::to_value(self).ok();
        name.and_then(|name| name.as_str().map(str::to_owned))
            .unwrap_or_default()
    }

    /// Whether the check is negated.
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
