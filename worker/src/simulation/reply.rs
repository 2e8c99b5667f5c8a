//! A simulated reply: its correctness, text and latency.

use std::time::Duration;

use super::answer::{phrase, wrong_answer};
use super::filler;
use super::hash::{Draws, combine, stable_hash};
use super::item::{difficulty, item_key, logistic};
use super::manner::Manner;
use super::models::SimulatedModel;

/// A request to a simulated model.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    /// All messages, joined by newlines.
    pub prompt: &'a str,
    /// The expected answer, if known.
    pub expected: Option<&'a str>,
    /// The item's own text, if known; otherwise it is guessed from the prompt. Prompts about the same item share its
    /// difficulty.
    pub item: Option<&'a str>,
    /// The seed; repeats have different ones.
    pub seed: u64,
    /// Whether to reply in JSON even if the prompt does not request it.
    pub json: bool,
    /// Maximum length of the reply, in tokens; longer replies are truncated.
    pub max_tokens: Option<u32>,
}

/// The reply of a simulated model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The text.
    pub text: String,
    /// Estimated number of input tokens.
    pub prompt_tokens: u32,
    /// Estimated number of output tokens.
    pub completion_tokens: u32,
    /// Whether the text was truncated at `max_tokens`.
    pub cut: bool,
    /// Time until the first token.
    pub first_token_after: Duration,
    /// Time until the last token.
    pub total: Duration,
}

/// Returns the reply of `model` to `request`; deterministic for the same input.
///
/// The probability of a correct answer is `logistic(ability - difficulty(item) + gain(prompt))`, the Rasch model of
/// test theory. The draw depends on seed, model, item and prompt, so two prompts fail independently on an item but find
/// it equally difficult.
#[must_use]
pub fn reply(model: &SimulatedModel, request: &Request<'_>) -> Reply {
    let lowercase_prompt = request.prompt.to_lowercase();
    let mut manner = Manner::of(&lowercase_prompt);
    manner.json |= request.json;
    let item = item_key(request.item, request.prompt, request.expected);
    let mut draws = Draws::new(combine(&[
        request.seed,
        stable_hash(model.name.as_bytes()),
        item,
        stable_hash(request.prompt.as_bytes()),
    ]));

    let text = match request.expected {
        Some(expected) => {
            let odds = model.ability - difficulty(item) + manner.gain(model);
            let is_right = draws.uniform() < logistic(odds);
            let answer = if is_right {
                expected.trim().to_owned()
            } else {
                wrong_answer(expected, &mut draws)
            };
            phrase(&answer, manner, model, &mut draws)
        }
        None if manner.json && lowercase_prompt.contains("\"score\"") => {
            filler::verdict(&mut draws)
        }
        None => {
            let remarks = filler::remarks(1 + model.verbosity / 2, &mut draws);
            phrase(
                &remarks,
                Manner {
                    format: true,
                    ..manner
                },
                model,
                &mut draws,
            )
        }
    };
    timed(model, request, text, &mut draws)
}

/// Estimates the number of tokens: four characters per token. Sufficient to simulate a price; never used for real
/// models.
#[must_use]
pub fn estimate_tokens(text: &str) -> u32 {
    u32::try_from(text.chars().count().div_ceil(4)).unwrap_or(u32::MAX)
}

