//! Strengths from paired comparisons of blind preferences, with their uncertainty.
//!
//! Bradley & Terry (1952), "Rank analysis of incomplete block designs", Biometrika 39: entry `i` is preferred to `j`
//! with probability `1 / (1 + exp(θⱼ − θᵢ))`. A tie counts as half a preference for each, as in Chiang et al. (2024),
//! "Chatbot Arena: an open platform for evaluating LLMs by human preference", ICML.

use statrs::function::erf::erfc;

use crate::{benjamini_hochberg, student::z_two_sided};

/// Maximum number of Newton steps; a concave function needs far fewer.
const MOST_STEPS: usize = 100;

/// One person's choice between two different entries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preference {
    /// The index of one entry.
    pub left: usize,
    /// The index of the other entry.
    pub right: usize,
    /// 1 if the left one was preferred, 0 if the right one was, ½ for a tie.
    pub outcome: f64,
    /// The person who chose; choices of one person are not independent of each other.
    pub voter: usize,
}

/// The strength of an entry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Strength {
    /// Log-odds of being preferred to an average entry; all strengths sum to 0.
    pub strength: f64,
    /// The lower end of its interval.
    pub low: f64,
    /// The upper end of its interval.
    pub high: f64,
    /// The best possible rank: 1 + the number of entries that are significantly stronger.
    pub rank_low: usize,
    /// The worst possible rank: the number of entries − those that are significantly weaker.
    pub rank_high: usize,
}

/// The strengths of `count` entries, in their order.
///
/// The strengths maximise the likelihood less `penalty / 2 · Σ θ²`, which is the mode under a normal prior with
/// variance `1 / penalty`: entries that won or lost every time stay finite. `penalty` must be above 0.
///
/// The variance of a difference is the larger of two. The first is the curvature of the penalised likelihood (Laplace's
/// approximation), which is reliable with few comparisons. The second is the sandwich estimate with one cluster per
/// voter and the factor `G / (G − 1)` for `G` voters (Huber 1967; Liang & Zeger 1986, "Longitudinal data analysis using
/// generalized linear models", Biometrika 73), which is wider when a few people cast most votes. That variance decides
/// whether two entries differ significantly, with all pairs adjusted by [`benjamini_hochberg`].
///
/// Comparisons of an entry with itself, of unknown entries, or with an outcome outside 0 to 1 are ignored.
#[must_use]
pub fn bradley_terry(
    count: usize,
    comparisons: &[Preference],
    penalty: f64,
    confidence: f64,
) -> Vec<Strength> {
    let comparisons: Vec<Preference> = comparisons
        .iter()
        .copied()
        .filter(|it| it.left < count && it.right < count && it.left != it.right)
        .filter(|it| (0.0..=1.0).contains(&it.outcome))
        .collect();
    let table = Table::of(count, &comparisons);
    let strengths = table.fit(penalty);
    let spread = Spread::of(&table, &strengths, &comparisons, penalty);
    let z = z_two_sided(confidence);
    let mut entries: Vec<Strength> = (0..count)
        .map(|i| {
            let half = z * spread.around_mean(i).sqrt();
            Strength {
                strength: strengths[i],
                low: strengths[i] - half,
                high: strengths[i] + half,
                rank_low: 1,
                rank_high: count,
            }
        })
        .collect();
    let pairs: Vec<(usize, usize)> = (0..count)
        .flat_map(|i| (i + 1..count).map(move |j| (i, j)))
        .collect();
    let p_values: Vec<f64> = pairs
        .iter()
        .map(|&(i, j)| {
            let off = (strengths[i] - strengths[j]).abs();
            erfc(off / (2.0 * spread.between(i, j)).sqrt())
        })
        .collect();
    for (&(i, j), p) in pairs.iter().zip(benjamini_hochberg(&p_values)) {
        if p < 1.0 - confidence {
            let (stronger, weaker) = if strengths[i] > strengths[j] {
                (i, j)
            } else {
                (j, i)
            };
            entries[weaker].rank_low += 1;
            entries[stronger].rank_high -= 1;
        }
    }
    entries
}

