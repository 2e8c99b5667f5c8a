//! Statistics: how sure a number is, whether two numbers differ, and which ranks are possible.
//!
//! Pure functions of their arguments: no chance, no clock. Values that are not finite are left out.
//! The distributions come from `statrs`; the tests pin every formula to scipy and statsmodels.

mod interval;
mod paired;
mod preferences;
mod rank;
mod student;

#[cfg(test)]
mod tests;

pub use self::interval::{
    Interval, clustered_mean_interval, mean, mean_interval, quantiles, wilson,
};
pub use self::paired::{PairedDifference, benjamini_hochberg, paired_difference};
pub use self::preferences::{Comparison, Strength, bradley_terry};
pub use self::rank::{Rank, RankEntry, rank};
