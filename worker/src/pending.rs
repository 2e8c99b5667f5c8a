//! An unrecorded evaluation, with its item.

use std::sync::Arc;

use opb_core::{
    benchmarks::StoredItem,
    runs::{Answer, AnswerKey, EvaluationKey},
    template::{Message, TemplateError},
};
use serde_json::{Map, Value};

use crate::prepared::Scorers;

/// The rendered messages of an evaluation, or the error. Shared by models and repeats.
pub(crate) type Rendered = Arc<Result<Vec<Message>, TemplateError>>;

/// An item in the form for evaluation.
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
    /// Prepares a stored item.
    ///
    /// # Errors
    /// The item's scorers do not compile, which should have been refused at publication.
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

/// An unrecorded evaluation.
pub(crate) struct PendingEvaluation {
    pub(crate) key: EvaluationKey,
    pub(crate) item: Arc<PreparedItem>,
    /// The messages to send; `None` if no call is needed, because there is a cached response or the run only rescores.
    pub(crate) messages: Option<Rendered>,
    /// The existing response, if any.
    pub(crate) answer: Option<Answer>,
    /// The cache key of its response.
    pub(crate) answer_key: Option<AnswerKey>,
    /// Maximum cost of its call, in micro-dollars; zero in a run without a budget.
    pub(crate) bound_microusd: i64,
}
