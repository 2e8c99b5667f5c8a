//! Statistics: how certain a number is, whether two numbers differ, and which ranks are possible.
//!
//! Pure functions of their arguments: no clock, no I/O, and no randomness except from a seed among the arguments.
//! Values that are not finite are ignored.
//! The distributions come from `statrs`; the tests compare every formula with scipy and statsmodels, and `make
//! conformance-stats` compares them over generated data.

mod across;
mod bootstrap;
mod change;
mod cluster;
mod comparison;
mod drift;
mod effects;
mod interval;
mod mcnemar;
mod order;
mod paired;
mod pareto;
mod permutation;
mod power;
mod preferences;
mod quantile;
mod rank;
mod ratio;
mod repeats;
mod sequence;
mod step;
mod student;

#[cfg(test)]
mod tests;

pub use self::across::{Measured, mean_win_rates, normalised_means, ranks_across};
pub use self::bootstrap::{RESAMPLES, Unit, bca_interval, bootstrap_interval, replicates};
pub use self::change::change_points;
pub use self::cluster::{ClusteredMean, clustered_mean};
pub use self::comparison::{Comparison, Test, Verdict, compare};
pub use self::drift::{Drift, drifts};
pub use self::effects::{EffectWeights, TwoWay, two_way};
pub use self::interval::{
    Interval, clustered_mean_interval, mean, mean_interval, score_interval, score_interval_from,
    wilson,
};
pub use self::mcnemar::{Mcnemar, mcnemar};
pub use self::order::settled;
pub use self::paired::{PairedDifference, benjamini_hochberg, paired_difference};
pub use self::pareto::{Estimate, FrontierPlace, Offer, frontier};
pub use self::permutation::sign_flip_p;
pub use self::power::{detectable_difference, items_needed};
pub use self::preferences::{Preference, Strength, bradley_terry};
pub use self::quantile::{QuantileInterval, quantile_interval, quantiles};
pub use self::rank::{Rank, RankEntry, Verdicts, place, rank, verdicts};
pub use self::ratio::{Ratio, ratio_of_means};
pub use self::repeats::{majority_at_k, pass_at_k, pass_hat_k};
pub use self::sequence::ConfidenceSequence;
pub use self::step::{Direction, LEARNING_RUNS, Step, find_step};
