//! Evaluates statistics functions for `scripts/conformance-stats.py`, one JSON line per request.
//!
//! A request names a function and its arguments; the response is the function's result.

use std::io::{BufRead as _, Write as _};

use opb_stats::{self as stats, ConfidenceSequence, Estimate, Interval, Offer, Preference, Unit};
use serde::Deserialize;
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

#[derive(Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
enum Question {
    Wilson {
        successes: u64,
        n: u64,
        confidence: f64,
    },
    MeanInterval {
        values: Vec<f64>,
        confidence: f64,
    },
    ClusteredMean {
        groups: Vec<Vec<f64>>,
        confidence: f64,
    },
    Bootstrap {
        units: Vec<[f64; 2]>,
        resamples: usize,
        confidence: f64,
        seed: u64,
    },
    Quantiles {
        values: Vec<f64>,
        share: f64,
        confidence: f64,
    },
    RatioOfMeans {
        units: Vec<[f64; 2]>,
        confidence: f64,
    },
    Paired {
        a: Vec<Option<f32>>,
        b: Vec<Option<f32>>,
    },
    Compare {
        columns: Vec<Vec<Option<f32>>>,
        smallest: f64,
        seed: u64,
    },
    Mcnemar {
        only_a: usize,
        only_b: usize,
    },
    SignFlip {
        differences: Vec<f64>,
        seed: u64,
    },
    BenjaminiHochberg {
        p_values: Vec<f64>,
    },
    Power {
        deviation: f64,
        items: usize,
        difference: f64,
    },
    TwoWay {
        cells: Vec<Vec<Option<f64>>>,
    },
    WinRates {
        scores: Vec<Vec<Option<f64>>>,
        floors: Vec<f64>,
    },
    Frontier {
        offers: Vec<[[f64; 3]; 3]>,
    },
    ChangePoints {
        values: Vec<f64>,
        errors: Option<Vec<f64>>,
    },
    Sequence {
        values: Vec<f64>,
        low: f64,
        high: f64,
        confidence: f64,
    },
    Repeats {
        correct: usize,
        wrong: Vec<usize>,
        k: usize,
    },
    BradleyTerry {
        count: usize,
        choices: Vec<(usize, usize, f64, usize)>,
        penalty: f64,
        confidence: f64,
    },
    RanksAcross {
        scores: Vec<Vec<Option<[f64; 2]>>>,
        alpha: f64,
    },
}

fn main() -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let question = serde_json::from_str(&line?)?;
        writeln!(out, "{}", answer(question))?;
    }
    Ok(())
}

#[expect(clippy::too_many_lines, reason = "one table of questions")]
fn answer(question: Question) -> Value {
    match question {
        Question::Wilson {
            successes,
            n,
            confidence,
        } => json!(stats::wilson(successes, n, confidence)),
        Question::MeanInterval { values, confidence } => {
            json!({ "mean": stats::mean(&values), "interval": stats::mean_interval(&values, confidence) })
        }
        Question::ClusteredMean { groups, confidence } => {
            let of_means = stats::clustered_mean_interval(&groups, confidence);
            json!({ "of_means": of_means, "of_values": stats::clustered_mean(&groups, confidence) })
        }
        Question::Bootstrap {
            units,
            resamples,
            confidence,
            seed,
        } => {
            let units = units_of(&units);
            let replicates = stats::replicates(&units, resamples, seed);
            json!({ "replicates": replicates, "interval": stats::bca_interval(&units, replicates, confidence) })
        }
        Question::Quantiles {
            values,
            share,
            confidence,
        } => json!({
            "quantile": stats::quantiles(&values, [share]),
            "interval": stats::quantile_interval(&values, share, confidence)
        }),
        Question::RatioOfMeans { units, confidence } => {
            json!(stats::ratio_of_means(&units_of(&units), confidence))
        }
        Question::Paired { a, b } => json!(stats::paired_difference(&a, &b)),
        Question::Compare {
            columns,
            smallest,
            seed,
        } => json!(stats::compare(&columns, smallest, seed)),
        Question::Mcnemar { only_a, only_b } => json!(stats::mcnemar(only_a, only_b)),
        Question::SignFlip { differences, seed } => json!(stats::sign_flip_p(&differences, seed)),
        Question::BenjaminiHochberg { p_values } => json!(stats::benjamini_hochberg(&p_values)),
        Question::Power {
            deviation,
            items,
            difference,
        } => json!({
            "detectable": stats::detectable_difference(deviation, items),
            "needed": stats::items_needed(deviation, difference)
        }),
        Question::TwoWay { cells } => json!(stats::two_way(&cells)),
        Question::WinRates { scores, floors } => json!({
            "win_rates": stats::mean_win_rates(&scores),
            "normalised": stats::normalised_means(&scores, &floors)
        }),
        Question::Frontier { offers } => json!(stats::frontier(&offers_of(&offers))),
        Question::ChangePoints { values, errors } => {
            json!(stats::change_points(&values, errors.as_deref()))
        }
        Question::Sequence {
            values,
            low,
            high,
            confidence,
        } => {
            let mut sequence = ConfidenceSequence::new(low, high, confidence);
            let intervals = values.iter().map(|value| {
                sequence.observe(*value);
                sequence.interval()
            });
            json!(intervals.collect::<Vec<_>>())
        }
        Question::Repeats { correct, wrong, k } => {
            let tries = correct + wrong.iter().sum::<usize>();
            json!({
                "pass_at_k": stats::pass_at_k(correct, tries, k),
                "pass_hat_k": stats::pass_hat_k(correct, tries, k),
                "majority_at_k": stats::majority_at_k(correct, &wrong, k)
            })
        }
        Question::BradleyTerry {
            count,
            choices,
            penalty,
            confidence,
        } => {
            let choices: Vec<Preference> = choices
                .into_iter()
                .map(|(left, right, outcome, voter)| Preference {
                    left,
                    right,
                    outcome,
                    voter,
                })
                .collect();
            let strengths = stats::bradley_terry(count, &choices, penalty, confidence);
            let of = |it: &stats::Strength| {
                json!([it.strength, it.low, it.high, it.rank_low, it.rank_high])
            };
            strengths.iter().map(of).collect()
        }
        Question::RanksAcross { scores, alpha } => {
            let measured = |[score, error]: [f64; 2]| stats::Measured { score, error };
            let scores: Vec<Vec<Option<stats::Measured>>> = scores
                .into_iter()
                .map(|board| board.into_iter().map(|cell| cell.map(measured)).collect())
                .collect();
            json!(stats::ranks_across(&scores, alpha))
        }
    }
}

fn units_of(pairs: &[[f64; 2]]) -> Vec<Unit> {
    let unit = |&[over, under]: &[f64; 2]| Unit { over, under };
    pairs.iter().map(unit).collect()
}

/// Value, low and high of quality, cost and latency.
fn offers_of(triples: &[[[f64; 3]; 3]]) -> Vec<Offer> {
    let estimate = |[value, low, high]: [f64; 3]| Estimate {
        value,
        interval: Interval { low, high },
    };
    let offer = |&[quality, cost, latency]: &[[f64; 3]; 3]| Offer {
        quality: estimate(quality),
        cost: Some(estimate(cost)),
        latency: Some(estimate(latency)),
    };
    triples.iter().map(offer).collect()
}
