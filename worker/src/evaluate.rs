//! A single evaluation: call, price, score. Every failure becomes a recorded error, never a failure of the shard.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use opb_core::{
    bounds::MAX_MICROUSD,
    metrics::{METRICS, ModelLabels},
    models::Price,
    runs::{Answer, EvaluationError, EvaluationKey, EvaluationOutcome, NewEvaluation, ScoredLine},
    scorers::{Outcome, ScoreInput, combine},
    template::{Message, TemplateError},
};
use tokio_util::sync::CancellationToken;

use crate::{
    call::{Calls, call},
    governor::CallSize,
    pending::{PendingEvaluation, PreparedItem},
    prepared::{PreparedModel, PreparedRun, Scorers},
    providers::{AnswerHint, Completion, CompletionRequest},
};

/// The result of an evaluation.
pub(crate) struct Evaluated {
    /// The evaluation to record. `None` if `halt` came first.
    pub(crate) evaluation: Option<NewEvaluation>,
    /// Whether calls of unknown cost may have been paid for.
    pub(crate) unaccounted: bool,
}

/// Evaluates one item. Once `halt` is cancelled, no further call starts.
pub(crate) async fn evaluate(
    run: Arc<PreparedRun>,
    pending: PendingEvaluation,
    halt: CancellationToken,
) -> Evaluated {
    let key = pending.key;
    let Some((_, model)) = run.column(key) else {
        return unasked(key, "internal", "the run has no such column");
    };
    let mut evaluated = match (pending.answer, pending.messages) {
        (Some(answer), _) => taken(&run, pending.item, key, answer).await,
        (None, Some(messages)) => ask(&run, pending.item, model, &messages, key, &halt).await,
        (None, None) => unasked(
            key,
            "unanswered",
            "the rescored run has no response for this evaluation",
        ),
    };
    if let Some(evaluation) = &mut evaluated.evaluation {
        if !evaluation.cached {
            evaluation.answer_key = pending.answer_key;
        }
        count(evaluation, &model.labels);
    }
    evaluated
}

async fn ask(
    run: &PreparedRun,
    item: Arc<PreparedItem>,
    model: &PreparedModel,
    messages: &Result<Vec<Message>, TemplateError>,
    key: EvaluationKey,
    halt: &CancellationToken,
) -> Evaluated {
    let provider = match &model.provider {
        Ok(provider) => provider,
        Err(error) => return unasked(key, "model", error),
    };
    let messages = match messages {
        Ok(messages) => messages,
        Err(error) => return unasked(key, "template", &error.to_string()),
    };
    let request = CompletionRequest {
        messages,
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
        places: model.places.as_deref(),
        labels: &model.labels,
        names: &model.names,
        caller: run.caller,
        size: &|| CallSize {
            request_tokens: model.request_tokens(provider.as_ref(), messages),
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
        Err(error) => NewEvaluation::failed(
            key,
            EvaluationError::new(error.kind.name(), error.message),
            attempts,
        ),
        Ok(completion) => {
            let answer = answer(completion, model.price);
            score(run, item, key, answer, attempts).await
        }
    };
    Evaluated {
        unaccounted: called.may_be_paid || answered && evaluation.cost_microusd().is_none(),
        evaluation: Some(evaluation),
    }
}

/// Converts a completion to the stored response.
fn answer(completion: Completion, price: Option<Price>) -> Answer {
    let cost_microusd = price.and_then(|price| completion.cost_microusd(price));
    // Bounds the cost, whatever usage a provider reports and whatever price an administrator has set.
    let cost_microusd = cost_microusd.map(|cost| cost.min(MAX_MICROUSD));
    Answer {
        output: Some(completion.text),
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

/// Scores an existing response: no call, no cost.
async fn taken(
    run: &PreparedRun,
    item: Arc<PreparedItem>,
    key: EvaluationKey,
    answer: Answer,
) -> Evaluated {
    let evaluation = score(run, item, key, answer, 0).await;
    Evaluated {
        evaluation: Some(NewEvaluation {
            cached: true,
            ..evaluation
        }),
        unaccounted: false,
    }
}

async fn score(
    run: &PreparedRun,
    item: Arc<PreparedItem>,
    key: EvaluationKey,
    answer: Answer,
    attempts: i16,
) -> NewEvaluation {
    let scorers = item.scorers.as_ref().unwrap_or(&run.scorers);
    let output_bytes = answer.output.as_ref().map_or(0, String::len);
    if !scorers.may_take_long(output_bytes) {
        return judge(&item, scorers, key, answer, attempts);
    }
    let scorers = Arc::clone(scorers);
    let judging = move || judge(&item, &scorers, key, answer, attempts);
    match run.compute(judging).await {
        Ok(evaluation) => evaluation,
        Err(error) => {
            let error = EvaluationError::new("scorer", error.to_string());
            NewEvaluation::failed(key, error, attempts)
        }
    }
}

fn judge(
    item: &PreparedItem,
    scorers: &Scorers,
    key: EvaluationKey,
    answer: Answer,
    attempts: i16,
) -> NewEvaluation {
    let input = ScoreInput {
        output: answer.output.as_deref().unwrap_or_default(),
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
        outcome: EvaluationOutcome {
            score,
            passed: combined.pass,
            scores: lines.collect(),
            error: combined
                .error
                .map(|message| EvaluationError::new("scorer", message)),
        },
        answer: Some(answer),
        attempts,
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

/// The result of an evaluation whose model cannot be called.
fn unasked(key: EvaluationKey, kind: &str, message: &str) -> Evaluated {
    Evaluated {
        evaluation: Some(NewEvaluation::failed(
            key,
            EvaluationError::new(kind, message),
            0,
        )),
        unaccounted: false,
    }
}

fn count(evaluation: &NewEvaluation, labels: &ModelLabels) {
    let state = if evaluation.outcome.error.is_some() {
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
        return; // Its tokens and its cost were counted with the original call.
    }
    let Some(answer) = &evaluation.answer else {
        return;
    };
    for (kind, count) in [
        ("input", answer.input_tokens),
        ("output", answer.output_tokens),
    ] {
        if let Some(count) = count {
            METRICS
                .tokens
                .with_label_values(&[provider, model, kind])
                .observe(count.into());
        }
    }
    if let Some(cost) = answer.cost_microusd {
        METRICS.add_cost(labels, cost);
    }
}

fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