/// How often each entry met and beat each other one; a tie is half a win.
struct Table {
    meetings: Square,
    wins: Vec<f64>,
    count: usize,
}

impl Table {
    fn of(count: usize, comparisons: &[Preference]) -> Self {
        let mut table = Self {
            meetings: Square::zero(count),
            wins: vec![0.0; count],
            count,
        };
        for it in comparisons {
            *table.meetings.at(it.left, it.right) += 1.0;
            *table.meetings.at(it.right, it.left) += 1.0;
            table.wins[it.left] += it.outcome;
            table.wins[it.right] += 1.0 - it.outcome;
        }
        table
    }

    /// Newton's method; a step that would decrease the penalised likelihood is halved.
    fn fit(&self, penalty: f64) -> Vec<f64> {
        let mut strengths = vec![0.0; self.count];
        let mut height = self.height(&strengths, penalty);
        for _ in 0..MOST_STEPS {
            let gradient = self.gradient(&strengths, penalty);
            let step = self.curvature(&strengths, penalty).solve(&gradient);
            let mut scale = 1.0;
            let (next, next_height) = loop {
                let next: Vec<f64> = strengths
                    .iter()
                    .zip(&step)
                    .map(|(strength, step)| strength + scale * step)
                    .collect();
                let next_height = self.height(&next, penalty);
                if next_height >= height || scale < 1e-9 {
                    break (next, next_height);
                }
                scale /= 2.0;
            };
            (strengths, height) = (next, next_height);
            if step.iter().all(|step| step.abs() < 1e-12) {
                break;
            }
        }
        strengths
    }

    /// The penalised log-likelihood.
    fn height(&self, strengths: &[f64], penalty: f64) -> f64 {
        let mut height = 0.0;
        for i in 0..self.count {
            height += self.wins[i] * strengths[i] - penalty / 2.0 * strengths[i] * strengths[i];
            for j in i + 1..self.count {
                // ln(exp(a) + exp(b)), without overflow.
                let (a, b) = (strengths[i], strengths[j]);
                height -= self.meetings.get(i, j) * (a.max(b) + (-(a - b).abs()).exp().ln_1p());
            }
        }
        height
    }

    fn gradient(&self, strengths: &[f64], penalty: f64) -> Vec<f64> {
        (0..self.count)
            .map(|i| {
                let expected: f64 = (0..self.count)
                    .map(|j| self.meetings.get(i, j) * share(strengths[i] - strengths[j]))
                    .sum();
                self.wins[i] - expected - penalty * strengths[i]
            })
            .collect()
    }

    /// The negative second derivatives, a positive definite matrix.
    fn curvature(&self, strengths: &[f64], penalty: f64) -> Square {
        let mut curvature = Square::zero(self.count);
        for i in 0..self.count {
            *curvature.at(i, i) += penalty;
            for j in 0..self.count {
                let share = share(strengths[i] - strengths[j]);
                let weight = self.meetings.get(i, j) * share * (1.0 - share);
                *curvature.at(i, i) += weight;
                *curvature.at(i, j) -= weight;
            }
        }
        curvature
    }
}

/// The two covariance matrices of the strengths.
struct Spread {
    laplace: Square,
    sandwich: Square,
    count: usize,
}

impl Spread {
    fn of(table: &Table, strengths: &[f64], comparisons: &[Preference], penalty: f64) -> Self {
        let count = table.count;
        let laplace = table.curvature(strengths, penalty).inverse();
        let mut by_voter: Vec<&Preference> = comparisons.iter().collect();
        by_voter.sort_by_key(|it| it.voter);
        let mut filling = Square::zero(count);
        let mut voters = 0.0;
        for cluster in by_voter.chunk_by(|a, b| a.voter == b.voter) {
            voters += 1.0;
            let mut touched = std::collections::BTreeMap::new();
            for it in cluster {
                let surprise = it.outcome - share(strengths[it.left] - strengths[it.right]);
                *touched.entry(it.left).or_insert(0.0) += surprise;
                *touched.entry(it.right).or_insert(0.0) -= surprise;
            }
            for (&i, a) in &touched {
                for (&j, b) in &touched {
                    *filling.at(i, j) += a * b;
                }
            }
        }
        // One voter alone says nothing about the variation between voters.
        let factor = if voters > 1.0 {
            voters / (voters - 1.0)
        } else {
            0.0
        };
        let sandwich = laplace.times(&filling).times(&laplace).scaled(factor);
        Self {
            laplace,
            sandwich,
            count,
        }
    }

