//! Two effects: what the prompt does and what the model does, each with the other averaged out.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Cells of a table as `grand + row + column`; the effects of the rows sum to zero, and so do those of the columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TwoWay {
    /// The mean over all rows and columns.
    pub grand: f64,
    /// By how much each row lies above it.
    pub rows: Vec<f64>,
    /// By how much each column lies above it.
    pub columns: Vec<f64>,
    /// The share of the cells' variance that the two effects explain; the rest is how prompts and models suit each other.
    pub explained: Option<f64>,
}

/// Fits the additive model by least squares, every cell that is there counting the same.
///
/// Yates (1934), "The analysis of multiple classifications with unequal numbers in the different classes", JASA 29;
/// with all cells there, the effects are plain averages. Nothing when a row or a column is
/// empty, or when the cells fall into parts that share no row and no column and cannot be compared.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
pub fn two_way(cells: &[Vec<Option<f64>>]) -> Option<TwoWay> {
    let (rows, columns) = (cells.len(), cells.first()?.len());
    if columns == 0 || cells.iter().any(|row| row.len() != columns) {
        return None;
    }
    // Effects coding: the last row and the last column are minus the sum of the others.
    let size = rows + columns - 1;
    let mut equations = vec![vec![0.0; size + 1]; size];
    let present = || {
        let cells = cells.iter().enumerate();
        cells.flat_map(|(row, cells)| {
            let cells = cells.iter().enumerate();
            cells.filter_map(move |(column, cell)| Some((row, column, (*cell)?)))
        })
    };
    for (row, column, value) in present() {
        let mut design = vec![0.0; size + 1];
        (design[0], design[size]) = (1.0, value);
        code(&mut design[1..rows], row);
        code(&mut design[rows..size], column);
        for (equation, factor) in equations.iter_mut().zip(design.clone()) {
            for (sum, term) in equation.iter_mut().zip(&design) {
                *sum += factor * term;
            }
        }
    }
    let solution = solve(equations)?;
    let fitted = TwoWay {
        grand: solution[0],
        rows: with_last(&solution[1..rows]),
        columns: with_last(&solution[rows..]),
        explained: None,
    };
    let count = present().count() as f64;
    let mean = present().map(|(.., value)| value).sum::<f64>() / count;
    let squares = |expect: &dyn Fn(usize, usize) -> f64| {
        let squares = present().map(|(row, column, value)| (value - expect(row, column)).powi(2));
        squares.sum::<f64>()
    };
    let left = squares(&|row, column| fitted.grand + fitted.rows[row] + fitted.columns[column]);
    let all = squares(&|_, _| mean);
    Some(TwoWay {
        explained: (all > 0.0).then(|| 1.0 - left / all),
        ..fitted
    })
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

/// Gauss's elimination with the largest pivot; the last column is the right side. Nothing when it has no one solution.
fn solve(mut equations: Vec<Vec<f64>>) -> Option<Vec<f64>> {
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
    Some(
        (0..size)
            .map(|at| equations[at][size] / equations[at][at])
            .collect(),
    )
}
