//! Strengths against choix 0.4.1 and numpy 2.4.6, on a data set with published estimates.
//!
//! The games of the American League East in 1987 are in Agresti, "Categorical data analysis", section 10.6, with the
//! estimates 1.58, 1.44, 1.29, 1.25, 1.11, 0.68 and 0. The other numbers come from `choix.opt_pairwise` with
//! `alpha = penalty / 2`, refined by Newton steps on `choix.opt.PairwiseFcts`, whose Hessian also gave the spreads.

use std::time::Instant;

use proptest::prelude::*;

use super::*;

/// How often the row's team beat the column's: Milwaukee, Detroit, Toronto, New York, Boston,
/// Cleveland, Baltimore.
const GAMES: [[usize; 7]; 7] = [
    [0, 7, 9, 7, 7, 9, 11],
    [6, 0, 7, 5, 11, 9, 9],
    [4, 6, 0, 7, 7, 8, 12],
    [6, 8, 6, 0, 6, 7, 10],
    [6, 2, 6, 7, 0, 7, 12],
    [4, 4, 5, 6, 6, 0, 6],
    [2, 4, 1, 3, 1, 7, 0],
];
const Z: f64 = 1.959_963_984_540_054;

/// One comparison per game; `voter` gives the voter from the game's number and winner.
fn games(voter: impl Fn(usize, usize) -> usize) -> Vec<Preference> {
    let mut games = Vec::new();
    for (winner, row) in GAMES.iter().enumerate() {
        for (loser, count) in row.iter().enumerate() {
            for _ in 0..*count {
                let voter = voter(games.len(), winner);
                games.push(Preference {
                    left: winner,
                    right: loser,
                    outcome: 1.0,
                    voter,
                });
            }
        }
    }
    games
}

#[track_caller]
fn close(found: &[f64], expect: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expect.len());
    for (found, expect) in found.iter().zip(expect) {
        assert!(
            (found - expect).abs() < tolerance,
            "{found} is not {expect}"
        );
    }
}

fn strengths(entries: &[Strength]) -> Vec<f64> {
    entries.iter().map(|entry| entry.strength).collect()
}

/// The standard deviations behind the intervals.
fn spreads(entries: &[Strength]) -> Vec<f64> {
    entries
        .iter()
        .map(|entry| (entry.high - entry.low) / 2.0 / Z)
        .collect()
}

fn ranks(entries: &[Strength]) -> Vec<(usize, usize)> {
    entries
        .iter()
        .map(|entry| (entry.rank_low, entry.rank_high))
        .collect()
}

#[test]
fn almost_without_a_penalty_the_published_estimates_come_out() {
    let entries = bradley_terry(7, &games(|number, _| number), 2e-9, 0.95);
    let above_baltimore: Vec<f64> = entries
        .iter()
        .map(|entry| entry.strength - entries[6].strength)
        .collect();
    close(
        &above_baltimore,
        &[
            1.581_355_876,
            1.436_408_432,
            1.294_485_124,
            1.247_617_845,
            1.107_697_705,
            0.683_852_769,
            0.0,
        ],
        1e-6,
    );
}

#[test]
fn the_penalty_pulls_everybody_to_the_middle() {
    // Five voters who agree more than by chance: Laplace's variance is the larger one.
    let entries = bradley_terry(7, &games(|number, _| number % 5), 1.0, 0.95);
    close(
        &strengths(&entries),
        &[
            0.502_214_996_438,
            0.365_063_667_648,
            0.230_428_876_038,
            0.185_921_001_893,
            0.052_980_542_615,
            -0.349_076_681_748,
            -0.987_532_402_884,
        ],
        1e-9,
    );
    close(
        &spreads(&entries),
        &[
            0.201_182_571_820,
            0.198_431_230_098,
            0.196_650_992_690,
            0.196_259_915_313,
            0.195_669_744_618,
            0.199_126_029_255,
            0.221_410_703_161,
        ],
        1e-9,
    );
    // scipy.stats.false_discovery_control over scipy.stats.norm.sf.
    let low = [1, 1, 1, 1, 1, 2, 6];
    let high = [5, 6, 6, 6, 6, 7, 7];
    assert_eq!(
        ranks(&entries),
        low.into_iter().zip(high).collect::<Vec<_>>()
    );
}

#[test]
fn voters_who_all_root_for_somebody_make_the_intervals_wide() {
    // Seven voters, each of whom only ever prefers one team: 263 choices, but only seven opinions.
    let entries = bradley_terry(7, &games(|_, winner| winner), 1.0, 0.95);
    close(
        &spreads(&entries),
        &[
            0.960_287_321_248,
            0.976_342_460_192,
            0.932_604_743_617,
            0.975_585_717_686,
            0.932_405_898_156,
            0.985_086_440_382,
            0.889_311_021_608,
        ],
        1e-9,
    );
    assert_eq!(ranks(&entries), vec![(1, 7); 7]);
}

