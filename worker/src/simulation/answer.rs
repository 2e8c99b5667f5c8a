//! Wrong answers like those of a careless model, and the text around an answer.

use super::filler::{self, WORDS};
use super::hash::Draws;
use super::manner::{Closing, Manner};
use super::models::SimulatedModel;
use super::number::shift_number;

const UNSURE: &str = "I am not sure";

/// Labels that are easily confused.
const LABELS: &[&[&str]] = &[
    &["yes", "no"],
    &["true", "false"],
    &["positive", "negative", "neutral", "mixed"],
    &["entailment", "contradiction", "neutral"],
    &["spam", "ham"],
    &["low", "medium", "high"],
    &["a", "b", "c", "d"],
];

/// Returns a plausible answer that neither equals `expected` nor contains it, if possible.
pub(super) fn wrong_answer(expected: &str, draws: &mut Draws) -> String {
    let expected = expected.trim();
    if is_json_container(expected) {
        return wrong_json(expected, draws);
    }
    // Most candidates pass at once; 12 for 2 and the like need another attempt.
    for _ in 0..8 {
        let candidate = wrong_candidate(expected, draws);
        if !contains_ignoring_case(&candidate, expected) {
            return candidate;
        }
    }
    UNSURE.to_owned()
}

/// Returns the reply's whole text around an answer.
pub(super) fn phrase(
    answer: &str,
    manner: Manner,
    model: &SimulatedModel,
    draws: &mut Draws,
) -> String {
    if manner.json {
        return json_answer(answer);
    }
    if is_json_container(answer) {
        return answer.to_owned();
    }
    if manner.thinking {
        let thoughts = filler::thinking(model.verbosity, draws);
        return match manner.closing {
            Closing::Sentence => format!("{thoughts}The answer is {answer}."),
            Closing::FinalAnswer => format!("{thoughts}\nFinal answer: {answer}"),
            Closing::Hashes => format!("{thoughts}\n#### {answer}"),
            Closing::Boxed => format!("{thoughts}\n\\boxed{{{answer}}}"),
        };
    }
    match manner.closing {
        Closing::Hashes => format!("#### {answer}"),
        Closing::Boxed => format!("\\boxed{{{answer}}}"),
        _ if !manner.format && draws.percent(model.verbosity * 5) => {
            format!("The answer is {answer}.")
        }
        _ => answer.to_owned(),
    }
}

