//! The item behind a prompt, and its difficulty.
//!
//! Different prompts about the same item share its difficulty, so comparing two prompts item by item is meaningful.

use super::hash::{Draws, combine, stable_hash};
use super::manner::is_instruction;

/// Standard deviation of the difficulties, in log-odds.
const DIFFICULTY_SPREAD: f64 = 1.3;

/// A hash of the item: of its text and the expected answer.
///
/// Without the text, it is guessed from the prompt: see [`guess_text`].
pub(super) fn item_key(item: Option<&str>, prompt: &str, expected: Option<&str>) -> u64 {
    let text = item.map_or_else(|| guess_text(prompt), str::trim);
    combine(&[
        stable_hash(text.as_bytes()),
        stable_hash(expected.unwrap_or_default().trim().as_bytes()),
    ])
}

/// The difficulty of an item in log-odds: mean 0, nearly normal (the sum of four uniform draws, Irwin–Hall).
pub(super) fn difficulty(item_key: u64) -> f64 {
    let mut draws = Draws::new(item_key);
    let sum = draws.uniform() + draws.uniform() + draws.uniform() + draws.uniform();
    // Four uniform draws have the mean 2 and the variance 1/3.
    (sum - 2.0) * 3.0_f64.sqrt() * DIFFICULTY_SPREAD
}

/// The probability for these log-odds: `1 / (1 + e^-x)`.
///
/// `e^-x` is approximated by `(1 + x/1024)^-1024`: ten squarings, so that all platforms agree to the last bit, which
/// `exp` does not guarantee. The error is below 0.002 everywhere.
pub(super) fn logistic(log_odds: f64) -> f64 {
    let mut power = 1.0 + log_odds.abs().min(40.0) / 1024.0;
    for _ in 0..10 {
        power *= power;
    }
    let likelier = power / (1.0 + power);
    if log_odds < 0.0 {
        1.0 - likelier
    } else {
        likelier
    }
}

/// Returns the longest line that is not an instruction, without a label such as `Question: `; the last line if all are.
fn guess_text(prompt: &str) -> &str {
    let lines = || {
        prompt
            .lines()
            .map(|line| line.split_once(": ").map_or(line, |(_, rest)| rest).trim())
            .filter(|line| !line.is_empty())
    };
    lines()
        .filter(|line| !is_instruction(&line.to_lowercase()))
        .max_by_key(|line| line.len())
        .or_else(|| lines().next_back())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logistic_is_near_the_formula() {
        for tenths in -200..=200 {
            let log_odds = f64::from(tenths) / 10.0;
            let formula = 1.0 / (1.0 + (-log_odds).exp());
            assert!((logistic(log_odds) - formula).abs() < 0.002, "{log_odds}");
        }
        assert!((logistic(0.0) - 0.5).abs() < f64::EPSILON);
    }

    #[test]
    fn difficulties_are_centred_and_spread() {
        let all: Vec<f64> = (0..10_000_u64).map(difficulty).collect();
        let mean = all.iter().sum::<f64>() / 10_000.0;
        let variance = all.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / 10_000.0;
        assert!(mean.abs() < 0.05, "{mean}");
        assert!(
            (variance.sqrt() - DIFFICULTY_SPREAD).abs() < 0.05,
            "{variance}"
        );
    }

    #[test]
    fn prompts_about_one_item_share_its_key() {
        let question = "A farmer has 17 sheep and buys 4 more. How many are there?";
        let keys: Vec<u64> = [
            question.to_owned(),
            format!("You are a careful mathematician who never makes any mistake at all.\nQuestion: {question}\nAnswer:"),
            format!("{question}\n\nThink step by step, then write the final answer on the last line of the reply."),
            format!("Answer with only the number.\n\n{question}"),
        ]
        .iter()
        .map(|prompt| item_key(None, prompt, Some("21")))
        .collect();
        assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
        assert_eq!(keys[0], item_key(Some(question), "anything", Some("21")));
        assert_ne!(keys[0], item_key(Some(question), "anything", Some("22")));
        assert_ne!(keys[0], item_key(Some("another"), "anything", Some("21")));
    }
}
