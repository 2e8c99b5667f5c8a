//! The manner of answering that a prompt requests, and its effect on the odds.

use super::models::SimulatedModel;

const THINKING_CUES: &[&str] = &[
    "step by step",
    "step-by-step",
    "chain of thought",
    "show your work",
    "show your reasoning",
    "explain your reasoning",
    "reason through",
    "think carefully",
    "think it through",
    "work through",
];
const FORMAT_CUES: &[&str] = &[
    "answer with",
    "respond with",
    "reply with",
    "return only",
    "output only",
    "final answer",
    "just the answer",
    "only the",
    "nothing else",
    "no explanation",
    "one word",
    "single word",
];
const FORMAT_GAIN: f64 = 0.15;
const EXAMPLES_GAIN: f64 = 0.2;

/// How a reply with reasoning ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    /// `The answer is X.`
    Sentence,
    /// `Final answer: X`
    FinalAnswer,
    /// `#### X`, as requested by GSM8K prompts.
    Hashes,
    /// `\boxed{X}`, as requested by MATH prompts.
    Boxed,
}

/// The requests of a prompt besides the item itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent, and a prompt may have any of them"
)]
pub(super) struct Manner {
    /// Think step by step before the answer.
    pub(super) thinking: bool,
    /// Follow a stated format.
    pub(super) format: bool,
    /// Follow the examples shown.
    pub(super) examples: bool,
    /// Answer in JSON.
    pub(super) json: bool,
    /// How a reply with reasoning ends.
    pub(super) closing: Closing,
}

impl Manner {
    /// Detects the manner in a lower-case prompt.
    pub(super) fn of(lowercase_prompt: &str) -> Self {
        let asks = |cues: &[&str]| cues.iter().any(|cue| lowercase_prompt.contains(cue));
        let closing = if lowercase_prompt.contains("####") {
            Closing::Hashes
        } else if lowercase_prompt.contains("\\boxed") {
            Closing::Boxed
        } else if lowercase_prompt.contains("final answer:") {
            Closing::FinalAnswer
        } else {
            Closing::Sentence
        };
        Self {
            thinking: asks(THINKING_CUES),
            format: asks(FORMAT_CUES) || closing != Closing::Sentence,
            examples: asks(&["example"]),
            json: asks(&["json"]),
            closing,
        }
    }

    /// The log-odds that this manner adds for this model.
    pub(super) fn gain(self, model: &SimulatedModel) -> f64 {
        let gain = |asked, gain| if asked { gain } else { 0.0 };
        gain(self.thinking, model.thinking_gain)
            + gain(self.format, FORMAT_GAIN)
            + gain(self.examples, EXAMPLES_GAIN)
    }
}

/// Whether a line says how to answer rather than what.
pub(super) fn is_instruction(lowercase_line: &str) -> bool {
    const OTHER_CUES: &[&str] = &[
        "you are",
        "json",
        "example",
        "answer:",
        "question:",
        "solve the",
        "answer the",
        "classify",
        "summarize",
        "translate",
        "let's think",
        "format",
    ];
    [THINKING_CUES, FORMAT_CUES, OTHER_CUES]
        .iter()
        .any(|cues| cues.iter().any(|cue| lowercase_line.contains(cue)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(prompt: &str, expect: (bool, bool, bool, Closing)) {
        let manner = Manner::of(&prompt.to_lowercase());
        let found = (manner.thinking, manner.format, manner.json, manner.closing);
        assert_eq!(found, expect, "{prompt}");
    }

    #[test]
    fn the_manner_is_read_from_the_prompt() {
        check("What is 2+2?", (false, false, false, Closing::Sentence));
        check(
            "Think step by step.",
            (true, false, false, Closing::Sentence),
        );
        check(
            "Answer with only a number.",
            (false, true, false, Closing::Sentence),
        );
        check("Reply in JSON.", (false, false, true, Closing::Sentence));
        check(
            "Show your work, end with #### X",
            (true, true, false, Closing::Hashes),
        );
        check("Put it in \\boxed{}.", (false, true, false, Closing::Boxed));
        check(
            "End with `Final answer: X`",
            (false, true, false, Closing::FinalAnswer),
        );
    }

    #[test]
    fn thinking_helps_the_weak_more() {
        let thinking = Manner::of("think step by step");
        let [strong, weak] =
            ["strong", "weak"].map(|name| thinking.gain(super::super::find_model(name).unwrap()));
        assert!(0.0 < strong && strong < weak);
    }
}
