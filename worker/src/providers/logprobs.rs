//! Reads log probabilities of a response: limited in size, and without invalid values.
//!
//! They are optional: errors in them must never cost the response, which was paid for.

use std::borrow::Cow;

use opb_core::runs::{Alternative, Logprobs, TokenLogprob};
use serde::{
    Deserialize, Deserializer as _,
    de::{SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// Maximum stored size per response, in bytes.
const MAX_BYTES: usize = 64 * 1024;
/// Stored size of a token besides its text, in bytes of JSON.
const TOKEN_BYTES: usize = 40;
/// Maximum number of alternatives to a token; no provider offers more.
const MAX_ALTERNATIVES: usize = 20;
/// Longer lists of alternatives, in bytes, are ignored.
const MAX_ALTERNATIVES_BYTES: usize = 64 * 1024;
/// The minimum; some servers use it for minus infinity.
const LEAST: f64 = -9999.0;
/// The maximum: because of rounding, the most certain tokens may be slightly above zero.
const MOST: f64 = 0.001;

/// The log probabilities so far.
#[derive(Default)]
pub(super) struct Collected {
    tokens: Vec<TokenLogprob>,
    bytes: usize,
    left_out: u32,
    sum: f64,
    counted: u32,
}

/// A token in a list in the form of the APIs.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(default, borrow)]
    token: Cow<'a, str>,
    /// Parsed separately: an invalid number must not end the list.
    #[serde(alias = "logProbability", borrow)]
    logprob: Option<&'a RawValue>,
    #[serde(borrow)]
    top_logprobs: Option<&'a RawValue>,
}

/// The alternatives to a token in Gemini's form.
#[derive(Deserialize)]
struct Candidates<'a> {
    #[serde(borrow)]
    candidates: Option<&'a RawValue>,
}

impl Collected {
    /// Reads a list of tokens in the form of chat completions and the responses API.
    pub(super) fn take(&mut self, list: &RawValue) {
        each(list, |token: Entry<'_>| {
            if let (Some(at), Some(list)) = (self.add(&token), token.top_logprobs) {
                self.add_top(at, list);
            }
        });
    }

    /// Reads tokens and the alternatives to each, in two lists, in Gemini's form.
    pub(super) fn take_candidates(&mut self, chosen: &RawValue, top: Option<&RawValue>) {
        let first = self.tokens.len();
        each(chosen, |token: Entry<'_>| {
            self.add(&token);
        });
        let mut at = first;
        let of_each = |Candidates { candidates }: Candidates<'_>| {
            if let Some(list) = candidates {
                self.add_top(at, list);
            }
            at += 1;
        };
        if let Some(top) = top {
            each(top, of_each);
        }
    }

    /// Returns the result; `None` if the provider sent nothing.
    pub(super) fn finish(self) -> Option<Logprobs> {
        if self.tokens.is_empty() && self.left_out == 0 {
            return None;
        }
        let mean = self.sum / f64::from(self.counted.max(1));
        Some(Logprobs {
            mean: (self.counted > 0).then_some(short(mean)),
            tokens: self.tokens,
            left_out: self.left_out,
        })
    }

    /// Adds a token; returns its position, unless there is no room for it.
    fn add(&mut self, token: &Entry<'_>) -> Option<usize> {
        let logprob = number(token.logprob);
        if let Some(logprob) = logprob {
            self.sum += logprob;
            self.counted = self.counted.saturating_add(1);
        }
        if self.left_out > 0 || !self.has_room(&token.token) {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.tokens.push(TokenLogprob {
            token: storable(&token.token),
            logprob: logprob.map(short),
            top: Vec::new(),
        });
        Some(self.tokens.len() - 1)
    }

    /// Adds the alternatives to a token, as long as there is room.
    fn add_top(&mut self, at: usize, list: &RawValue) {
        if at >= self.tokens.len() || list.get().len() > MAX_ALTERNATIVES_BYTES {
            return;
        }
        each(list, |token: Entry<'_>| {
            if self.tokens[at].top.len() < MAX_ALTERNATIVES && self.has_room(&token.token) {
                self.tokens[at].top.push(Alternative {
                    token: storable(&token.token),
                    logprob: number(token.logprob).map(short),
                });
            }
        });
    }

    /// Reserves room for a token; returns whether there was enough.
    fn has_room(&mut self, token: &str) -> bool {
        let bytes = self.bytes + token.len() + TOKEN_BYTES;
        let fits = bytes <= MAX_BYTES;
        if fits {
            self.bytes = bytes;
        }
        fits
    }
}

