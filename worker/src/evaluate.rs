//! One evaluation: render, call, price, score. Whatever goes wrong becomes a recorded error, never a failure of the shard.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use opb_core::{
    benchmarks::StoredItem,
    bounds::MAX_MICROUSD,
    metrics::{METRICS, ModelLabels},
    models::Price,
    runs::{Answer, EvaluationKey, NewEvaluation, ScoredLine},
    scorers::{Outcome, ScoreInput, combine},
    template::CompiledPrompt,
};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::{
    answers::Known,
    call::{Calls, call},
    governor::CallSize,
    prepared::{PreparedModel, PreparedRun, Scorers},
    providers::{AnswerHint, Completion, CompletionRequest},
    purse::request_tokens,
};

/// An item, ready to be asked about.
pub(crate) struct PreparedItem {
    /// The item's own id.
    pub(crate) id: String,
    pub(crate) vars: Map<String, Value>,
    expected: Option<Value>,
    expected_text: Option<String>,
    /// The item's own scorers.
    scorers: Option<Arc<Scorers>>,
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

/// What became of an evaluation.
pub(crate) struct Evaluated {
    /// The result. Nothing when `halt` came before there was one.
    pub(crate) evaluation: Option<NewEvaluation>,
    /// True when calls may have been paid for whose cost nobody told.
    pub(crate) unaccounted: bool,
}

/// Evaluates one item under one prompt on one model. Once `halt` comes no further call begins.
pub(crate) async fn evaluate(
    run: Arc<PreparedRun>,
    item: Arc<PreparedItem>,
    key: EvaluationKey,
    known: Known,
    halt: CancellationToken,
) -> Evaluated {
    let Some((prompt, model)) = run.column(key) else {
        return unasked(key, "internal", "the run has no such column");
    };
    let mut evaluated = match known.answer {
        Some(answer) => taken(&run, &item, key, answer),
        None if run.work.answers_of.is_some() => unasked(
            key,
            "unanswered",
            "the run that is scored again has no answer to this",
        ),
        None => ask(&run, &item, model, prompt, key, &halt).await,
    };
    if let Some(evaluation) = &mut evaluated.evaluation {
        if !evaluation.cached {
            evaluation.answer_key = known.key;
        }
        count(evaluation, &model.labels);
    }
    evaluated
}

async fn ask(
    run: &PreparedRun,
    item: &PreparedItem,
    model: &PreparedModel,
    prompt: &CompiledPrompt,
    key: EvaluationKey,
    halt: &CancellationToken,
) -> Evaluated {
    let provider = match &model.provider {
        Ok(provider) => provider,
        Err(error) => return unasked(key, "model", error),
    };
    let messages = match prompt.render(&item.vars) {
        Ok(messages) => messages,
        Err(error) => return unasked(key, "template", &error.to_string()),
    };
    let request = CompletionRequest {
        messages: &messages,
        repeat: key.repeat,
        answer: AnswerHint {
            expected: item.expected_text.as_deref(),
            item: &item.id,
            seed: run.work.seed,
        },
    };
    let calls = Calls {
        provider: provider.as_ref(),
        governor: &model.governor,
        labels: &model.labels,
        names: &model.names,
        caller: run.caller,
        size: &|| CallSize {
            request_tokens: request_tokens(provider.as_ref(), model, &messages),
            messages: messages.len(),
            price: model.price,
            output_limit: model.output_limit,
        },
        price: model.price,
        max_attempts: run.max_attempts,
        halt,
    };
    let called = call(calls, &request).await;
    let attempts = i16::try_from(called.attempts).unwrap_or(i16::MAX);
    let Some(result) = called.result else {
        return Evaluated {
            evaluation: None,
            unaccounted: called.may_be_paid,
        };
    };
    let answered = result.is_ok();
    let evaluation = match result {
        Err(error) => failed(key, error.kind.name(), &error.message, attempts),
        Ok(completion) => {
            let answer = answer(completion, model.price);
            let scorers = item.scorers.as_ref().unwrap_or(&run.scorers);
            score(key, item, scorers, answer, attempts)
        }
    };
    Evaluated {
        unaccounted: called.may_be_paid || answered && evaluation.cost_microusd.is_none(),
        evaluation: Some(evaluation),
    }
}

/// What is kept of a completion.
fn answer(completion: Completion, price: Option<Price>) -> Answer {
    let cost_microusd = price.and_then(|price| completion.cost_microusd(price));
    // Whatever a provider counts, and an administrator has called the price.
    let cost_microusd = cost_microusd.map(|cost| cost.min(MAX_MICROUSD));
    Answer {
        output: completion.text,
        finish_reason: completion.finish_reason,
        latency_ms: Some(milliseconds(completion.latency)),
        first_token_ms: completion.first_token_after.map(milliseconds),
        input_tokens: completion.input_tokens,
        cached_input_tokens: completion.cached_input_tokens,
        output_tokens: completion.output_tokens,
        reasoning_tokens: completion.reasoning_tokens,
        cost_microusd,
        logprobs: completion.logprobs,
    }
}

/// Scores an answer that was there already: no call, nothing spent.
fn taken(run: &PreparedRun, item: &PreparedItem, key: EvaluationKey, answer: Answer) -> Evaluated {
    let scorers = item.scorers.as_ref().unwrap_or(&run.scorers);
    let evaluation = score(key, item, scorers, answer, 0);
    Evaluated {
        evaluation: Some(NewEvaluation {
            cached: true,
            ..evaluation
        }),
        unaccounted: false,
    }
}

fn score(
    key: EvaluationKey,
    item: &PreparedItem,
    scorers: &Scorers,
    answer: Answer,
    attempts: i16,
) -> NewEvaluation {
    let input = ScoreInput {
        output: &answer.output,
        expected: item.expected.as_ref(),
        vars: &item.vars,
    };
    let results: Vec<_> = scorers
        .0
        .iter()
        .map(|(name, scorer)| {
            let started = Instant::now();
            let result = scorer.score(&input);
            METRICS
                .scorer_duration
                .with_label_values(&[name])
                .observe(started.elapsed().as_secs_f64());
            (scorer.weight(), scorer.metric(), result)
        })
        .collect();
    let combined = combine(&results);
    let lines = scorers
        .0
        .iter()
        .zip(&results)
        .map(|((name, _), (_, metric, result))| line(name, *metric, &result.outcome));
    #[expect(
        clippy::cast_possible_truncation,
        reason = "scores lie between 0 and 1 and are stored in four bytes"
    )]
    let score = combined.score.map(|score| score as f32);
    NewEvaluation {
        key,
        score,
        passed: combined.pass,
        scores: lines.collect(),
        error_kind: combined.error.as_ref().map(|_| "scorer".to_owned()),
        error: combined.error,
        attempts,
        finish_reason: answer.finish_reason,
        latency_ms: answer.latency_ms,
        first_token_ms: answer.first_token_ms,
        input_tokens: answer.input_tokens,
        cached_input_tokens: answer.cached_input_tokens,
        output_tokens: answer.output_tokens,
        reasoning_tokens: answer.reasoning_tokens,
        cost_microusd: answer.cost_microusd,
        logprobs: answer.logprobs,
        output: Some(answer.output),
        cached: false,
        answer_key: None,
    }
}

