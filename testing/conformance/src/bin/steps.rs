//! Checks the detection of lasting steps on simulated series of runs: rate of false alarms, and delay of detection.
//!
//! `steps [COLUMNS] [SEED]` prints a table and fails when a promise is broken; the same seed prints the same table.

#![expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]

use std::process::ExitCode;

use opb_stats::{ConfidenceSequence, Direction, LEARNING_RUNS, find_step};
use rand::{RngExt as _, SeedableRng as _, rngs::Xoshiro256PlusPlus};

type Chance = Xoshiro256PlusPlus;
type Run = Vec<Option<f32>>;

/// Number of quiet runs of each column.
const QUIET_RUNS: usize = 1_000;
/// Number of runs that an alert looks back (`core/src/alerts/measures.rs`).
const COURSE_RUNS: usize = 60;
/// The smallest drop that matters, and the simulated drop.
const SMALLEST: f64 = 0.02;
const LOSS: f64 = 0.05;
/// Number of good runs before the drop.
const RUNS_BEFORE: usize = 30;

/// How the items of a model pass.
#[derive(Clone, Copy)]
enum Model {
    /// Every item passes with probability 0.8: the noisiest case.
    Even,
    /// Seven of ten items always pass, the others have any probability.
    Mixed,
    /// The same answers every time, except for one item in fifty.
    Steady,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| arguments.next().map_or(Ok(default), |text| text.parse());
    let (Ok(columns), Ok(seed)) = (number(20_u64), number(1)) else {
        eprintln!("usage: steps [COLUMNS] [SEED], both whole numbers");
        return ExitCode::from(2);
    };
    let mut broken = false;
    println!("{columns} columns a line, seed {seed}; drops of five points, two matter\n");
    println!(
        "model   items  promise         false alarms in quiet runs   told after runs: median, 95 % (with a confidence sequence)"
    );
    for (name, model) in [
        ("even", Model::Even),
        ("mixed", Model::Mixed),
        ("steady", Model::Steady),
    ] {
        for items in [100, 300, 1_000] {
            for promise in [1_000.0, 10_000.0] {
                let mut chance = Chance::seed_from_u64(seed);
                let quiet_runs = columns * QUIET_RUNS as u64;
                let alarms: usize = (0..columns)
                    .map(|_| quiet(model, items, promise, &mut chance))
                    .sum();
                let mut delays: Vec<usize> = (0..columns * 5)
                    .map(|_| delay(model, items, promise, &mut chance))
                    .collect();
                let mut slow: Vec<usize> = (0..columns)
                    .map(|_| sequence_delay(model, items, promise, &mut chance))
                    .collect();
                delays.sort_unstable();
                slow.sort_unstable();
                let told = |delays: &[usize], share: usize| match delays
                    [(delays.len() - 1) * share / 100]
                {
                    usize::MAX => "never".to_owned(),
                    runs => runs.to_string(),
                };
                let most = quiet_runs as f64 / promise;
                // Three standard deviations of a count of rare alarms.
                let kept = alarms as f64 <= most + 3.0 * most.sqrt();
                broken |= !kept;
                println!(
                    "{name:<7} {items:>5}  1 in {promise:>6} runs  {alarms:>3} in {quiet_runs} (at most {most:.0}){}   {}, {} ({})",
                    if kept { "" } else { " BROKEN" },
                    told(&delays, 50),
                    told(&delays, 95),
                    told(&slow, 50),
                );
            }
        }
    }
    if broken {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn chances(model: Model, items: usize, chance: &mut Chance) -> Vec<f64> {
    (0..items)
        .map(|_| match model {
            Model::Even => 0.8,
            Model::Mixed if chance.random::<f64>() < 0.7 => 0.99,
            Model::Mixed => chance.random(),
            Model::Steady if chance.random::<f64>() < 0.02 => 0.5,
            Model::Steady => f64::from(u8::from(chance.random::<f64>() < 0.8)),
        })
        .collect()
}

fn run(chances: &[f64], loss: f64, chance: &mut Chance) -> Run {
    let mean = chances.iter().sum::<f64>() / chances.len() as f64;
    // Each item loses in proportion, so that the mean loses the requested amount.
    chances
        .iter()
        .map(|p| {
            Some(f32::from(u8::from(
                chance.random::<f64>() < p * (1.0 - loss / mean),
            )))
        })
        .collect()
}

/// Number of false alarms of a column. After each, and after a rise, the series starts again, as it does for an alert.
fn quiet(model: Model, items: usize, promise: f64, chance: &mut Chance) -> usize {
    let chances = chances(model, items, chance);
    let mut course: Vec<Run> = Vec::new();
    let mut alarms = 0;
    for _ in 0..QUIET_RUNS {
        course.push(run(&chances, 0.0, chance));
        if course.len() > COURSE_RUNS {
            course.remove(0);
        }
        if let Some(step) = find_step(&course, Direction::Down, SMALLEST, promise) {
            alarms += 1;
            course.drain(..step.at);
        } else if let Some(step) = find_step(&course, Direction::Up, SMALLEST, promise) {
            course.drain(..step.at);
        }
    }
    alarms
}

/// Number of runs until the drop is reported; the first run with the drop is 1.
fn delay(model: Model, items: usize, promise: f64, chance: &mut Chance) -> usize {
    let chances = chances(model, items, chance);
    let mut course: Vec<Run> = (0..RUNS_BEFORE)
        .map(|_| run(&chances, 0.0, chance))
        .collect();
    for runs in 1..=200 {
        course.push(run(&chances, LOSS, chance));
        if course.len() > COURSE_RUNS {
            course.remove(0);
        }
        if find_step(&course, Direction::Down, SMALLEST, promise).is_some() {
            return runs;
        }
    }
    usize::MAX
}

/// The same with confidence sequences of the items' differences from the mean of the first runs: one for all runs
/// before the drop, one that starts with it (as if its time were known); the drop is reported when they separate.
fn sequence_delay(model: Model, items: usize, promise: f64, chance: &mut Chance) -> usize {
    let chances = chances(model, items, chance);
    let mut base = vec![0.0; items];
    for _ in 0..LEARNING_RUNS {
        for (base, score) in base.iter_mut().zip(run(&chances, 0.0, chance)) {
            *base += f64::from(score.unwrap_or(0.0)) / LEARNING_RUNS as f64;
        }
    }
    let new = || ConfidenceSequence::new(-1.0, 1.0, 1.0 - 1.0 / promise);
    let (mut before, mut after) = (new(), new());
    let mut observe = |sequence: &mut ConfidenceSequence, loss| {
        for (base, score) in base.iter().zip(run(&chances, loss, chance)) {
            sequence.observe(f64::from(score.unwrap_or(0.0)) - base);
        }
    };
    for _ in LEARNING_RUNS..RUNS_BEFORE {
        observe(&mut before, 0.0);
    }
    for runs in 1..=200 {
        observe(&mut after, LOSS);
        if after.interval().high < before.interval().low {
            return runs;
        }
    }
    usize::MAX
}