/// Passes on the valid elements of a JSON list one at a time: a malicious list must not take many times its size in
/// memory.
fn each<'a, T: Deserialize<'a>>(list: &'a RawValue, take: impl FnMut(T)) {
    struct Each<T, F>(F, std::marker::PhantomData<T>);
    impl<'a, T: Deserialize<'a>, F: FnMut(T)> Visitor<'a> for Each<T, F> {
        type Value = ();

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'a>>(mut self, mut list: A) -> Result<(), A::Error> {
            while let Some(element) = list.next_element()? {
                (self.0)(element);
            }
            Ok(())
        }
    }
    let mut json = serde_json::Deserializer::from_str(list.get());
    if let Err(error) = json.deserialize_seq(Each(take, std::marker::PhantomData)) {
        tracing::debug!(%error, "could not parse log probabilities");
    }
}

/// A log probability, if valid.
fn number(value: Option<&RawValue>) -> Option<f64> {
    let number: f64 = value?.get().parse().ok()?;
    (number <= MOST).then(|| number.clamp(LEAST, 0.0))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "seven digits are enough for a probability"
)]
fn short(number: f64) -> f32 {
    number as f32
}

/// Replaces NUL characters, which Postgres cannot store.
fn storable(token: &str) -> String {
    token.replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(list: &str) -> Option<Logprobs> {
        let mut collected = Collected::default();
        collected.take(&RawValue::from_string(list.to_owned()).unwrap());
        collected.finish()
    }

    #[test]
    fn keeps_what_can_be_a_log_probability() {
        for (given, expect) in [
            ("-0.5", Some(-0.5)),
            ("0", Some(0.0)),
            ("0.0001", Some(0.0)),
            ("-9999", Some(-9999.0)),
            ("-1e300", Some(-9999.0)),
            ("-1e999", Some(-9999.0)),
            ("1e999", None),
            ("0.5", None),
            ("null", None),
            ("\"-0.5\"", None),
            ("[[]]", None),
        ] {
            let list = format!(r#"[{{"token": "a", "logprob": {given}}}]"#);
            let kept = collect(&list).unwrap();
            assert_eq!(
                (kept.tokens[0].logprob, kept.mean),
                (expect, expect),
                "{given}"
            );
        }
    }

    #[test]
    fn garbage_is_left_where_it_begins() {
        for (given, tokens) in [
            ("[]", None),
            ("{}", None),
            ("7", None),
            ("[7]", None),
            (r#"[{"token": 7}]"#, None),
            (r#"[{}, {"token": "a"}]"#, Some(2)),
            (r#"[{"token": "a"}, 7, {"token": "b"}]"#, Some(1)),
            (
                r#"[{"token": "a", "top_logprobs": 7}, {"token": "b"}]"#,
                Some(2),
            ),
        ] {
            let kept = collect(given).map(|kept| kept.tokens.len());
            assert_eq!(kept, tokens, "{given}");
        }
        assert_eq!(
            collect(r#"[{"token": "\u0000"}]"#).unwrap().tokens[0].token,
            "\u{fffd}"
        );
    }

    #[test]
    fn what_is_too_much_is_left_out_and_counted() {
        let token = r#"{"token": "abcdefgh", "logprob": -2.0, "top_logprobs": [{"token": "abcdefgh", "logprob": -2.0}]}"#;
        let kept = collect(&format!("[{}]", vec![token; 100_000].join(","))).unwrap();
        assert_eq!(kept.tokens.len() + kept.left_out as usize, 100_000);
        assert_eq!(kept.mean, Some(-2.0), "of all of them");
        let stored = serde_json::to_string(&kept).unwrap().len();
        assert!(
            (MAX_BYTES / 2..MAX_BYTES * 3 / 2).contains(&stored),
            "{stored}"
        );
        let long = format!(
            r#"[{{"token": "{}"}}, {{"token": "a"}}]"#,
            "x".repeat(MAX_BYTES)
        );
        let kept = collect(&long).unwrap();
        assert_eq!((kept.tokens.len(), kept.left_out), (0, 2));
        let many = format!(
            r#"[{{"token": "a", "top_logprobs": [{}]}}]"#,
            vec!["{}"; 5_000].join(",")
        );
        assert_eq!(
            collect(&many).unwrap().tokens[0].top.len(),
            MAX_ALTERNATIVES
        );
    }
}