fn line(scorer: &str, metric: Option<&str>, outcome: &Outcome) -> ScoredLine {
    let (name, score, pass, reason) = match outcome {
        Outcome::Scored {
            score,
            pass,
            reason,
        } => ("scored", Some(*score), Some(*pass), reason),
        Outcome::NotApplicable { reason } => ("not_applicable", None, None, reason),
        Outcome::Error { reason } => ("error", None, None, reason),
    };
    ScoredLine {
        scorer: scorer.to_owned(),
        metric: metric.map(str::to_owned),
        outcome: name.to_owned(),
        score,
        pass,
        reason: reason.clone().into_owned(),
    }
}

/// An evaluation whose model cannot be asked.
fn unasked(key: EvaluationKey, kind: &str, message: &str) -> Evaluated {
    Evaluated {
        evaluation: Some(failed(key, kind, message, 0)),
        unaccounted: false,
    }
}

fn failed(key: EvaluationKey, kind: &str, message: &str, attempts: i16) -> NewEvaluation {
    NewEvaluation {
        key,
        error_kind: Some(kind.to_owned()),
        error: Some(message.replace('\0', "")),
        attempts,
        ..NewEvaluation::default()
    }
}

fn count(evaluation: &NewEvaluation, labels: &ModelLabels) {
    let state = if evaluation.error_kind.is_some() {
        "error"
    } else {
        "scored"
    };
    let [provider, model] = labels.both();
    METRICS
        .evaluations
        .with_label_values(&[state, provider, model])
        .inc();
    if evaluation.cached {
        return; // Its tokens and its cost were counted when it was called for.
    }
    for (kind, count) in [
        ("input", evaluation.input_tokens),
        ("output", evaluation.output_tokens),
    ] {
        if let Some(count) = count {
            METRICS
                .tokens
                .with_label_values(&[provider, model, kind])
                .observe(count.into());
        }
    }
    if let Some(cost) = evaluation.cost_microusd {
        METRICS.add_cost(labels, cost);
    }
}

fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
