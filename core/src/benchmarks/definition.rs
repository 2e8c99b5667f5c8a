//! The definition of a benchmark, as its author writes it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    auth::Visibility,
    scorers::ScorerSpec,
    written_fields::{or_default, text_or_whole_number},
};

/// A benchmark with its items, in a request or a file.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// The benchmark's name in URLs and on the command line.
    pub slug: String,
    /// 1 to 200 characters.
    pub title: String,
    /// What it measures.
    #[serde(default, deserialize_with = "or_default")]
    pub description: String,
    /// Where the items come from: name, licence, address.
    #[serde(default, deserialize_with = "or_default")]
    #[schema(value_type = Object)]
    pub source: Map<String, Value>,
    /// Who may read it. If absent, an existing benchmark keeps its visibility, and a new one gets this bank's default,
    /// which is only you unless the operator has changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// The scorers of every item without scorers of its own.
    #[serde(default, deserialize_with = "or_default")]
    pub scorers: Vec<ScorerSpec>,
    /// The test cases, in order.
    pub items: Vec<Item>,
}

/// One test case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// The item's own id: 1 to 200 characters, unique in the benchmark. A whole number is read as its digits.
    #[serde(deserialize_with = "text_or_whole_number")]
    pub id: String,
    /// The values of the prompt's variables.
    #[serde(default, deserialize_with = "or_default")]
    #[schema(value_type = Object)]
    pub vars: Map<String, Value>,
    /// The correct answer, for scorers without a value of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Value>,
    /// Additional data; no scorer and no prompt reads it, and `opb run show RUN --by KEY` groups the results of a run
    /// by one of its keys.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Map::is_empty"
    )]
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    /// Replaces the benchmark's scorers for this item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scorers: Option<Vec<ScorerSpec>>,
}