#[test]
fn a_tie_is_half_a_preference_for_each() {
    let mut choices = games(|number, _| number % 5);
    for left in 0..6 {
        for voter in 0..3 {
            choices.push(Preference {
                left,
                right: left + 1,
                outcome: 0.5,
                voter,
            });
        }
    }
    let entries = bradley_terry(7, &choices, 1.0, 0.95);
    // choix on every game twice and every tie once each way, with twice the penalty.
    close(
        &strengths(&entries),
        &[
            0.496_401_487_636,
            0.363_992_016_657,
            0.232_210_047_203,
            0.182_104_105_885,
            0.043_772_556_420,
            -0.355_833_730_614,
            -0.962_646_483_186,
        ],
        1e-9,
    );
    close(
        &spreads(&entries),
        &[
            0.197_168_888_919,
            0.191_156_782_651,
            0.189_519_844_033,
            0.189_103_640_104,
            0.188_643_936_049,
            0.192_124_997_927,
            0.215_474_014_040,
        ],
        1e-9,
    );
}

#[test]
fn little_evidence_is_no_certainty() {
    assert!(bradley_terry(0, &[], 1.0, 0.95).is_empty());
    let nobody = bradley_terry(2, &[], 1.0, 0.95);
    close(&strengths(&nobody), &[0.0, 0.0], 1e-12);
    assert_eq!(ranks(&nobody), [(1, 2), (1, 2)]);
    let choice = |outcome, voter| Preference {
        left: 0,
        right: 1,
        outcome,
        voter,
    };
    // Three people for the same entry: finite, and not yet significant.
    let few: Vec<Preference> = (0..3).map(|voter| choice(1.0, voter)).collect();
    let few = bradley_terry(2, &few, 1.0, 0.95);
    assert!(few[0].strength > 0.0 && few[0].low < 0.0, "{few:?}");
    assert_eq!(ranks(&few), [(1, 2), (1, 2)]);
    // Sixty people: significant.
    let many: Vec<Preference> = (0..60).map(|voter| choice(1.0, voter)).collect();
    let many = bradley_terry(2, &many, 1.0, 0.95);
    assert_eq!(ranks(&many), [(1, 1), (2, 2)]);
    // Invalid comparisons are ignored.
    let odd = [
        choice(f64::NAN, 0),
        choice(2.0, 0),
        Preference {
            right: 0,
            ..choice(1.0, 0)
        },
        Preference {
            right: 9,
            ..choice(1.0, 0)
        },
    ];
    assert_eq!(bradley_terry(2, &odd, 1.0, 0.95), nobody);
}

#[test]
fn two_hundred_entries_have_strengths() {
    let choices: Vec<Preference> = (0..20_000)
        .map(|number| Preference {
            left: number % 200,
            right: (number * 7 + 1 + number / 200) % 200,
            outcome: f64::from(u8::from(number % 3 == 0)),
            voter: number % 97,
        })
        .collect();
    let started = Instant::now();
    let entries = bradley_terry(200, &choices, 1.0, 0.95);
    eprintln!("200 entries, 20,000 choices: {:?}", started.elapsed());
    assert_eq!(entries.len(), 200);
}

proptest! {
    /// Swapping the sides of every pair changes nothing else, and all strengths sum to zero.
    #[test]
    fn sides_do_not_matter(choices in prop::collection::vec((0usize..5, 0usize..5, 0u8..3, 0usize..4), 0..60)) {
        let choices: Vec<Preference> = choices
            .into_iter()
            .map(|(left, right, outcome, voter)| Preference {
                left,
                right,
                outcome: f64::from(outcome) / 2.0,
                voter,
            })
            .collect();
        let turned: Vec<Preference> = choices
            .iter()
            .map(|it| Preference {
                left: it.right,
                right: it.left,
                outcome: 1.0 - it.outcome,
                voter: it.voter,
            })
            .collect();
        let (entries, others) = (bradley_terry(5, &choices, 1.0, 0.95), bradley_terry(5, &turned, 1.0, 0.95));
        prop_assert!(strengths(&entries).iter().sum::<f64>().abs() < 1e-9);
        for (entry, other) in entries.iter().zip(&others) {
            prop_assert!((entry.strength - other.strength).abs() < 1e-9);
            prop_assert!((entry.low - other.low).abs() < 1e-9);
            prop_assert!(entry.low <= entry.strength && entry.strength <= entry.high);
            prop_assert!(entry.rank_low <= entry.rank_high);
        }
    }
}