fn timed(
    model: &SimulatedModel,
    request: &Request<'_>,
    mut text: String,
    draws: &mut Draws,
) -> Reply {
    let mut completion_tokens = estimate_tokens(&text);
    let limit = request.max_tokens.unwrap_or(u32::MAX);
    let cut = completion_tokens > limit;
    if cut {
        completion_tokens = limit;
        text = text
            .chars()
            .take((limit as usize).saturating_mul(4))
            .collect();
    }
    // Real latencies vary and have a tail: a factor of 0.75 to 1.25, times four for one call in fifty.
    let jitter = u64::from(75 + draws.below(51)) * if draws.percent(2) { 4 } else { 1 };
    let first_token_us = model.latency.first_token_us * jitter / 100;
    let writing_us = model.latency.per_token_us * u64::from(completion_tokens) * jitter / 100;
    Reply {
        prompt_tokens: estimate_tokens(request.prompt),
        completion_tokens,
        cut,
        first_token_after: Duration::from_micros(first_token_us),
        total: Duration::from_micros(first_token_us + writing_us),
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::find_model;

    const PLAIN: &str = "Answer with only the number.";
    const THINKING: &str = "Think step by step. Answer with the number.";

    fn ask(model: &str, prompt: &str, expected: Option<&str>, seed: u64) -> Reply {
        let request = Request {
            prompt,
            expected,
            seed,
            ..Request::default()
        };
        reply(find_model(model).unwrap(), &request)
    }

    /// Correct answers among a thousand items.
    fn right_of_1000(model: &str, instruction: &str) -> u32 {
        (0..1_000_u32)
            .filter(|index| {
                let expected = (index * 7 + 13).to_string();
                let prompt = format!("{instruction}\nWhat is {index} times seven plus thirteen?");
                let text = ask(model, &prompt, Some(&expected), 1).text;
                let last = text.trim_end_matches('.').rsplit(' ').next();
                last == Some(expected.as_str())
            })
            .count()
            .try_into()
            .unwrap()
    }

    #[test]
    fn a_reply_is_pinned_for_ever() {
        let one = ask(
            "balanced",
            "What is 6 times 7?\nThink step by step.",
            Some("42"),
            9,
        );
        assert_eq!(
            one,
            ask(
                "balanced",
                "What is 6 times 7?\nThink step by step.",
                Some("42"),
                9
            )
        );
        assert_eq!(
            one.text,
            "Checking the result against the start, it fits. A similar case gives the same pattern. \
             The units agree on each side. Each remaining case leads to the same place. The answer is 42."
        );
        assert_eq!((one.prompt_tokens, one.completion_tokens), (10, 45));
        assert_eq!(one.total.as_micros(), 60_320);
    }

    #[test]
    fn the_abler_model_is_right_more_often() {
        let right = ["strong", "balanced", "fast", "weak"].map(|model| right_of_1000(model, PLAIN));
        assert!(
            right.is_sorted_by(|abler, weaker| *abler > weaker + 30),
            "{right:?}"
        );
        assert!(right[0] < 950 && right[3] > 300, "{right:?}");
    }

    #[test]
    fn thinking_helps_and_costs() {
        for (model, gain) in [("strong", 10), ("weak", 100)] {
            let (plain, thinking) = (right_of_1000(model, PLAIN), right_of_1000(model, THINKING));
            assert!(thinking > plain + gain, "{model}: {plain} {thinking}");
        }
        let cost = |prompt| ask("fast", prompt, Some("5"), 1).completion_tokens;
        assert!(cost(THINKING) > 10 * cost(PLAIN));
    }

    #[test]
    fn close_pairs_exist() {
        let (plain, thinking) = (
            right_of_1000("strong", PLAIN),
            right_of_1000("balanced", THINKING),
        );
        assert!(plain.abs_diff(thinking) < 30, "{plain} {thinking}");
    }

    #[test]
    fn items_are_hard_under_every_prompt() {
        // Of the items on which one prompt fails, the other prompt fails on more than it does overall.
        let right = |prompt: &str, index: u32| {
            let item = format!("item {index}");
            let request = Request {
                prompt,
                expected: Some("7"),
                item: Some(&item),
                ..Request::default()
            };
            reply(find_model("fast").unwrap(), &request).text == "7"
        };
        let all = 0..2_000;
        let failed: Vec<u32> = all
            .clone()
            .filter(|index| !right("first; only the number", *index))
            .collect();
        let both = failed
            .iter()
            .filter(|index| !right("second; only the number", **index))
            .count();
        let second = all
            .filter(|index| !right("second; only the number", *index))
            .count();
        assert!(
            both * 2_000 > second * failed.len() * 11 / 10,
            "{both} {second} {}",
            failed.len()
        );
    }

    #[test]
    fn the_seed_changes_the_chance() {
        let texts: std::collections::BTreeSet<String> = (0..50)
            .map(|seed| ask("weak", PLAIN, Some("5"), seed).text)
            .collect();
        assert!(texts.len() > 3, "{texts:?}");
    }

    #[test]
    fn without_an_expected_answer_there_is_filler() {
        let text = ask("strong", "Write something.", None, 1).text;
        assert!(text.len() > 40, "{text}");
        let verdict = ask(
            "strong",
            r#"Grade it. Reply in JSON: {"reason", "score", "pass"}"#,
            None,
            1,
        );
        assert!(verdict.text.starts_with(r#"{"reason""#), "{}", verdict.text);
    }

    #[test]
    fn max_tokens_cuts() {
        let request = Request {
            prompt: "Write something.",
            max_tokens: Some(3),
            ..Request::default()
        };
        let short = reply(find_model("strong").unwrap(), &request);
        assert_eq!(
            (short.text.len(), short.completion_tokens, short.cut),
            (12, 3, true)
        );
        assert!(!ask("strong", "Write something.", None, 0).cut);
    }

    #[test]
    fn four_characters_make_a_token() {
        for (text, expect) in [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("äöüß", 1)] {
            assert_eq!(estimate_tokens(text), expect, "{text}");
        }
    }
}
