//! Means over clustered values: repeats of an item, questions about one text.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Interval;
use crate::interval::Moments;
use crate::student::t_quantile;

/// A mean over values that are correlated within their clusters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClusteredMean {
    /// The mean of all values, with equal weights.
    pub mean: f64,
    /// The standard error of the mean, where a cluster counts as one observation.
    pub standard_error: f64,
    /// The confidence interval of the mean.
    pub interval: Interval,
    /// Number of clusters.
    pub clusters: usize,
    /// Number of values.
    pub values: usize,
    /// The ratio of the variance to that of as many independent values; 1 if clustering makes no difference.
    pub design_effect: Option<f64>,
}

/// The mean of all values with a cluster-robust interval; `None` for fewer than two clusters.
///
/// Liang & Zeger (1986), "Longitudinal data analysis using generalized linear models", Biometrika 73, with the factor
/// G / (G − 1) and Student's t with G − 1 degrees of freedom; recommended for evaluations of language models by Miller
/// (2024), "Adding error bars to evals", arXiv:2411.00640. The design effect is that of Kish (1965), "Survey sampling".
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
pub fn clustered_mean<G: AsRef<[f64]>>(groups: &[G], confidence: f64) -> Option<ClusteredMean> {
    let finite = |group: &'_ G| -> Vec<f64> {
        let values = group.as_ref().iter().copied();
        values.filter(|value| value.is_finite()).collect()
    };
    let groups: Vec<Vec<f64>> = groups
        .iter()
        .map(finite)
        .filter(|g| !g.is_empty())
        .collect();
    if groups.len() < 2 {
        return None;
    }
    let clusters = groups.len() as f64;
    let all = Moments::of(groups.iter().flatten().copied());
    let off = |group: &Vec<f64>| group.iter().map(|value| value - all.mean).sum::<f64>();
    let squares: f64 = groups.iter().map(|group| off(group).powi(2)).sum();
    let variance = clusters / (clusters - 1.0) * squares / (all.count as f64).powi(2);
    let standard_error = variance.sqrt();
    let half = t_quantile(0.5 + 0.5 * confidence, clusters - 1.0) * standard_error;
    let independent = all.standard_error().filter(|error| *error > 0.0);
    Some(ClusteredMean {
        mean: all.mean,
        standard_error,
        interval: Interval {
            low: all.mean - half,
            high: all.mean + half,
        },
        clusters: groups.len(),
        values: all.count,
        design_effect: independent.map(|error| variance / (error * error)),
    })
}
