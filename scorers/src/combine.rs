//! Combines the results of several scorers into one score.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::{Outcome, ScoreResult};

/// The combined result of all scorers of one evaluation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct Combined {
    /// The weighted mean from 0 to 1; absent if no scorer counted or one failed.
    pub score: Option<f64>,
    /// Whether every scorer that counts passes; absent where there is no score.
    pub pass: Option<bool>,
    /// The error of the first scorer that failed.
    pub error: Option<String>,
    /// The mean of each named metric, over the applicable scorers.
    pub metrics: BTreeMap<String, f64>,
}

/// Combines the results of one evaluation's scorers, each with its weight and metric.
///
/// As in promptfoo without a threshold, the score is the weighted mean, and the evaluation passes if every scorer with
/// a weight above 0 passes.
/// Two differences are intentional: an error leaves the evaluation without score and pass, and an evaluation that no
/// scorer judged has no score (promptfoo: pass, with score 1).
/// A metric is the weighted mean of its scorers, or their plain mean if all their weights are 0.
#[must_use]
pub fn combine(results: &[(f64, Option<&str>, ScoreResult)]) -> Combined {
    let mut all = Mean::default();
    let mut passes = true;
    let mut error = None;
    let mut metrics: BTreeMap<&str, Mean> = BTreeMap::new();
    for (weight, metric, result) in results {
        match &result.outcome {
            Outcome::Scored { score, pass, .. } => {
                all.add(*weight, *score);
                passes &= *pass || *weight <= 0.0;
                if let Some(metric) = metric {
                    metrics.entry(metric).or_default().add(*weight, *score);
                }
            }
            Outcome::NotApplicable { .. } => {}
            Outcome::Error { reason } => error = error.or_else(|| Some(reason.to_string())),
        }
    }
    let score = all.weighted().filter(|_| error.is_none());
    let metrics = metrics
        .into_iter()
        .map(|(name, mean)| (name.to_owned(), mean.weighted().unwrap_or(mean.plain())));
    Combined {
        score,
        pass: score.map(|_| passes),
        error,
        metrics: metrics.collect(),
    }
}

#[derive(Default)]
struct Mean {
    weights: f64,
    weighted_scores: f64,
    count: f64,
    scores: f64,
}

impl Mean {
    fn add(&mut self, weight: f64, score: f64) {
        // Scaling by a power of two loses no digits, and keeps the sum of the largest weights finite.
        let weight = weight / 2.0_f64.powi(64);
        self.weights += weight;
        self.weighted_scores += weight * score;
        self.count += 1.0;
        self.scores += score;
    }

    fn weighted(&self) -> Option<f64> {
        (self.weights > 0.0).then(|| self.weighted_scores / self.weights)
    }

    fn plain(&self) -> f64 {
        self.scores / self.count
    }
}