    /// The variance of the difference of two entries.
    fn between(&self, i: usize, j: usize) -> f64 {
        let of = |c: &Square| c.get(i, i) + c.get(j, j) - 2.0 * c.get(i, j);
        of(&self.laplace).max(of(&self.sandwich))
    }

    /// The variance of the difference of an entry and the mean of all.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
    fn around_mean(&self, i: usize) -> f64 {
        let n = self.count as f64;
        let of = |c: &Square| {
            let row: f64 = (0..self.count).map(|j| c.get(i, j)).sum();
            let all: f64 = c.0.iter().sum();
            (c.get(i, i) - 2.0 * row / n + all / (n * n)).max(0.0)
        };
        of(&self.laplace).max(of(&self.sandwich))
    }
}

/// The logistic function.
fn share(difference: f64) -> f64 {
    1.0 / (1.0 + (-difference).exp())
}

/// A square matrix, row by row.
struct Square(Vec<f64>, usize);

impl Square {
    fn zero(size: usize) -> Self {
        Self(vec![0.0; size * size], size)
    }

    fn get(&self, row: usize, column: usize) -> f64 {
        self.0[row * self.1 + column]
    }

    fn at(&mut self, row: usize, column: usize) -> &mut f64 {
        &mut self.0[row * self.1 + column]
    }

    fn scaled(mut self, factor: f64) -> Self {
        self.0.iter_mut().for_each(|value| *value *= factor);
        self
    }

    fn times(&self, other: &Self) -> Self {
        let size = self.1;
        let mut product = Self::zero(size);
        for i in 0..size {
            for k in 0..size {
                let left = self.get(i, k);
                for j in 0..size {
                    *product.at(i, j) += left * other.get(k, j);
                }
            }
        }
        product
    }

    /// The lower triangle `L` with `L Lᵀ` equal to this matrix, which must be positive definite.
    fn cholesky(&self) -> Self {
        let size = self.1;
        let mut lower = Self::zero(size);
        for i in 0..size {
            for j in 0..=i {
                let known: f64 = (0..j).map(|k| lower.get(i, k) * lower.get(j, k)).sum();
                let rest = self.get(i, j) - known;
                *lower.at(i, j) = if i == j {
                    rest.max(f64::MIN_POSITIVE).sqrt()
                } else {
                    rest / lower.get(j, j)
                };
            }
        }
        lower
    }

    fn solve(&self, right: &[f64]) -> Vec<f64> {
        self.cholesky().back_and_forth(right)
    }

    /// Solves `L Lᵀ x = right` for this lower triangle.
    fn back_and_forth(&self, right: &[f64]) -> Vec<f64> {
        let size = self.1;
        let mut x = right.to_vec();
        for i in 0..size {
            let known: f64 = (0..i).map(|k| self.get(i, k) * x[k]).sum();
            x[i] = (x[i] - known) / self.get(i, i);
        }
        for i in (0..size).rev() {
            let known: f64 = (i + 1..size).map(|k| self.get(k, i) * x[k]).sum();
            x[i] = (x[i] - known) / self.get(i, i);
        }
        x
    }

    fn inverse(&self) -> Self {
        let size = self.1;
        let lower = self.cholesky();
        let mut inverse = Self::zero(size);
        for column in 0..size {
            let mut unit = vec![0.0; size];
            unit[column] = 1.0;
            for (row, value) in lower.back_and_forth(&unit).into_iter().enumerate() {
                *inverse.at(row, column) = value;
            }
        }
        inverse
    }
}

#[cfg(test)]
mod tests;
