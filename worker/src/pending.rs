//! An evaluation that is not recorded yet, with its item.

use std::sync::Arc;

use opb_core::{
    benchmarks::StoredItem,
    runs::{Answer, AnswerKey, EvaluationKey},
    template::{Message, TemplateError},
};
use serde_json::{Map, Value};

use crate::prepared::Scorers;

/// The messages of an evaluation, or why there are none. Models and repeats share them.
pub(crate) type Rendered = Arc<Result<Vec<Message>, TemplateError>>;

/// An item, ready to be asked about.
pub(crate) struct PreparedItem {
    /// The item's own id.
    pub(crate) id: String,
    pub(crate) vars: Map<String, Value>,
    pub(crate) expected: Option<Value>,
    pub(crate) expected_text: Option<String>,
    /// The item's own scorers.
    pub(crate) scorers: Option<Arc<Scorers>>,
}

impl PreparedItem {
    /// Makes a stored item ready.
    ///
    /// # Errors
    /// The item's scorers do not compile, which publishing should have refused.
    pub(crate) fn new(item: StoredItem) -> anyhow::Result<Self> {
        let expected_text = item.expected.as_ref().map(|expected| match expected {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        Ok(Self {
            id: item.id,
            vars: match item.vars {
                Value::Object(vars) => vars,
                _ => Map::new(),
            },
            expected: item.expected,
            expected_text,
            scorers: item
                .scorers
                .map(|specs| Scorers::compile(&specs))
                .transpose()?
                .map(Arc::new),
        })
    }
}

/// An evaluation that is not recorded yet.
pub(crate) struct PendingEvaluation {
    pub(crate) key: EvaluationKey,
    pub(crate) item: Arc<PreparedItem>,
    /// What is sent; none when nothing is sent, since the answer is there or the run only scores answers again.
    pub(crate) messages: Option<Rendered>,
    /// Its answer, if it is there already.
    pub(crate) answer: Option<Answer>,
    /// Under which key its answer is cached.
    pub(crate) answer_key: Option<AnswerKey>,
    /// Maximum cost of its call; zero in a run without a budget.
    pub(crate) bound_microusd: i64,
}