/// Whether the text is a JSON object or array.
pub(super) fn is_json_container(text: &str) -> bool {
    text.trim_start().starts_with(['{', '[']) && is_json(text)
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

fn json_answer(answer: &str) -> String {
    if answer.trim_start().starts_with(['{', '[']) {
        return answer.to_owned();
    }
    let is_number = answer.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if is_number && is_json(answer) {
        return format!(r#"{{"answer": {answer}}}"#);
    }
    let quoted = serde_json::Value::from(answer);
    format!(r#"{{"answer": {quoted}}}"#)
}

fn wrong_candidate(expected: &str, draws: &mut Draws) -> String {
    if let Some(label) = other_label(expected, draws) {
        return label;
    }
    if expected.len() <= 24
        && let Some(number) = shift_number(expected, draws)
    {
        return number;
    }
    let words: Vec<&str> = expected.split_whitespace().collect();
    if words.len() > 8 {
        // A long answer without every other word still resembles it, like a poor summary.
        return words
            .iter()
            .step_by(2)
            .copied()
            .collect::<Vec<_>>()
            .join(" ");
    }
    if draws.percent(20) {
        return UNSURE.to_owned();
    }
    let word = draws.pick(WORDS).copied().unwrap_or(UNSURE);
    let word = in_case_of(word, words.last().copied().unwrap_or_default());
    match words.split_last() {
        Some((_, kept)) if !kept.is_empty() => format!("{} {word}", kept.join(" ")),
        _ => word,
    }
}

fn other_label(expected: &str, draws: &mut Draws) -> Option<String> {
    let group = LABELS.iter().find(|group| {
        group
            .iter()
            .any(|label| label.eq_ignore_ascii_case(expected))
    })?;
    let others: Vec<&str> = group
        .iter()
        .copied()
        .filter(|label| !label.eq_ignore_ascii_case(expected))
        .collect();
    draws.pick(&others).map(|label| in_case_of(label, expected))
}

/// Returns a broken or altered copy of a JSON text; the text itself is edited, so the order of its keys is preserved.
fn wrong_json(expected: &str, draws: &mut Draws) -> String {
    if draws.percent(30) {
        return cut_in_half(expected);
    }
    let altered = shift_number(expected, draws).filter(|text| is_json(text));
    altered.unwrap_or_else(|| {
        let swapped = if expected.contains("true") {
            expected.replacen("true", "false", 1)
        } else {
            expected.replacen("false", "true", 1)
        };
        if swapped == expected {
            json_answer(UNSURE)
        } else {
            swapped
        }
    })
}

fn cut_in_half(text: &str) -> String {
    text.chars().take(text.chars().count() / 2).collect()
}

fn in_case_of(word: &str, model: &str) -> String {
    let is_capital = model.starts_with(char::is_uppercase);
    if is_capital && !model.contains(char::is_lowercase) {
        return word.to_uppercase();
    }
    let mut letters = word.chars();
    match letters.next() {
        Some(first) if is_capital => first.to_uppercase().chain(letters).collect(),
        _ => word.to_owned(),
    }
}

fn contains_ignoring_case(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(&part.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::find_model;

    #[test]
    fn a_wrong_answer_never_contains_the_right_one() {
        let long = "the quick brown fox jumps over the lazy dog near the river bank";
        for expected in [
            "1",
            "2",
            "42",
            "-3",
            "3.14",
            "1,234",
            "yes",
            "No",
            "TRUE",
            "positive",
            "B",
            "Paris",
            "New York",
            "river",
            "2024-05-01",
            long,
            r#"{"a": 1}"#,
            r#"["x"]"#,
            r#"{"ok": true}"#,
        ] {
            for seed in 0..300 {
                let wrong = wrong_answer(expected, &mut Draws::new(seed));
                assert!(
                    !contains_ignoring_case(&wrong, expected),
                    "{expected} {wrong}"
                );
                assert!(!wrong.is_empty(), "{expected}");
            }
        }
    }

    #[test]
    fn wrong_labels_keep_their_case() {
        for (expected, expect) in [
            ("yes", "no"),
            ("No", "Yes"),
            ("TRUE", "FALSE"),
            ("Spam", "Ham"),
        ] {
            assert_eq!(wrong_answer(expected, &mut Draws::new(1)), expect);
        }
    }

    #[test]
    fn wrong_json_is_sometimes_broken_and_sometimes_valid() {
        let broken = (0..500)
            .filter(|seed| !is_json(&wrong_answer(r#"{"total": 12}"#, &mut Draws::new(*seed))))
            .count();
        assert!((100..200).contains(&broken), "{broken}");
    }

    #[test]
    fn the_phrase_follows_the_manner() {
        let check = |prompt: &str, answer: &str, expect: &str| {
            let model = find_model("fast").unwrap();
            let text = phrase(answer, Manner::of(prompt), model, &mut Draws::new(3));
            assert!(text.ends_with(expect), "{prompt}: {text}");
            text
        };
        assert_eq!(check("answer with only the number", "7", "7"), "7");
        assert_eq!(check("as json", "7", "}"), r#"{"answer": 7}"#);
        assert_eq!(check("as json", "a \"b\"", "}"), r#"{"answer": "a \"b\""}"#);
        assert_eq!(check("as json", r#"{"x": 1}"#, "}"), r#"{"x": 1}"#);
        assert!(check("think step by step", "7", "The answer is 7.").len() > 40);
        check("step by step, then #### x", "7", "\n#### 7");
        check("step by step, then \\boxed{x}", "7", "\n\\boxed{7}");
        check("step by step. final answer: x", "7", "\nFinal answer: 7");
    }
}
