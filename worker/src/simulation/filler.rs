//! Text for replies without an expected answer: thoughts, remarks, and a judge's verdict.
//!
//! No filler contains a digit, `yes`, `no`, `true`, `false` or a label, so its text cannot make a wrong reply pass.

use super::hash::Draws;

/// Wrong words of simulated models.
pub(super) const WORDS: &[&str] = &[
    "amber", "bridge", "copper", "delta", "engine", "forest", "garden", "harbor", "island",
    "jacket", "kettle", "lantern", "meadow", "nickel", "orchard", "pepper", "quartz", "river",
    "silver", "temple", "umbrella", "valley", "window", "zephyr",
];

const THOUGHTS: &[&str] = &[
    "Let me look at what is given.",
    "First, the facts are put in order.",
    "Then each part is taken by itself.",
    "The parts are brought together again.",
    "Checking the result against the start, it fits.",
    "A similar case gives the same pattern.",
    "The units agree on each side.",
    "Each remaining case leads to the same place.",
];

const REMARKS: &[&str] = &[
    "Here is a short reply from a simulated model.",
    "The subject has several sides, and each deserves a look.",
    "In practice, people start small and keep what works.",
    "A clear aim makes the rest easier.",
    "The details depend on the case at hand.",
    "With a little care, the result is good enough to use.",
];

/// Returns `sentences` sentences of thoughts, each followed by a space.
pub(super) fn thinking(sentences: u32, draws: &mut Draws) -> String {
    run_of(THOUGHTS, sentences, draws)
        .into_iter()
        .flat_map(|sentence| [sentence, " "])
        .collect()
}

/// Returns `sentences` sentences of remarks.
pub(super) fn remarks(sentences: u32, draws: &mut Draws) -> String {
    run_of(REMARKS, sentences, draws).join(" ")
}

/// Returns a rubric judge's verdict in the form `{"reason", "score", "pass"}`.
pub(super) fn verdict(draws: &mut Draws) -> String {
    let tenths = draws.below(11);
    format!(
        r#"{{"reason": "simulated verdict", "score": {}.{}, "pass": {}}}"#,
        tenths / 10,
        tenths % 10,
        tenths >= 5
    )
}

/// Returns consecutive sentences from a random start, so that none repeats before all were used.
fn run_of(sentences: &[&'static str], count: u32, draws: &mut Draws) -> Vec<&'static str> {
    let start = draws.below(u32::try_from(sentences.len()).unwrap_or(u32::MAX));
    sentences
        .iter()
        .cycle()
        .skip(start as usize)
        .take(count as usize)
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_filler_gives_an_answer_away() {
        for sentence in THOUGHTS.iter().chain(REMARKS) {
            let words: Vec<String> = sentence
                .split(|letter: char| !letter.is_alphanumeric())
                .map(str::to_lowercase)
                .collect();
            for label in [
                "yes", "no", "true", "false", "positive", "negative", "neutral",
            ] {
                assert!(!words.iter().any(|word| word == label), "{sentence}");
            }
            assert!(
                !sentence.contains(|letter: char| letter.is_ascii_digit()),
                "{sentence}"
            );
        }
    }

    #[test]
    fn a_verdict_is_json_with_a_score_in_range() {
        let mut scores = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let text = verdict(&mut Draws::new(seed));
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            let score = value["score"].as_f64().unwrap();
            assert!((0.0..=1.0).contains(&score), "{text}");
            assert_eq!(value["pass"].as_bool().unwrap(), score >= 0.5, "{text}");
            scores.insert(text);
        }
        assert_eq!(scores.len(), 11);
    }
}
