//! Main effects: of the prompt and of the model, each averaged over the other.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Cells of a table as `grand + row + column`; the row effects sum to zero, and so do the column effects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TwoWay {
    /// The mean over all rows and columns.
    pub grand: f64,
    /// The effect of each row: its difference from the grand mean.
    pub rows: Vec<f64>,
    /// The effect of each column: its difference from the grand mean.
    pub columns: Vec<f64>,
    /// The share of the cells' variance that the two effects explain; the rest is the interaction of prompts and
    /// models.
    pub explained: Option<f64>,
}

/// Fits the additive model by least squares; all present cells have the same weight.
///
/// Yates (1934), "The analysis of multiple classifications with unequal numbers in the different classes", JASA 29;
/// with all cells present, the effects are plain averages. `None` if a row or a column is empty, or if the cells fall
/// into parts that share no row and no column and cannot be compared.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
pub fn two_way(cells: &[Vec<Option<f64>>]) -> Option<TwoWay> {
    let present: Vec<Vec<bool>> = cells
        .iter()
        .map(|row| row.iter().map(Option::is_some).collect())
        .collect();
    let values: Vec<f64> = cells.iter().flatten().filter_map(|cell| *cell).collect();
    let weights = EffectWeights::of(&present)?;
    let (grand, rows, columns) = weights.apply(&values);
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = |expected: &dyn Fn(usize) -> f64| {
        let squares = values.iter().enumerate();
        squares
            .map(|(at, value)| (value - expected(at)).powi(2))
            .sum::<f64>()
    };
    let left = squares(&|at| {
        let (row, column) = weights.cells[at];
        grand + rows[row] + columns[column]
    });
    let all = squares(&|_| mean);
    Some(TwoWay {
        grand,
        rows,
        columns,
        explained: (all > 0.0).then(|| 1.0 - left / all),
    })
}

/// The effects of [`two_way`] as weighted sums of the cells, for many tables with the same cells present.
#[derive(Debug, Clone, PartialEq)]
pub struct EffectWeights {
    /// The row and the column of each present cell, row by row.
    pub cells: Vec<(usize, usize)>,
    rows: usize,
    /// For the grand mean, for each row but the last and for each column but the last: the weight of each cell.
    weights: Vec<Vec<f64>>,
}

impl EffectWeights {
    /// The weights for a table with these cells present; `None` where [`two_way`] returns `None`.
    #[must_use]
    pub fn of(present: &[Vec<bool>]) -> Option<Self> {
        let (rows, columns) = (present.len(), present.first()?.len());
        if columns == 0 || present.iter().any(|row| row.len() != columns) {
            return None;
        }
        let cells: Vec<(usize, usize)> = (0..rows)
            .flat_map(|row| (0..columns).map(move |column| (row, column)))
            .filter(|(row, column)| present[*row][*column])
            .collect();
        // Effects coding: the last row and the last column are minus the sum of the others.
        let size = rows + columns - 1;
        let mut equations = vec![vec![0.0; size + cells.len()]; size];
        for (at, (row, column)) in cells.iter().enumerate() {
            let mut design = vec![0.0; size];
            design[0] = 1.0;
            code(&mut design[1..rows], *row);
            code(&mut design[rows..size], *column);
            for (equation, factor) in equations.iter_mut().zip(&design) {
                for (sum, term) in equation.iter_mut().zip(&design) {
                    *sum += factor * term;
                }
                equation[size + at] = *factor;
            }
        }
        Some(Self {
            cells,
            rows,
            weights: solve(equations)?,
        })
    }

    /// The grand mean, the row effects and the column effects; `values` are those of the cells, in their order.
    #[must_use]
    pub fn apply(&self, values: &[f64]) -> (f64, Vec<f64>, Vec<f64>) {
        let sum = |weights: &Vec<f64>| -> f64 {
            let terms = weights.iter().zip(values);
            terms.map(|(weight, value)| weight * value).sum()
        };
        let solution: Vec<f64> = self.weights.iter().map(sum).collect();
        (
            solution[0],
            with_last(&solution[1..self.rows]),
            with_last(&solution[self.rows..]),
        )
    }
}

fn code(design: &mut [f64], level: usize) {
    match design.get_mut(level) {
        Some(factor) => *factor = 1.0,
        None => design.fill(-1.0),
    }
}

fn with_last(effects: &[f64]) -> Vec<f64> {
    let last = -effects.iter().sum::<f64>();
    effects.iter().copied().chain([last]).collect()
}

/// Gaussian elimination with partial pivoting; columns to the right of the square are right-hand sides, and become the
/// solutions. `None` if the solution is not unique.
fn solve(mut equations: Vec<Vec<f64>>) -> Option<Vec<Vec<f64>>> {
    let size = equations.len();
    for at in 0..size {
        let pivot = (at..size)
            .max_by(|&i, &j| equations[i][at].abs().total_cmp(&equations[j][at].abs()))?;
        equations.swap(at, pivot);
        if equations[at][at].abs() < 1e-9 {
            return None;
        }
        let leading = equations[at].clone();
        for (row, equation) in equations.iter_mut().enumerate() {
            let factor = equation[at] / leading[at];
            if row != at && factor != 0.0 {
                for (value, lead) in equation.iter_mut().zip(&leading).skip(at) {
                    *value -= factor * lead;
                }
            }
        }
    }
    let solved = equations.into_iter().enumerate();
    let solved = solved.map(|(at, equation)| {
        let sides = equation[size..].iter();
        sides.map(|side| side / equation[at]).collect()
    });
    Some(solved.collect())
}
